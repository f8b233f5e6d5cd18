"""A frame in one readable line, for logs."""

from __future__ import annotations

from typing import Final

from .frames import FIN, OPCODE_BITS, CloseFrame, Frame, FrameParser, Opcode
from .masking import BytesLike

PREVIEW_SIZE: Final = 48
"""Bytes of a payload that are shown."""

_RESERVED: Final = ((0x40, "rsv1"), (0x20, "rsv2"), (0x10, "rsv3"))


def describe_frame(
    first_byte: int, payload: BytesLike, length: int, parser: FrameParser
) -> str:
    """Describe a frame in a line, such as `TEXT 'hello' [5 bytes]`.

    Args:
        first_byte: Of the frame's header.
        payload: The payload as it crosses the wire, unmasked; or just its beginning.
        length: Bytes of the whole payload.
        parser: Knows the names of the frame types of one's own.
    """
    frame_type = parser.type_of(first_byte & OPCODE_BITS)
    flags = [name for bit, name in _RESERVED if first_byte & bit]
    if not first_byte & FIN:
        flags.append("to be continued")
    shown = _show(first_byte, bytes(payload[:PREVIEW_SIZE]))
    if length > PREVIEW_SIZE:
        shown += "..."
    parts = [_name(frame_type), shown, f"[{length} byte{'' if length == 1 else 's'}]", *flags]
    return " ".join(filter(None, parts))


def _name(frame_type: type[Frame] | None) -> str:
    assert frame_type is not None
    opcode = frame_type.opcode
    return opcode.name if isinstance(opcode, Opcode) else frame_type.__name__


def _show(first_byte: int, payload: bytes) -> str:
    if first_byte & OPCODE_BITS == Opcode.CLOSE and len(payload) >= 2:
        code = CloseFrame(payload).code
        return f"{code:d} {payload[2:].decode(errors='replace')!r}"
    # What an extension has encoded is no text, whatever the opcode says.
    if first_byte & OPCODE_BITS == Opcode.TEXT and not first_byte & 0x70:
        return repr(payload.decode(errors="replace"))
    return payload.hex(" ")
