from __future__ import annotations

import contextlib
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, open_scripted, stream_pair
from tests.protocol.wire import BINARY, CLOSE, PING, PONG, TEXT
from trio_wsendpoint.endpoint import (
    ConnectionClosedError,
    ConnectionClosedOK,
    Endpoint,
    EndpointOptions,
    open_endpoint,
    reader,
    watch,
)
from trio_wsendpoint.endpoint.transport import NonblockingTransport
from trio_wsendpoint.protocol import (
    Codec,
    Extension,
    Frame,
    PermessageDeflate,
    Role,
)
from trio_wsendpoint.testing import WrappedStream

LOOK_AHEAD = EndpointOptions().max_look_ahead

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)


class Results(list[object]):
    """What tasks received, or how their receiving ended."""

    async def receive(self, endpoint: Endpoint) -> None:
        try:
            self.append(await endpoint.receive())
        except Exception as error:
            self.append(type(error))


def holder(endpoint: Endpoint) -> reader.Holder:
    return endpoint._core.reader._holder


def is_paused(endpoint: Endpoint) -> bool:
    return endpoint._core.reader.paused


async def takeover() -> None:
    """Let the reader task take the role."""
    await trio.sleep(watch.TAKEOVER_DELAY * 2)
    await wait_all_tasks_blocked()


# -- receiving ----------------------------------------------------------------------------


