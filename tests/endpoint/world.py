"""An endpoint and a good peer that parses every byte, on streams that take little."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias, Unpack

import attrs
import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair

from tests.endpoint.checkpoints import FOREVER, Step
from tests.http2.live import http2_stream_pair, resume_http2
from trio_wsendpoint.endpoint import Endpoint, EndpointKeywords, open_endpoint
from trio_wsendpoint.http2 import Http2Stream, response_fields, serve_connection
from trio_wsendpoint.protocol import (
    ClientHandshake,
    CloseFrame,
    Connection,
    Frame,
    FrameParser,
    InboundOptions,
    Message,
    Request,
    RequestReader,
    ResponseReader,
    Role,
    ServerHandshake,
    encode_request,
    encode_response,
)
from trio_wsendpoint.testing import StallStream, WrappedStream

Kind: TypeAlias = Literal["memory", "lockstep", "socket", "http2"]
KINDS: Final[tuple[Kind, ...]] = ("memory", "lockstep", "socket", "http2")

Manner: TypeAlias = Literal["good", "reticent", "mute"]

FILLER: Final = "f" * 2**18
"""More than an outbox takes, and the buffers of a socket or of HTTP/2 here."""


class ParsingPeer:
    """A good peer, made of a `Connection` that parses every byte that comes.

    Attributes:
        connection: Its own.
        messages: All messages that came so far.
        data: All bytes that came so far.
        at_end: Whether the stream has ended.
        manner: What it answers: all, nothing but the close, or nothing, not even the end of
            the stream.
    """

    def __init__(self, stream: trio.abc.Stream, role: Role) -> None:
        self.stream = stream
        self.connection = Connection(role, InboundOptions(max_message_size=None))
        self.connection.open()
        self.messages: list[object] = []
        self.data = bytearray()
        self.at_end = False
        self.manner: Manner = "good"
        self._send_lock = trio.Lock()

    async def run(self) -> None:
        """Read to the end, and answer as a good peer does."""
        try:
            while data := await self.stream.receive_some(2**16):
                self.take(data)
                closed = self.connection.received_close_frame is not None
                if self.manner == "good" or (self.manner == "reticent" and closed):
                    await self.flush()
                    if closed and self.connection.role is Role.SERVER:
                        break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.at_end = True
        if self.manner != "mute":
            await trio.aclose_forcefully(self.stream)

    def take(self, data: bytes | bytearray) -> None:
        self.data += data
        for entry in self.connection.receive_data(data):
            self.messages.append(entry.payload if isinstance(entry, Message) else entry)
        assert self.connection.failure is None

    async def flush(self) -> None:
        await self.send(b"".join(self.connection.data_to_send()))

    async def send(self, data: bytes) -> None:
        async with self._send_lock:
            if data:
                await self.stream.send_all(data)

    def encode(self, *messages: str) -> bytes:
        """The bytes of messages; whoever calls it has to send them."""
        for message in messages:
            self.connection.send_message(message)
        return b"".join(self.connection.data_to_send())

    def encode_fragments(self, frame_type: type[Frame], *payloads: bytes) -> list[bytes]:
        """The frames of one message."""
        frames = []
        for number, payload in enumerate(payloads, 1):
            final = number == len(payloads)
            self.connection.send_fragment(frame_type, payload, final=final)
            frames.append(b"".join(self.connection.data_to_send()))
        return frames

    def sends(self, data: bytes) -> Step:
        return lambda: self.send(data)

    def frames(self) -> list[Frame]:
        """All frames that came: whole ones, and nothing behind a close frame."""
        parser, offset, frames = FrameParser(), 0, []
        while offset < len(self.data):
            masked = self.connection.role is Role.SERVER
            parsed = parser.parse(bytes(self.data), offset, masked=masked)
            assert parsed is not None, "half a frame was sent"
            found, offset = parsed
            frames.append(found)
        assert not any(isinstance(found, CloseFrame) for found in frames[:-1])
        return frames

    @property
    def close_code(self) -> int | None:
        """The code of the close frame that came, or None."""
        frame = self.connection.received_close_frame
        return None if frame is None else frame.code


@attrs.define
class World:
    """An endpoint, its peer, and a nursery for whatever else goes on."""

    endpoint: Endpoint
    peer: ParsingPeer
    nursery: trio.Nursery
    stream: trio.abc.Stream

    async def read(self) -> None:
        """A step: from here on the peer reads."""
        resume(self.stream)
        self.nursery.start_soon(self.peer.run)

    async def fill(self) -> None:
        """Fill the outbox, so that whoever sends has to wait."""
        with trio.move_on_after(1) as scope:
            await self.endpoint.send(FILLER)
        assert not scope.cancelled_caught


def make_streams(kind: Kind) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """Ours and the peer's: ours takes little or nothing unless the peer reads."""
    if kind == "lockstep":
        return lockstep_stream_pair()
    if kind == "memory":
        ours, theirs = memory_stream_pair()
        return StallStream(ours, after_sent=0), theirs
    if kind == "http2":
        return http2_stream_pair(stalled=True)
    sockets = trio.socket.socketpair()
    for socket in sockets:
        socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 4096)
        socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    return trio.SocketStream(sockets[0]), trio.SocketStream(sockets[1])


