"""The other end of a stream, played by the test, frame by frame or byte by byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, Unpack

import trio
import trio.testing

from tests.http2.live import http2_stream_pair
from tests.protocol.wire import CLOSE, KEY, frame
from trio_wsendpoint.endpoint import Endpoint, EndpointKeywords, open_endpoint
from trio_wsendpoint.http2 import Http2Stream
from trio_wsendpoint.protocol import CloseFrame, Frame, FrameParser, Role

StreamKind = Literal["memory", "socket", "http2"]
STREAM_KINDS: tuple[StreamKind, ...] = ("memory", "socket", "http2")


class Peer:
    """Writes whatever the test wants, and insists that all it reads is whole frames.

    Attributes:
        stream: Its end of the stream.
        frames: All frames that came so far.
        at_end: Whether the end of the stream was seen.
        opposite: The endpoint's end of the stream.
    """

    def __init__(
        self, stream: trio.abc.Stream, role: Role, parser: FrameParser | None = None
    ) -> None:
        self.stream = stream
        self.role = role
        self.frames: list[Frame] = []
        self.at_end = False
        self.opposite: trio.abc.Stream | None = None
        self._parser = parser or FrameParser()
        self._buffer = b""
        self._lock = trio.Lock()

    def frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0
    ) -> bytes:
        key = KEY if self.role is Role.CLIENT else b""
        return frame(opcode, payload, fin=fin, rsv=rsv, key=key)

    async def send(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0
    ) -> None:
        await self.send_raw(self.frame(opcode, payload, fin=fin, rsv=rsv))

    async def send_raw(self, data: bytes) -> None:
        async with self._lock:
            await self.stream.send_all(data)

    async def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
        await self.send(CLOSE, payload)

    async def receive(self) -> Frame | None:
        """The next frame; None at the end of the stream."""
        while True:
            parsed = self._parser.parse(self._buffer, 0, masked=self.role is Role.SERVER)
            if parsed is not None:
                found, size = parsed
                self._buffer = self._buffer[size:]
                self.frames.append(found)
                return found
            data = await self._read()
            if not data:
                assert not self._buffer, "half a frame was sent"
                self.at_end = True
                return None
            self._buffer += bytes(data)

    async def _read(self) -> bytes | bytearray:
        try:
            return await self.stream.receive_some(2**16)
        except trio.BrokenResourceError:
            # Closed by force, it is reset, where a socket would only end.
            if isinstance(self.stream, Http2Stream):
                return b""
            raise

    async def receive_frame(self) -> Frame:
        found = await self.receive()
        assert found is not None, "the stream ended"
        return found

    async def expect(self, opcode: int, payload: bytes | None = None) -> Frame:
        found = await self.receive_frame()
        assert found.opcode == opcode, found
        assert payload is None or found.payload == payload
        return found

    async def receive_all(self) -> list[Frame]:
        """The frames up to the end of the stream."""
        start = len(self.frames)
        while await self.receive():
            pass
        return self.frames[start:]

    async def receive_close(self) -> CloseFrame:
        """The next close frame, whatever comes before it."""
        while True:
            found = await self.receive_frame()
            if isinstance(found, CloseFrame):
                return found

    async def answer_close(self) -> None:
        """What a good peer does once it is closed: answer, and close the stream in turn."""
        close = await self.receive_close()
        await self.send(CLOSE, close.payload)
        await self.part()

    async def part(self) -> None:
        """Close the stream as RFC 6455 section 7.1.1 wants it: the server first."""
        if self.role is Role.CLIENT:
            assert not await self.receive_all()
        await self.stream.aclose()

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """The whole closing handshake, from the peer's side."""
        await self.send_close(code, reason)
        await self.receive_close()
        await self.part()

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self.stream)


def stream_pair(kind: StreamKind) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    if kind == "memory":
        return trio.testing.memory_stream_pair()
    if kind == "http2":
        return http2_stream_pair()
    left, right = trio.socket.socketpair()
    return trio.SocketStream(left), trio.SocketStream(right)


@asynccontextmanager
async def open_scripted(
    role: Role = Role.CLIENT,
    kind: StreamKind = "memory",
    *,
    wrap: Callable[[trio.abc.Stream], trio.abc.Stream] | None = None,
    **options: Unpack[EndpointKeywords],
) -> AsyncIterator[tuple[Endpoint, Peer]]:
    """An endpoint and its peer, which vanishes when the block is left, so that none hangs.

    Args:
        role: The endpoint's role.
        kind: What lies between them.
        wrap: Makes the endpoint's stream of one that is no socket, which stays as it is.
        **options: The endpoint's.
    """
    options.setdefault("ping_interval", float("inf"))
    ours, theirs = stream_pair(kind)
    peer = Peer(theirs, role.other, options.get("parser"))
    if wrap is not None and kind != "socket":
        ours = wrap(ours)
    peer.opposite = ours
    with trio.fail_after(50_000):
        async with open_endpoint(ours, role, **options) as endpoint:
            try:
                yield endpoint, peer
            finally:
                await peer.aclose()
