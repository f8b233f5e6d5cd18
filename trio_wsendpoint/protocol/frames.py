"""Frames (RFC 6455 section 5): their kinds, their headers, and how to cut them off a buffer."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from typing import ClassVar, Final, NamedTuple, TypeGuard

import attrs

from .close import (
    MAX_REASON_SIZE,
    CloseCode,
    check_close_arguments,
    encode_close,
    may_be_sent,
    to_close_code,
)
from .errors import ProtocolError
from .masking import BYTES_LIKE, BytesLike, apply_mask

MAX_CONTROL_SIZE: Final = 125
"""Bytes of payload that a control frame may carry (section 5.5)."""

FIN: Final = 0x80
RSV_BITS: Final = 0x70
OPCODE_BITS: Final = 0x0F
MASKED: Final = 0x80


class Opcode(enum.IntEnum):
    """The opcodes that RFC 6455 section 5.2 defines."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


WHOLE_TEXT: Final = FIN | Opcode.TEXT
WHOLE_BINARY: Final = FIN | Opcode.BINARY
"""The first byte of the only frame of a message, but for the reserved bits."""


def to_bytes(payload: BytesLike, argument: str = "payload") -> bytes:
    """Copy what may change while it waits.

    Raises:
        TypeError: it is not bytes-like; names the argument.
    """
    if type(payload) is bytes:
        return payload
    if not isinstance(payload, BYTES_LIKE):
        raise TypeError(f"{argument} must be bytes-like, not {type(payload).__name__}")
    return bytes(payload)


@attrs.frozen
class Frame:
    """One frame, unmasked: what crosses the wire but for its masking.

    Attributes:
        opcode: Fixed by the class, 0 to 15.
        payload: The payload data, before an extension decodes it or after one encoded it.
        fin: Whether it is the final fragment of its message.
        rsv1: The first reserved bit, which extensions may claim.
        rsv2: The second.
        rsv3: The third.
    """

    opcode: ClassVar[int]
    payload: bytes = attrs.field(default=b"", converter=to_bytes)
    fin: bool = attrs.field(default=True, kw_only=True)
    rsv1: bool = attrs.field(default=False, kw_only=True)
    rsv2: bool = attrs.field(default=False, kw_only=True)
    rsv3: bool = attrs.field(default=False, kw_only=True)

    @property
    def first_byte(self) -> int:
        """The first byte of the frame's header: fin, reserved bits and opcode."""
        return (
            self.fin << 7 | self.rsv1 << 6 | self.rsv2 << 5 | self.rsv3 << 4 | int(self.opcode)
        )


class DataFrame(Frame):
    """A frame that carries a message or a part of one: opcodes 0 to 7."""

    __slots__ = ()


@attrs.frozen  # or attrs would not call what checks it
class ControlFrame(Frame):
    """A frame that speaks about the connection: opcodes 8 to 15, at most 125 bytes, whole."""

    def __attrs_post_init__(self) -> None:
        if not self.fin:
            raise ValueError("fin must be True: a control frame is never fragmented")
        if len(self.payload) > MAX_CONTROL_SIZE:
            raise ValueError(
                f"payload of a control frame must be at most {MAX_CONTROL_SIZE} bytes,"
                f" not {len(self.payload)}"
            )


class ContinuationFrame(DataFrame):
    """A further fragment of a message."""

    __slots__ = ()
    opcode = Opcode.CONTINUATION


class TextFrame(DataFrame):
    """A text message or its first fragment; the message's payload is UTF-8."""

    __slots__ = ()
    opcode = Opcode.TEXT


class BinaryFrame(DataFrame):
    """A binary message or its first fragment."""

    __slots__ = ()
    opcode = Opcode.BINARY


class PingFrame(ControlFrame):
    """A question that the peer answers with a pong of the same payload (section 5.5.2)."""

    __slots__ = ()
    opcode = Opcode.PING


class PongFrame(ControlFrame):
    """The answer to a ping, or a sign of life nobody asked for (section 5.5.3)."""

    __slots__ = ()
    opcode = Opcode.PONG


