from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.conftest import TLSContexts
from tests.endpoint.peer import STREAM_KINDS, StreamKind, open_scripted
from tests.endpoint.world import FILLER, KINDS, Kind, open_world
from tests.protocol.wire import BINARY, CONTINUATION, TEXT
from trio_wsendpoint import (
    Broadcast,
    CloseFrame,
    ConnectionClosedError,
    Endpoint,
    PermessageDeflate,
    Role,
    Room,
    broadcast,
    connect,
    open_endpoint,
    serve,
)
from trio_wsendpoint.testing import StallStream, open_endpoint_pair

BIG = bytes(range(256)) * 2**13  # 2 MiB, more than any socket's buffers here
on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)


async def fill(endpoint: Endpoint, size: int = len(BIG)) -> None:
    """Send until no more goes, and one message waits."""
    with trio.move_on_after(1):
        await endpoint.send(BIG[:size])
    assert endpoint.statistics().sent.waiting > 0


# -- who gets it --------------------------------------------------------------------------


@on_both_streams
async def test_each_gets_the_message(kind: StreamKind) -> None:
    async with (
        open_scripted(Role.SERVER, kind) as (server, first),
        open_scripted(Role.CLIENT, kind) as (client, second),
    ):
        assert broadcast([server, client], "tick") == Broadcast(sent=2, skipped=0, closed=0)
        await first.expect(TEXT, b"tick")
        await second.expect(TEXT, b"tick")


@on_both_streams
@pytest.mark.parametrize("size", [0, 125, 126, 4096, 5000, 70_000, 1_000_000])
async def test_it_may_have_any_size(kind: StreamKind, size: int) -> None:
    async with open_scripted(Role.SERVER, kind) as (server, peer):
        assert broadcast([server], BIG[:size]).sent == 1
        await peer.expect(BINARY, BIG[:size])
        assert server.statistics().sent.messages == 1


async def test_nobody_gets_it_if_there_is_nobody() -> None:
    assert broadcast([], "tick") == Broadcast(0, 0, 0)


async def test_it_goes_over_tls_and_compressed_connections(tls_contexts: TLSContexts) -> None:
    room = Room()

    async def join(endpoint: Endpoint) -> None:
        with room.join(endpoint):
            await endpoint.wait_closed()

    extensions = [PermessageDeflate(server_no_context_takeover=True)]
    async with trio.open_nursery() as nursery:
        for ssl_context in (None, tls_contexts.server):
            [listener, *_] = await nursery.start(
                lambda task_status, ssl_context=ssl_context: serve(
                    join,
                    0,
                    host="127.0.0.1",
                    ssl_context=ssl_context,
                    extensions=extensions,
                    task_status=task_status,
                )
            )
            port = listener.socket.getsockname()[1]
            scheme = "ws" if ssl_context is None else "wss"
            for offered in ((), extensions):
                nursery.start_soon(
                    expect_tick,
                    f"{scheme}://localhost:{port}",
                    {
                        "extensions": offered,
                        **({"ssl_context": tls_contexts.client} if ssl_context else {}),
                    },
                )
        await until(lambda: len(room) == 4)
        assert room.broadcast("tick " * 1000) == Broadcast(4, 0, 0)
        await until(lambda: len(room) == 0)
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - it is no state of the test's own
            await trio.sleep(0.01)


async def expect_tick(url: str, options: Any) -> None:
    async with connect(url, **options) as endpoint:
        assert await endpoint.receive() == "tick " * 1000


@pytest.mark.parametrize("way", ["closing", "closed by the peer", "ended"])
async def test_those_that_have_ended_are_in_no_number(way: str) -> None:
    async with open_scripted(Role.SERVER) as (endpoint, peer), trio.open_nursery() as nursery:
        if way == "closing":
            nursery.start_soon(endpoint.aclose)
        else:
            nursery.start_soon(peer.close)
        await wait_all_tasks_blocked()
        if way == "ended":
            await endpoint.wait_closed()
        assert broadcast([endpoint], "tick") == Broadcast(0, 0, 0)
        if way == "closing":
            await peer.answer_close()


