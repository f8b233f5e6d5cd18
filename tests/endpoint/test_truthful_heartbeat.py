"""Nobody is taken for dead who lives, nor for alive who is dead."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

import pytest
import trio
import trio.testing
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, open_scripted
from tests.protocol.wire import BINARY, PING, PONG, TEXT
from trio_wsendpoint.endpoint import (
    ConnectionClosedError,
    Endpoint,
    EndpointKeywords,
    HeartbeatTimeout,
    open_endpoint,
)
from trio_wsendpoint.protocol import PingFrame, Role
from trio_wsendpoint.testing import WrappedStream

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)
MB = 2**20
INTERVAL = 10


@asynccontextmanager
async def open_watched(
    kind: StreamKind, role: Role = Role.CLIENT, **options: Unpack[EndpointKeywords]
) -> AsyncIterator[tuple[Endpoint, Peer]]:
    options.setdefault("ping_interval", INTERVAL)
    options.setdefault("max_pings", 2)
    async with open_scripted(role, kind, wrap=SlowStream, **options) as (endpoint, peer):
        yield endpoint, peer


class SlowStream(WrappedStream):
    """A stream that takes no more than the other side reads.

    Attributes:
        room: Bytes that it takes at once; more only once some were read.
    """

    room = math.inf

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self._more = trio.lowlevel.ParkingLot()

    def give(self, size: int) -> None:
        self.room += size
        self._more.unpark()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        while self.room < len(data):
            await self._more.park()
        self.room -= len(data)
        await self.stream.send_all(data)


def slow(peer: Peer) -> SlowStream:
    assert isinstance(peer.opposite, SlowStream)
    return peer.opposite


async def pump(peer: Peer, kind: StreamKind, rate: int) -> None:
    """Read so many bytes a second."""
    while True:
        await trio.sleep(1)
        if kind == "memory":
            slow(peer).give(rate)
        left = rate
        while left > 0:
            with trio.move_on_after(0.001) as scope:
                left -= len(await peer.stream.receive_some(min(left, 2**18)))
            if scope.cancelled_caught:
                break


# -- who lives ----------------------------------------------------------------------------


@on_both_streams
async def test_a_consumer_that_sleeps_for_many_intervals_has_a_living_peer(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_watched(kind) as (endpoint, peer), trio.open_nursery() as nursery:
        block = peer.frame(BINARY, bytes(1000)) * 100

        async def flood() -> None:
            for _ in range(20):
                await peer.send_raw(block)

        nursery.start_soon(flood)
        nursery.start_soon(peer.receive_all)  # and answer nothing
        await trio.sleep(100 * INTERVAL)
        for _ in range(2000):
            assert await endpoint.receive() == bytes(1000)
        nursery.cancel_scope.cancel()


@on_both_streams
async def test_a_peer_that_reads_100_mb_slowly_lives(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_watched(kind, Role.SERVER) as (endpoint, peer):
        async with trio.open_nursery() as nursery:
            if kind == "memory":
                slow(peer).room = MB
            nursery.start_soon(pump, peer, kind, MB)
            began = trio.current_time()
            chunk = bytes(10 * MB)
            for _ in range(10):
                await endpoint.send(chunk)
            assert trio.current_time() - began > 80
            nursery.cancel_scope.cancel()
        assert not endpoint.is_closed


@on_both_streams
async def test_a_peer_that_sends_data_and_never_a_pong_lives(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_watched(kind, max_pings=1) as (endpoint, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.receive_all)
            for _ in range(100):
                await trio.sleep(INTERVAL - 1)
                await peer.send(TEXT, b"x")
                assert await endpoint.receive() == "x"
            nursery.cancel_scope.cancel()
        assert endpoint.statistics().received.pongs == 0


# Over HTTP/2 the peer's bytes would have to be written first, by a task of its own.
@pytest.mark.parametrize("kind", ["memory", "socket"])
async def test_after_a_suspended_process_wakes_its_peer_lives(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = math.inf
    async with open_watched(kind, max_pings=1) as (endpoint, peer):
        for _ in range(20):
            await wait_all_tasks_blocked()
            await peer.send(TEXT, b"x")
            autojump_clock.jump(100 * INTERVAL)
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            assert not endpoint.is_closed
        for _ in range(20):
            assert await endpoint.receive() == "x"


# -- who is dead --------------------------------------------------------------------------


@on_both_streams
@pytest.mark.parametrize("blocked", [False, True], ids=["idle", "outbox blocked"])
@pytest.mark.parametrize("max_pings", [1, 2, 5])
async def test_a_silent_peer_is_given_up_after_exactly_max_pings(
    max_pings: int, blocked: bool, kind: StreamKind, autojump_clock: MockClock
) -> None:
    pings = 0

    async def run() -> None:
        nonlocal pings
        async with open_watched(kind, max_pings=max_pings) as (endpoint, peer):
            try:
                if blocked:
                    slow_or_socket = peer.opposite
                    if isinstance(slow_or_socket, SlowStream):
                        slow_or_socket.room = 2**17
                    while True:
                        await endpoint.send(bytes(MB))
                await trio.sleep_forever()
            finally:
                pings = endpoint.statistics().sent.pings
                assert trio.current_time() == INTERVAL * (max_pings + 1)

    with pytest.raises(HeartbeatTimeout, match=f"{max_pings} pings went unanswered"):
        await run()
    assert pings == max_pings


@on_both_streams
async def test_a_peer_that_falls_silent_while_we_send_is_given_up(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    fell_silent = math.inf

    async def run() -> None:
        nonlocal fell_silent
        async with open_watched(kind) as (endpoint, peer), trio.open_nursery() as nursery:
            if kind == "memory":
                slow(peer).room = MB
            nursery.start_soon(endpoint.send, bytes(100 * MB))
            with trio.move_on_after(25):
                await pump(peer, kind, MB)
            fell_silent = trio.current_time()
            await trio.sleep_forever()

    with pytest.raises(HeartbeatTimeout):
        await run()
    assert 2 * INTERVAL <= trio.current_time() - fell_silent <= 4 * INTERVAL + 1


@on_both_streams
async def test_our_own_pings_that_wait_to_be_written_are_no_sign_of_life(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    checks = 0

    async def run() -> None:
        nonlocal checks
        async with open_watched(kind, max_pings=3, ping_interval=math.inf) as (endpoint, _):
            while True:
                await endpoint.check_heartbeat()
                checks += 1
                assert checks < 100

    with pytest.raises(HeartbeatTimeout):
        await run()
    assert checks <= 5


async def test_pings_are_all_that_a_silent_peer_gets(autojump_clock: MockClock) -> None:
    async def run() -> None:
        async with open_watched("memory", max_pings=4) as (_, peer):
            with trio.CancelScope(shield=True), trio.move_on_after(6 * INTERVAL):
                await peer.receive_close()
            assert [type(frame) for frame in peer.frames[:-1]] == [PingFrame] * 4
            await trio.sleep_forever()

    with pytest.raises(HeartbeatTimeout):
        await run()


@on_both_streams
async def test_sends_that_the_stream_takes_at_once_are_no_sign_of_life(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async def run() -> None:
        async with open_watched(kind) as (endpoint, _):
            while True:
                await endpoint.send("x")
                await trio.sleep(INTERVAL)

    with pytest.raises(HeartbeatTimeout):
        await run()
    assert trio.current_time() == INTERVAL * 3


async def test_what_the_peers_system_acknowledges_is_no_sign_of_life(
    autojump_clock: MockClock,
) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await trio.testing.open_stream_to_socket_listener(listener)
        theirs = await listener.accept()
    ended = math.inf

    async def run() -> None:
        nonlocal ended
        async with open_endpoint(ours, Role.CLIENT, ping_interval=1, max_pings=3) as endpoint:
            try:
                while True:
                    await endpoint.send("twenty bytes of text")
                    await trio.sleep(0.5)  # so few that TCP need not wait for any answer
            finally:
                ended = trio.current_time()

    with pytest.raises(HeartbeatTimeout):
        await run()
    assert ended == pytest.approx(4)
    await trio.aclose_forcefully(theirs)


async def test_a_pong_that_waits_in_the_socket_at_the_last_check_is_read_first(
    autojump_clock: MockClock,
) -> None:
    async with open_watched("socket", max_pings=1, ping_interval=math.inf) as (endpoint, peer):
        for _ in range(5):
            await endpoint.check_heartbeat()
            ping = await peer.expect(PING)
            await peer.send(PONG, ping.payload)
            assert trio.current_time() == 0, "as the reader task must not have taken over"
        assert endpoint._core.fatal is None
        assert endpoint.statistics().sent.pings == 5


@on_both_streams
async def test_a_stream_that_ends_as_the_last_check_is_made_has_just_ended(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_watched(kind, max_pings=1, ping_interval=math.inf) as (endpoint, peer):
        await endpoint.check_heartbeat()
        await peer.aclose()
        await endpoint.check_heartbeat()
        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.receive()
        assert not isinstance(caught.value, HeartbeatTimeout)
    assert (endpoint.close_code, endpoint.sent_close_frame) == (1006, None)
