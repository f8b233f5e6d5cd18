from __future__ import annotations

import contextlib
import inspect
import itertools
import os
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from unittest import mock

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_wsendpoint
from tests.conftest import TLSContexts
from tests.endpoint.checkpoints import Canceller, Moment, Step, at_every_checkpoint
from tests.endpoint.world import (
    FILLER,
    KINDS,
    Kind,
    Manner,
    Meet,
    ParsingPeer,
    World,
    assert_closed,
    make_streams,
    meet_as_client,
    meet_as_http2_server,
    meet_as_peer,
    meet_as_server,
    open_world,
    resume,
    vanishing,
)
from trio_wsendpoint import (
    ConnectionClosedError,
    Endpoint,
    Http2Session,
    ReceiveStream,
    Reconnecting,
    SendStream,
    connect,
    open_endpoint,
    open_http2,
    open_http2_pool,
    open_server,
    reconnecting,
    serve,
    serve_listeners,
    serve_unix,
)
from trio_wsendpoint.endpoint.stream_setup import start_tls
from trio_wsendpoint.endpoint.tls import TLSStream
from trio_wsendpoint.endpoint.watch import TAKEOVER_DELAY
from trio_wsendpoint.protocol import (
    DataFrame,
    Role,
    TextFrame,
)
from trio_wsendpoint.server import accept

PAGE = Path(__file__).parents[2] / "docs" / "cancellation.md"
TEXT: Final = "the message"
BIG: Final = "m" * 200_000
CLOSE_TIMEOUT: Final = 40.0
CANCEL_TIMEOUT: Final = 3.0
NOTHING_SENT = "nothing was sent"
CHUNK_SENT = "the chunk is sent whole, once"
NOTHING_TAKEN = "nothing was taken"
STREAM_CLOSED = "the stream is closed"


@attrs.frozen
class Row:
    """What the page says of a method: what may be seen when it raises, and so on."""

    raised: frozenset[str]
    returned: frozenset[str]
    after: frozenset[str]


def read_page() -> dict[str, Row]:
    rows = {}
    for line in PAGE.read_text().splitlines():
        found = re.match(r"\| `([^`]*)` \|(.*)\|$", line)
        if found:
            _, *cells = found[2].split("|")
            seen = [frozenset(cell.strip().split(", or ")) - {"—"} for cell in cells]
            rows[found[1]] = Row(*seen)
    return rows


def is_async(function: object) -> bool:
    """Whether it is an async function or an async context manager, or returns one."""
    inner = getattr(function, "__wrapped__", None)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(inner):
        return True
    if inspect.isclass(function):
        return "__aenter__" in vars(function)
    if not inspect.isfunction(function):
        return False
    name, _, _ = (function.__annotations__.get("return") or "").partition("[")
    returned = function.__globals__.get(name)
    return hasattr(returned, "__aenter__")


def public_methods() -> set[str]:
    names = {
        f"{cls.__name__}.{name}"
        for cls in (Endpoint, SendStream, ReceiveStream, Reconnecting, Http2Session)
        for name in dir(cls)
        if is_async(getattr(cls, name)) and (name[0] != "_" or name == "__anext__")
    }
    functions = vars(trio_wsendpoint)
    return names | {name for name in trio_wsendpoint.__all__ if is_async(functions[name])}


@attrs.frozen
class Seen:
    """What was seen of one cancelled call, in the page's words."""

    raised: bool
    effect: str
    after: str


Scene: TypeAlias = Callable[[Kind, Canceller], Awaitable[Seen]]


# -- what is left of an endpoint ----------------------------------------------------------


async def collect(world: World) -> list[str]:
    """What can still be received, up to a message that the peer sends now."""
    await world.peer.send(world.peer.encode("probe"))
    rest = []
    while (message := await world.endpoint.receive()) != "probe":
        rest.append(str(message))
    return rest


