"""The close frame for what the peer did wrong waits for the messages before it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, open_scripted
from tests.protocol.wire import CLOSE, TEXT
from trio_wsendpoint.endpoint import ConnectionClosedError, Endpoint

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)


async def send_good_and_bad(peer: Peer, good: int = 2) -> None:
    frames = [peer.frame(TEXT, str(number).encode()) for number in range(good)]
    await peer.send_raw(b"".join(frames) + peer.frame(TEXT, b"bad", rsv=0x40))


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


@on_both_streams
@pytest.mark.parametrize("late", [False, True], ids=["waiting", "late"])
async def test_messages_before_a_failure_are_answered_before_it_is(
    kind: StreamKind, late: bool, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        if late:
            await send_good_and_bad(peer)
            await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.receive_all)
            if not late:
                nursery.start_soon(send_good_and_bad, peer)
            with pytest.raises(ConnectionClosedError, match="1002"):
                await echo(endpoint)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert [frame.opcode for frame in peer.frames] == [TEXT, TEXT, CLOSE]
    assert endpoint.close_code == 1002
    assert not endpoint.closed_cleanly


@on_both_streams
async def test_a_failure_is_answered_at_once_if_nothing_waits(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (_, peer):
        await send_good_and_bad(peer, good=0)
        assert (await peer.receive_close()).code == 1002


@on_both_streams
async def test_a_failure_is_answered_in_time_though_nobody_receives(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, close_timeout=3) as (endpoint, peer):
        await send_good_and_bad(peer)
        await trio.sleep(1)
        assert endpoint.close_code is None
        assert (await peer.receive_close()).code == 1002
        assert 3 <= trio.current_time() <= 3.1
        assert endpoint.close_reason == "a reserved bit that no extension claims"
        assert await endpoint.receive() == "0"


@on_both_streams
async def test_left_while_the_close_is_held_the_endpoint_tells_the_failure(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        await send_good_and_bad(peer)
        await trio.sleep(1)
        nursery.start_soon(endpoint.aclose)
        assert (await peer.receive_close()).code == 1002
        await peer.aclose()


@on_both_streams
async def test_a_crash_while_the_close_is_held_tells_the_failure_that_came_first(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await send_good_and_bad(peer)
        await trio.sleep(1)
        endpoint._core.fail(1011, "for a test")  # type: ignore[arg-type]
        assert (await peer.receive_close()).code == 1002


@on_both_streams
async def test_a_stream_that_breaks_while_the_close_is_held_is_told(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await send_good_and_bad(peer)
        await trio.sleep(1)
        await peer.aclose()

        async def send_on() -> None:
            while True:
                await endpoint.send("x")
                await wait_all_tasks_blocked()

        with pytest.raises(ConnectionClosedError, match="1006: the stream broke"):
            await send_on()
        assert [await endpoint.receive(), await endpoint.receive()] == ["0", "1"]