class CloseFrame(ControlFrame):
    """The last frame that a side sends: why the connection closes (section 5.5.1)."""

    __slots__ = ()
    opcode = Opcode.CLOSE

    @classmethod
    def create(cls, code: int | None = None, reason: str = "") -> CloseFrame:
        """Build a close frame; without a code its payload is empty.

        Raises:
            TypeError: `code` or `reason` is of the wrong type.
            ValueError: `code` must not be sent, or `reason` is too long or not UTF-8.
        """
        check_close_arguments(code, reason)
        return cls(encode_close(code, reason))

    @property
    def code(self) -> CloseCode | int:
        """The close code; 1005 where the frame carries none (section 7.1.5)."""
        if not self.payload:
            return CloseCode.NO_STATUS_RECEIVED
        return to_close_code(int.from_bytes(self.payload[:2], "big"))

    @property
    def reason(self) -> str:
        """The close reason; empty where the frame carries none (section 7.1.6)."""
        return self.payload[2:].decode()

    def check(self) -> None:
        """Refuse a received close frame whose payload breaks section 5.5.1 or 7.4."""
        if len(self.payload) == 1:
            raise ProtocolError("a close frame with half a close code")
        if self.payload and not may_be_sent(self.code):
            raise ProtocolError(f"close code {self.code:d}, which must not be sent")
        try:
            self.payload[2:].decode()
        except UnicodeDecodeError:
            raise ProtocolError(
                "a close reason that is not UTF-8", CloseCode.INVALID_DATA
            ) from None


assert MAX_REASON_SIZE == MAX_CONTROL_SIZE - 2


class FrameHeader(NamedTuple):
    """A frame's header as read off the wire (section 5.2)."""

    first_byte: int
    length: int
    masking_key: bytes
    size: int
    """Bytes that the header itself takes."""

    @property
    def opcode(self) -> int:
        """Fixes what kind of frame it is."""
        return self.first_byte & OPCODE_BITS

    @property
    def fin(self) -> bool:
        """Whether it is the final fragment of its message."""
        return bool(self.first_byte & FIN)

    @property
    def rsv(self) -> int:
        """The reserved bits, where they stand in the first byte."""
        return self.first_byte & RSV_BITS


def is_frame_type(kind: object, *bases: type[Frame]) -> TypeGuard[type[Frame]]:
    """Whether it is a class of frames under one of the bases that has an opcode."""
    return isinstance(kind, type) and issubclass(kind, bases) and hasattr(kind, "opcode")


_STANDARD_TYPES: Final[tuple[type[Frame], ...]] = (
    ContinuationFrame,
    TextFrame,
    BinaryFrame,
    CloseFrame,
    PingFrame,
    PongFrame,
)


def _to_frame_types(frame_types: Iterable[type[Frame]]) -> tuple[type[Frame], ...]:
    if not isinstance(frame_types, Iterable):
        raise TypeError(f"frame_types must be a list of classes, not {frame_types!r}")
    return tuple(frame_types)


def _check_frame_types(_: object, __: object, frame_types: tuple[type[Frame], ...]) -> None:
    taken = {int(kind.opcode): kind for kind in _STANDARD_TYPES}
    for kind in frame_types:
        if not (isinstance(kind, type) and issubclass(kind, DataFrame | ControlFrame)):
            raise TypeError(
                f"frame_types must be subclasses of DataFrame or ControlFrame, not {kind!r}"
            )
        allowed = range(8, 16) if issubclass(kind, ControlFrame) else range(8)
        opcode = getattr(kind, "opcode", None)
        if not isinstance(opcode, int) or opcode not in allowed or opcode in taken:
            raise ValueError(
                f"frame_types: {kind.__name__}.opcode must be an unused one of"
                f" {'11 to 15' if 8 in allowed else '3 to 7'}, not {opcode}"
            )
        taken[opcode] = kind