async def state_of(world: World) -> str:
    """Whether messages still go both ways; the peer must be reading."""
    endpoint, peer = world.endpoint, world.peer
    try:
        await endpoint.send("after")
    except (ConnectionClosedError, trio.ClosedResourceError):
        with pytest.raises((ConnectionClosedError, trio.ClosedResourceError)):
            await endpoint.receive()
        return f"closed with {endpoint.close_code}"
    await wait_all_tasks_blocked()
    assert peer.messages.pop() == "after"
    assert await collect(world) == []
    return "usable"


# -- sending ------------------------------------------------------------------------------

Situation = Literal["free", "large", "full", "behind another"]


async def prepare_sending(world: World, situation: Situation) -> tuple[list[str], list[Step]]:
    """Bring about a situation; returns what has been sent, and the steps that are left."""
    if situation == "free":
        await world.read()
        return [], []
    if situation == "large":
        return [], [world.read]
    await world.fill()
    if situation == "full":
        return [FILLER], [world.read]
    world.nursery.start_soon(world.endpoint.send, "other")
    await wait_all_tasks_blocked()
    return [FILLER, "other"], [world.read]


def sends_message(
    operate: Callable[[Endpoint, str], Awaitable[None]],
    situation: Situation,
    words: tuple[str, str],
    role: Role = Role.SERVER,
) -> Scene:
    async def scene(kind: Kind, canceller: Canceller) -> Seen:
        async with open_world(kind, role) as world:
            text = BIG if situation == "large" else TEXT
            before, steps = await prepare_sending(world, situation)
            outcome = await canceller.run(lambda: operate(world.endpoint, text), *steps)
            after = await state_of(world)
        count = world.peer.messages.count(text)
        assert world.peer.messages == before + [text] * count
        frames = world.peer.frames()
        fragments = [frame for frame in frames if isinstance(frame, DataFrame)]
        if after != "usable":
            assert not fragments[-1].fin
            after += " if a part was sent"
        assert world.peer.close_code == world.endpoint.close_code
        return Seen(outcome.raised, words[count], after)

    return scene


async def send(endpoint: Endpoint, text: str) -> None:
    await endpoint.send(text)


async def send_in_halves(endpoint: Endpoint, text: str) -> None:
    middle = len(text) // 2
    async with endpoint.open_send_stream("text") as stream:
        await stream.send(text[:middle])
        await stream.send(text[middle:])


def sends_control(
    operate: Callable[[Endpoint], Awaitable[object]],
    situation: Situation,
    counter: Literal["pings", "pongs"],
    words: dict[tuple[bool, int], str],
) -> Scene:
    async def scene(kind: Kind, canceller: Canceller) -> Seen:
        async with open_world(kind) as world:
            before, steps = await prepare_sending(world, situation)
            outcome = await canceller.run(lambda: operate(world.endpoint), *steps)
            after = await state_of(world)
            assert world.peer.messages == before
            count = getattr(world.peer.connection.received, counter)
            if operate is ping:
                assert await ping(world.endpoint) >= 0, "the payload is free again"
        world.peer.frames()
        return Seen(outcome.raised, words[outcome.raised, count], after)

    return scene


async def ping(endpoint: Endpoint) -> float:
    return await endpoint.ping(b"payload")


async def pong(endpoint: Endpoint) -> None:
    await endpoint.pong(b"payload")


async def check_heartbeat(endpoint: Endpoint) -> None:
    await endpoint.check_heartbeat()


def sends_chunk(situation: Situation) -> Scene:
    async def scene(kind: Kind, canceller: Canceller) -> Seen:
        text = BIG if situation == "large" else TEXT
        async with open_world(kind) as world:
            first = FILLER if situation == "full" else "first"
            steps: list[Step] = [world.read]
            async with world.endpoint.open_send_stream("text") as stream:
                if situation == "free":
                    await world.read()
                    steps = []
                with trio.move_on_after(1):
                    await stream.send(first)
                outcome = await canceller.run(lambda: stream.send(text), *steps)
                await stream.send("last")
            after = await state_of(world)
            assert len(world.peer.messages) == 1
            chunks = str(world.peer.messages[0]).removeprefix(first).removesuffix("last")
            count = chunks.count(text)
            assert chunks == text * count
        world.peer.frames()
        return Seen(outcome.raised, (NOTHING_SENT, CHUNK_SENT)[count], after)

    return scene


