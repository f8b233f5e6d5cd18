"""For tests: endpoints in memory, and streams that behave badly on purpose."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Unpack

import trio
import trio.testing

from .endpoint import Endpoint, EndpointKeywords, open_endpoint
from .protocol import Agreement, ClientHandshake, Extension, HeadersLike, Role, ServerHandshake

__all__ = [
    "CutStream",
    "SplitStream",
    "StallStream",
    "WrappedStream",
    "open_endpoint_pair",
]


@asynccontextmanager
async def open_endpoint_pair(
    *,
    path: str = "/",
    headers: HeadersLike = (),
    subprotocols: Iterable[str] = (),
    client_options: EndpointKeywords | None = None,
    server_options: EndpointKeywords | None = None,
    **options: Unpack[EndpointKeywords],
) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    """Open two endpoints that are connected in memory, after an opening handshake.

    Args:
        path: What the client asks for, with or without a query.
        headers: Headers of the client's request.
        subprotocols: Those that both speak, the most wanted first.
        client_options: Options of the client alone; see `EndpointOptions`.
        server_options: Options of the server alone.
        **options: Options of both.

    Returns:
        The client and the server.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        HandshakeError: the opening handshake failed, over `headers` or an extension.
    """
    client_keywords: EndpointKeywords = {**options, **(client_options or {})}
    server_keywords: EndpointKeywords = {**options, **(server_options or {})}
    ours = ClientHandshake(
        "localhost",
        path,
        headers=headers,
        subprotocols=subprotocols,
        extensions=client_keywords.get("extensions", ()),
    )
    agreements = _shake_hands(ours, server_keywords.get("extensions", ()))
    streams = trio.testing.memory_stream_pair()
    async with (
        open_endpoint(
            streams[1], Role.SERVER, agreement=agreements[1], **server_keywords
        ) as server,
        open_endpoint(
            streams[0], Role.CLIENT, agreement=agreements[0], **client_keywords
        ) as client,
    ):
        yield client, server


def _shake_hands(
    ours: ClientHandshake, extensions: Iterable[Extension]
) -> tuple[Agreement, Agreement]:
    """The agreements of a client and of a server that speaks the same subprotocols."""
    theirs = ServerHandshake(subprotocols=ours.subprotocols, extensions=extensions)
    theirs.check(ours.request)
    agreed = theirs.agree(
        ours.request, theirs.choose(ours.subprotocols), context=ours.request.context
    )
    return ours.complete(agreed.response), agreed


class WrappedStream(trio.abc.HalfCloseableStream):
    """A stream that passes all on to another one; a base for those that do not.

    Args:
        stream: The other one.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of the bytes."""
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending might not block."""
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End the sending half, if the other stream has halves."""
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            await self.stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what there is."""
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Close the other stream."""
        await self.stream.aclose()


class SplitStream(WrappedStream):
    """A stream that hands out what it receives in small pieces.

    Args:
        stream: The stream that it wraps.
        size: Bytes of a piece.
    """

    def __init__(self, stream: trio.abc.Stream, size: int = 1) -> None:
        super().__init__(stream)
        self.size = size

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive a piece."""
        return await self.stream.receive_some(min(self.size, max_bytes or self.size))


class _CountingStream(WrappedStream):
    """Counts bytes, and does something bad when a count is reached."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        after_received: float = math.inf,
        after_sent: float = math.inf,
    ) -> None:
        super().__init__(stream)
        self.left_to_receive = after_received
        self.left_to_send = after_sent

    async def _fault(self) -> None:
        raise NotImplementedError

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of the bytes, or those before the fault."""
        if len(data) > self.left_to_send:
            first = bytes(data[: int(self.left_to_send)])
            self.left_to_send = 0
            if first:
                await self.stream.send_all(first)
            await self._fault()
            data = data[len(first) :]
        else:
            self.left_to_send -= len(data)
        await self.stream.send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what there is, or what comes before the fault."""
        if self.left_to_receive <= 0:
            await self._fault()
        if self.left_to_receive != math.inf:
            left = max(1, int(self.left_to_receive))
            max_bytes = min(left, max_bytes or left)
        data = await self.stream.receive_some(max_bytes)
        self.left_to_receive -= len(data)
        return data


class StallStream(_CountingStream):
    """A stream that moves no bytes, one way or both, from some byte on, until told to.

    It loses none.

    Args:
        stream: The stream that it wraps.
        after_received: Bytes that it still receives.
        after_sent: Bytes that it still sends.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        after_received: float = math.inf,
        after_sent: float = math.inf,
    ) -> None:
        super().__init__(stream, after_received=after_received, after_sent=after_sent)
        self._resumed = trio.Event()
        self._stalls = 0
        self._held: bytes | None = None

    def stall(self) -> None:
        """Let no more bytes pass from here on, either way."""
        self.left_to_receive = self.left_to_send = 0
        self._resumed = trio.Event()
        self._stalls += 1

    def resume(self) -> None:
        """Let all bytes pass from here on."""
        self.left_to_receive = self.left_to_send = math.inf
        self._resumed.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what there is, as soon as it may pass."""
        if self._held is None:
            stalls = self._stalls
            data = await super().receive_some(max_bytes)
            if self._stalls == stalls:
                return data
            # It came to who waited for it already, after the stream was stalled.
            self._held = bytes(data)
        await self._fault()
        held = self._held
        end = len(held) if max_bytes is None else max_bytes
        self._held = held[end:] or None
        return held[:end]

    async def _fault(self) -> None:
        await self._resumed.wait()
        self.left_to_receive = self.left_to_send = math.inf


class CutStream(_CountingStream):
    """A stream that breaks, as a reset connection does, after some byte.

    Args:
        stream: The stream that it wraps.
        after_received: Bytes that it still receives.
        after_sent: Bytes that it still sends.
    """

    async def _fault(self) -> None:
        await trio.aclose_forcefully(self.stream)
        raise trio.BrokenResourceError("the connection was cut")