async def test_one_whose_stream_breaks_under_it_is_in_no_number() -> None:
    async with open_scripted(Role.SERVER, "socket") as (endpoint, peer):
        await peer.aclose()
        while not endpoint.is_closed:  # the first write may still succeed
            result = broadcast([endpoint], BIG)
        assert result.sent == result.skipped == 0


async def test_of_many_sockets_each_gets_it_as_far_as_it_goes(
    autojump_clock: MockClock,
) -> None:
    async with AsyncExitStack() as stack:
        worlds = [await stack.enter_async_context(open_world("socket")) for _ in range(5)]
        broken, *others = worlds
        await trio.aclose_forcefully(broken.peer.stream)
        endpoints = [world.endpoint for world in worlds]
        assert broadcast(endpoints, "tick").sent == 4
        assert broken.endpoint.is_closed
        for number in range(3):  # the first is more than a socket takes
            assert broadcast(endpoints, f"{number} " + "x" * 50_000).sent == 4
        for world in others:
            assert world.endpoint.statistics().sent.messages == 4
            assert 100_000 < world.endpoint.statistics().sent.waiting < 151_000
            await world.read()
    for world in others:
        ticks = [f"{number} " + "x" * 50_000 for number in range(3)]
        assert world.peer.messages == ["tick", *ticks]


async def test_an_endpoint_whose_stream_the_application_has_closed_is_in_no_number() -> None:
    async with open_world("socket") as world:
        await world.stream.aclose()
        assert broadcast([world.endpoint], "tick") == Broadcast(0, 0, 0)


# -- its place ----------------------------------------------------------------------------