# -- receiving ----------------------------------------------------------------------------

Arrival = Literal[
    "ready", "amid a batch", "arriving", "arriving at the reader task", "behind another"
]
ARRIVALS: tuple[Arrival, ...] = (
    "ready",
    "amid a batch",
    "arriving",
    "arriving at the reader task",
    "behind another",
)


async def prepare_receiving(
    world: World, arrival: Arrival, frames: list[bytes]
) -> tuple[list[Step], list[object]]:
    """Have messages arrive; returns the steps left, and where others put what they got."""
    await world.read()
    peer, taken = world.peer, list[object]()
    early = peer.encode("early")
    first, *others = frames
    steps = [peer.sends(first[:3]), peer.sends(first[3:])]
    steps += map(peer.sends, others)
    if arrival == "ready":
        await peer.send(b"".join(frames))
        await trio.sleep(1)
        return [], taken
    if arrival == "amid a batch":
        await peer.send(early + b"".join(frames))
        assert await world.endpoint.receive() == "early"
        return [], taken
    if arrival == "arriving at the reader task":
        await pass_the_role()
    if arrival == "behind another":

        async def receive() -> None:
            taken.append(await world.endpoint.receive())

        world.nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        return [peer.sends(early), *steps], taken
    return steps, taken


def receives(operate: Callable[[Endpoint], Awaitable[object]], arrival: Arrival) -> Scene:
    async def scene(kind: Kind, canceller: Canceller) -> Seen:
        async with open_world(kind) as world:
            frames = [world.peer.encode("one"), world.peer.encode("two", "three")]
            steps, taken = await prepare_receiving(world, arrival, frames)
            outcome = await canceller.run(lambda: operate(world.endpoint), *steps)
            got = [] if outcome.raised else [outcome.value]
            assert got + await collect(world) == ["one", "two", "three"]
            assert taken == ["early"] * (arrival == "behind another")
            after = await state_of(world)
        world.peer.frames()
        return Seen(outcome.raised, "one message was taken" if got else NOTHING_TAKEN, after)

    return scene


async def receive(endpoint: Endpoint) -> object:
    return await endpoint.receive()


async def receive_message(endpoint: Endpoint) -> object:
    return (await endpoint.receive_message()).payload


async def iterate(endpoint: Endpoint) -> object:
    return await anext(endpoint)


def encode_in_two(peer: ParsingPeer) -> list[bytes]:
    """A message "one" in two fragments, and with the second one another message."""
    frames = peer.encode_fragments(TextFrame, b"on", b"e")
    return [frames[0], frames[1] + peer.encode("two")]


def receives_in_pieces(arrival: Arrival) -> Scene:
    async def scene(kind: Kind, canceller: Canceller) -> Seen:
        async with open_world(kind) as world:
            frames = encode_in_two(world.peer)
            steps, _ = await prepare_receiving(world, arrival, frames)
            pieces: list[str | bytes] = []
            entered = False

            async def operate() -> None:
                nonlocal entered
                async with world.endpoint.open_receive_stream() as stream:
                    entered = True
                    async for piece in stream:
                        pieces.append(piece)

            outcome = await canceller.run(operate, *steps)
            assert await collect(world) == ["one", "two"][entered:]
            after = await state_of(world)
        world.peer.frames()
        if outcome.raised:
            effect = "one message was taken or skipped" if entered else NOTHING_TAKEN
        else:
            assert "".join(map(str, pieces)) == "one"
            effect = "one message was taken"
        return Seen(outcome.raised, effect, after)

    return scene


