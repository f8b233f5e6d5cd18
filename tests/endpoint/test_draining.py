from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.conftest import TLSContexts
from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, open_scripted
from tests.endpoint.world import FILLER, KINDS, Kind, open_world
from tests.protocol.wire import BINARY, CONTINUATION, KEY, PING, TEXT, frame
from trio_wsendpoint.endpoint import (
    ConnectionClosedOK,
    Endpoint,
    begin_drain,
    open_endpoint,
    start_tls,
)
from trio_wsendpoint.protocol import CloseFrame, ControlFrame, FrameParser, Role

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)
CODE = 1012


class Nudge(ControlFrame):
    opcode = 11


async def iterate(endpoint: Endpoint) -> list[str | bytes]:
    return [message async for message in endpoint]


async def assert_drained(endpoint: Endpoint, peer: Peer) -> None:
    """The peer is told, and answers."""
    with trio.fail_after(1):
        close = await peer.receive_close()
    assert int.from_bytes(close.payload[:2], "big") == CODE
    await peer.send_close(CODE)
    await peer.part()
    assert endpoint.close_code == CODE
    assert endpoint.is_closed


# -- nothing is ready ---------------------------------------------------------------------


@on_both_streams
@pytest.mark.parametrize("role", Role)
async def test_who_waits_for_a_message_has_the_endpoint_closed_at_once(
    kind: StreamKind, role: Role, autojump_clock: MockClock
) -> None:
    async with open_scripted(role, kind) as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(iterate, endpoint)
        await wait_all_tasks_blocked()
        begin_drain(endpoint, CODE)
        await assert_drained(endpoint, peer)