def resume(stream: trio.abc.Stream) -> None:
    """Let a stream that was made stalled take all."""
    if isinstance(stream, StallStream):
        stream.resume()
    elif isinstance(stream, Http2Stream):
        resume_http2(stream)


async def assert_closed(stream: trio.abc.Stream) -> None:
    """Our end of a stream has been closed."""
    while isinstance(stream, WrappedStream):
        stream = stream.stream
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")


@asynccontextmanager
async def open_world(
    kind: Kind, role: Role = Role.SERVER, **options: Unpack[EndpointKeywords]
) -> AsyncIterator[World]:
    """An endpoint whose peer does not read yet."""
    options.setdefault("ping_interval", float("inf"))
    ours, theirs = make_streams(kind)
    peer = ParsingPeer(theirs, role.other)
    async with (
        vanishing(theirs, ours),
        trio.open_nursery() as nursery,
        open_endpoint(ours, role, **options) as endpoint,
    ):
        yield World(endpoint, peer, nursery, ours)


@asynccontextmanager
async def vanishing(theirs: trio.abc.Stream, ours: trio.abc.Stream) -> AsyncIterator[None]:
    """Close the peer's end at last: not even a task that cannot be cancelled hangs for ever."""

    async def vanish() -> None:
        await trio.sleep(FOREVER / 2)
        resume(ours)
        await trio.aclose_forcefully(theirs)

    async with theirs, trio.open_nursery() as nursery:
        nursery.start_soon(vanish)
        yield
        nursery.cancel_scope.cancel()


# -- peers that begin with the opening handshake ------------------------------------------

Meet: TypeAlias = Callable[[trio.abc.Stream, list[ParsingPeer]], Awaitable[None]]


async def go_on(stream: trio.abc.Stream, role: Role, data: bytes = b"") -> ParsingPeer:
    """Be a peer from here on, when the opening handshake is done."""
    peer = ParsingPeer(stream, role)
    peer.take(data)
    # Cancelled as soon as it was open, the other side closes in one breath with its 101.
    answers = () if peer.connection.received_close_frame else ("answer",)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await peer.send(peer.encode(*answers))
    peer.frames()
    return peer


async def meet_as_peer(stream: trio.abc.Stream, met: list[ParsingPeer]) -> None:
    met.append(await go_on(stream, Role.CLIENT))


async def meet_as_client(stream: trio.abc.Stream, met: list[ParsingPeer]) -> None:
    handshake = ClientHandshake("localhost", "/")
    reader = ResponseReader()
    response = None
    try:
        await stream.send_all(encode_request(handshake.request))
        while response is None:
            response = reader.receive_data(await receive_bytes(stream))
    except trio.BrokenResourceError:
        return
    handshake.complete(response)
    met.append(await go_on(stream, Role.CLIENT, reader.trailing_data))


async def meet_as_server(stream: trio.abc.Stream, met: list[ParsingPeer]) -> None:
    reader = RequestReader()
    request = None
    try:
        while request is None:
            request = reader.receive_data(await receive_bytes(stream))
        response, _ = ServerHandshake().respond(request)
        await stream.send_all(encode_response(response))
    except trio.BrokenResourceError:
        return
    met.append(await go_on(stream, Role.SERVER, reader.trailing_data))


async def meet_as_http2_server(stream: trio.abc.Stream, met: list[ParsingPeer]) -> None:
    async def handle(below: Http2Stream, request: Request) -> None:
        response, _ = ServerHandshake().respond(request)
        with contextlib.suppress(trio.BrokenResourceError):
            below.send_fields(response_fields(response, opens=True))
            met.append(await go_on(below, Role.SERVER))

    await serve_connection(stream, handle)


async def receive_bytes(stream: trio.abc.Stream) -> bytes:
    data = await stream.receive_some(2**16)
    if not data:
        raise trio.BrokenResourceError
    return bytes(data)