def uses_receive_stream(
    operate: Callable[[ReceiveStream], Awaitable[object]], begun: bool, ready: bool
) -> Scene:
    """A method of a stream: of its message nothing or a part was received, or all is there."""

    async def scene(kind: Kind, canceller: Canceller) -> Seen:
        async with open_world(kind) as world:
            await world.read()
            frames = encode_in_two(world.peer)
            await world.peer.send(frames[0])
            steps = [world.peer.sends(frames[1][:3]), world.peer.sends(frames[1][3:])]
            async with world.endpoint.open_receive_stream() as stream:
                pieces = [await stream.receive()] if begun else []
                if ready:
                    await world.peer.send(frames[1])
                    await trio.sleep(1)
                outcome = await canceller.run(lambda: operate(stream), *steps[2 * ready :])
                if operate is leave:
                    with pytest.raises(trio.ClosedResourceError):
                        await stream.receive()
                    effect = "the rest of the message is skipped"
                else:
                    pieces += [] if outcome.raised else [outcome.value]
                    pieces += [piece async for piece in stream]
                    assert "".join(map(str, pieces)) == "one"
                    effect = NOTHING_TAKEN if outcome.raised else "one piece was taken"
            assert await collect(world) == ["two"]
            after = await state_of(world)
        world.peer.frames()
        return Seen(outcome.raised, effect, after)

    return scene


async def receive_piece(stream: ReceiveStream) -> object:
    return await stream.receive()


async def iterate_pieces(stream: ReceiveStream) -> object:
    return await anext(stream)


async def leave(stream: ReceiveStream) -> None:
    await stream.aclose()


# -- opening and closing ------------------------------------------------------------------


def closes(manner: Manner | Literal["deaf"]) -> Scene:
    async def scene(kind: Kind, canceller: Canceller) -> Seen:
        async with open_world(
            kind, close_timeout=CLOSE_TIMEOUT, cancel_timeout=CANCEL_TIMEOUT
        ) as world:
            if manner == "deaf":
                await world.fill()
            else:
                world.peer.manner = manner
            steps = [] if manner == "deaf" else [world.read]
            began = trio.current_time()
            outcome = await canceller.run(lambda: world.endpoint.aclose(4000, "why"), *steps)
            if outcome.raised:
                assert trio.current_time() <= canceller.time + CANCEL_TIMEOUT
            else:
                assert trio.current_time() <= began + CLOSE_TIMEOUT
            await assert_closed(world.stream)
            assert await state_of(world) == "closed with 4000"
        assert world.peer.close_code == (None if manner == "deaf" else 4000)
        return Seen(outcome.raised, STREAM_CLOSED, "closed with the code given")

    return scene


def waits_for_the_end(*, closed: bool) -> Scene:
    async def scene(kind: Kind, canceller: Canceller) -> Seen:
        async with open_world(kind) as world:
            await world.read()
            if closed:
                await world.endpoint.aclose()
            steps = [] if closed else [world.endpoint.aclose]
            outcome = await canceller.run(world.endpoint.wait_closed, *steps)
            if not outcome.raised:
                await assert_closed(world.stream)
        effect = "the endpoint may still be open" if outcome.raised else STREAM_CLOSED
        return Seen(outcome.raised, effect, "as it was")

    return scene


def opens(open_it: Callable[..., Any], meet: Meet) -> Scene:
    async def scene(kind: Kind, canceller: Canceller) -> Seen:
        ours, theirs = make_streams(kind)
        met: list[ParsingPeer] = []
        progress: list[str] = []

        async def operate() -> None:
            async with open_it(ours, cancel_timeout=CANCEL_TIMEOUT) as endpoint:
                progress.append("entered")
                await endpoint.send(TEXT)
                assert await endpoint.receive() == "answer"
                progress.append("leaving")

        async with vanishing(theirs, ours), trio.open_nursery() as nursery:

            async def begin() -> None:
                nursery.start_soon(meet, theirs, met)

            resume(ours)
            outcome = await canceller.run(operate, begin)
            await assert_closed(ours)
        after = says_how_it_closed(met, progress)
        return Seen(outcome.raised, STREAM_CLOSED, after)

    return scene


