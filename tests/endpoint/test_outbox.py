from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from unittest.mock import create_autospec

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, open_scripted, stream_pair
from tests.protocol.wire import BINARY, PING, PONG, TEXT
from trio_wsendpoint.endpoint import ConnectionClosedError, Endpoint, open_endpoint, transport
from trio_wsendpoint.endpoint.core import EndpointCore
from trio_wsendpoint.endpoint.outbox import HIGH_WATER, Outbox
from trio_wsendpoint.endpoint.stream_setup import transport_for
from trio_wsendpoint.endpoint.transport import WRITE_SIZE
from trio_wsendpoint.protocol import CloseFrame, Connection, Role, connection
from trio_wsendpoint.protocol.cutting import build_frame
from trio_wsendpoint.testing import StallStream, WrappedStream

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)
BIG = bytes(range(256)) * 2**13  # 2 MiB, more than any socket's buffers here


class Stalled(StallStream):
    """Takes nothing until it is told to."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream, after_sent=0)


class Noting(WrappedStream):
    """Notes the sizes of what is written at once."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.sizes: list[int] = []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sizes.append(len(data))
        await super().send_all(data)


def resume(peer: Peer) -> None:
    if isinstance(peer.opposite, Stalled):
        peer.opposite.resume()


async def fill(endpoint: Endpoint) -> None:
    """Send until no more goes, and one message has been queued whole."""
    with trio.move_on_after(1) as scope:
        await endpoint.send(BIG)
    assert not scope.cancelled_caught
    assert endpoint.statistics().sent.waiting > HIGH_WATER


# -- sending ------------------------------------------------------------------------------


@on_both_streams
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("size", [0, 1, 125, 126, 4096, 4097, 2**16, 300_000])
async def test_a_message_arrives_whole(
    kind: StreamKind, role: Role, size: int, autojump_clock: MockClock
) -> None:
    async with open_scripted(role, kind) as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(endpoint.send, BIG[:size])
        await peer.expect(BINARY, BIG[:size])


