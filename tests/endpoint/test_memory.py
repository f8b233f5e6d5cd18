"""The bounds of `docs/limits.md`, each under attack.

All memory that the process takes is traced while the attack goes on; that of the peer's part
is there before, and what waits in a socket is the system's.
"""

from __future__ import annotations

import inspect
import math
import re
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Unpack

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import Peer, open_scripted
from tests.protocol.wire import BINARY, CONTINUATION, PING, RSV1, TEXT
from trio_wsendpoint import Backoff, ServerOptions, broadcast
from trio_wsendpoint.client.options import parse_options
from trio_wsendpoint.endpoint import (
    ConnectionClosedError,
    Endpoint,
    EndpointKeywords,
    EndpointOptions,
    HandshakeOptions,
    control,
    outbox,
    transport,
)
from trio_wsendpoint.hub.options import HubOptions
from trio_wsendpoint.protocol import (
    BUFFER_OVERHEAD,
    CloseFrame,
    ControlFrame,
    DataFrame,
    FrameParser,
    PermessageDeflate,
    PongFrame,
    Role,
)

LOOK_AHEAD = EndpointOptions().max_look_ahead

# To measure memory takes time, and measuring coverage takes memory.
pytestmark = pytest.mark.slow

LIMIT = 2**14
BATCH = 22 * transport.READ_SIZE
SLACK = 2**17  # tasks, the exceptions that end them, the buffers of the peer

both_roles = pytest.mark.parametrize("role", Role)


class Odd(DataFrame):
    __slots__ = ()
    opcode = 3


class Nudge(ControlFrame):
    __slots__ = ()
    opcode = 11


PARSER = FrameParser(frame_types=[Odd, Nudge])