def says_how_it_closed(met: list[ParsingPeer], progress: list[str]) -> str:
    if not progress:
        assert not met or not met[0].data
        return "never open"
    code = met[0].close_code
    if "leaving" in progress:
        assert code == 1000
        return "with 1000 if it was leaving"
    return f"closed with {code}"


def connect_over(stream: trio.abc.Stream, **options: Any) -> Any:
    return connect("ws://localhost/", stream=stream, **options)


@contextlib.asynccontextmanager
async def reconnect_over(stream: trio.abc.Stream, **options: Any) -> AsyncIterator[Endpoint]:
    """Enter the first attempt of a loop, which dials the stream."""
    dialled = False

    async def dial(*_: object, **__: object) -> trio.abc.Stream:
        nonlocal dialled
        dialled = True
        return stream

    try:
        with mock.patch.object(trio, "open_tcp_stream", dial):
            attempt = await anext(reconnecting("ws://127.0.0.1/", **options))
            async with attempt as endpoint:
                yield endpoint
    finally:
        if not dialled:
            await trio.aclose_forcefully(stream)


async def hands_out_an_attempt(kind: Kind, canceller: Canceller) -> Seen:
    loop = reconnecting("ws://127.0.0.1/")
    outcome = await canceller.run(lambda: anext(loop))
    effect = NOTHING_TAKEN if outcome.raised else "an attempt may be entered"
    assert (await anext(loop)).number == 1
    return Seen(outcome.raised, effect, "usable")


@contextlib.asynccontextmanager
async def session_over(stream: trio.abc.Stream, **options: Any) -> AsyncIterator[Endpoint]:
    """Open a WebSocket on a connection of HTTP/2."""
    async with (
        open_http2("http://localhost", stream=stream) as session,
        session.connect(**options) as endpoint,
    ):
        yield endpoint


@contextlib.asynccontextmanager
async def pool_over(stream: trio.abc.Stream, **options: Any) -> AsyncIterator[Endpoint]:
    """Open a WebSocket through a pool, which dials the stream."""
    dialled = False

    async def dial(*_: object, **__: object) -> trio.abc.Stream:
        nonlocal dialled
        dialled = True
        return stream

    try:
        with mock.patch.object(trio, "open_tcp_stream", dial):
            async with (
                open_http2_pool() as pool,
                connect("ws://127.0.0.1/", http2=pool, **options) as endpoint,
            ):
                yield endpoint
    finally:
        if not dialled:
            await trio.aclose_forcefully(stream)


def open_over(stream: trio.abc.Stream, **options: Any) -> Any:
    return open_endpoint(stream, Role.SERVER, **options)


# -- the table ----------------------------------------------------------------------------

WHOLE = (NOTHING_SENT, "the message is sent whole, once")
PARTS = ("the message is never sent as if it were whole", "the message is sent whole, once")
PONG = {(True, 0): NOTHING_SENT, (False, 1): "the pong is sent whole, once"}
PING = {
    (True, 0): NOTHING_SENT,
    (True, 1): "the ping was sent, and its pong is disregarded",
    (False, 1): "the ping was answered",
}
HEARTBEAT = {(True, 0): NOTHING_SENT, (False, 1): "the ping is sent whole, once"}

SITUATIONS: tuple[Situation, ...] = ("free", "large", "full", "behind another")

