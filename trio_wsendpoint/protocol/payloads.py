"""Payloads that arrive in parts, filled where they are, in pure Python.

Each function has a twin in `_speedups.c`, which takes its place where it was built. That one
fills a `bytes` object, which then is the message, with no copy; Python cannot, and fills a
`bytearray`. Nobody else may see either before it is full.
"""

from __future__ import annotations

from .masking import BytesLike, apply_mask, rotate_key


def new_payload(size: int) -> bytes | bytearray:
    """Make a payload that is to be filled.

    Args:
        size: Its bytes, at least 2.
    """
    return bytearray(size)


def fill_payload(payload: bytes | bytearray, filled: int, data: BytesLike, key: bytes) -> int:
    """Put the next part of a payload where it belongs, unmasked.

    Args:
        payload: What `new_payload` has made, or a `bytearray`.
        filled: How many bytes are there.
        data: The part as it crossed the wire; it may be there already, in `payload_room`.
        key: The masking key of the frame; empty if it is not masked.

    Returns:
        How many bytes are there now.
    """
    end = filled + len(data)
    part = apply_mask(data, rotate_key(key, filled)) if key else bytes(data)
    memoryview(payload)[filled:end] = part
    return end


def payload_room(payload: bytes | bytearray, filled: int) -> memoryview:
    """Where the next part belongs, to be read into; to be released before anything else."""
    return memoryview(payload)[filled:]
