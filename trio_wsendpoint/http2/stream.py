"""A stream of an HTTP/2 connection, as a Trio stream."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Protocol

import trio
from h2.errors import ErrorCodes

from ..endpoint import StreamTransport
from ..protocol import BytesLike, TLSInfo
from .engine import STREAM_WINDOW
from .fields import Fields

_CODES = {code.value: code.name for code in ErrorCodes}


class StreamRefused(trio.BrokenResourceError):
    """The peer has not so much as looked at the stream: to try again is safe."""


class Half(enum.Enum):
    """How one direction of a stream stands."""

    OPEN = enum.auto()
    ENDED = enum.auto()
    BROKEN = enum.auto()


class Carrier(Protocol):
    """What a stream asks of its connection."""

    def offer(self, stream: Http2Stream, *, wait: bool = True) -> None:
        """Send what `stream.outgoing` has: now, or as soon as that goes, if it may wait."""

    def send_fields(self, stream: Http2Stream, fields: Fields, *, end: bool) -> None:
        """Send header fields, and end our half of the stream with them or not."""

    def end(self, stream: Http2Stream) -> None:
        """End our half of a stream."""

    def reset(self, stream: Http2Stream, code: ErrorCodes) -> None:
        """End both halves of a stream."""

    def give_back(self, stream: Http2Stream, count: int) -> None:
        """Let the peer send so many bytes more."""


class Http2Stream(trio.abc.HalfCloseableStream):
    """One stream of an HTTP/2 connection (RFC 9113 section 5).

    Its end is END_STREAM. What the peer may send ahead is bounded by the stream's own window,
    which opens as bytes are taken; one that is not taken from stops no other.

    Attributes:
        stream_id: Its number.
        sending: How our half stands.
        receiving: How the peer's half stands.
        outgoing: What waits to be sent.
        is_ready: Whether the connection has it down for its turn to send.
        interim: How many interim responses have come.
        addresses: Ours and the peer's, of the socket far below, as far as there is one.
        tls: What TLS agreed on, far below; None without TLS.
    """

    def __init__(
        self,
        carrier: Carrier,
        stream_id: int,
        addresses: tuple[object, object] = (None, None),
        tls: TLSInfo | None = None,
    ) -> None:
        self.stream_id = stream_id
        self.addresses = addresses
        self.tls = tls
        self.sending = Half.OPEN
        self.receiving = Half.OPEN
        self.outgoing = memoryview(b"")
        self.is_ready = False
        self.interim = 0
        self._carrier = carrier
        self._buffer = bytearray()
        self._taken = 0
        self._fields: Fields | None = None
        self._error = trio.BrokenResourceError
        self._reason = ""
        self._closed = False
        self._arrival = trio.lowlevel.ParkingLot()
        self._departure = trio.lowlevel.ParkingLot()
        self._senders = _Turn("send")
        self._receivers = _Turn("receive")

    # -- for the application --------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of the bytes: returns when they are on their way to the socket.

        Cancelled, it may have sent some of them.

        Raises:
            trio.BrokenResourceError: the stream or its connection was broken.
            trio.ClosedResourceError: it was closed here.
        """
        with self._senders:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_sendable()
            if data:
                self.outgoing = memoryview(data).cast("B")
                self._carrier.offer(self)
            if not self.outgoing:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return
            try:
                while self.outgoing:
                    await self._departure.park()
                    self._check_sendable()
            finally:
                self.outgoing = memoryview(b"")

    def send_nowait(self, data: BytesLike) -> int:
        """Send the first of the bytes, as many as go without waiting, and return their number.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: as `send_all`.
        """
        self._check_sendable()
        if self.outgoing:
            return 0
        self.outgoing = view = memoryview(data)
        self._carrier.offer(self, wait=False)
        count = len(view) - len(self.outgoing)
        self.outgoing = memoryview(b"")
        return count

    def make_transport(self) -> StreamTransport:
        """How an endpoint drives it."""
        return Http2Transport(self)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending might not block: always at once, as nobody can know better."""
        with self._senders:
            await trio.lowlevel.checkpoint()
            self._check_sendable()

    async def send_eof(self) -> None:
        """End our half: END_STREAM."""
        with self._senders:
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._closed or self.sending is not Half.ENDED:
                self._check_sendable()
                self._end()
            await trio.lowlevel.cancel_shielded_checkpoint()

    def send_eof_nowait(self) -> None:
        """End our half, unless it is over or something waits to be sent."""
        if self.sending is Half.OPEN and not self.outgoing:
            self._end()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what there is; empty at the peer's END_STREAM.

        Raises:
            trio.BrokenResourceError: the stream or its connection was broken.
            trio.ClosedResourceError: it was closed here.
        """
        if not isinstance(max_bytes, int | None):
            raise TypeError(f"max_bytes must be an int or None, not {max_bytes!r}")
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
        with self._receivers:
            if self._closed or self._buffer or self.receiving is not Half.OPEN:
                await trio.lowlevel.checkpoint()
            while True:
                self._check_open()
                if self._buffer or self.receiving is Half.ENDED:
                    return self._take(max_bytes)
                if self.receiving is Half.BROKEN:
                    raise self._error(self._reason)
                await self._arrival.park()

    def _take(self, max_bytes: int | None) -> bytes:
        buffer = self._buffer
        data = bytes(buffer if max_bytes is None else buffer[:max_bytes])
        del buffer[: len(data)]
        self._let_send(len(data))
        return data

    async def aclose(self) -> None:
        """Close both halves: ends ours, and resets the stream if the peer's has not ended.

        Cancelled, as by `trio.aclose_forcefully`, it does no more than to reset it then.
        """
        if not self._closed:
            self._closed = True
            forced = trio.current_effective_deadline() == -math.inf
            is_over = self.receiving is not Half.OPEN
            if is_over or not forced:
                self.send_eof_nowait()
            if Half.OPEN in (self.sending, self.receiving):
                self._carrier.reset(self, ErrorCodes.CANCEL)
            self._buffer.clear()
            self.sending = self.receiving = Half.BROKEN
            self._wake()
        await trio.lowlevel.checkpoint()

    def _end(self) -> None:
        self.sending = Half.ENDED
        self._carrier.end(self)

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self.sending is Half.BROKEN:
            raise self._error(self._reason)
        if self.sending is Half.ENDED:
            raise trio.ClosedResourceError("this half of the stream was ended")

    # -- the messages in front of the bytes -----------------------------------------------

    def send_fields(self, fields: Fields, *, end: bool = False) -> None:
        """Send header fields, such as those of a response.

        Raises:
            trio.BrokenResourceError: the stream or its connection was broken.
        """
        self._check_sendable()
        if end:
            self.sending = Half.ENDED
        self._carrier.send_fields(self, fields, end=end)

    async def receive_fields(self) -> Fields:
        """Wait for the header fields of the peer's response.

        Raises:
            StreamRefused: the peer has not looked at the request.
            trio.BrokenResourceError: the stream or its connection was broken before.
        """
        while self._fields is None:
            if self.receiving is not Half.OPEN:
                raise self._error(self._reason or "the stream ended before its response")
            await self._arrival.park()
        return self._fields

    def reset(self, code: ErrorCodes) -> None:
        """End both halves at once, and tell the peer why."""
        if Half.OPEN in (self.sending, self.receiving):
            self._carrier.reset(self, code)
            self.on_broken(f"the stream was reset with {_CODES[code]}")

    # -- for the connection ---------------------------------------------------------------

    def on_fields(self, fields: Fields) -> None:
        """The header fields of the response have come."""
        self._fields = fields
        self._arrival.unpark_all()

    def on_data(self, data: bytes, size: int) -> None:
        """Bytes have come, which with their padding are so many."""
        self._buffer += data
        self._let_send(size - len(data))
        self._arrival.unpark_all()

    def _let_send(self, count: int) -> None:
        # In large steps: the peer needs to know no more often.
        self._taken += count
        if self._taken >= STREAM_WINDOW // 2 and self.receiving is Half.OPEN:
            self._carrier.give_back(self, self._taken)
            self._taken = 0

    def on_end(self) -> None:
        """The peer's half has ended."""
        self.receiving = Half.ENDED
        self._arrival.unpark_all()

    def on_sent(self) -> None:
        """All of `outgoing` is on its way."""
        self._departure.unpark_all()

    def on_reset(self, code: int, *, by_peer: bool) -> None:
        """The stream was reset."""
        name = _CODES.get(code, f"error code {code}")
        refused = by_peer and code == ErrorCodes.REFUSED_STREAM
        who = "the peer reset the stream" if by_peer else "the stream was reset"
        self.on_broken(f"{who} with {name}", refused=refused)

    def on_broken(self, reason: str, *, refused: bool = False) -> None:
        """Nothing more comes or goes; what has come may still be taken."""
        if refused:
            self._error = StreamRefused
        self._reason = reason
        if self.receiving is Half.OPEN:
            self.receiving = Half.BROKEN
        self.sending = Half.BROKEN
        self._wake()

    def _wake(self) -> None:
        self._arrival.unpark_all()
        self._departure.unpark_all()


class Http2Transport(StreamTransport):
    """A stream whose frames an endpoint's sender makes itself, with no writer task of its own.

    They are written with those of all other streams, at the end of the tick.
    """

    __slots__ = ("_http2",)

    def __init__(self, stream: Http2Stream) -> None:
        super().__init__(stream)
        self._http2 = stream

    def write_nowait(self, buffers: Sequence[BytesLike]) -> int:
        """Send what the windows and the connection take at once."""
        done = 0
        for buffer in buffers:
            count = self._http2.send_nowait(buffer)
            done += count
            if count < len(buffer):
                break
        return done

    def send_eof_nowait(self) -> None:
        """End our half: to the peer, the reset that follows is no loss of what we sent."""
        self._http2.send_eof_nowait()


class _Turn:
    """Refuses a second task that would do the same thing at the same time."""

    __slots__ = ("_name", "_taken")

    def __init__(self, name: str) -> None:
        self._name = name
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise trio.BusyResourceError(f"another task {self._name}s on this stream")
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False