SCENES: dict[str, list[Scene]] = {
    "Endpoint.send": [
        sends_message(send, situation, WHOLE, role) for situation in SITUATIONS for role in Role
    ],
    "Endpoint.open_send_stream": [
        sends_message(send_in_halves, situation, PARTS) for situation in SITUATIONS
    ],
    "SendStream.send": [
        sends_chunk(situation) for situation in SITUATIONS if situation != "behind another"
    ],
    "Endpoint.ping": [sends_control(ping, each, "pings", PING) for each in SITUATIONS],
    "Endpoint.pong": [sends_control(pong, each, "pongs", PONG) for each in SITUATIONS],
    "Endpoint.check_heartbeat": [
        sends_control(check_heartbeat, each, "pings", HEARTBEAT) for each in SITUATIONS
    ],
    "Endpoint.receive": [receives(receive, arrival) for arrival in ARRIVALS],
    "Endpoint.receive_message": [receives(receive_message, arrival) for arrival in ARRIVALS],
    "Endpoint.__anext__": [receives(iterate, arrival) for arrival in ARRIVALS],
    "Endpoint.open_receive_stream": [receives_in_pieces(arrival) for arrival in ARRIVALS],
    "ReceiveStream.receive": [
        uses_receive_stream(receive_piece, begun, ready)
        for begun in (False, True)
        for ready in (False, True)
    ],
    "ReceiveStream.__anext__": [
        uses_receive_stream(iterate_pieces, begun, ready)
        for begun in (False, True)
        for ready in (False, True)
    ],
    "ReceiveStream.aclose": [
        uses_receive_stream(leave, begun, ready)
        for begun in (False, True)
        for ready in (False, True)
    ],
    "Endpoint.aclose": [closes("good"), closes("mute"), closes("deaf")],
    "Endpoint.wait_closed": [waits_for_the_end(closed=closed) for closed in (False, True)],
    "open_endpoint": [opens(open_over, meet_as_peer)],
    "accept": [opens(accept, meet_as_client)],
    "connect": [opens(connect_over, meet_as_server)],
    "Attempt": [opens(reconnect_over, meet_as_server)],
    "open_http2": [opens(session_over, meet_as_http2_server)],
    "Http2Session.connect": [opens(session_over, meet_as_http2_server)],
    "open_http2_pool": [opens(pool_over, meet_as_http2_server)],
    "Reconnecting.__anext__": [hands_out_an_attempt],
}


def test_the_page_has_a_row_for_every_public_async_method() -> None:
    assert set(read_page()) == public_methods()


def test_every_row_of_the_page_is_tried() -> None:
    assert set(read_page()) == set(SCENES) | set(SERVICES)


WAYS: tuple[tuple[Kind, Moment], ...] = (
    *itertools.product(KINDS, (Moment.BLOCKED, Moment.RESUMED)),
    ("socket", Moment.ANY_STEP),
)


def assert_as_the_page_says(method: str, seen: set[Seen]) -> None:
    row = read_page()[method]
    assert {each.effect for each in seen if each.raised} == row.raised
    assert {each.effect for each in seen if not each.raised} == row.returned
    assert {each.after for each in seen} == row.after


@pytest.mark.parametrize("method", SCENES)
async def test_cancelled_at_any_checkpoint_a_method_does_what_the_page_says(
    method: str, autojump_clock: MockClock
) -> None:
    seen: set[Seen] = set()
    for number, scene in enumerate(SCENES[method]):
        for kind, moment in WAYS:

            async def play(
                canceller: Canceller, scene: Scene = scene, kind: Kind = kind
            ) -> None:
                found = await scene(kind, canceller)
                assert found.raised or not canceller.is_first, "it is a cancellation point"
                seen.add(found)

            try:
                await at_every_checkpoint(moment, play)
            except BaseException as error:
                error.add_note(f"in scene {number} of {method}, {kind} streams")
                raise
    assert_as_the_page_says(method, seen)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operate", [send, send_in_halves, pong, ping])