@on_both_streams
async def test_messages_arrive_in_order_whatever_reads_they_come_in(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        data = b"".join(peer.frame(TEXT, str(i).encode()) for i in range(100))
        await peer.send_raw(data[:150])
        assert [await endpoint.receive() for _ in range(40)] == [str(i) for i in range(40)]
        await peer.send_raw(data[150:])
        assert [await endpoint.receive() for _ in range(60)] == [str(i) for i in range(40, 100)]


@on_both_streams
async def test_a_receiver_that_waits_gets_what_comes(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        results = Results()
        nursery.start_soon(results.receive, endpoint)
        await wait_all_tasks_blocked()
        await peer.send(BINARY, b"x")
        await wait_all_tasks_blocked()
        assert results == [b"x"]


@on_both_streams
async def test_a_ping_is_answered_while_a_receiver_waits(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        results = Results()
        nursery.start_soon(results.receive, endpoint)
        await wait_all_tasks_blocked()
        await peer.send(PING, b"1")
        await peer.expect(PONG, b"1")
        await peer.send(PING, b"2")
        await peer.expect(PONG, b"2")
        await peer.send(TEXT, b"x")
        await wait_all_tasks_blocked()
        assert results == ["x"]


@on_both_streams
async def test_a_ping_is_answered_while_the_application_is_busy(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        for number in range(3):
            began = trio.current_time()
            await peer.send(PING, bytes((number,)))
            await peer.expect(PONG, bytes((number,)))
            assert trio.current_time() - began <= watch.TAKEOVER_DELAY
            await peer.send(TEXT, bytes((number,)))
            await trio.sleep(1)
        assert [await endpoint.receive() for _ in range(3)] == ["\x00", "\x01", "\x02"]


@on_both_streams
async def test_several_receivers_each_get_one_in_the_order_of_their_calls(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        results: list[tuple[int, object]] = []

        async def receive(number: int) -> None:
            results.append((number, await endpoint.receive()))

        for number in range(3):
            nursery.start_soon(receive, number)
            await wait_all_tasks_blocked()
        await peer.send_raw(b"".join(peer.frame(TEXT, bytes((65 + i,))) for i in range(3)))
        await wait_all_tasks_blocked()
        assert results == [(0, "A"), (1, "B"), (2, "C")]


@on_both_streams
async def test_every_receiver_that_waits_is_told_of_the_end(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        results = Results()
        for _ in range(3):
            nursery.start_soon(results.receive, endpoint)
        await wait_all_tasks_blocked()
        await peer.send_raw(peer.frame(TEXT, b"x") + peer.frame(CLOSE))
        await wait_all_tasks_blocked()
        assert results == ["x", ConnectionClosedOK, ConnectionClosedOK]


@on_both_streams
async def test_messages_before_the_close_are_received_after_it(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        for _ in range(3):
            await peer.send(TEXT, b"x")
        await peer.send_close()
        await trio.sleep(1)
        assert endpoint.is_closed
        assert [message async for message in endpoint] == ["x", "x", "x"]


# -- the role, and its hand-overs ---------------------------------------------------------


async def test_a_receiver_on_a_socket_reads_in_its_own_task(autojump_clock: MockClock) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer), trio.open_nursery() as nursery:
        results = Results()
        nursery.start_soon(results.receive, endpoint)
        await wait_all_tasks_blocked()
        assert holder(endpoint) is reader.Holder.RECEIVER
        await trio.sleep(1)
        assert holder(endpoint) is reader.Holder.RECEIVER
        await peer.send(TEXT, b"x")
        await wait_all_tasks_blocked()
        assert results == ["x"]
        assert holder(endpoint) is reader.Holder.NOBODY


async def test_the_reader_task_takes_over_after_a_tick_without_a_receiver(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (endpoint, _):
        await wait_all_tasks_blocked()
        assert holder(endpoint) is reader.Holder.NOBODY
        await takeover()
        assert holder(endpoint) is reader.Holder.READER_TASK


async def test_the_reader_task_reads_only_while_it_is_needed(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_scripted(kind="socket") as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            assert holder(endpoint) is reader.Holder.NOBODY
            await takeover()
            assert holder(endpoint) is reader.Holder.READER_TASK
            nursery.start_soon(endpoint.receive)
            await wait_all_tasks_blocked()
            await peer.send(TEXT, b"x")
            await wait_all_tasks_blocked()


async def test_the_reader_task_rests_while_nobody_receives_what_it_has_read(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer):
        with trio.move_on_after(1):
            while True:
                await peer.send(BINARY, bytes(2**14))
        assert is_paused(endpoint)
        with trio.move_on_after(1):
            while True:
                await endpoint.receive()
        await takeover()
        assert holder(endpoint) is reader.Holder.READER_TASK


async def test_a_receiver_waits_for_the_reader_task_that_holds_the_role(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer), trio.open_nursery() as nursery:
        await takeover()
        results = Results()
        nursery.start_soon(results.receive, endpoint)
        nursery.start_soon(results.receive, endpoint)
        await wait_all_tasks_blocked()
        assert holder(endpoint) is reader.Holder.READER_TASK
        await peer.send(TEXT, b"1")
        await wait_all_tasks_blocked()
        assert holder(endpoint) is reader.Holder.RECEIVER
        await peer.send(TEXT, b"2")
        await wait_all_tasks_blocked()
        assert results == ["1", "2"]


async def test_what_comes_in_many_reads_is_not_delayed_once_the_reader_task_has_the_role(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer), trio.open_nursery() as nursery:
        await takeover()
        results = Results()
        nursery.start_soon(results.receive, endpoint)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await peer.send(PING)
        await peer.expect(PONG)
        data = peer.frame(BINARY, bytes(2**20))
        await peer.send_raw(data)
        await wait_all_tasks_blocked()
        assert results == [bytes(2**20)]
        assert trio.current_time() == began


async def test_a_receiver_that_is_cancelled_while_it_reads_loses_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer):
        data = peer.frame(TEXT, b"message")
        for i in range(1, len(data)):
            with trio.move_on_after(watch.TAKEOVER_DELAY / 4) as scope:
                await endpoint.receive()
            assert scope.cancelled_caught
            await peer.send_raw(data[i - 1 : i])
        with trio.move_on_after(1) as scope:
            await endpoint.receive()
        assert scope.cancelled_caught
        await peer.send_raw(data[-1:])
        assert await endpoint.receive() == "message"
        await peer.send(PING)
        await peer.expect(PONG)


@on_both_streams
async def test_a_receiver_that_is_cancelled_at_the_channel_loses_nothing(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await takeover()
        with trio.move_on_after(1) as scope:
            await endpoint.receive()
        assert scope.cancelled_caught
        await peer.send(TEXT, b"x")
        await wait_all_tasks_blocked()
        assert await endpoint.receive() == "x"


@on_both_streams
async def test_a_receiver_that_is_cancelled_as_its_message_comes_loses_nothing(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        results = Results()
        scope = trio.CancelScope()

        async def receive() -> None:
            with scope:
                await results.receive(endpoint)

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await peer.send(TEXT, b"x")
        scope.cancel()
        await wait_all_tasks_blocked()
        if not results:
            await results.receive(endpoint)
        assert results == ["x"]


async def test_a_receiver_waiting_for_its_turn_may_be_cancelled(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer), trio.open_nursery() as nursery:
        results = Results()
        nursery.start_soon(results.receive, endpoint)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await endpoint.receive()
        assert scope.cancelled_caught
        await peer.send(TEXT, b"1")
        await wait_all_tasks_blocked()
        assert results == ["1"]


async def test_a_receiver_in_place_is_woken_when_another_task_fails_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer), trio.open_nursery() as nursery:
        results = Results()
        nursery.start_soon(results.receive, endpoint)
        await wait_all_tasks_blocked()

        async def abandon() -> None:
            async with endpoint.open_send_stream("binary") as stream:
                await stream.send(b"half")
                raise KeyError

        with pytest.raises(KeyError):
            await abandon()
        await wait_all_tasks_blocked()
        assert results == [ConnectionClosedError]
        assert (await peer.receive_close()).code == 1011


@on_both_streams
async def test_a_receiver_is_told_when_another_task_closes(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        results = Results()
        nursery.start_soon(results.receive, endpoint)
        await wait_all_tasks_blocked()
        nursery.start_soon(peer.answer_close)
        await endpoint.aclose()
        await wait_all_tasks_blocked()
        assert results == [trio.ClosedResourceError]


@on_both_streams
async def test_what_arrives_behind_our_close_is_dropped(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, max_message_size=100) as (endpoint, peer):
        await peer.send(TEXT, b"1")
        await takeover()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.aclose, 4000)
            await peer.receive_close()
            for _ in range(50):
                await peer.send(BINARY, bytes(2**15))  # each over the limit, too
            await peer.send_close(4000)
            nursery.start_soon(peer.part)
        assert endpoint.received_close_frame == endpoint.sent_close_frame
        with pytest.raises(trio.ClosedResourceError):
            await endpoint.receive()


async def test_a_receiver_that_was_woken_for_nothing_waits_again(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer):
        transport = endpoint._core._transport
        assert isinstance(transport, NonblockingTransport)
        read_nowait, reads = transport.read_nowait, 0

        def spurious() -> object:
            nonlocal reads
            reads += 1
            return None if reads == 1 else read_nowait()

        monkeypatch.setattr(type(transport), "read_nowait", lambda _: spurious())
        await peer.send(TEXT, b"x")
        assert await endpoint.receive() == "x"


# -- the look-ahead -----------------------------------------------------------------------


@on_both_streams
async def test_reading_pauses_when_the_look_ahead_is_full_and_goes_on_after_receiving(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    total = 0
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:

        async def flood() -> None:
            for _ in range(200):
                await peer.send(BINARY, bytes(10_000))

        nursery.start_soon(flood)
        await trio.sleep(10)
        assert is_paused(endpoint)
        waiting = endpoint.statistics().received.waiting
        assert LOOK_AHEAD <= waiting <= LOOK_AHEAD + 3 * 2**16
        assert endpoint.statistics().received.size < 2**19
        for _ in range(200):
            total += len(await endpoint.receive())
        await wait_all_tasks_blocked()
        assert not is_paused(endpoint)
    assert total == 2_000_000
    assert endpoint.statistics().received.messages == 200


@on_both_streams
async def test_reading_goes_on_once_a_message_as_large_as_the_look_ahead_was_received(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        await takeover()
        nursery.start_soon(peer.send, BINARY, bytes(LOOK_AHEAD))
        await takeover()
        await endpoint.receive()
        await peer.send(PING)
        await peer.expect(PONG)
        assert endpoint.statistics().received.waiting == 0


async def test_back_pressure_reaches_the_peer(autojump_clock: MockClock) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer):
        with trio.move_on_after(10) as scope:
            while True:
                await peer.send_raw(peer.frame(TEXT, b"x") * 10_000)
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:

            async def receive_all() -> None:
                while True:
                    await endpoint.receive()

            nursery.start_soon(receive_all)
            with trio.fail_after(10):
                await peer.stream.wait_send_all_might_not_block()
            nursery.cancel_scope.cancel()


@on_both_streams
async def test_a_flood_of_tiny_messages_is_counted_with_its_overhead(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:

        async def flood() -> None:
            await peer.send_raw(peer.frame(TEXT, "é".encode()) * 200_000)

        nursery.start_soon(flood)
        await endpoint.receive()
        await trio.sleep(10)
        receiver, channel = endpoint._core.receiver, endpoint._core.reader._channel
        held: list[Any] = [*receiver.ready, *receiver.rest]
        waiting = endpoint.statistics().received.waiting
        if channel is not None:
            with contextlib.suppress(trio.WouldBlock):
                while True:
                    held += channel[1].receive_nowait()[0]
        memory = sum(map(sys.getsizeof, held)) + 8 * len(held)
        assert waiting >= memory
        assert memory < LOOK_AHEAD + 2 * 2**16 * 25
        nursery.cancel_scope.cancel()


# -- messages that are too big ------------------------------------------------------------


@on_both_streams
async def test_a_message_that_is_too_big_waits_until_somebody_decides(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, max_message_size=10) as (endpoint, peer):
        await peer.send(TEXT, b"fits")
        await peer.send(BINARY, bytes(1000))
        await trio.sleep(1)
        assert is_paused(endpoint)
        assert not endpoint.is_closed
        assert await endpoint.receive() == "fits"
        async with endpoint.open_receive_stream() as stream:
            assert sum([len(piece) async for piece in stream]) == 1000
        await peer.send(TEXT, b"next")
        assert await endpoint.receive() == "next"


@on_both_streams
async def test_a_message_that_is_too_big_is_refused_when_it_is_received_whole(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, max_message_size=10) as (endpoint, peer):
        await peer.send_raw(peer.frame(TEXT, b"fits") + peer.frame(BINARY, bytes(1000))[:8])
        assert await endpoint.receive() == "fits"
        with pytest.raises(ConnectionClosedError, match="1009"):
            await endpoint.receive()
        assert (await peer.receive_close()).code == 1009


class Ready(WrappedStream):
    """Has its next bytes ready, so that two reads take no more than two ticks."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.ready = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if not self.ready:
            return await super().receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        ready, self.ready = self.ready, b""
        return ready


async def test_a_message_that_is_too_big_waits_though_a_receiver_was_there_for_another(
    autojump_clock: MockClock,
) -> None:
    for _ in range(20):  # as it is by chance who runs first in a tick
        async with (
            open_scripted(max_message_size=10, wrap=Ready) as (endpoint, peer),
            trio.open_nursery() as nursery,
        ):
            results = Results()
            nursery.start_soon(results.receive, endpoint)
            await wait_all_tasks_blocked()
            assert isinstance(peer.opposite, Ready)
            peer.opposite.ready = peer.frame(TEXT, b"x" * 11)
            await peer.send(TEXT, b"fits")
            await wait_all_tasks_blocked()
            assert results == ["fits"]
            async with endpoint.open_receive_stream() as stream:
                assert "".join([str(piece) async for piece in stream]) == "x" * 11


@on_both_streams
async def test_a_message_that_is_too_big_is_skipped_when_we_close(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, max_message_size=10) as (endpoint, peer):
        await peer.send(BINARY, bytes(100_000))
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.answer_close)
            await endpoint.aclose()
        assert endpoint.received_close_frame is not None


# -- extensions that inflate --------------------------------------------------------------


class Inflating(Codec):
    """Frames hold zlib data; what it becomes comes a kibibyte at a time."""

    per_message = True

    def decode(self, frame: Frame) -> Iterator[Frame]:
        data = zlib.decompressobj().decompress(frame.payload)
        for start in range(0, len(data), 2**10):
            yield type(frame)(data[start : start + 2**10], fin=frame.fin)


class Inflate(Extension):
    name = "inflate"

    def offers(self) -> list[list[tuple[str, str | None]]]:
        return [[]]

    def accept(self, _: object) -> tuple[list[tuple[str, str | None]], Codec]:
        return [], Inflating()

    def confirm(self, _: object) -> Codec:
        return Inflating()


@on_both_streams
@pytest.mark.parametrize("early", [False, True])
async def test_what_inflates_is_received_whole_without_holding_up_the_scheduler(
    kind: StreamKind, early: bool, autojump_clock: MockClock
) -> None:
    size = 10 * 2**20
    async with open_scripted(kind=kind, extensions=[Inflate()], max_message_size=None) as (
        endpoint,
        peer,
    ):
        if not early:
            await takeover()
        async with trio.open_nursery() as nursery:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await trio.lowlevel.checkpoint()
                    ticks += 1

            nursery.start_soon(tick)
            await peer.send(BINARY, zlib.compress(bytes(size)))
            assert await endpoint.receive() == bytes(size)
            assert ticks > size / 2**19
            nursery.cancel_scope.cancel()


@on_both_streams
async def test_what_inflates_is_streamed_in_bounded_memory(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    size = 2**21
    async with open_scripted(kind=kind, extensions=[Inflate()]) as (endpoint, peer):
        await peer.send(BINARY, zlib.compress(bytes(size)))
        total = 0
        async with endpoint.open_receive_stream() as stream:
            async for piece in stream:
                total += len(piece)
                if total % 2**18 == 0:
                    await takeover()
                    assert endpoint.statistics().received.waiting < 2**20
        assert total == size


# -- what was read before -----------------------------------------------------------------


@on_both_streams
async def test_data_that_came_with_the_handshake_is_received_first(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    peer = Peer(theirs, Role.CLIENT)
    first = peer.frame(TEXT, b"1") + peer.frame(PING) + peer.frame(TEXT, b"2")[:4]
    async with open_endpoint(ours, Role.SERVER, initial_data=first) as endpoint:
        await peer.expect(PONG)
        await peer.send_raw(peer.frame(TEXT, b"2")[4:])
        assert [await endpoint.receive(), await endpoint.receive()] == ["1", "2"]
        await peer.aclose()


@on_both_streams
async def test_a_close_that_came_with_the_handshake_is_answered(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    peer = Peer(theirs, Role.CLIENT)
    first = peer.frame(CLOSE, b"\x0f\xa1")
    async with open_endpoint(ours, Role.SERVER, initial_data=first) as endpoint:
        with pytest.raises(ConnectionClosedError, match="4001"):
            await endpoint.receive()
        assert (await peer.receive_close()).code == 4001
        await peer.part()


# -- the shortest way ---------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 200])
@pytest.mark.parametrize("extensions", [(), (PermessageDeflate(),)])
async def test_a_receiver_reads_plain_and_compressed_messages_off_a_socket(
    count: int, extensions: tuple[Extension, ...]
) -> None:
    server, client = stream_pair("socket")
    text = "so that it is compressed " * 10
    async with (
        open_endpoint(server, Role.SERVER, extensions=extensions) as ours,
        open_endpoint(client, Role.CLIENT, extensions=extensions) as theirs,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def send() -> None:
            for number in range(count):
                await theirs.send(f"{number} {text}")
            await theirs.send(b"binary")

        for number in range(count):
            assert await ours.receive() == f"{number} {text}"
        assert await ours.receive() == b"binary"


async def test_a_socket_that_breaks_while_it_is_waited_for_is_the_end() -> None:
    server, client = stream_pair("socket")
    async with open_endpoint(server, Role.SERVER) as endpoint, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def close() -> None:
            await wait_all_tasks_blocked()
            await trio.aclose_forcefully(client)

        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.receive()
        assert caught.value.code == 1006
