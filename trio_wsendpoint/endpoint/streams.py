"""One message in pieces: sent as they are made, received as they arrive."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, NoReturn

import trio

from ..protocol import (
    BYTES_LIKE,
    BinaryFrame,
    BytesLike,
    Entry,
    Frame,
    Message,
    MessageKind,
    Piece,
    TextFrame,
    encode_text,
)
from .receiving import Receiver

if TYPE_CHECKING:
    from .core import EndpointCore

_NAMES: dict[type[Frame], Literal["text", "binary"]] = {
    TextFrame: "text",
    BinaryFrame: "binary",
}


class _OneAtATime:
    """Refuses a second task while a first one is inside, as `busy` says."""

    __slots__ = ("busy",)

    def __init__(self) -> None:
        self.busy = False

    def __enter__(self) -> None:
        if self.busy:
            raise trio.BusyResourceError("another task is using this stream")
        self.busy = True

    def __exit__(self, *_: object) -> None:
        self.busy = False


class SendStream:
    """One message on its way out, a fragment at a time; see `Endpoint.open_send_stream`."""

    __slots__ = (
        "_closed",
        "_compress",
        "_core",
        "_decoder",
        "_frame_type",
        "_one_at_a_time",
    )

    def __init__(self, core: EndpointCore, frame_type: type[Frame], compress: bool) -> None:
        self._core = core
        self._frame_type = frame_type
        self._compress = compress
        text = frame_type is TextFrame
        self._decoder = codecs.getincrementaldecoder("utf-8")() if text else None
        self._one_at_a_time = _OneAtATime()
        self._closed = False

    async def send(self, chunk: str | BytesLike) -> None:
        """Send the next part of the message, as one fragment.

        Cancelled before the chunk was added, it raises, and has sent nothing of it; after
        that, it returns at once, as `Endpoint.send` does. A message that is left by the
        exception cannot be finished, and the endpoint is closed with 1011.

        Args:
            chunk: For text a `str`, or UTF-8 cut anywhere; otherwise bytes-like.

        Raises:
            TypeError: `chunk` is of the wrong type.
            ValueError: `chunk` makes the text invalid; nothing of it was sent.
            ConnectionClosedError: the connection has ended.
            trio.ClosedResourceError: the stream was left, or the endpoint closed on our side.
            trio.BusyResourceError: another task is sending on this stream.
        """
        with self._one_at_a_time:
            self._check_not_left()
            before = self._decoder.getstate() if self._decoder else (b"", 0)
            payload = self._to_payload(chunk)
            try:
                await trio.lowlevel.checkpoint_if_cancelled()
                await self._core.outbox.wait_for_room()
                self._check_not_left()
                self._send(payload, final=False)
            except BaseException:
                if self._decoder:
                    self._decoder.setstate(before)
                raise
            await self._core.wait_sent()
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _check_not_left(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the stream was left")

    def _to_payload(self, chunk: str | BytesLike) -> bytes:
        if isinstance(chunk, str) and self._decoder:
            payload = encode_text(chunk, "chunk")
        elif isinstance(chunk, BYTES_LIKE):
            payload = bytes(chunk)
        else:
            wanted = "str or bytes-like" if self._decoder else "bytes-like"
            raise TypeError(f"chunk must be {wanted}, not {type(chunk).__name__}")
        self._check_text(payload)
        return payload

    def _check_text(self, payload: bytes, final: bool = False) -> None:
        if self._decoder:
            try:
                self._decoder.decode(payload, final)
            except UnicodeDecodeError as error:
                raise ValueError(f"chunk makes the text invalid: {error.reason}") from None

    def _send(self, payload: bytes, *, final: bool) -> None:
        self._core.check_open()
        self._core.connection.send_fragment(
            self._frame_type, payload, final=final, compress=self._compress
        )
        self._core.outbox.flush_soon()

    def send_final(self) -> None:
        """Send the final fragment.

        Raises:
            ValueError: text ends in the middle of a character.
            trio.BusyResourceError: another task is still sending its part.
        """
        with self._one_at_a_time:
            self._check_text(b"", final=True)
            self._send(b"", final=True)

    def close(self) -> None:
        """Take no more chunks."""
        self._closed = True


class ReceiveStream(trio.abc.ReceiveChannel[str | bytes]):
    """One message on its way in, piece by piece; see `Endpoint.open_receive_stream`.

    Attributes:
        kind: `"text"`, `"binary"`, or the frame class of a data frame of one's own.
    """

    __slots__ = (
        "_closed",
        "_first",
        "_one_at_a_time",
        "_raise_broken",
        "_receiver",
        "_unfinished",
        "_waiting",
        "kind",
    )

    def __init__(
        self, first: Entry, receiver: Receiver, raise_broken: Callable[[], Awaitable[NoReturn]]
    ) -> None:
        piece = _as_piece(first)
        self.kind: MessageKind = _NAMES.get(piece.frame_type, piece.frame_type)
        self._first: Piece | None = piece
        self._receiver = receiver
        self._raise_broken = raise_broken
        self._unfinished = not piece.final
        self._closed = False
        self._one_at_a_time = _OneAtATime()
        self._waiting: trio.CancelScope | None = None

    async def receive(self) -> str | bytes:
        """Wait for the next piece: as much as has arrived, never empty.

        Cancelled, it loses nothing.

        Raises:
            trio.EndOfChannel: the message is complete.
            trio.ClosedResourceError: the stream, or the endpoint, was closed on our side.
            ConnectionClosedError: the connection ended before the message did.
            trio.BusyResourceError: another task is receiving from this stream.
        """
        await trio.lowlevel.checkpoint()
        with self._one_at_a_time:
            try:
                return await self._receive()
            finally:
                if self._closed:
                    self._skip()

    async def _receive(self) -> str | bytes:
        while not self._closed:
            piece, self._first = self._first, None
            if piece is not None and piece.payload:
                return piece.payload
            if not self._unfinished:
                raise trio.EndOfChannel
            with trio.CancelScope() as self._waiting:
                self._first = await self._next_piece()
        raise trio.ClosedResourceError("the stream was left")

    async def _next_piece(self) -> Piece:
        entry = await self._receiver.next_entry()
        if entry is None:
            await self._raise_broken()
        assert isinstance(entry, Piece)
        self._unfinished = not entry.final
        return entry

    async def aclose(self) -> None:
        """Leave the message; what is still to come of it will be skipped."""
        self.close()
        await trio.lowlevel.cancel_shielded_checkpoint()
        await trio.lowlevel.checkpoint_if_cancelled()

    def close(self) -> None:
        """Leave the message, like `aclose`, without a wait.

        A task that is receiving on this stream is cancelled, and leaves in its next turn.
        """
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
        if not self.busy:
            self._skip()

    @property
    def busy(self) -> bool:
        """Whether a task is receiving; it will skip what is still to come."""
        return self._one_at_a_time.busy

    def _skip(self) -> None:
        if self._unfinished:
            self._unfinished = False
            self._receiver.skip_message()


def _as_piece(entry: Entry) -> Piece:
    if isinstance(entry, Piece):
        return entry
    if isinstance(entry, Message):
        return Piece(entry.payload, entry.frame_type, final=True)
    return Piece(entry, TextFrame if isinstance(entry, str) else BinaryFrame, final=True)