async def test_cancelled_while_it_waits_for_room_whatever_sends_raises_and_adds_nothing(
    operate: Callable[..., Awaitable[None]], kind: Kind, autojump_clock: MockClock
) -> None:
    async with open_world(kind) as world:
        await world.fill()
        waiting = world.endpoint.statistics().sent.waiting
        with trio.move_on_after(1) as scope:
            await operate(world.endpoint, *[TEXT] * (operate in (send, send_in_halves)))
        assert scope.cancelled_caught
        assert world.endpoint.statistics().sent.waiting == waiting
        await world.read()


@pytest.mark.parametrize("first", ["a part ", ""])
@pytest.mark.parametrize("kind", KINDS)
async def test_left_while_another_task_is_sending_on_it_a_send_stream_sends_no_half_message(
    first: str, kind: Kind, autojump_clock: MockClock
) -> None:
    errors: list[Exception] = []

    async def send_chunk(stream: SendStream) -> None:
        try:
            await stream.send("late")
        except trio.ClosedResourceError as error:
            errors.append(error)

    async with open_world(kind) as world:

        async def leave_while_sending() -> None:
            async with world.endpoint.open_send_stream("text") as stream:
                if first:
                    await stream.send(first)
                with trio.move_on_after(1):  # until the outbox is full
                    while True:
                        await world.endpoint.pong(bytes(125))
                world.nursery.start_soon(send_chunk, stream)
                await wait_all_tasks_blocked()

        with pytest.raises(trio.BusyResourceError):
            await leave_while_sending()
        await world.read()
        await wait_all_tasks_blocked()
        assert len(errors) == 1
        assert await state_of(world) == ("closed with 1011" if first else "usable")
    assert world.peer.messages == []
    world.peer.frames()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_message_that_nobody_stayed_to_stream_keeps_its_frames(
    kind: Kind, autojump_clock: MockClock
) -> None:
    async with open_world(kind) as world:
        await world.read()
        with trio.move_on_after(1) as scope:
            async with world.endpoint.open_receive_stream():
                raise AssertionError("nothing has come")
        assert scope.cancelled_caught
        for frame in encode_in_two(world.peer):
            await world.peer.send(frame)
        message = await world.endpoint.receive_message()
        assert [frame.payload for frame in message.frames] == [b"on", b"e"]


# -- the role of reading, and its hand-overs ----------------------------------------------

Reading = Literal["in place", "reader task", "two receivers"]
READINGS: tuple[Reading, ...] = ("in place", "reader task", "two receivers")


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("reading", READINGS)
async def test_cancelled_while_the_role_of_reading_changes_hands_nothing_is_lost_or_delayed(
    reading: Reading, moment: Moment, autojump_clock: MockClock
) -> None:
    texts = ["one", "two", "three"]

    async def play(canceller: Canceller) -> None:
        async with open_world("socket") as world:
            await world.read()
            got: list[object] = []

            async def receive_twice() -> None:
                got.append(await world.endpoint.receive())
                got.append(await world.endpoint.receive())

            async def operate() -> None:
                async with trio.open_nursery() as nursery:
                    for _ in range(1 + (reading == "two receivers")):
                        nursery.start_soon(receive_twice)

            if reading == "reader task":
                await pass_the_role()
            one, two, three, four = map(world.peer.encode, [*texts, "four"])
            await canceller.run(
                operate if reading == "two receivers" else receive_twice,
                world.peer.sends(one),
                world.peer.sends(encode_ping(world.peer) + two[:1]),
                world.peer.sends(two[1:]),
                pass_the_role,
                world.peer.sends(three + four),
            )
            await world.peer.send(encode_ping(world.peer))
            await pass_the_role()
            assert world.peer.connection.received.pongs == 2, "with nobody receiving"
            assert sorted(map(str, got)) == sorted([*texts, "four"][: len(got)])
            assert await collect(world) == [*texts, "four"][len(got) :]

    await at_every_checkpoint(moment, play)


async def pass_the_role() -> None:
    """Let the reader task take the role over, if nobody holds it."""
    await trio.sleep(4 * TAKEOVER_DELAY)