@on_both_streams
async def test_messages_of_several_tasks_leave_in_the_order_of_their_calls(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(endpoint.send, bytes((number,)) * 100_000)
            await wait_all_tasks_blocked()
        for number in range(20):
            await peer.expect(BINARY, bytes((number,)) * 100_000)


@on_both_streams
async def test_a_sender_without_a_peer_that_reads_has_to_wait(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    sent = 0
    async with open_scripted(kind=kind, wrap=Stalled) as (endpoint, peer):
        with trio.move_on_after(10) as scope:
            while True:
                await endpoint.send(BIG[:10_000])
                sent += 1
        assert scope.cancelled_caught
        assert endpoint.statistics().sent.waiting <= HIGH_WATER + 2 * 10_010
        assert sent < 100
        sent = endpoint.statistics().sent.messages
        resume(peer)
        for _ in range(sent):
            await peer.expect(BINARY, BIG[:10_000])


@on_both_streams
async def test_a_sender_goes_on_when_the_peer_reads(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        done = trio.Event()

        async def send() -> None:
            for _ in range(10):
                await endpoint.send(BIG)
            done.set()

        nursery.start_soon(send)
        for _ in range(10):
            await peer.expect(BINARY, BIG)
        await done.wait()
        assert endpoint.statistics().sent.waiting <= HIGH_WATER


async def test_every_send_is_a_cancellation_point(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, _):
        for _ in range(200):
            with trio.CancelScope() as scope:
                scope.cancel()
                await endpoint.send("x")
            assert scope.cancelled_caught
        assert endpoint.statistics().sent.messages == 0


@on_both_streams
async def test_a_sender_that_never_waits_lets_others_run(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, _), trio.open_nursery() as nursery:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await trio.lowlevel.checkpoint()
                ticks += 1

        nursery.start_soon(tick)
        for _ in range(640):
            await endpoint.send("")
        assert ticks >= 8
        nursery.cancel_scope.cancel()


# -- cancelling a sender ------------------------------------------------------------------


@on_both_streams
async def test_cancelled_after_its_message_was_queued_send_returns_and_it_is_sent_whole(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, wrap=Stalled) as (endpoint, peer):
        await fill(endpoint)
        resume(peer)
        await peer.expect(BINARY, BIG)


@on_both_streams
async def test_cancelled_while_it_waits_for_room_send_has_sent_nothing(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, wrap=Stalled) as (endpoint, peer):
        await fill(endpoint)
        async with trio.open_nursery() as nursery:
            for text in ("first to wait", "waits for the lock"):
                with trio.move_on_after(1) as scope:
                    await endpoint.send(text)
                assert scope.cancelled_caught
                nursery.start_soon(endpoint.send, "stays")
            await wait_all_tasks_blocked()
            resume(peer)
            await peer.expect(BINARY, BIG)
            await peer.expect(TEXT, b"stays")
            await peer.expect(TEXT, b"stays")
        await endpoint.send("next")
        await peer.expect(TEXT, b"next")


async def test_cancelled_anywhere_on_a_stream_that_waits_for_its_reader_a_frame_is_whole(
    autojump_clock: MockClock,
) -> None:
    for delay in range(5):
        ours, theirs = lockstep_stream_pair()
        peer = Peer(theirs, Role.SERVER)
        async with open_endpoint(ours, Role.CLIENT, ping_interval=1000) as endpoint:
            raised = 0
            for _ in range(3):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(endpoint.send, BIG[: WRITE_SIZE * 2])
                        for _ in range(delay):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()
                raised += scope.cancelled_caught
            queued = endpoint.statistics().sent.messages
            async with trio.open_nursery() as nursery:
                nursery.start_soon(endpoint.send, "end")
                for _ in range(queued):
                    await peer.expect(BINARY, BIG[: WRITE_SIZE * 2])
                await peer.expect(TEXT, b"end")
            await peer.aclose()


# -- gathering ----------------------------------------------------------------------------


def count_writes(
    endpoint: Endpoint, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[int]]:
    stream = peer.opposite
    if isinstance(stream, Noting):
        return lambda: stream.sizes
    sizes: list[int] = []
    transport = endpoint._core._transport
    write = transport.write_nowait

    def write_nowait(buffers: list[bytes]) -> int:
        sizes.append(write(buffers))
        return sizes[-1]

    monkeypatch.setattr(
        type(transport), "write_nowait", lambda _, buffers: write_nowait(buffers)
    )
    return lambda: sizes


@on_both_streams
async def test_replies_to_a_batch_leave_in_one_write(
    kind: StreamKind, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, wrap=Noting) as (endpoint, peer):
        sizes = count_writes(endpoint, peer, monkeypatch)
        await peer.send_raw(peer.frame(TEXT, b"x") * 50)
        for _ in range(50):
            await endpoint.send(await endpoint.receive())
        for _ in range(50):
            await peer.expect(TEXT, b"x")
        # As there is a checkpoint in the middle, and the last reply may leave on its own.
        assert len(sizes()) <= 3


@on_both_streams
async def test_what_gathers_leaves_with_the_tick_though_the_batch_is_not_consumed(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send_raw(peer.frame(TEXT, b"x") * 50)
        await endpoint.receive()
        await endpoint.send("reply")
        await wait_all_tasks_blocked()
        assert endpoint.statistics().sent.waiting == 0
        await peer.expect(TEXT, b"reply")


async def test_what_gathers_leaves_when_it_is_much(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer):
        sizes = count_writes(endpoint, peer, monkeypatch)
        await peer.send_raw(peer.frame(TEXT, b"x") * 50)
        await endpoint.receive()
        await endpoint.send(BIG[:40_000])
        assert sizes() == []
        await endpoint.send(BIG[:40_000])
        assert sum(sizes()) == 80_016
        await peer.expect(BINARY)
        await peer.expect(BINARY)


@on_both_streams
async def test_pongs_gather_too_but_leave_with_the_tick(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send_raw(peer.frame(TEXT, b"x") * 2 + peer.frame(PING, b"1"))
        await endpoint.receive()
        await wait_all_tasks_blocked()
        await peer.expect(PONG, b"1")


async def test_whoever_waits_is_woken_when_another_task_writes_it_all() -> None:
    ours, theirs = stream_pair("socket")
    connection = Connection(Role.SERVER)
    connection.open()
    outbox = Outbox(connection, transport_for(ours), create_autospec(EndpointCore))
    outbox.corked = True
    connection.send_message("x")
    outbox.flush_soon()
    async with trio.open_nursery() as nursery, ours, theirs:
        nursery.start_soon(outbox.wait_empty)
        await wait_all_tasks_blocked()
        outbox.flush()
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks


async def test_a_large_payload_is_written_in_steps_and_is_not_copied_for_its_header(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(Role.SERVER, wrap=Noting) as (endpoint, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.send, BIG)
            await peer.expect(BINARY, BIG)
        assert isinstance(peer.opposite, Noting)
        assert max(peer.opposite.sizes) == WRITE_SIZE
        assert len(peer.opposite.sizes) == len(BIG) // WRITE_SIZE + 1


# -- streams that break -------------------------------------------------------------------


@on_both_streams
async def test_senders_that_wait_are_told_when_the_stream_breaks(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    results: list[object] = []

    async def send(endpoint: Endpoint) -> None:
        try:
            await endpoint.send("x")
        except ConnectionClosedError as error:
            results.append(error.code)

    async with open_scripted(kind=kind, wrap=Stalled) as (endpoint, peer):
        await fill(endpoint)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, endpoint)
            nursery.start_soon(send, endpoint)
            await wait_all_tasks_blocked()
            await peer.aclose()
            resume(peer)
        assert results == [1006, 1006]
        with pytest.raises(ConnectionClosedError):
            await endpoint.send("y")
        with pytest.raises(ConnectionClosedError):
            await endpoint.ping()


@on_both_streams
async def test_what_the_peer_sent_before_it_stopped_reading_is_still_received(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send(TEXT, b"last words")
        await peer.send_close(4000)
        await peer.aclose()
        for _ in range(3):
            try:
                await endpoint.send("x")
            except ConnectionClosedError:
                break
        assert await endpoint.receive() == "last words"
        with pytest.raises(ConnectionClosedError, match="4000"):
            await endpoint.receive()


@on_both_streams
async def test_an_endpoint_whose_peer_stops_reading_and_writing_ends_in_time(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, wrap=Stalled, cancel_timeout=2) as (endpoint, _):
        endpoint._core.outbox._break(OSError("out of order"))
        began = trio.current_time()
        with pytest.raises(ConnectionClosedError):
            await endpoint.receive()
        assert trio.current_time() - began == 2


@on_both_streams
async def test_nothing_follows_a_close(kind: StreamKind, autojump_clock: MockClock) -> None:
    async with open_scripted(kind=kind, wrap=Stalled) as (endpoint, peer):
        await fill(endpoint)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await endpoint.send("late")

            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            nursery.start_soon(endpoint.aclose)
            await wait_all_tasks_blocked()
            resume(peer)
            await peer.expect(BINARY, BIG)
            await peer.answer_close()
        assert isinstance(peer.frames[-1], CloseFrame)


# -- bursts -------------------------------------------------------------------------------


async def burst_sizes(
    monkeypatch: pytest.MonkeyPatch, send: Callable[[Endpoint], Awaitable[None]], count: int
) -> list[int]:
    """The sizes of the writes to a socket by which `count` messages left."""
    sizes: list[int] = []

    def write_frame(descriptor: int, first_byte: int, payload: bytes, key: bytes) -> int:
        sizes.append(os.write(descriptor, build_frame(first_byte, payload, key)))
        return sizes[-1]

    def write_socket(sock: trio.socket.SocketType, buffers: Sequence[bytes]) -> int:
        sizes.append(os.write(sock.fileno(), b"".join(buffers)))
        return sizes[-1]

    monkeypatch.setattr(connection, "write_frame", write_frame)
    monkeypatch.setattr(transport, "write_socket", write_socket)
    async with open_scripted(kind="socket") as (endpoint, peer):
        await send(endpoint)
        for number in range(count):
            await peer.expect(BINARY, bytes((number,)))
        return sizes[:]


async def test_what_a_task_sends_in_a_row_leaves_in_two_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def send(endpoint: Endpoint) -> None:
        for number in range(50):
            await endpoint.send(bytes((number,)))

    first, second = await burst_sizes(monkeypatch, send, 50)
    assert second == 49 * first


async def test_what_a_task_sends_after_a_turn_of_the_scheduler_leaves_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def send(endpoint: Endpoint) -> None:
        for number in range(3):
            await endpoint.send(bytes((number,)))
            await trio.lowlevel.checkpoint()

    assert len(await burst_sizes(monkeypatch, send, 3)) == 3


async def test_what_gathers_is_written_in_the_next_turn() -> None:
    async with open_scripted(kind="socket") as (endpoint, _):
        await endpoint.send(b"first")
        await endpoint.send(b"second")
        assert endpoint.statistics().sent.waiting > 0
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert endpoint.statistics().sent.waiting == 0


async def test_no_more_than_high_water_gathers() -> None:
    async with open_scripted(kind="socket") as (endpoint, _):
        await endpoint.send(b"first")
        for _ in range(20):
            await endpoint.send(bytes(8000))
            assert endpoint.statistics().sent.waiting <= HIGH_WATER + 10_000


async def test_a_burst_to_two_endpoints_leaves_in_order() -> None:
    async with (
        open_scripted(kind="socket") as (one, its_peer),
        open_scripted(kind="socket") as (other, other_peer),
    ):
        for number in range(10):
            await one.send(bytes((number,)))
            await other.send(bytes((number,)))
        for number in range(10):
            await its_peer.expect(BINARY, bytes((number,)))
            await other_peer.expect(BINARY, bytes((number,)))


async def test_a_burst_that_is_cancelled_in_its_midst_sends_what_it_has_sent() -> None:
    async with open_scripted(kind="socket") as (endpoint, peer):
        with trio.CancelScope() as scope:
            await endpoint.send(b"first")
            await endpoint.send(b"second")
            scope.cancel()
            await endpoint.send(b"never")
        await endpoint.send(b"third")
        for payload in (b"first", b"second", b"third"):
            await peer.expect(BINARY, payload)


async def test_what_is_dropped_of_what_waits_is_whole_frames() -> None:
    payload = bytes(100_000)
    async with open_scripted(kind="socket") as (endpoint, peer):
        await fill(endpoint)
        for _ in range(40):
            endpoint._connection.send_message(payload)
        await peer.expect(BINARY, BIG)
        await wait_all_tasks_blocked()
        assert endpoint.statistics().sent.waiting > len(payload)
        endpoint._core.give_up_slow()
        frames = [await peer.receive_frame() for _ in range(2)]
        while not isinstance(frames[-1], CloseFrame):
            frames.append(await peer.receive_frame())
        *messages, _ = frames
        assert 0 < len(messages) < 40
        assert all(frame.payload == payload for frame in messages)
