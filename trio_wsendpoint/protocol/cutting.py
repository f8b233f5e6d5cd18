"""Frames to bytes and bytes to messages: the hot paths of `frames`, in pure Python.

Each function has a twin in `_speedups.c`, which takes its place where it was built.
"""

from __future__ import annotations

from typing import Any

from .frames import (
    MASKED,
    RSV_BITS,
    WHOLE_BINARY,
    WHOLE_TEXT,
    encode_header,
)
from .masking import BytesLike, apply_mask


def build_frame(first_byte: int, payload: str | BytesLike, masking_key: bytes) -> bytes:
    """Build the bytes of a frame, masked if the key is not empty.

    Raises:
        UnicodeEncodeError: text has a lone surrogate.
    """
    if isinstance(payload, str):
        payload = payload.encode()
    if masking_key:
        payload = apply_mask(payload, masking_key)
    return encode_header(first_byte, len(payload), masking_key) + payload


def _find_frame(
    buffer: BytesLike, offset: int, masked: bool, rsv: int, max_size: int
) -> tuple[int, int, int] | None:
    """The first byte of a whole frame, and where its payload starts and ends."""
    available = len(buffer)
    if offset + 2 > available:
        return None
    first = buffer[offset]
    length = buffer[offset + 1] ^ (MASKED if masked else 0)
    if first & ~rsv not in (WHOLE_TEXT, WHOLE_BINARY) or length > 127:
        return None
    start = offset + 2
    if length > 125:
        width = 2 if length == 126 else 8
        start += width
        length = int.from_bytes(buffer[offset + 2 : start], "big")
        if length < (126 if width == 2 else 0x10000):
            return None
    start += 4 if masked else 0
    end = start + length
    return None if end > available or length > max_size else (first, start, end)


def _payload(buffer: BytesLike, start: int, end: int, masked: bool) -> BytesLike:
    payload = buffer[start:end]
    return apply_mask(payload, bytes(buffer[start - 4 : start])) if masked else payload


def cut_messages(
    buffer: BytesLike,
    offset: int,
    masked: bool,
    max_size: int,
    max_count: int,
    out: list[Any],
) -> int:
    """Cut whole unfragmented text and binary messages off a buffer.

    It stops in front of the first frame that is anything else (incomplete, a fragment, a
    control frame, longer than `max_size`, with reserved bits, or in any way wrong) and
    leaves that to the one who knows what to do about it.

    Args:
        buffer: What was received.
        offset: Where the first frame starts in it.
        masked: Whether frames must be masked.
        max_size: Bytes of payload that a message may have.
        max_count: Messages after which to stop, those in `out` already included.
        out: The messages, `str` or `bytes`, are appended to it.

    Returns:
        The offset behind the last message.
    """
    while len(out) < max_count:
        found = _find_frame(buffer, offset, masked, 0, max_size)
        if found is None:
            break
        first, start, end = found
        payload = _payload(buffer, start, end, masked)
        if first == WHOLE_BINARY:
            out.append(bytes(payload))
        else:
            try:
                out.append(str(payload, "utf-8"))
            except UnicodeDecodeError:
                break
        offset = end
    return offset


def cut_frame(
    buffer: BytesLike, offset: int, masked: bool, rsv: int, max_size: int
) -> tuple[int, bytes, int] | None:
    """Cut one such frame off a buffer, but encoded still, and perhaps with reserved bits.

    Args:
        buffer: What was received.
        offset: Where the frame starts in it.
        masked: Whether it must be masked.
        rsv: The reserved bits that it may have, where they stand in the first byte.
        max_size: Bytes of payload that it may have.

    Returns:
        Its first byte, its payload, unmasked, and the offset behind it; None where there is
        another kind of frame, or not the whole of it.
    """
    found = _find_frame(buffer, offset, masked, rsv & RSV_BITS, max_size)
    if found is None:
        return None
    first, start, end = found
    return first, bytes(_payload(buffer, start, end, masked)), end
