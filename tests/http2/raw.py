"""A peer of HTTP/2 that sends whatever frames the test wants."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import trio
from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
)
from trio.testing import memory_stream_pair

from tests.http2.servers import Handler, echo, handle_with
from trio_wsendpoint.http2 import PREFACE, Http2Connection, serve_connection

FrameT = TypeVar("FrameT", bound=Frame)

Fields = Iterable[tuple[str, str]]

CONNECT: tuple[tuple[str, str], ...] = (
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/chat"),
    ("sec-websocket-version", "13"),
)
GET: tuple[tuple[str, str], ...] = (
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/page"),
)


class RawPeer:
    """Sends frames, and keeps those that come.

    Attributes:
        frames: All that have come.
        at_end: Whether the stream has ended, or is broken.
        connection: The other end.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.frames: list[Frame] = []
        self.at_end = False
        self.connection: Http2Connection | None = None
        self._buffer = b""
        self._encoder = Encoder()
        self._decoder = Decoder()

    async def send(self, *frames: Frame) -> None:
        await self.send_bytes(b"".join(frame.serialize() for frame in frames))

    async def send_bytes(self, data: bytes) -> None:
        # What was wrong with it is read afterwards.
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def introduce(self, settings: dict[int, int] | None = None) -> None:
        """Be a client, and take in the server's SETTINGS."""
        await self.send_bytes(PREFACE)
        await self.send(SettingsFrame(0, settings=settings or {}))
        await self.expect(SettingsFrame)

    async def receive_preface(self) -> None:
        """Be a server: take in what a client sends first."""
        while len(self._buffer) < len(PREFACE):
            data = await self.stream.receive_some(2**16)
            assert data, "the client left"
            self._buffer += data
        assert self._buffer.startswith(PREFACE)
        self._buffer = self._buffer[len(PREFACE) :]

    async def send_data(self, stream_id: int, data: bytes) -> None:
        await self.send(DataFrame(stream_id, data))

    def headers(self, stream_id: int, fields: Fields, *flags: str) -> HeadersFrame:
        data = self._encoder.encode(list(fields))
        return HeadersFrame(stream_id, data, flags=["END_HEADERS", *flags])

    def decode(self, frame: HeadersFrame) -> dict[str, str]:
        return {str(name): str(value) for name, value in self._decoder.decode(frame.data)}

    async def ask(
        self, stream_id: int, fields: Fields = CONNECT, *flags: str
    ) -> dict[str, str]:
        """Send a request, and return the fields of its response."""
        await self.send(self.headers(stream_id, fields, *flags))
        answer = await self.expect(HeadersFrame, stream_id)
        return self.decode(answer)

    async def receive(self) -> Frame | None:
        """The next frame; None at the end."""
        while True:
            if len(self._buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self._buffer[:9]))
                if len(self._buffer) >= 9 + length:
                    frame.parse_body(memoryview(self._buffer[9 : 9 + length]))
                    self._buffer = self._buffer[9 + length :]
                    self.frames.append(frame)
                    return frame
            try:
                data = await self.stream.receive_some(2**16)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                self.at_end = True
                return None
            self._buffer += data

    async def expect(self, kind: type[FrameT], stream_id: int | None = None) -> FrameT:
        """The next frame of a kind."""
        while (frame := await self.receive()) is not None:
            if isinstance(frame, kind) and stream_id in (None, frame.stream_id):
                return frame
        raise AssertionError(f"no {kind.__name__}, and last {self.frames[-3:]}")

    async def receive_all(self) -> list[Frame]:
        """All frames up to the end."""
        start = len(self.frames)
        while await self.receive():
            pass
        return self.frames[start:]

    async def expect_goaway(self, code: int) -> GoAwayFrame:
        """The GOAWAY with which a connection ends, and the end."""
        goaway = await self.expect(GoAwayFrame)
        assert goaway.error_code == code, goaway
        await self.receive_all()
        return goaway

    async def expect_reset(self, stream_id: int, code: int) -> None:
        reset = await self.expect(RstStreamFrame, stream_id)
        assert reset.error_code == code, reset

    async def data_of(self, stream_id: int) -> bytes:
        """The bytes of a stream up to its end."""
        data = b""
        while True:
            frame = await self.expect(DataFrame, stream_id)
            data += frame.data
            if "END_STREAM" in frame.flags:
                return data


@asynccontextmanager
async def open_raw_client(
    handler: Handler = echo,
    streams: tuple[trio.abc.Stream, trio.abc.Stream] | None = None,
    **options: Any,
) -> AsyncIterator[RawPeer]:
    """A client that plays whatever it wants with a server that echoes."""
    theirs, ours = streams or memory_stream_pair()
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:

            def opened(connection: Http2Connection) -> None:
                peer.connection = connection

            async def serve() -> None:
                handle = handle_with(handler, ping_interval=math.inf)
                await serve_connection(theirs, handle, on_open=opened, **options)

            peer = RawPeer(ours)
            nursery.start_soon(serve)
            try:
                yield peer
            finally:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(ours)
                nursery.cancel_scope.cancel()
