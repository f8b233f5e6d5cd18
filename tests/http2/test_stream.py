"""A stream of HTTP/2 is a Trio stream like any other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from h2.errors import ErrorCodes
from trio.testing import MockClock, check_half_closeable_stream, wait_all_tasks_blocked

from tests.http2.pairs import Pair, open_pair
from trio_wsendpoint.http2 import Http2Stream, StreamRefused
from trio_wsendpoint.http2.engine import STREAM_WINDOW
from trio_wsendpoint.http2.writer import WRITE_SIZE


@asynccontextmanager
async def open_streams() -> AsyncIterator[tuple[Pair, Http2Stream, Http2Stream]]:
    async with open_pair() as pair:
        yield pair, *await pair.open_streams()


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    received = b""
    async for data in stream:
        received += data
    return received


async def test_it_keeps_the_contract_of_half_closeable_streams(
    autojump_clock: MockClock,
) -> None:
    async with open_pair() as pair:
        await check_half_closeable_stream(pair.open_streams, None)


async def test_what_is_sent_arrives_whole_and_in_order(autojump_clock: MockClock) -> None:
    data = bytes(range(256)) * 5000
    async with open_streams() as (_, ours, theirs), trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, data)
        received = b""
        while len(received) < len(data):
            received += await theirs.receive_some(70_000)
        assert received == data


async def test_no_more_is_sent_than_the_peer_has_room_for(autojump_clock: MockClock) -> None:
    async with open_streams() as (_, ours, theirs):
        with trio.move_on_after(1) as scope:
            await ours.send_all(b"x" * (STREAM_WINDOW + 1))
        assert scope.cancelled_caught
        assert len(await theirs.receive_some()) == STREAM_WINDOW


async def test_without_waiting_goes_what_the_peer_has_room_for(
    autojump_clock: MockClock,
) -> None:
    async with open_streams() as (_, ours, theirs), trio.open_nursery() as nursery:
        sent = 0
        while count := ours.send_nowait(bytes(2**14)):
            sent += count
            await wait_all_tasks_blocked()
        assert sent == STREAM_WINDOW
        nursery.start_soon(ours.send_all, b"in turn")
        await wait_all_tasks_blocked()
        assert ours.send_nowait(b"out of turn") == 0
        assert len(await theirs.receive_some()) == STREAM_WINDOW
        assert await theirs.receive_some() == b"in turn"
        await ours.aclose()
        with pytest.raises(trio.ClosedResourceError):
            ours.send_nowait(b"x")


async def test_no_more_goes_without_waiting_than_is_written_at_a_time(
    autojump_clock: MockClock,
) -> None:
    async with open_streams() as (_, ours, theirs):
        assert WRITE_SIZE <= ours.send_nowait(bytes(2**20)) < 2 * WRITE_SIZE + 2**14
        assert ours.send_nowait(b"x") == 0
        await theirs.receive_some()


async def test_a_stream_goes_on_when_a_send_was_cancelled(autojump_clock: MockClock) -> None:
    async with open_streams() as (_, ours, theirs):
        with trio.move_on_after(1):
            await ours.send_all(b"x" * (STREAM_WINDOW + 1))
        assert await theirs.receive_some() == b"x" * STREAM_WINDOW
        await ours.send_all(b"y")
        assert await theirs.receive_some() == b"y"


async def test_the_end_of_one_half_leaves_the_other_open(autojump_clock: MockClock) -> None:
    async with open_streams() as (_, ours, theirs):
        await ours.send_eof()
        assert await theirs.receive_some() == b""
        await theirs.send_all(b"still")
        assert await ours.receive_some() == b"still"
        await theirs.send_eof()
        assert await ours.receive_some() == b""


async def test_what_came_before_a_reset_can_still_be_received(
    autojump_clock: MockClock,
) -> None:
    async with open_streams() as (_, ours, theirs):
        await ours.send_all(b"last words")
        ours.reset(ErrorCodes.CANCEL)
        await wait_all_tasks_blocked()
        assert await theirs.receive_some() == b"last words"
        with pytest.raises(trio.BrokenResourceError, match="reset the stream with CANCEL"):
            await theirs.receive_some()
        with pytest.raises(trio.BrokenResourceError, match="reset the stream with CANCEL"):
            await theirs.send_all(b"x")


async def test_a_reset_wakes_whoever_waits(autojump_clock: MockClock) -> None:
    async with open_streams() as (_, ours, theirs), trio.open_nursery() as nursery:

        async def broken(wait: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(trio.BrokenResourceError):
                await wait()

        nursery.start_soon(broken, theirs.receive_some)
        nursery.start_soon(broken, lambda: theirs.send_all(b"x" * 2**20))
        await wait_all_tasks_blocked()
        ours.reset(ErrorCodes.CANCEL)


async def test_closed_in_the_middle_it_is_reset(autojump_clock: MockClock) -> None:
    async with open_streams() as (pair, ours, theirs):
        await ours.aclose()
        await ours.aclose()
        assert await theirs.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError):
            await theirs.send_all(b"x")
        assert pair.client.stream_count == pair.server.stream_count == 0


async def test_closed_by_force_it_is_only_reset(autojump_clock: MockClock) -> None:
    async with open_streams() as (_, ours, theirs):
        await trio.aclose_forcefully(ours)
        with pytest.raises(trio.BrokenResourceError, match="CANCEL"):
            await theirs.receive_some()
        await theirs.aclose()


async def test_closed_after_both_ends_it_is_not_reset(autojump_clock: MockClock) -> None:
    async with open_streams() as (_, ours, theirs):
        await ours.send_eof()
        await theirs.send_eof()
        await wait_all_tasks_blocked()
        await ours.aclose()
        await wait_all_tasks_blocked()
        assert await theirs.receive_some() == b""


async def test_closed_while_it_sends_it_breaks_off(autojump_clock: MockClock) -> None:
    async with open_streams() as (_, ours, theirs), trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ours.send_all(b"x" * 2**20)

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        await ours.aclose()
        await wait_all_tasks_blocked()
        await theirs.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await theirs.receive_some()


async def test_a_refused_stream_says_that_it_may_be_tried_again(
    autojump_clock: MockClock,
) -> None:
    async with open_pair() as pair:
        pair.server.on_request = None
        await pair.client.wait_introduced()
        stream = pair.client.open_stream([(b":method", b"GET"), (b":path", b"/")])
        with pytest.raises(StreamRefused):
            await stream.receive_fields()
