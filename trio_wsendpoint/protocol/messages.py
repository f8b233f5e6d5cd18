"""Messages (RFC 6455 section 5.6): what the application sends and receives."""

from __future__ import annotations

import codecs
import sys
from typing import Final, Literal, NoReturn, TypeAlias

import attrs

from .close import CloseCode
from .errors import ProtocolError
from .frames import (
    FIN,
    RSV_BITS,
    BinaryFrame,
    CloseFrame,
    ContinuationFrame,
    ControlFrame,
    DataFrame,
    Frame,
    FrameParser,
    PingFrame,
    PongFrame,
    TextFrame,
    encode_header,
    is_frame_type,
)
from .masking import BytesLike

MessageKind: TypeAlias = Literal["text", "binary"] | type[Frame]

PLAIN_TYPES: Final = frozenset({str, bytes})
"""What most messages are, on their way in and out."""


@attrs.define(eq=False)  # not frozen, as that would make it three times as slow to make
class _Wire:
    """A received message's frames in compact form: headers and payload, each in one piece."""

    headers: bytes
    payload: bytes
    parser: FrameParser

    def frames(self) -> tuple[Frame, ...]:
        frames = []
        at = start = 0
        while at < len(self.headers):
            header = self.parser.read_header(self.headers, at, rsv=RSV_BITS)
            assert header is not None
            end = start + header.length
            frames.append(self.parser.build(header, self.payload[start:end]))
            at += header.size
            start = end
        return tuple(frames)


@attrs.frozen
class Message:
    """A whole message, with the frames that it came in.

    Attributes:
        payload: `str` for text, `bytes` for binary and for data frames of one's own.
        frame_type: `TextFrame`, `BinaryFrame` or a class given to `FrameParser`.
    """

    payload: str | bytes
    frame_type: type[Frame]
    _wire: _Wire | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Each frame as it crossed the wire: opcode, fin, reserved bits, payload.

        Of a received message, the payloads are those before an extension decoded them. They
        are rebuilt when asked for, so a message nobody asks costs nothing.
        """
        return self._wire.frames() if self._wire else (self.frame_type(self.data),)

    @property
    def data(self) -> bytes:
        """The payload as bytes, text encoded as UTF-8."""
        return self.payload.encode() if isinstance(self.payload, str) else self.payload


def frame_type_of(kind: MessageKind, *bases: type[Frame]) -> type[Frame]:
    """The class of the frame that begins a message of some kind.

    Args:
        kind: `"text"`, `"binary"`, or a frame class.
        *bases: What such a class may be derived from.

    Raises:
        TypeError: `kind` is none of these.
        ValueError: `kind` is `ContinuationFrame`, which begins no message.
    """
    frame_type: object = (
        TextFrame if kind == "text" else BinaryFrame if kind == "binary" else kind
    )
    if not is_frame_type(frame_type, *bases):
        raise TypeError(f"kind must be 'text', 'binary' or a frame class, not {kind!r}")
    if frame_type is ContinuationFrame:
        raise ValueError("kind must be a frame that begins a message, not ContinuationFrame")
    return frame_type


def create_message(kind: MessageKind, payload: str | BytesLike) -> Message:
    """Build a message to send.

    Args:
        kind: `"text"`, `"binary"`, or a frame class (`TextFrame`, `BinaryFrame` or one's
            own, for data or control).
        payload: `str` or bytes-like; a text's must be UTF-8, and so is a `str` encoded for
            anything else.

    Raises:
        TypeError: `kind` is no such thing, or `payload` does not fit it.
        ValueError: `kind` is a frame that has methods of its own (`ping`, `pong`, `aclose`),
            text is not UTF-8 or has a lone surrogate, or a control frame's payload is over
            125 bytes.
    """
    frame_type = frame_type_of(kind, DataFrame, ControlFrame)
    if issubclass(frame_type, (PingFrame, PongFrame, CloseFrame)):
        raise ValueError(f"kind must be a frame that carries a message, not {kind!r}")
    data = encode_text(payload) if isinstance(payload, str) else frame_type(payload).payload
    if frame_type is not TextFrame:
        return Message(frame_type(data).payload, frame_type)
    return Message(payload if isinstance(payload, str) else decode_text(data), frame_type)


def received_message(
    frame_type: type[Frame],
    payload: str | bytes,
    headers: bytes,
    wire: bytes,
    parser: FrameParser,
) -> Message:
    """A message that keeps its frames as they crossed the wire.

    Args:
        frame_type: The kind of the first frame.
        payload: The message's, decoded.
        headers: Those of all frames, unmasked, in one piece.
        wire: The payloads of all frames, encoded, in one piece.
        parser: Knows the kinds of frames.
    """
    return Message(payload, frame_type, _Wire(headers, wire, parser))


def decode_text(data: bytes, argument: str = "payload") -> str:
    """Decode text that the application gave as bytes.

    Raises:
        ValueError: it is not UTF-8; names the argument.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{argument} must be UTF-8: {error.reason} at byte {error.start}"
        ) from None