@attrs.frozen
class FrameParser:
    """Knows the kinds of frames and cuts them off a buffer.

    It holds no state, so one parser may serve any number of connections.

    Args:
        frame_types: Classes for opcodes of one's own: subclasses of `DataFrame` with
            `opcode` 3 to 7, or of `ControlFrame` with `opcode` 11 to 15.

    Raises:
        TypeError: an entry of `frame_types` is not such a class.
        ValueError: an opcode is out of range or taken.
    """

    frame_types: tuple[type[Frame], ...] = attrs.field(
        default=(), converter=_to_frame_types, validator=_check_frame_types
    )
    _types: dict[int, type[Frame]] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        known = {int(kind.opcode): kind for kind in (*_STANDARD_TYPES, *self.frame_types)}
        object.__setattr__(self, "_types", known)

    def type_of(self, opcode: int) -> type[Frame] | None:
        """The class for an opcode, or None if it is unknown."""
        return self._types.get(opcode)

    def read_header(
        self, buffer: BytesLike, offset: int = 0, *, masked: bool | None = None, rsv: int = 0
    ) -> FrameHeader | None:
        """Read and check the header that starts at `offset` (section 5.2).

        Args:
            buffer: What was received.
            offset: Where the header starts in it.
            masked: Whether the frame must be masked; None accepts both.
            rsv: The reserved bits that were agreed on, where they stand in the first byte.

        Returns:
            The header, or None while the buffer holds only a part of it.

        Raises:
            ProtocolError: the header breaks the protocol.
        """
        available = len(buffer) - offset
        if available < 2:
            if available:
                self._check_first_byte(buffer[offset], rsv)
            return None
        first, second = buffer[offset], buffer[offset + 1]
        self._check_first_byte(first, rsv)
        length = second & 0x7F
        has_mask = second >= MASKED
        # "The server MUST close the connection upon receiving a frame that is not masked. ...
        # A client MUST close a connection if it detects a masked frame." (section 5.1)
        if masked is not None and has_mask != masked:
            raise ProtocolError("a masked frame" if has_mask else "a frame that is not masked")
        if first & 0x08 and length > MAX_CONTROL_SIZE:
            raise ProtocolError(f"a control frame of more than {MAX_CONTROL_SIZE} bytes")
        end = offset + 2
        if length > 125:
            width = 2 if length == 126 else 8
            end += width
            if len(buffer) < end:
                return None
            length = int.from_bytes(buffer[offset + 2 : end], "big")
            # "the minimal number of bytes MUST be used to encode the length" and "the most
            # significant bit MUST be 0" (section 5.2)
            if length < (126 if width == 2 else 0x10000):
                raise ProtocolError("a length that is not minimally encoded")
            if length >= 1 << 63:
                raise ProtocolError("a length with its most significant bit set")
        key = b""
        if has_mask:
            end += 4
            if len(buffer) < end:
                return None
            key = bytes(buffer[end - 4 : end])
        return FrameHeader(first, length, key, end - offset)

    def _check_first_byte(self, first: int, rsv: int) -> None:
        # "If a nonzero value is received and none of the negotiated extensions defines the
        # meaning", and "If an unknown opcode is received", fail (section 5.2).
        if first & RSV_BITS & ~rsv:
            raise ProtocolError("a reserved bit that no extension claims")
        opcode = first & OPCODE_BITS
        if opcode not in self._types:
            raise ProtocolError(f"unknown opcode {opcode:#x}")
        # "All control frames ... MUST NOT be fragmented" (section 5.5)
        if opcode >= 8 and not first & FIN:
            raise ProtocolError("a fragmented control frame")

    def parse(
        self,
        buffer: BytesLike,
        offset: int = 0,
        *,
        masked: bool | None = None,
        rsv: int = RSV_BITS,
    ) -> tuple[Frame, int] | None:
        """Cut the frame that starts at `offset` off a buffer.

        Returns:
            The frame, unmasked, and the offset behind it; None while it is incomplete.

        Raises:
            ProtocolError: the frame breaks the protocol.
        """
        header = self.read_header(buffer, offset, masked=masked, rsv=rsv)
        if header is None:
            return None
        start = offset + header.size
        end = start + header.length
        if len(buffer) < end:
            return None
        return self.build(header, buffer[start:end]), end

    def build(self, header: FrameHeader, payload: BytesLike) -> Frame:
        """Make the frame of a header and its payload, masked still if the header says so."""
        if header.masking_key:
            payload = apply_mask(payload, header.masking_key)
        first = header.first_byte
        return self._types[first & OPCODE_BITS](
            payload,
            fin=first >= FIN,
            rsv1=bool(first & 0x40),
            rsv2=bool(first & 0x20),
            rsv3=bool(first & 0x10),
        )


_pack_16_bits: Final = struct.Struct("!BBH").pack
_pack_64_bits: Final = struct.Struct("!BBQ").pack


def encode_header(first_byte: int, length: int, masking_key: bytes = b"") -> bytes:
    """Build a frame's header with its length minimally encoded (section 5.2)."""
    mask_bit = MASKED if masking_key else 0
    if length < 126:
        head = bytes((first_byte, mask_bit | length))
    elif length < 0x10000:
        head = _pack_16_bits(first_byte, mask_bit | 126, length)
    else:
        head = _pack_64_bits(first_byte, mask_bit | 127, length)
    return head + masking_key


def encode_frame(frame: Frame, masking_key: bytes = b"") -> bytes:
    """Build the bytes of a frame, masked if a key is given."""
    payload = apply_mask(frame.payload, masking_key) if masking_key else frame.payload
    return encode_header(frame.first_byte, len(payload), masking_key) + payload
