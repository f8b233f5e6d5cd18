"""Nothing that has ended waits for the collector: no endpoint is in a reference cycle."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
from trio.testing import MockClock

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, stream_pair
from tests.protocol.wire import BINARY, PING, TEXT
from trio_wsendpoint.endpoint import ConnectionClosed, Endpoint, open_endpoint
from trio_wsendpoint.protocol import Frame, Role


class Boom(Exception):
    pass


async def peer_closes(endpoint: Endpoint, peer: Peer) -> None:
    await peer.send(TEXT, b"x")
    await peer.send_close()
    assert [message async for message in endpoint] == ["x"]


async def receive_raises(endpoint: Endpoint, peer: Peer) -> None:
    await peer.send_close(4000)
    with contextlib.suppress(ConnectionClosed):
        await endpoint.receive()


async def iteration_raises(endpoint: Endpoint, peer: Peer) -> None:
    await peer.send_close(4000)
    with contextlib.suppress(ConnectionClosed):
        async for _ in endpoint:
            pass


async def send_raises(endpoint: Endpoint, peer: Peer) -> None:
    await peer.send_close(4000)
    await endpoint.wait_closed()
    with contextlib.suppress(ConnectionClosed):
        await endpoint.send("x")


async def ping_raises(endpoint: Endpoint, peer: Peer) -> None:
    await peer.send_close(4000)
    with contextlib.suppress(ConnectionClosed):
        await endpoint.ping()


async def we_close(endpoint: Endpoint, peer: Peer) -> None:
    await endpoint.aclose()
    with contextlib.suppress(trio.ClosedResourceError):
        await endpoint.receive()


async def body_raises(endpoint: Endpoint, peer: Peer) -> None:
    raise Boom


async def cancelled(endpoint: Endpoint, peer: Peer) -> None:
    with trio.move_on_after(1):
        await endpoint.receive()


async def stream_breaks(endpoint: Endpoint, peer: Peer) -> None:
    await peer.aclose()
    with contextlib.suppress(ConnectionClosed):
        await endpoint.receive()


async def write_fails(endpoint: Endpoint, peer: Peer) -> None:
    await peer.aclose()
    with contextlib.suppress(ConnectionClosed):
        while True:
            await endpoint.send(bytes(1000))


async def protocol_is_broken(endpoint: Endpoint, peer: Peer) -> None:
    await peer.send(TEXT, b"x", rsv=0x40)
    with contextlib.suppress(ConnectionClosed):
        await endpoint.receive()


async def silence(endpoint: Endpoint, peer: Peer) -> None:
    with contextlib.suppress(ConnectionClosed):
        await trio.sleep(1000)


async def hook_fails(endpoint: Endpoint, peer: Peer) -> None:
    await peer.send(BINARY, b"fail")
    await endpoint.receive()


async def left_unreceived(endpoint: Endpoint, peer: Peer) -> None:
    for _ in range(10):
        await peer.send_raw(peer.frame(TEXT, b"x") * 100 + peer.frame(PING))
    await trio.sleep(1)


async def streams_are_left(endpoint: Endpoint, peer: Peer) -> None:
    await peer.send_raw(peer.frame(TEXT, b"x", fin=False))
    async with endpoint.open_receive_stream() as stream:
        await stream.receive()
    async with endpoint.open_send_stream("text") as stream:
        await stream.send("x")


Ending = Callable[[Endpoint, Peer], Awaitable[None]]
ENDINGS: list[Ending] = [
    peer_closes,
    receive_raises,
    iteration_raises,
    send_raises,
    ping_raises,
    we_close,
    body_raises,
    cancelled,
    stream_breaks,
    write_fails,
    protocol_is_broken,
    silence,
    hook_fails,
    left_unreceived,
    streams_are_left,
]


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def fail_on_binary(frame: Frame) -> None:
    if frame.payload == b"fail":
        raise Boom


PARTS = {
    "Endpoint",
    "EndpointCore",
    "EndpointScope",
    "Reader",
    "Receiver",
    "Outbox",
    "Heartbeat",
}
PARTS |= {"Connection", "Inbound", "Outbound", "ConnectionLog", "SendStream", "ReceiveStream"}


def census() -> dict[str, int]:
    """How many objects there are of each class that an endpoint is made of."""
    names = (type(each).__name__ for each in gc.get_objects())
    return dict(Counter(name for name in names if name in PARTS))


async def run(kind: StreamKind, role: Role, end: Ending) -> None:
    """Bring about an ending, with no generator around that would hold what it raises."""
    ours, theirs = stream_pair(kind)
    peer = Peer(theirs, role.other)
    with contextlib.suppress(Boom, ConnectionClosed):
        async with open_endpoint(
            ours,
            role,
            ping_interval=10,
            max_pings=2,
            on_data_frame=fail_on_binary,
            close_timeout=1,
        ) as endpoint:
            try:
                await end(endpoint, peer)
            finally:
                await peer.aclose()


@pytest.mark.parametrize("debug", [False, True], ids=["quiet", "debug"])
@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("kind", STREAM_KINDS)
async def test_an_endpoint_that_has_ended_is_in_no_cycle(
    kind: StreamKind,
    role: Role,
    end: Ending,
    debug: bool,
    collector_off: None,
    autojump_clock: MockClock,
) -> None:
    logger = logging.getLogger("trio_wsendpoint.endpoint")
    logger.setLevel(logging.DEBUG if debug else logging.NOTSET)
    before = census()
    try:
        await run(kind, role, end)
    finally:
        logger.setLevel(logging.NOTSET)
    await trio.sleep(100)  # by when the watch has forgotten it
    assert census() == before