def encode_text(text: str, argument: str = "payload") -> bytes:
    """Encode text from the application.

    Raises:
        ValueError: it has a lone surrogate; names the argument.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{argument} must be encodable as UTF-8: {error.reason}") from None


def to_sendable(message: object) -> str | bytes | Message:
    """Check that something can be sent, and keep it as it is now.

    Raises:
        TypeError: `message` is neither `str` nor bytes-like nor a `Message`.
        ValueError: it is a `Message` of a kind that has methods of its own, or whose text
            has a lone surrogate.
    """
    if isinstance(message, str | bytes):
        return message
    if isinstance(message, bytearray | memoryview):
        return bytes(message)  # it may change while it waits
    if isinstance(message, Message):
        created = create_message(message.frame_type, message.payload)
        # It may have been made by hand, with a `str` that is to go as bytes or the reverse.
        fits = isinstance(created.payload, str) is isinstance(message.payload, str)
        return message if fits else created
    raise TypeError(
        f"message must be str, bytes-like or a Message, not {type(message).__name__}"
    )


@attrs.frozen
class Piece:
    """A part of a message that is handed out as it arrives.

    Attributes:
        payload: `str` (never cut inside a character) for text, else `bytes`; may be empty.
        frame_type: The kind of the message, the same for all its pieces.
        final: Whether the message ends with it.
    """

    payload: str | bytes
    frame_type: type[Frame]
    final: bool


Entry: TypeAlias = str | bytes | Message | Piece
"""What `Connection.receive_data` returns: a plain `str` or `bytes` for the common message."""


def memory_of(entry: Entry) -> int:
    """Bytes of memory that a received entry takes, Python's overhead counted."""
    if isinstance(entry, (str, bytes)):
        return sys.getsizeof(entry) + 8
    size = sys.getsizeof(entry) + sys.getsizeof(entry.payload)
    if isinstance(entry, Message) and entry._wire:
        wire = entry._wire
        size += sys.getsizeof(wire) + sys.getsizeof(wire.headers)
        size += sys.getsizeof(wire.payload)
    return size + 8


def count_messages(batch: list[Entry]) -> int:
    """Of a streamed message, whose pieces stand at the front, only the last one counts."""
    count = len(batch)
    for entry in batch:
        if not isinstance(entry, Piece) or entry.final:
            break
        count -= 1
    return count


class Utf8Decoder:
    """Decodes text that comes in pieces, and refuses it at its first bad byte.

    "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream
    is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_"
    (section 8.1).
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def decode(self, piece: bytes, final: bool = False) -> str:
        """Decode what is whole of it, and keep the rest for the next piece."""
        try:
            text = self._decoder.decode(piece, final)
        except UnicodeDecodeError:
            self._refuse()
        # Of a surrogate, Python waits for the third byte, although the second one is bad.
        if b"\xed\xa0" <= self._decoder.getstate()[0] < b"\xee":
            self._refuse()
        return text

    def _refuse(self) -> NoReturn:
        raise ProtocolError("text that is not UTF-8", CloseCode.INVALID_DATA) from None


class MessageBuilder:
    """Puts a message together from its frames, without an object for each.

    A hundred thousand fragments of one byte cost a hundred thousand bytes, and two more each
    for what `Message.frames` needs to know of them.
    """

    __slots__ = ("_decoder", "_headers", "_wire", "frame_type", "payload", "wire_size")

    def __init__(self, frame_type: type[Frame], keep_wire: bool) -> None:
        self.frame_type = frame_type
        self.payload = bytearray()
        self.wire_size = 0
        self._headers = bytearray()
        self._wire = bytearray() if keep_wire else None
        self._decoder = Utf8Decoder() if frame_type is TextFrame else None

    @property
    def size(self) -> int:
        """Bytes of payload so far."""
        return len(self.payload)

    @property
    def overhead(self) -> int:
        """Bytes kept beside the payload, for `Message.frames`."""
        return len(self._headers) + len(self._wire or b"")

    @property
    def headers_size(self) -> int:
        """Bytes of the headers alone, which grow even while frames are empty."""
        return len(self._headers)

    def note_frame(self, first_byte: int, length: int) -> None:
        """Note that a frame with this first byte and length is part of it."""
        self.wire_size += length
        self._headers += encode_header(first_byte, length)

    def add_wire(self, piece: bytes) -> None:
        """Keep a part of the payload as it crossed the wire, if an extension changes it."""
        if self._wire is not None:
            self._wire += piece

    def add(self, piece: bytes) -> None:
        """Add a part of the payload.

        Raises:
            ProtocolError: text is not UTF-8 from here on.
        """
        if self._decoder:
            self._decoder.decode(piece)
        self.payload += piece

    def finish(self, parser: FrameParser) -> Entry:
        """The message, now that its final frame has ended."""
        payload: str | bytes
        if self._decoder:
            self._decoder.decode(b"", final=True)
            payload = self.payload.decode()
        else:
            payload = bytes(self.payload)
        headers = bytes(self._headers)
        unfragmented = headers[0] >= FIN
        if unfragmented and self._wire is None and self.frame_type in (TextFrame, BinaryFrame):
            return payload  # no more is needed to rebuild its one frame
        wire = bytes(self.payload if self._wire is None else self._wire)
        return received_message(self.frame_type, payload, headers, wire, parser)

    def into_stream(self) -> tuple[str | bytes, Utf8Decoder | None]:
        """What was put together so far, and the decoder that goes on from there."""
        if not self._decoder:
            return bytes(self.payload), None
        decoder = Utf8Decoder()
        return decoder.decode(bytes(self.payload)), decoder
