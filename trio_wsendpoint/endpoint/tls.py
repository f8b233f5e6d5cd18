"""TLS on a socket with no layers between: OpenSSL's memory BIOs, driven without blocking.

`trio.SSLStream` runs on any stream; for that it pays with checkpoints, locks and copies.
Where `connect` and `serve` make the TLS themselves they use this one, which has the plain
socket's way of working: whoever wants to read or write does so at once, and waits for the
socket only if that did not go.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import trio

from ..protocol import BytesLike
from .transport import (
    READ_SIZE,
    NonblockingTransport,
    read_socket,
    thread_buffer,
    write_socket,
)

MAX_CIPHERTEXT: Final = 2**17
"""Bytes of ciphertext at which no more is encrypted until the socket has taken some."""

_RECORD: Final = 2**14  # what one TLS record carries at most
_READ_SIZE: Final = READ_SIZE + _RECORD  # with what TLS adds, no more reads than without it
# What one read of the socket brings, and a record of which it brings the end. TLS has copied
# the ciphertext before the first byte is decrypted, so both may go into the same buffer.
_DECRYPTED_SIZE: Final = _READ_SIZE + _RECORD
_LEAST_READ: Final = 2 * _RECORD
_RENEGOTIATION_DELAY: Final = 0.01

T = TypeVar("T")


class TLSStream(trio.abc.HalfCloseableStream):
    """TLS over a socket stream, as a Trio stream and without blocking.

    Args:
        transport_stream: The socket stream.
        context: How to do TLS.
        server_hostname: The name that the server's certificate must have; None on a server.

    Attributes:
        holds_part: Whether what has come last was no whole record.
    """

    def __init__(
        self,
        transport_stream: trio.SocketStream,
        context: ssl.SSLContext,
        server_hostname: str | None = None,
    ) -> None:
        self.transport_stream = transport_stream
        self._socket = transport_stream.socket
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        self._unsent: BytesLike = b""
        self._eof_sent = False
        # What came with the opening handshake may already wait inside TLS.
        self._may_hold_more = True
        self._expects_more = False
        self.holds_part = False
        self._error: OSError | None = None

    # -- without blocking -----------------------------------------------------------------

    @property
    def ssl_object(self) -> ssl.SSLObject:
        """What does the TLS: it knows the peer's certificate, the cipher and such."""
        return self._tls

    @property
    def unsent(self) -> int:
        """Bytes of ciphertext that the socket has not taken yet."""
        return len(self._unsent) + self._outgoing.pending

    @property
    def may_hold_more(self) -> bool:
        """Whether there may be data, the end or an error, with nothing more of the socket."""
        return self._may_hold_more or self._error is not None

    def read_nowait(self) -> BytesLike | None:
        """Read what is there: empty at the peer's close_notify, None if it would block.

        What it returns is valid until the next read of any connection of this thread. TLS
        may have to answer what was read: see that `unsent` is written.

        Raises:
            trio.BrokenResourceError: TLS was broken, or cut off with no close_notify.
            OSError: the socket failed.
        """
        if not self._may_hold_more and not self._fill_nowait(thread_buffer.view[:_READ_SIZE]):
            return None
        buffer = thread_buffer.view[:_DECRYPTED_SIZE]
        size = self._decrypt(buffer)
        return buffer[:size] if size or self._may_hold_more else None

    def read_into_nowait(self, room: memoryview) -> tuple[int, BytesLike] | None:
        """Read what is there, like `read_nowait`, but the first of it straight into its place.

        Args:
            room: What is filled first.

        Returns:
            How many bytes are in `room` now, and what came after it was full; 0 and nothing
            at the peer's close_notify; None if it would block.

        Raises:
            trio.BrokenResourceError: TLS was broken, or cut off with no close_notify.
            OSError: the socket failed.
        """
        ciphertext = thread_buffer.view[:_READ_SIZE]
        if not self._may_hold_more and not self._fill_nowait(ciphertext):
            return None
        filled = self._decrypt(room, apart=ciphertext)
        if filled == len(room) and self._may_hold_more:
            buffer = thread_buffer.view[:_DECRYPTED_SIZE]
            size = self._decrypt(buffer, filled)
            if size:
                return filled, buffer[:size]
        return (filled, b"") if filled or self._may_hold_more else None

    def _fill_nowait(self, buffer: memoryview) -> bool:
        """Read the socket once, for TLS; says whether that brought anything, or the end."""
        if self._error is not None:
            raise self._error
        size = read_socket(self._socket, (buffer,))
        if size is None:
            return False
        if size:
            self._incoming.write(buffer[:size])
            self.holds_part = True
        else:
            self._incoming.write_eof()
        self._may_hold_more = True
        return True

    def _decrypt(
        self, buffer: memoryview, before: int = 0, apart: memoryview | None = None
    ) -> int:
        """Fill a buffer with what there is, and return how many bytes that is.

        With none, `may_hold_more` tells the end from a need of more ciphertext.

        Args:
            buffer: What to fill.
            before: How many bytes this read has brought already: then an error is left to
                the next read, which will find it again.
            apart: What ciphertext is read into; if None, the part of the buffer that is free.
        """
        size = self._decrypt_held(buffer, before)
        while self._expects_more:
            # The peer is in the middle of something larger, and most often a little ahead of
            # us: to look costs less than to wait would.
            if size > len(buffer) - (_LEAST_READ if apart is None else 1):
                break
            try:
                if not self._fill_nowait(buffer[size:] if apart is None else apart):
                    break
            except OSError as error:
                # The system tells it only once. What its frames hold may have to grow.
                self._error = error.with_traceback(None)
                break
            size += self._decrypt_held(buffer[size:], before + size)
        return size

    def _decrypt_held(self, buffer: memoryview, before: int) -> int:
        """Fill a buffer with what TLS holds, and return how many bytes that is."""
        tls = self._tls
        incoming = self._incoming
        room = len(buffer)
        size = 0
        self._expects_more = False
        try:
            while size < room:
                count: Any = tls.read(room - size, buffer[size:] if size else buffer)
                if not count:  # an int, with a buffer
                    break
                size += count
                # One more read, which fails, would cost as much as all of a small message.
                if not incoming.pending and not tls.pending():
                    self._may_hold_more = self.holds_part = False
                    self._expects_more = count == _RECORD
                    break
        except ssl.SSLWantReadError:
            self._may_hold_more = False
            self._expects_more = size > 0
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            if not size and not before:
                raise trio.BrokenResourceError(f"TLS failed: {error}") from error
        return size

    def write_nowait(self, buffers: Sequence[BytesLike]) -> int:
        """Encrypt and write what goes, and return how many bytes of the buffers it took.

        Raises:
            trio.BrokenResourceError: TLS was broken.
            OSError: the socket failed.
        """
        taken = 0
        while True:
            room = max(0, MAX_CIPHERTEXT - len(self._unsent) - self._outgoing.pending)
            end = taken + room
            try:
                if not taken and len(buffers) == 1 and len(buffers[0]) <= room:
                    taken = self._tls.write(buffers[0])
                else:
                    for piece in _pieces(buffers, taken, room):
                        taken += self._tls.write(piece)
            except ssl.SSLWantReadError:
                pass  # the keys are being renegotiated, and the peer's part has yet to come
            except ssl.SSLError as error:
                raise trio.BrokenResourceError(f"TLS failed: {error}") from error
            self._flush_nowait()
            if taken < end or self._unsent:
                return taken

    def _flush_nowait(self) -> None:
        unsent = self._unsent
        if self._outgoing.pending:
            fresh = self._outgoing.read()
            # Kept before it is written, which may fail.
            self._unsent = unsent = b"".join((unsent, fresh)) if unsent else fresh
        if unsent:
            count = write_socket(self._socket, (unsent,))
            self._unsent = memoryview(unsent)[count:] if count < len(unsent) else b""

    # -- as a stream ----------------------------------------------------------------------

    async def do_handshake(self) -> None:
        """Perform the TLS handshake.

        Raises:
            trio.BrokenResourceError: it failed, such as for a certificate that is not valid.
        """
        await self._drive(self._tls.do_handshake)

    async def _drive(self, operation: Callable[[], T], *, reads: bool = False) -> T:
        """Repeat an operation of TLS, with what it needs of the socket, until it is done."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                try:
                    result = operation()
                except ssl.SSLWantReadError:
                    await self._flush_after(reads)
                    await self._read_more()
                else:
                    await self._flush_after(reads)
                    return result
            except ssl.SSLError as error:
                with contextlib.suppress(OSError):
                    self._flush_nowait()  # an alert, which tells the peer why
                raise trio.BrokenResourceError(f"TLS failed: {error}") from error
            except OSError as error:
                raise trio.BrokenResourceError(f"the socket failed: {error}") from error

    async def _flush_after(self, reading: bool) -> None:
        # Reading must not wait for the peer to read, which may do the same.
        if reading:
            self._flush_nowait()
        else:
            await self.flush()

    async def _read_more(self) -> None:
        await trio.lowlevel.wait_readable(self._socket)
        self._fill_nowait(thread_buffer.view[:_READ_SIZE])

    async def flush(self) -> None:
        """Write all ciphertext that waits."""
        self._flush_nowait()
        while self._unsent:
            await trio.lowlevel.wait_writable(self._socket)
            self._flush_nowait()

    async def send_all(self, data: BytesLike) -> None:
        """Send all of the bytes."""
        view = memoryview(data)
        while view:
            view = view[await self._drive(lambda: self._tls.write(view[:_RECORD])) :]  # noqa: B023

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending might not block."""
        await self.flush()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what there is; empty at the peer's close_notify."""
        try:
            return await self._drive(lambda: self._tls.read(max_bytes or READ_SIZE), reads=True)
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, ssl.SSLZeroReturnError):
                return b""
            raise

    async def send_eof(self) -> None:
        """Send close_notify, and end our half of the socket's stream."""
        if not self._eof_sent:
            self._eof_sent = True
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()  # it wants the peer's close_notify next, but ours is out
            await self.flush()
            await self.transport_stream.send_eof()

    async def aclose(self) -> None:
        """Send close_notify if that goes at once, and close the socket."""
        with contextlib.suppress(OSError):
            if not self._eof_sent:
                with contextlib.suppress(ssl.SSLError):
                    self._tls.unwrap()
                self._flush_nowait()
        await self.transport_stream.aclose()


