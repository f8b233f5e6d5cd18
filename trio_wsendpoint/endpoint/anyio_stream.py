"""anyio's byte streams as Trio's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from anyio.abc import ByteStream

RECEIVE_SIZE: Final = 2**16
"""Bytes that a read takes where the caller names no number, as anyio's own do."""


def from_anyio_stream(stream: ByteStream) -> trio.abc.Stream:
    """Make a stream of anyio's, on its Trio backend, one of Trio's.

    What it returns can be given to `connect`, `accept` and `open_endpoint`.

    Args:
        stream: Such as `anyio.connect_tcp` returns, or as a handler of an anyio listener
            gets.

    Raises:
        TypeError: `stream` is not an `anyio.abc.ByteStream`.
        ImportError: anyio is not installed; the extra `anyio` installs it.
    """
    try:
        from anyio.abc import ByteStream, SocketStream
    except ImportError as error:
        raise ImportError(
            "from_anyio_stream needs anyio: pip install 'trio-wsendpoint[anyio]'"
        ) from error
    if not isinstance(stream, ByteStream):
        raise TypeError(f"stream must be an anyio.abc.ByteStream, not {type(stream).__name__}")
    # All have a `send_eof`, but that of others, such as of TLS, may only raise.
    if isinstance(stream, SocketStream):
        return _HalfCloseableAnyioStream(stream)
    return _AnyioStream(stream)


class _AnyioStream(trio.abc.Stream):
    """A byte stream of anyio's as one of Trio's."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of the bytes."""
        with _as_trio_says_it():
            await self.stream.send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Do not wait: anyio cannot tell."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what there is; empty at the end of the stream."""
        from anyio import EndOfStream

        try:
            with _as_trio_says_it():
                return await self.stream.receive(max_bytes or RECEIVE_SIZE)
        except EndOfStream:
            return b""

    async def aclose(self) -> None:
        """Close the stream."""
        await self.stream.aclose()


class _HalfCloseableAnyioStream(_AnyioStream, trio.abc.HalfCloseableStream):
    """The same, of a socket."""

    async def send_eof(self) -> None:
        """End the sending half."""
        with _as_trio_says_it():
            await self.stream.send_eof()


@contextmanager
def _as_trio_says_it() -> Iterator[None]:
    import anyio

    try:
        yield
    except anyio.BrokenResourceError as error:
        raise trio.BrokenResourceError(*error.args) from error
    except anyio.ClosedResourceError as error:
        raise trio.ClosedResourceError(*error.args) from error