@on_both_streams
async def test_it_goes_behind_a_message_under_way_never_inside_it(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(Role.SERVER, kind) as (endpoint, peer):
        async with endpoint.open_send_stream("text") as stream:
            await stream.send("one")
            assert broadcast([endpoint], "tick").sent == 1
            await stream.send("two")
        await endpoint.send("after")
        await peer.expect(TEXT, b"one")
        await peer.expect(CONTINUATION, b"two")
        await peer.expect(CONTINUATION, b"")
        await peer.expect(TEXT, b"tick")
        await peer.expect(TEXT, b"after")


async def test_what_waits_behind_a_message_under_way_counts_as_waiting() -> None:
    async with (
        open_scripted(Role.SERVER) as (endpoint, _),
        endpoint.open_send_stream("text") as stream,
    ):
        await stream.send("one")
        assert broadcast([endpoint], "x" * 1000, max_waiting=1500).sent == 1
        assert broadcast([endpoint], "x" * 1000, max_waiting=1500).sent == 1
        assert broadcast([endpoint], "x" * 1000, max_waiting=1500).skipped == 1
        assert endpoint.statistics().sent.waiting > 2000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", Role)
async def test_it_keeps_the_order_of_what_waits(
    kind: Kind, role: Role, autojump_clock: MockClock
) -> None:
    async with open_world(kind, role) as world:
        await world.fill()
        for number in range(3):
            broadcast([world.endpoint], f"tick {number}")
        await world.read()
    assert world.peer.messages == [FILLER, "tick 0", "tick 1", "tick 2"]


async def test_answers_to_a_batch_keep_their_order_with_it(autojump_clock: MockClock) -> None:
    async with open_scripted(Role.SERVER, "socket") as (endpoint, peer):
        await peer.send_raw(peer.frame(TEXT, b"1") + peer.frame(TEXT, b"2"))
        assert await endpoint.receive() == "1"
        await endpoint.send("answer")
        broadcast([endpoint], "tick")
        assert await endpoint.receive() == "2"
        await endpoint.send("end")
        for payload in (b"answer", b"tick", b"end"):
            await peer.expect(TEXT, payload)


# -- slow ones ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_a_slow_one_is_skipped_and_goes_on(kind: Kind, autojump_clock: MockClock) -> None:
    async with open_world(kind) as world:
        await world.fill()
        assert broadcast([world.endpoint], "tick", max_waiting=2**16) == Broadcast(0, 1, 0)
        await world.read()
        await wait_all_tasks_blocked()
        assert broadcast([world.endpoint], "tock", max_waiting=2**16) == Broadcast(1, 0, 0)
    assert world.peer.messages == [FILLER, "tock"]


async def test_the_limit_is_of_what_waits_before_the_message(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(Role.SERVER, wrap=stalled) as (endpoint, _):
        assert broadcast([endpoint], BIG, max_waiting=0).sent == 1
        await wait_all_tasks_blocked()
        assert broadcast([endpoint], "tick", max_waiting=0).skipped == 1
        waiting = endpoint.statistics().sent.waiting
        assert broadcast([endpoint], "tick", max_waiting=waiting - 1).skipped == 1
        assert broadcast([endpoint], "tick", max_waiting=waiting).sent == 1


def stalled(stream: trio.abc.Stream) -> trio.abc.Stream:
    return StallStream(stream, after_sent=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", Role)
async def test_a_slow_one_is_closed_with_1013_on_a_frame_boundary(
    kind: Kind, role: Role, autojump_clock: MockClock
) -> None:
    async with open_world(kind, role) as world:
        endpoint = world.endpoint
        await world.fill()
        for _ in range(20):
            broadcast([endpoint], bytes(50_000), max_waiting=2**24)
        before = endpoint.statistics().sent.waiting
        result = broadcast([endpoint, endpoint], "tick", on_slow="close", max_waiting=2**16)
        assert result == Broadcast(0, 0, 1)
        assert endpoint.statistics().sent.waiting < before / 2
        assert broadcast([endpoint], "tick") == Broadcast(0, 0, 0)
        await world.read()
        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.receive()
        assert caught.value.code == 1013
        await endpoint.wait_closed()
    frames = world.peer.frames()
    assert isinstance(frames[-1], CloseFrame)
    assert world.peer.close_code == 1013
    assert len(frames) < 20


@on_both_streams
async def test_a_slow_one_that_never_reads_is_closed_within_close_timeout(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    wrap = stalled if kind == "memory" else None
    async with open_scripted(Role.SERVER, kind, wrap=wrap, close_timeout=5) as (endpoint, _):
        await fill(endpoint)
        start = trio.current_time()
        assert broadcast([endpoint], "tick", on_slow="close").closed == 1
        assert trio.current_time() == start
        await endpoint.wait_closed()
        assert trio.current_time() - start == pytest.approx(5)
        assert endpoint.close_code == 1013


@pytest.mark.parametrize("kind", KINDS)
async def test_who_waits_to_send_to_a_slow_one_is_told_that_it_was_dropped(
    kind: Kind, autojump_clock: MockClock
) -> None:
    told = 0

    async def send(endpoint: Endpoint) -> None:
        nonlocal told
        with pytest.raises(ConnectionClosedError):
            await endpoint.send(BIG)
        told += 1

    async with open_world(kind) as world:
        for _ in range(2):
            world.nursery.start_soon(send, world.endpoint)
        await wait_all_tasks_blocked()
        assert broadcast([world.endpoint], "tick", on_slow="close").closed == 1
        await wait_all_tasks_blocked()
        assert told == 2


# -- bad arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"endpoints": 7}, TypeError, "endpoints must be an iterable of Endpoints, not int"),
        ({"endpoints": [7]}, TypeError, "endpoints must be Endpoints, not int"),
        ({"message": 7}, TypeError, "message must be str, bytes-like or a Message, not int"),
        ({"message": "\ud800"}, ValueError, "message must be encodable"),
        ({"compress": 1}, TypeError, "compress must be a bool, not int"),
        ({"max_waiting": 1.5}, TypeError, "max_waiting must be an int, not float"),
        ({"max_waiting": True}, TypeError, "max_waiting must be an int, not bool"),
        ({"max_waiting": -1}, ValueError, "max_waiting must be at least 0, not -1"),
        ({"on_slow": "wait"}, ValueError, "on_slow must be 'skip' or 'close', not 'wait'"),
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_sent(
    arguments: dict[str, Any], error: type[Exception], reason: str
) -> None:
    async with open_endpoint_pair() as (_, server):
        endpoints = [server, *arguments.pop("endpoints", [])] if is_list(arguments) else 7
        arguments.pop("endpoints", None)
        with pytest.raises(error, match=reason):
            broadcast(**{"endpoints": endpoints, "message": "tick", **arguments})
        assert server.statistics().sent.messages == 0


def is_list(arguments: dict[str, Any]) -> bool:
    return isinstance(arguments.get("endpoints", []), list)


async def test_one_endpoint_is_not_taken_for_its_messages() -> None:
    async with open_endpoint_pair() as (_, server):
        with pytest.raises(TypeError, match="endpoints must be an iterable of Endpoints"):
            broadcast(server, "tick")  # type: ignore[arg-type]


# -- rooms --------------------------------------------------------------------------------


@asynccontextmanager
async def open_room(count: int) -> AsyncIterator[tuple[Room, list[Endpoint], list[Endpoint]]]:
    """A room with servers in it, and their clients."""
    room, servers, clients = Room(), [], []
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[None]) -> None:
            async with open_endpoint_pair() as (client, server):
                with room.join(server):
                    servers.append(server)
                    clients.append(client)
                    task_status.started()
                    await trio.sleep_forever()

        for _ in range(count):
            await nursery.start(run)
        yield room, servers, clients
        nursery.cancel_scope.cancel()


async def test_a_room_reaches_all_that_have_joined_it() -> None:
    async with open_room(3) as (room, servers, clients):
        assert list(room) == servers
        assert len(room) == 3
        assert servers[0] in room
        assert clients[0] not in room
        assert room.broadcast("tick") == Broadcast(3, 0, 0)
        for client in clients:
            assert await client.receive() == "tick"


async def test_an_endpoint_leaves_a_room_with_the_block() -> None:
    room = Room()
    async with open_endpoint_pair() as (_, server):
        with room.join(server):
            assert list(room) == [server]
        assert not list(room)
        with pytest.raises(RuntimeError, match="mine"), room.join(server):
            raise RuntimeError("mine")
        assert len(room) == 0
        with room.join(server):
            assert len(room) == 1


async def test_an_endpoint_that_ends_leaves_by_itself() -> None:
    first, second = Room(), Room()
    async with open_endpoint_pair() as (client, server):
        with first.join(server), second.join(server):
            await client.aclose()
            await server.wait_closed()
            assert len(first) == len(second) == 0
        with first.join(server):
            assert len(first) == 0


async def test_others_may_leave_while_one_goes_through_a_room() -> None:
    async with open_room(3) as (room, servers, clients):
        for endpoint in room:
            await clients[servers.index(endpoint)].aclose()
            await endpoint.wait_closed()
        assert len(room) == 0


async def test_a_room_passes_the_options_on(autojump_clock: MockClock) -> None:
    room = Room()
    async with open_scripted(Role.SERVER, wrap=stalled) as (endpoint, _):
        with room.join(endpoint):
            await fill(endpoint)
            result = room.broadcast("tick", compress=False, max_waiting=0, on_slow="close")
            assert result == Broadcast(0, 0, 1)


async def test_an_endpoint_joins_a_room_once_and_nothing_else_does() -> None:
    room = Room()
    async with open_endpoint_pair() as (_, server):
        with room.join(server):
            with pytest.raises(ValueError, match="endpoint is in this room already"):
                room.join(server).__enter__()
            assert len(room) == 1
    with pytest.raises(TypeError, match="endpoint must be an Endpoint, not str"):
        room.join("me")  # type: ignore[arg-type]


async def test_a_room_keeps_no_endpoint_that_has_left() -> None:
    room = Room()

    async def come_and_go() -> weakref.ref[trio.abc.Stream]:
        stream, _ = trio.testing.memory_stream_pair()
        async with open_endpoint(stream, Role.SERVER, close_timeout=0) as endpoint:
            with room.join(endpoint):
                pass
        return weakref.ref(stream)

    gc.collect()
    gc.disable()
    try:
        reference = await come_and_go()
        await wait_all_tasks_blocked()
        assert reference() is None
    finally:
        gc.enable()