def _pieces(buffers: Sequence[BytesLike], start: int, room: int) -> list[BytesLike]:
    """What is to be encrypted of the buffers, where each piece but the last fills its records.

    Each write makes records of its own, so small buffers are joined. Of large ones TLS makes
    as many records as they need, in one write.
    """
    pieces: list[BytesLike] = []
    small: list[BytesLike] = []
    gap = _RECORD
    left = min(room, sum(map(len, buffers)) - start)
    for buffer in buffers:
        if start >= len(buffer):
            start -= len(buffer)
            continue
        view = memoryview(buffer)[start : start + left]
        start = 0
        left -= len(view)
        if small and len(view) >= gap:
            pieces.append(b"".join((*small, view[:gap])))
            view, small, gap = view[gap:], [], _RECORD
        if len(view) >= _RECORD:
            whole = len(view) // _RECORD * _RECORD if left else len(view)
            pieces.append(view[:whole])
            view = view[whole:]
        if view:
            small.append(view)
            gap -= len(view)
        if not left:
            break
    if small:
        pieces.append(b"".join(small))
    return pieces


class TLSTransport(NonblockingTransport):
    """TLS of our own making, on a socket."""

    __slots__ = ("_tls_stream", "read_into_nowait", "read_nowait", "write_nowait")

    def __init__(self, stream: TLSStream) -> None:
        super().__init__(stream, stream.transport_stream)
        self._tls_stream = stream
        # The stream's own, with no call between for each message.
        self.read_nowait = stream.read_nowait  # type: ignore[method-assign]
        self.read_into_nowait = stream.read_into_nowait  # type: ignore[method-assign]
        self.write_nowait = stream.write_nowait  # type: ignore[method-assign]

    def wait_readable(self) -> Coroutine[Any, Any, None]:
        """Wait until there is something to read, or the end of the stream."""
        if self._tls_stream.may_hold_more:
            return trio.lowlevel.checkpoint()  # noqa: ASYNC105 - the caller does
        return trio.lowlevel.wait_readable(self._open_fd())  # noqa: ASYNC105 - the same

    def wait_descriptor(self) -> int:
        """The socket's descriptor; -1 if there may be something to read without it."""
        return -1 if self._tls_stream.may_hold_more else self._socket.fileno()

    @property
    def unsent(self) -> int:
        """Bytes that TLS has taken but the socket has not."""
        stream = self._tls_stream
        return len(stream._unsent) + stream._outgoing.pending  # asked for with each message

    @property
    def holds_part(self) -> bool:
        """Whether a record has come in part."""
        return self._tls_stream.holds_part

    async def write_some(self, buffers: Sequence[BytesLike]) -> int:
        """Wait until TLS takes bytes, and write what it takes."""
        count = await super().write_some(buffers)
        if not count and not self.unsent:
            # The keys are being renegotiated, which somebody who reads will bring to an end.
            await trio.sleep(_RENEGOTIATION_DELAY)
        return count