@on_both_streams
async def test_who_comes_to_wait_later_has_it_closed_then(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with (
        open_scripted(Role.SERVER, kind) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        begin_drain(endpoint, CODE)
        await trio.sleep(1000)
        await endpoint.send("still here")
        await peer.expect(TEXT, b"still here")
        assert not endpoint.is_closed
        nursery.start_soon(iterate, endpoint)
        await assert_drained(endpoint, peer)


Method = Callable[[Endpoint], Awaitable[object]]


async def enter_stream(endpoint: Endpoint) -> None:
    async with endpoint.open_receive_stream():
        pass


@on_both_streams
@pytest.mark.parametrize("method", [Endpoint.receive, Endpoint.receive_message, enter_stream])
async def test_all_who_wait_are_told_that_it_was_closed(
    kind: StreamKind, method: Method, autojump_clock: MockClock
) -> None:
    told = 0

    async def wait(endpoint: Endpoint) -> None:
        nonlocal told
        with pytest.raises(trio.ClosedResourceError):
            await method(endpoint)
        told += 1

    async with (
        open_scripted(Role.SERVER, kind) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(wait, endpoint)
        await wait_all_tasks_blocked()
        begin_drain(endpoint, CODE)
        await wait_all_tasks_blocked()
        assert told == 3
        await assert_drained(endpoint, peer)


async def test_async_for_raises_where_a_clean_close_is_an_error() -> None:
    async with open_scripted(Role.SERVER, raise_on_close=True) as (endpoint, _):
        begin_drain(endpoint, CODE)
        with pytest.raises(trio.ClosedResourceError):
            await iterate(endpoint)


async def test_the_first_code_counts() -> None:
    async with open_scripted(Role.SERVER) as (endpoint, peer):
        begin_drain(endpoint, CODE)
        begin_drain(endpoint, 1001)
        assert await iterate(endpoint) == []
        await assert_drained(endpoint, peer)


@on_both_streams
async def test_a_peer_that_closes_at_the_same_time_has_closed(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with (
        open_scripted(Role.SERVER, kind) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        begin_drain(endpoint, CODE)
        nursery.start_soon(peer.close)
        await wait_all_tasks_blocked()
        with pytest.raises(ConnectionClosedOK):
            await endpoint.receive()


# -- something is ready -------------------------------------------------------------------


@on_both_streams
async def test_what_is_in_the_stream_is_received_first(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with (
        open_scripted(Role.SERVER, kind) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        received: list[object] = []

        async def answer() -> None:
            async for message in endpoint:
                received.append(message)
                await endpoint.send(message)

        for payload in (b"one", b"two", b"three"):
            await peer.send(TEXT, payload)
        begin_drain(endpoint, CODE)
        nursery.start_soon(answer)
        for payload in (b"one", b"two", b"three"):
            await peer.expect(TEXT, payload)
        await assert_drained(endpoint, peer)
        assert received == ["one", "two", "three"]


@on_both_streams
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(
    "parts",
    [
        (frame(TEXT, b"x" * 200, key=KEY)[:1], frame(TEXT, b"x" * 200, key=KEY)[1:]),
        (frame(TEXT, b"x" * 200, key=KEY)[:100], frame(TEXT, b"x" * 200, key=KEY)[100:]),
        (frame(BINARY, b"x" * 90_000, key=KEY)[:9], frame(BINARY, b"x" * 90_000, key=KEY)[9:]),
        (
            frame(BINARY, b"x" * 90_000, key=KEY)[:50_000],
            frame(BINARY, b"x" * 90_000, key=KEY)[50_000:],
        ),
        (frame(TEXT, b"", key=KEY, fin=False), frame(CONTINUATION, b"x", key=KEY)),
    ],
)
async def test_a_message_that_has_come_in_part_is_waited_for(
    kind: StreamKind, waits: bool, parts: tuple[bytes, bytes], autojump_clock: MockClock
) -> None:
    async with (
        open_scripted(Role.SERVER, kind) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        received: list[object] = []

        async def receive() -> None:
            received.extend(await iterate(endpoint))

        if waits:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
        await peer.send_raw(parts[0])
        await wait_all_tasks_blocked()
        begin_drain(endpoint, CODE)
        if not waits:
            nursery.start_soon(receive)
        await trio.sleep(1000)
        assert not endpoint.is_closed
        await peer.send_raw(parts[1])
        await assert_drained(endpoint, peer)
        await wait_all_tasks_blocked()
        assert len(received) == 1


@on_both_streams
async def test_a_stream_that_was_begun_is_received_to_its_end(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(Role.SERVER, kind) as (endpoint, peer):
        await peer.send(TEXT, b"one, ", fin=False)
        async with endpoint.open_receive_stream() as stream:
            assert await stream.receive() == "one, "
            begin_drain(endpoint, CODE)
            with trio.move_on_after(1000):
                await stream.receive()
            assert not endpoint.is_closed
            await peer.send(CONTINUATION, b"two")
            assert [piece async for piece in stream] == ["two"]
        assert await iterate(endpoint) == []
        await assert_drained(endpoint, peer)


@on_both_streams
async def test_a_control_frame_is_no_message(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(Role.SERVER, kind) as (endpoint, peer):
        await peer.send(PING, b"alive?")
        begin_drain(endpoint, CODE)
        assert await iterate(endpoint) == []
        await assert_drained(endpoint, peer)


async def test_a_tls_record_that_has_come_in_part_is_waited_for(
    tls_contexts: TLSContexts, autojump_clock: MockClock
) -> None:
    left, right = trio.socket.socketpair()
    ours, theirs = trio.SocketStream(left), trio.SocketStream(right)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_contexts.client.wrap_bio(incoming, outgoing, server_hostname="localhost")

    async def shake_hands() -> None:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await theirs.send_all(outgoing.read())
                incoming.write(await theirs.receive_some())
            else:
                await theirs.send_all(outgoing.read())
                return

    async with theirs, trio.open_nursery() as nursery:
        nursery.start_soon(shake_hands)
        stream = await start_tls(ours, tls_contexts.server)
        await wait_all_tasks_blocked()
        quiet = float("inf")
        async with open_endpoint(
            stream, Role.SERVER, close_timeout=1, ping_interval=quiet
        ) as endpoint:
            tls.write(frame(TEXT, b"tick", key=KEY))
            record = outgoing.read()
            await theirs.send_all(record[:10])
            await wait_all_tasks_blocked()
            begin_drain(endpoint, CODE)
            with trio.move_on_after(1000):
                await endpoint.receive()
            assert not endpoint.is_closed
            await theirs.send_all(record[10:])
            assert await iterate(endpoint) == ["tick"]
            assert endpoint.close_code == CODE


# -- something is being sent --------------------------------------------------------------


@on_both_streams
async def test_a_message_that_is_being_sent_in_fragments_is_waited_for(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with (
        open_scripted(Role.SERVER, kind) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(iterate, endpoint)
        async with endpoint.open_send_stream("text") as stream:
            begin_drain(endpoint, CODE)
            await trio.sleep(1000)
            assert not endpoint.is_closed
            await stream.send("one")
        await peer.expect(TEXT, b"one")
        await assert_drained(endpoint, peer)


@pytest.mark.parametrize("kind", KINDS)
async def test_those_who_wait_for_their_turn_to_send_have_it_first(
    kind: Kind, autojump_clock: MockClock
) -> None:
    async with open_world(kind, close_timeout=1) as world:
        await world.fill()
        for number in range(3):
            world.nursery.start_soon(world.endpoint.send, f"answer {number}")
        world.nursery.start_soon(iterate, world.endpoint)
        await wait_all_tasks_blocked()
        begin_drain(world.endpoint, CODE)
        await wait_all_tasks_blocked()
        assert not world.endpoint.is_closed
        await world.read()
        await world.endpoint.wait_closed()
    assert set(world.peer.messages) == {FILLER, "answer 0", "answer 1", "answer 2"}
    assert world.peer.close_code == CODE


async def test_handlers_of_control_frames_may_finish(autojump_clock: MockClock) -> None:
    go_on = trio.Event()
    handled = 0

    async def handle(*_: object) -> None:
        nonlocal handled
        await go_on.wait()
        handled += 1

    async with (
        open_scripted(
            Role.SERVER,
            parser=FrameParser(frame_types=[Nudge]),
            control_handlers={Nudge: handle},
        ) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        for _ in range(300):
            await peer.send(11)
        nursery.start_soon(iterate, endpoint)
        await wait_all_tasks_blocked()
        begin_drain(endpoint, CODE)
        await trio.sleep(1000)
        assert not endpoint.is_closed
        go_on.set()
        await assert_drained(endpoint, peer)
        assert handled > 40


# -- being told of it ---------------------------------------------------------------------


async def test_an_event_tells_of_it() -> None:
    async with open_scripted(Role.SERVER) as (endpoint, _):
        draining = endpoint.draining
        assert endpoint.draining is draining
        assert not draining.is_set()
        begin_drain(endpoint, CODE)
        assert draining.is_set()
    async with open_scripted(Role.SERVER) as (endpoint, _):
        begin_drain(endpoint, CODE)
        assert endpoint.draining.is_set()


# -- closed by another task ---------------------------------------------------------------


@on_both_streams
@pytest.mark.parametrize("role", Role)
async def test_a_close_by_another_task_ends_async_for_at_once(
    kind: StreamKind,
    role: Role,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "trio_wsendpoint")
    async with open_scripted(role, kind) as (endpoint, peer), trio.open_nursery() as nursery:
        ended: list[float] = []

        async def wait() -> None:
            assert await iterate(endpoint) == []
            ended.append(trio.current_time())

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        nursery.start_soon(endpoint.aclose)
        start = trio.current_time()
        await trio.sleep(1)
        assert ended == [start]
        await peer.answer_close()
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


@on_both_streams
async def test_a_close_by_another_task_is_told_to_who_receives(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with (
        open_scripted(Role.SERVER, kind) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(endpoint.aclose)
        with pytest.raises(trio.ClosedResourceError):
            await endpoint.receive()
        with pytest.raises(trio.ClosedResourceError):
            await endpoint.send("more")
        assert await iterate(endpoint) == []
        assert isinstance(await peer.receive_frame(), CloseFrame)


async def test_a_receiver_that_is_half_through_a_message_is_told_too(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_scripted(Role.SERVER) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        await peer.send(TEXT, b"one, ", fin=False)
        async with endpoint.open_receive_stream() as stream:
            assert await stream.receive() == "one, "
            nursery.start_soon(endpoint.aclose)
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive()
        nursery.start_soon(peer.answer_close)
