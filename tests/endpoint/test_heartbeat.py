from __future__ import annotations

import math
import os

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, open_scripted, stream_pair
from tests.protocol.wire import BINARY, PING, PONG, TEXT
from trio_wsendpoint.endpoint import (
    ConnectionClosedError,
    HeartbeatTimeout,
    LookAheadFull,
    open_endpoint,
)
from trio_wsendpoint.endpoint.heartbeat import PONG_PATIENCE
from trio_wsendpoint.protocol import CloseFrame, PingFrame, Role

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)


async def collect(peer: Peer) -> None:
    await peer.receive_all()


async def answer_pings(peer: Peer) -> None:
    while True:
        frame = await peer.receive()
        if frame is None:
            return
        if isinstance(frame, PingFrame):
            await peer.send(PONG, frame.payload)


# -- a peer that is silent ----------------------------------------------------------------


@on_both_streams
@pytest.mark.parametrize("max_pings", [1, 3])
async def test_a_silent_peer_is_given_up_on_after_exactly_max_pings(
    max_pings: int, kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    peer = Peer(theirs, Role.CLIENT)

    async def run() -> None:
        async with open_endpoint(
            ours, Role.SERVER, max_pings=max_pings, ping_interval=10, close_timeout=0
        ) as endpoint:
            await endpoint.receive()

    with pytest.raises(HeartbeatTimeout) as caught:
        await run()
    assert trio.current_time() == 10 * (max_pings + 1)
    await peer.receive_all()
    *pings, close = peer.frames
    assert [type(ping) for ping in pings] == [PingFrame] * max_pings
    assert len({ping.payload for ping in pings}) == max_pings
    assert isinstance(close, CloseFrame)
    assert (close.code, close.reason) == (1002, f"{max_pings} pings went unanswered")
    assert caught.value.sent_close_frame == close
    assert caught.value.code == 1002
    assert isinstance(caught.value, ConnectionClosedError)
    await peer.aclose()


async def test_the_body_is_cancelled_when_the_peer_is_given_up_on(
    autojump_clock: MockClock,
) -> None:
    cancelled = False

    async def run() -> None:
        nonlocal cancelled
        async with open_scripted(ping_interval=10):
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled = True
                raise

    with pytest.raises(HeartbeatTimeout):
        await run()
    assert cancelled


async def test_with_an_infinite_interval_there_is_no_heartbeat(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(ping_interval=math.inf) as (endpoint, peer):
        await trio.sleep(40_000)
        await endpoint.send("x")
        await peer.expect(TEXT)


# -- peers that live ----------------------------------------------------------------------


@on_both_streams
async def test_a_peer_that_answers_lives_for_ever(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with (
        open_scripted(kind=kind, max_pings=1, ping_interval=10) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer_pings, peer)
        await trio.sleep(1005)
        assert endpoint.statistics().sent.pings == 100
        assert endpoint.statistics().received.pongs == 100
        assert endpoint.latency is not None
        nursery.cancel_scope.cancel()


@on_both_streams
async def test_any_byte_is_a_sign_of_life(kind: StreamKind, autojump_clock: MockClock) -> None:
    async with open_scripted(kind=kind, max_pings=2, ping_interval=10) as (endpoint, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, peer)
            for byte in peer.frame(BINARY, bytes(50)):
                await trio.sleep(15)
                await peer.send_raw(bytes((byte,)))
            assert endpoint._core.heartbeat.count <= 2
            nursery.cancel_scope.cancel()
        assert await endpoint.receive() == bytes(50)


async def test_a_pong_of_an_earlier_ping_sets_the_count_back(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(max_pings=3) as (endpoint, peer):
        for _ in range(5):
            for _ in range(3):
                await endpoint.check_heartbeat()
            first = await peer.expect(PING)
            await peer.expect(PING)
            await peer.expect(PING)
            await peer.send(PONG, first.payload)
            await wait_all_tasks_blocked()
        assert endpoint._core.heartbeat.count == 3


@on_both_streams
async def test_an_application_that_does_not_receive_is_no_reason_to_give_up(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, max_pings=2, ping_interval=10) as (endpoint, peer):
        async with trio.open_nursery() as nursery:

            async def flood() -> None:
                for _ in range(200):
                    await peer.send(BINARY, bytes(10_000))

            nursery.start_soon(answer_pings, peer)
            nursery.start_soon(flood)
            await trio.sleep(1000)
            nursery.cancel_scope.cancel()
        assert await endpoint.receive() == bytes(10_000)
        await endpoint.send("still good")


async def test_a_peer_that_reads_slowly_while_we_send_is_alive(
    autojump_clock: MockClock,
) -> None:
    size = 2**23
    async with open_scripted(kind="socket", max_pings=2, ping_interval=10) as (endpoint, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.send, bytes(size))
            taken = 0
            while taken < size:
                await trio.sleep(15)
                taken += len(await peer.stream.receive_some(2**16))
            nursery.cancel_scope.cancel()
        assert endpoint._core.fatal is None


async def test_a_peer_that_stops_reading_while_we_send_is_given_up_on(
    autojump_clock: MockClock,
) -> None:
    async def run() -> None:
        async with open_scripted(kind="socket", max_pings=2, ping_interval=10) as (endpoint, _):
            await endpoint.send(bytes(2**23))

    began = trio.current_time()
    with pytest.raises(HeartbeatTimeout):
        await run()
    assert trio.current_time() - began <= 30 + 10  # close_timeout


# Over HTTP/2 the peer's bytes would have to be written first, by a task of its own.
@pytest.mark.parametrize("kind", ["memory", "socket"])
async def test_after_a_jump_of_the_clock_what_waits_to_be_read_counts(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = math.inf
    async with open_scripted(kind=kind, max_pings=1, ping_interval=10) as (endpoint, peer):
        for _ in range(5):
            await wait_all_tasks_blocked()
            await peer.send(TEXT, b"x")
            autojump_clock.jump(1000)  # all of us were suspended, and the peer was not
            for _ in range(20):
                await trio.lowlevel.checkpoint()
        assert endpoint._core.fatal is None
        assert not endpoint.is_closed


# -- the application's own calls ----------------------------------------------------------


async def test_the_application_may_check_the_heartbeat_itself(
    autojump_clock: MockClock,
) -> None:
    async def run() -> None:
        async with open_scripted(max_pings=2) as (endpoint, peer):
            await endpoint.check_heartbeat()
            await peer.expect(PING)
            await endpoint.check_heartbeat()
            await peer.expect(PING)
            assert endpoint.sent_close_frame is None
            await endpoint.check_heartbeat()
            assert (await peer.receive_close()).code == 1002
            await endpoint.receive()

    with pytest.raises(HeartbeatTimeout):
        await run()


async def test_checking_the_heartbeat_of_a_closed_endpoint_does_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.answer_close)
            await endpoint.aclose()
        for _ in range(10):
            await endpoint.check_heartbeat()
        assert endpoint.statistics().sent.pings == 0


async def test_pings_that_are_never_answered_take_no_memory(autojump_clock: MockClock) -> None:
    async with open_scripted(max_pings=3) as (endpoint, peer):
        for _ in range(1000):
            await endpoint.check_heartbeat()
            await peer.send(PONG, b"of no ping")
            await wait_all_tasks_blocked()
        assert len(endpoint._core.heartbeat._under_way) <= 3
        assert len(endpoint._core.connection._outstanding_pings) <= 3


async def test_no_two_pings_under_way_have_the_same_payload(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    payloads = [b"1111", b"1111", b"2222"]
    monkeypatch.setattr(os, "urandom", lambda _: payloads.pop(0))
    async with open_scripted(Role.SERVER) as (endpoint, peer):
        await endpoint.check_heartbeat()
        await endpoint.check_heartbeat()
        await peer.expect(PING, b"1111")
        await peer.expect(PING, b"2222")


@on_both_streams
async def test_ping_returns_the_round_trip(kind: StreamKind, autojump_clock: MockClock) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        assert endpoint.latency is None

        async def answer() -> None:
            frame = await peer.expect(PING)
            await trio.sleep(5)
            await peer.send(PONG, frame.payload)

        nursery.start_soon(answer)
        assert await endpoint.ping() == 5
        assert endpoint.latency == 5


async def test_ping_is_answered_without_a_tick_while_nobody_receives(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(answer_pings, peer)
        for _ in range(5):
            assert await endpoint.ping() == 0
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel()


async def test_several_pings_are_under_way_at_once(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, peer), trio.open_nursery() as nursery:
        results: dict[bytes, float] = {}

        async def ping(payload: bytes) -> None:
            results[payload] = await endpoint.ping(payload)

        for payload in (b"1", b"2", b"3"):
            nursery.start_soon(ping, payload)
            await wait_all_tasks_blocked()
            await trio.sleep(1)
        await peer.send(PONG, b"2")  # as only the latest of several pings need be answered
        await wait_all_tasks_blocked()
        assert results == {b"1": 3, b"2": 2}
        await peer.send(PONG, b"3")


async def test_a_ping_with_the_payload_of_one_under_way_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(endpoint.ping, b"same")
        await wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="payload must differ"):
            await endpoint.ping(b"same")
        await peer.send(PONG, b"same")
        await wait_all_tasks_blocked()
        nursery.start_soon(endpoint.ping, b"same")
        await wait_all_tasks_blocked()
        await peer.send(PONG, b"same")


async def test_a_ping_that_is_cancelled_has_been_sent_and_may_be_sent_again(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        for _ in range(3):
            with trio.move_on_after(1) as scope:
                await endpoint.ping(b"same")
            assert scope.cancelled_caught
            await peer.expect(PING, b"same")
        await peer.send(PONG, b"same")
        await wait_all_tasks_blocked()
        assert endpoint.latency is None


@on_both_streams
async def test_a_ping_whose_connection_ends_raises(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.close, 4000)
        with pytest.raises(ConnectionClosedError, match="4000"):
            await endpoint.ping()
        with pytest.raises(ConnectionClosedError, match="4000"):
            await endpoint.ping()


async def test_a_ping_during_which_we_close_raises(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, peer), trio.open_nursery() as nursery:

        async def ping() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await endpoint.ping()

        nursery.start_soon(ping)
        await wait_all_tasks_blocked()
        nursery.start_soon(endpoint.aclose)
        await peer.answer_close()


@pytest.mark.parametrize(
    ("payload", "error"), [("x", TypeError), (5, TypeError), (bytes(126), ValueError)]
)
async def test_a_bad_payload_is_refused_at_once(
    payload: object, error: type[Exception], autojump_clock: MockClock
) -> None:
    async with open_scripted() as (endpoint, peer):
        with pytest.raises(error, match="payload"):
            await endpoint.ping(payload)  # type: ignore[arg-type]
        with pytest.raises(error, match="payload"):
            await endpoint.pong(payload)  # type: ignore[arg-type]
        await endpoint.pong(b"good")
        await peer.expect(PONG, b"good")


async def test_pong_sends_a_pong_that_answers_nothing(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, peer):
        await endpoint.pong()
        await peer.expect(PONG, b"")
        with trio.CancelScope() as scope:
            scope.cancel()
            await endpoint.pong(b"never")
        assert scope.cancelled_caught
        await endpoint.pong(b"x")
        await peer.expect(PONG, b"x")
        assert endpoint.statistics().sent.pongs == 2


@on_both_streams
async def test_a_flood_of_pings_takes_bounded_memory_and_data_passes(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:

        async def flood() -> None:
            data = peer.frame(PING, bytes(100)) * 10_000
            await peer.send_raw(data + peer.frame(TEXT, b"x"))

        nursery.start_soon(flood)
        assert await endpoint.receive() == "x"
        assert endpoint.statistics().received.pings == 10_000
        assert endpoint.statistics().sent.waiting < 2**16
        nursery.start_soon(collect, peer)
        await wait_all_tasks_blocked()
        assert endpoint.statistics().sent.waiting == 0
        assert isinstance(peer.frames[-1], type(peer.frames[0]))
        nursery.cancel_scope.cancel()


@on_both_streams
async def test_ping_raises_when_its_pong_lies_behind_messages_that_nobody_receives(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, max_look_ahead=1000) as (endpoint, peer):
        await peer.send(BINARY, bytes(2000))
        await trio.sleep(1)
        began = trio.current_time()
        with pytest.raises(LookAheadFull, match=r"none was received for 10 seconds: receive"):
            await endpoint.ping()
        assert trio.current_time() == began + PONG_PATIENCE
        assert await endpoint.receive() == bytes(2000)
        await endpoint.send("still good")


@on_both_streams
async def test_ping_waits_as_long_as_messages_are_received_however_slowly(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with (
        open_scripted(kind=kind, max_look_ahead=1000) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        await peer.send_raw(peer.frame(BINARY, bytes(500)) * 10)
        nursery.start_soon(answer_pings, peer)
        await trio.sleep(1)

        async def receive_slowly() -> None:
            for _ in range(10):
                await trio.sleep(PONG_PATIENCE - 1)
                await endpoint.receive()

        nursery.start_soon(receive_slowly)
        await endpoint.ping()
        assert trio.current_time() > 5 * PONG_PATIENCE
        nursery.cancel_scope.cancel()