@pytest.fixture
def traced() -> Iterator[None]:
    """Trace memory in a test."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


class Gauge:
    """Measures by how much the memory of this process grows at most from here on."""

    def __init__(self) -> None:
        tracemalloc.reset_peak()
        self._start = tracemalloc.get_traced_memory()[0]

    @property
    def grown(self) -> int:
        return tracemalloc.get_traced_memory()[1] - self._start


@asynccontextmanager
async def open_attacked(
    role: Role = Role.CLIENT, **options: Unpack[EndpointKeywords]
) -> AsyncIterator[tuple[Endpoint, Peer]]:
    options.setdefault("max_message_size", LIMIT)
    options.setdefault("parser", PARSER)
    async with open_scripted(role, "socket", **options) as (endpoint, peer):
        assert isinstance(peer.stream, trio.SocketStream)
        peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
        yield endpoint, peer


async def flood(peer: Peer, block: bytes, size: float = math.inf) -> None:
    """Send the block again and again, so many bytes or until the other side is gone."""
    sent = 0
    with suppress(trio.BrokenResourceError):
        while sent < size:
            await peer.stream.send_all(block)
            sent += len(block)


async def watch(endpoint: Endpoint, seconds: int = 30) -> int:
    """The most that waits to be received within so many seconds."""
    most = 0
    for _ in range(seconds):
        await trio.sleep(1)
        most = max(most, endpoint.statistics().received.waiting)
    return most


def deflated(payload: bytes, final: bool = True) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4] if final else data


# -- frames and messages that are too big -------------------------------------------------


@both_roles
@pytest.mark.parametrize("limit", [LIMIT, None])
async def test_a_huge_declared_length_takes_no_memory(
    role: Role, limit: int | None, autojump_clock: MockClock, traced: None
) -> None:
    async with open_attacked(role, max_message_size=limit) as (endpoint, peer):
        header = bytearray(peer.frame(BINARY, bytes(2**16))[:14])
        header[2:10] = (2**63 - 1).to_bytes(8, "big")
        gauge = Gauge()
        await peer.send_raw(bytes(header) + bytes(100))
        assert await watch(endpoint) < 1000
        assert gauge.grown < SLACK
        if limit is not None:
            with pytest.raises(ConnectionClosedError, match="1009"):
                await endpoint.receive()


@both_roles
async def test_a_slow_drip_of_a_large_frame_takes_what_has_come_of_it(
    role: Role, autojump_clock: MockClock, traced: None
) -> None:
    size, step = 2**18, 997
    async with open_attacked(role, max_message_size=size) as (endpoint, peer):
        data = memoryview(peer.frame(BINARY, bytes(size)))
        gauge = Gauge()
        for start in range(0, len(data), step):
            await peer.send_raw(data[start : start + step].tobytes())
            await wait_all_tasks_blocked()
            if start < len(data) - step:
                await trio.sleep(0.1)
                assert endpoint.statistics().received.waiting <= start + step
        assert len(await endpoint.receive()) == size
        assert gauge.grown < 2.25 * size + SLACK


@both_roles
@pytest.mark.parametrize("payload", [b"x", b""], ids=["tiny", "empty"])
async def test_endless_fragments_are_refused_having_taken_little_memory(
    payload: bytes, role: Role, autojump_clock: MockClock, traced: None
) -> None:
    async with open_attacked(role) as (endpoint, peer), trio.open_nursery() as nursery:
        block = peer.frame(CONTINUATION, payload, fin=False) * 5000
        await peer.send(BINARY, fin=False)
        gauge = Gauge()
        nursery.start_soon(flood, peer, block)
        assert await watch(endpoint) <= 4 * LIMIT + transport.READ_SIZE
        with pytest.raises(ConnectionClosedError, match="1009"):
            await endpoint.receive()
        assert gauge.grown < 8 * LIMIT + SLACK
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("payload", [b"x", b""], ids=["tiny", "empty"])
async def test_endless_fragments_of_a_stream_take_the_look_ahead(
    payload: bytes, autojump_clock: MockClock, traced: None
) -> None:
    async with open_attacked() as (endpoint, peer), trio.open_nursery() as nursery:
        block = peer.frame(CONTINUATION, payload, fin=False) * 5000
        await peer.send(BINARY, b"first", fin=False)
        async with endpoint.open_receive_stream() as stream:
            assert await stream.receive() == b"first"
            gauge = Gauge()
            nursery.start_soon(flood, peer, block, 2**16)
            assert await watch(endpoint) < LOOK_AHEAD + 2**18 + transport.READ_SIZE
            with trio.move_on_after(30):
                while True:
                    await stream.receive()
            assert gauge.grown < LOOK_AHEAD + 2**19 + SLACK
        nursery.cancel_scope.cancel()


# -- floods of what is small --------------------------------------------------------------


TINY = (
    "empty text",
    "two letters",
    "a wide letter",
    "two empty fragments",
    "empty, of a custom type",
    "deflated to nothing",
    "empty where others are deflated",
)


def tiny_messages(peer: Peer) -> dict[str, tuple[bytes, str | bytes]]:
    return {
        "empty text": (peer.frame(TEXT), ""),
        "two letters": (peer.frame(TEXT, b"ab"), "ab"),
        "a wide letter": (peer.frame(TEXT, "Ā".encode()), "Ā"),
        "two empty fragments": (
            peer.frame(BINARY, fin=False) + peer.frame(CONTINUATION),
            b"",
        ),
        "empty, of a custom type": (peer.frame(Odd.opcode), b""),
        "deflated to nothing": (peer.frame(TEXT, b"\x00", rsv=RSV1), ""),
        "empty where others are deflated": (peer.frame(TEXT), ""),
    }


@both_roles
@pytest.mark.parametrize("name", TINY)
async def test_a_flood_of_tiny_messages_to_a_consumer_that_sleeps_is_held_back(
    name: str, role: Role, autojump_clock: MockClock, traced: None
) -> None:
    extensions = [PermessageDeflate()] if "deflated" in name else []
    async with (
        open_attacked(role, extensions=extensions) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        frame, message = tiny_messages(peer)[name]
        count = 3 * 2**17 // len(frame)
        gauge = Gauge()
        done = trio.Event()

        async def send() -> None:
            await flood(peer, frame * 5000, count * len(frame))
            done.set()

        nursery.start_soon(send)
        # What was read in place is one batch, and what was read ahead another.
        assert await endpoint.receive() == message
        assert await watch(endpoint) < LOOK_AHEAD + 2 * BATCH
        assert not done.is_set()
        assert gauge.grown < LOOK_AHEAD + 2 * BATCH + SLACK
        tracemalloc.stop()  # it takes its time, too
        total = -(-count // 5000) * 5000
        for _ in range(total - 1):
            assert await endpoint.receive() == message
        await done.wait()
        assert endpoint.statistics().received.messages == total
        assert endpoint.statistics().received.waiting == 0


@both_roles
@pytest.mark.parametrize("reads", [True, False], ids=["reads", "does not read"])
async def test_a_flood_of_pings_takes_little_memory_and_does_not_delay_data(
    reads: bool, role: Role, autojump_clock: MockClock, traced: None
) -> None:
    async with open_attacked(role) as (endpoint, peer), trio.open_nursery() as nursery:
        block = peer.frame(PING, bytes(100)) * 1000
        last = peer.frame(PING, b"last") + peer.frame(TEXT, b"data")
        gauge = Gauge()
        if reads:
            nursery.start_soon(peer.receive_all)
        else:
            nursery.start_soon(endpoint.send, bytes(2**20))
        await flood(peer, block, 10 * len(block))
        await peer.send_raw(last)
        assert await endpoint.receive() == "data"
        assert endpoint.statistics().received.pings == 10_001
        assert endpoint.statistics().received.waiting == 0
        if reads:
            await trio.sleep(1)
            assert endpoint.statistics().sent.waiting == 0
            assert peer.frames[-1] == PongFrame(b"last")
        else:
            assert endpoint.statistics().sent.pongs == 0
            gauge = Gauge()
            await flood(peer, block, 10 * len(block))
            await trio.sleep(1)
            assert gauge.grown < transport.SCRATCH_SIZE + SLACK
        nursery.cancel_scope.cancel()


async def test_custom_control_frames_wait_for_a_slow_handler_in_little_memory(
    autojump_clock: MockClock, traced: None
) -> None:
    handled = 0
    go_on = trio.Event()

    async def handle(_: Endpoint, frame: Nudge) -> None:
        nonlocal handled
        await go_on.wait()
        handled += 1

    async with (
        open_attacked(control_handlers={Nudge: handle}) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        block = peer.frame(Nudge.opcode, b"x" * 10) * 500
        done = trio.Event()

        async def send() -> None:
            await flood(peer, block, 40 * len(block))
            await peer.send(TEXT, b"data")
            done.set()

        gauge = Gauge()
        nursery.start_soon(send)
        most = await watch(endpoint)
        assert 2**15 < most < control.MAX_WAITING * 256 + 2**18 + transport.READ_SIZE
        assert not done.is_set()
        assert gauge.grown < control.MAX_WAITING * 256 + 2**18 + transport.READ_SIZE + SLACK
        go_on.set()
        assert await endpoint.receive() == "data"
        await trio.sleep(1)
        assert handled == 20_000
        assert endpoint.statistics().received.waiting == 0


# -- a peer that never reads --------------------------------------------------------------


@both_roles
@pytest.mark.parametrize("size", [0, 1, 100, 10_000, 300_000])
async def test_send_stops_at_a_peer_that_never_reads(
    size: int, role: Role, autojump_clock: MockClock, traced: None
) -> None:
    async with open_attacked(role, close_timeout=1) as (endpoint, _):
        message = bytes(size)
        gauge = Gauge()
        with trio.move_on_after(30) as scope:
            while True:
                await endpoint.send(message)
        assert scope.cancelled_caught
        header = 2 + 8 + 4
        frames = outbox.HIGH_WATER // (size + 2) + 2
        bound = outbox.HIGH_WATER + size + header + frames * 2 * BUFFER_OVERHEAD
        assert endpoint.statistics().sent.waiting <= bound
        assert gauge.grown <= 3 * bound + SLACK  # masking works on copies


@both_roles
async def test_many_tasks_that_send_at_once_add_one_message_at_most_between_them(
    role: Role, autojump_clock: MockClock, traced: None
) -> None:
    size = 50_000
    async with open_attacked(role, close_timeout=1) as (endpoint, _):
        message = bytes(size)

        async def send_all() -> None:
            while True:
                await endpoint.send(message)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(send_all)
            await trio.sleep(30)
            assert endpoint.statistics().sent.waiting <= outbox.HIGH_WATER + size + 1000
            gauge = Gauge()
            await trio.sleep(30)
            assert gauge.grown < SLACK
            nursery.cancel_scope.cancel()


async def test_pings_that_are_given_up_do_not_pile_up(
    autojump_clock: MockClock, traced: None
) -> None:
    async with open_attacked(close_timeout=1) as (endpoint, _):
        with trio.move_on_after(1):
            await endpoint.send(bytes(2**21))
        assert endpoint.statistics().sent.waiting > outbox.HIGH_WATER
        gauge = Gauge()
        for _ in range(1000):
            with trio.move_on_after(0.1):
                await endpoint.ping(bytes(125))
        assert gauge.grown < SLACK
        assert endpoint.statistics().sent.pings == 0


async def test_pongs_of_our_own_do_not_pile_up(autojump_clock: MockClock, traced: None) -> None:
    async with open_attacked(close_timeout=1) as (endpoint, _):
        with trio.move_on_after(1):
            await endpoint.send(bytes(2**21))
        gauge = Gauge()
        for _ in range(1000):
            with trio.move_on_after(0.1):
                await endpoint.pong(bytes(125))
        assert gauge.grown < SLACK
        assert endpoint.statistics().sent.pongs == 0


# -- compression --------------------------------------------------------------------------

BOMB = deflated(bytes(2**25))


@both_roles
async def test_a_bomb_is_refused_having_inflated_no_more_than_a_message_may_have(
    role: Role, autojump_clock: MockClock, traced: None
) -> None:
    async with (
        open_attacked(role, extensions=[PermessageDeflate()]) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        data = peer.frame(BINARY, BOMB, rsv=RSV1)
        gauge = Gauge()
        nursery.start_soon(flood, peer, data, len(data))
        with pytest.raises(ConnectionClosedError, match="1009"):
            await endpoint.receive()
        assert gauge.grown < 2**17 + 8 * LIMIT + SLACK


@both_roles
async def test_a_bomb_that_is_streamed_inflates_as_it_is_received(
    role: Role, autojump_clock: MockClock, traced: None
) -> None:
    async with (
        open_attacked(role, extensions=[PermessageDeflate()]) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        data = peer.frame(BINARY, BOMB, rsv=RSV1)
        gauge = Gauge()
        nursery.start_soon(peer.send_raw, data)
        total = 0
        async with endpoint.open_receive_stream() as stream:
            assert await watch(endpoint, 5) < LOOK_AHEAD + 2**19
            async for piece in stream:
                total += len(piece)
        assert total == 2**25
        assert gauge.grown < LOOK_AHEAD + 2**19 + 8 * LIMIT + SLACK


@pytest.mark.parametrize("how", ["closing", "leaving the stream"])
async def test_a_bomb_that_nobody_wants_inflates_into_nothing(
    how: str, autojump_clock: MockClock, traced: None
) -> None:
    async with (
        open_attacked(extensions=[PermessageDeflate()]) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        data = peer.frame(BINARY, BOMB, rsv=RSV1)
        gauge = Gauge()
        if how == "closing":
            endpoint._core._begin_close(1000, "")
            await peer.send_raw(data)
            await trio.sleep(1)
            nursery.start_soon(peer.answer_close)
            await endpoint.aclose()
            assert endpoint.received_close_frame == CloseFrame.create(1000)
        else:
            nursery.start_soon(peer.send_raw, data)
            async with endpoint.open_receive_stream():
                pass
            await peer.send(TEXT, b"next")
            assert await endpoint.receive() == "next"
        assert gauge.grown < LOOK_AHEAD + 2**19 + 8 * LIMIT + SLACK


NOTHING = deflated(b"", final=False)
FINAL_NOTHING = b"\x03\x00"


@pytest.mark.parametrize("nothing", [NOTHING, FINAL_NOTHING], ids=["empty blocks", "streams"])
@pytest.mark.parametrize("fragments", [True, False], ids=["fragments", "one frame"])
async def test_endless_compressed_nothing_is_refused(
    nothing: bytes, fragments: bool, autojump_clock: MockClock, traced: None
) -> None:
    async with (
        open_attacked(extensions=[PermessageDeflate()]) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        if fragments:
            first = peer.frame(BINARY, rsv=RSV1, fin=False)
            block = peer.frame(CONTINUATION, nothing * 10, fin=False) * 500
        else:
            first = peer.frame(BINARY, bytes(2**16), rsv=RSV1)[:2] + (2**62).to_bytes(8, "big")
            block = nothing * 5000
        gauge = Gauge()
        await peer.send_raw(first)
        nursery.start_soon(flood, peer, block)
        with pytest.raises(ConnectionClosedError, match="1009"):
            await endpoint.receive()
        assert gauge.grown < 8 * LIMIT + SLACK
        nursery.cancel_scope.cancel()


async def test_endless_compressed_nothing_in_a_stream_takes_no_memory(
    autojump_clock: MockClock, traced: None
) -> None:
    async with open_attacked(extensions=[PermessageDeflate()]) as (endpoint, peer):
        block = peer.frame(CONTINUATION, NOTHING * 100, fin=False) * 100
        await peer.send(BINARY, deflated(b"first", final=False), rsv=RSV1, fin=False)
        async with endpoint.open_receive_stream() as stream:
            assert await stream.receive() == b"first"
            gauge = Gauge()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flood, peer, block, 2**19)
                with trio.move_on_after(5):
                    await stream.receive()
            assert endpoint.statistics().received.waiting < 1000
            assert gauge.grown < 8 * LIMIT + SLACK


# -- the page -----------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
UNITS = {"KB": 2**10, "MB": 2**20}


def read_rows() -> list[tuple[str, str]]:
    """What the first table says of each limit: its default, and where it is changed."""
    table = PAGE.read_text().split("## Memory")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line[:1] == "|"]
    return [(row[1], row[2]) for row in rows[2:]]


@pytest.mark.parametrize(("default", "where"), read_rows())
def test_the_page_knows_every_default(default: str, where: str) -> None:
    number, unit = (*default.split(), "")[:2]
    named = re.match(r"`(\w+)`(?: in `([\w/]+)\.py`)?", where)
    if default == "none":
        assert getattr(ServerOptions(), where.strip("`")) is None
        return
    if not number.isdigit() or named is None:
        assert where.startswith(("by `max_message_size`", "RFC"))
        return
    name, path = named.groups()
    if path:
        found = getattr(import_module(f"trio_wsendpoint.{path.replace('/', '.')}"), name)
    else:
        options: list[object] = [EndpointOptions(), ServerOptions(), HandshakeOptions()]
        options += [parse_options({}, "connect"), Backoff(), HubOptions()]
        broadcasts = inspect.signature(broadcast).parameters
        if name in broadcasts:
            found = broadcasts[name].default
        else:
            found = next(getattr(each, name) for each in options if hasattr(each, name))
    assert found == int(number) * UNITS.get(unit, 1)