def encode_ping(peer: ParsingPeer) -> bytes:
    peer.connection.send_ping(os.urandom(4))
    return b"".join(peer.connection.data_to_send())


@pytest.mark.parametrize("moment", [Moment.BLOCKED, Moment.RESUMED])
async def test_cancelled_as_it_first_looks_into_tls_receive_loses_nothing(
    moment: Moment, tls_contexts: TLSContexts, autojump_clock: MockClock
) -> None:
    async def play(canceller: Canceller) -> None:
        ours, theirs = make_streams("socket")
        async with vanishing(theirs, ours), trio.open_nursery() as nursery:
            tls = trio.SSLStream(
                theirs, tls_contexts.server, server_side=True, https_compatible=True
            )
            nursery.start_soon(tls.do_handshake)
            stream = await start_tls(ours, tls_contexts.client, "localhost")
            await wait_all_tasks_blocked()
            peer = ParsingPeer(tls, Role.SERVER)
            await peer.send(peer.encode("early"))
            # What was read with the end of the opening handshake may already wait inside TLS.
            assert isinstance(stream, TLSStream)
            await stream._read_more()
            async with open_endpoint(stream, Role.CLIENT) as endpoint:
                outcome = await canceller.run(endpoint.receive)
                if outcome.raised:
                    assert await endpoint.receive() == "early"
                nursery.start_soon(peer.run)

    await at_every_checkpoint(moment, play)


# -- services, over the network -----------------------------------------------------------


class Started(list[trio.SocketListener]):
    """A `task_status` that keeps the listeners."""

    def started(self, value: Any = None) -> None:
        self.extend(value)


async def stay(endpoint: Endpoint) -> None:
    assert await endpoint.receive() == "answer"
    await trio.sleep_forever()


async def run_serve(started: Started) -> None:
    await serve(stay, 0, host="127.0.0.1", task_status=started)


async def run_serve_listeners(started: Started) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await serve_listeners(stay, listeners, task_status=started)


async def run_serve_unix(started: Started) -> None:
    with tempfile.TemporaryDirectory() as directory:
        await serve_unix(stay, f"{directory}/socket", task_status=started)


async def run_open_server(started: Started) -> None:
    async with open_server(stay, 0, host="127.0.0.1") as server:
        started.started(server.listeners)
        await trio.sleep_forever()


async def open_stream_to(listener: trio.SocketListener) -> trio.SocketStream:
    address = listener.socket.getsockname()
    if isinstance(address, str):
        return await trio.open_unix_socket(address)
    return await trio.open_tcp_stream(*address)


SERVICES = {
    "serve": run_serve,
    "serve_listeners": run_serve_listeners,
    "serve_unix": run_serve_unix,
    "open_server": run_open_server,
}


@pytest.mark.parametrize("method", SERVICES)
async def test_cancelled_at_any_step_a_service_does_what_the_page_says(method: str) -> None:
    seen: set[Seen] = set()

    async def play(canceller: Canceller) -> None:
        started = Started()
        met: list[ParsingPeer] = []

        async def dial() -> None:
            with contextlib.suppress(OSError, IndexError):  # it may have ended before
                stream = await open_stream_to(started[0])
                nursery.start_soon(dialled, stream)

        async def dialled(stream: trio.abc.Stream) -> None:
            async with stream:
                await meet_as_client(stream, met)

        async def cancel() -> None:
            canceller.scope.cancel()

        async with trio.open_nursery() as nursery:
            outcome = await canceller.run(lambda: SERVICES[method](started), dial, cancel)
        assert all(listener.socket.fileno() == -1 for listener in started)
        assert not met or met[0].at_end
        after = f"closed with {met[0].close_code}" if met else "never open"
        seen.add(Seen(outcome.raised, "all streams are closed", after))

    for moment in Moment:
        await at_every_checkpoint(moment, play)
    assert_as_the_page_says(method, seen)
