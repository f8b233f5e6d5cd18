"""Masking (RFC 6455 section 5.3): the keys, and the XOR in pure Python.

`apply_mask` has a twin in `_speedups.c`, which takes its place where it was built.
"""

from __future__ import annotations

import io
import os
from typing import Final, TypeAlias

BytesLike: TypeAlias = bytes | bytearray | memoryview
BYTES_LIKE: Final = (bytes, bytearray, memoryview)
"""The same for `isinstance`, which would make a union of types anew each time."""

_POOL_KEYS = 1024
_MAX_AT_ONCE = 2**14  # bytes; a multiple of the key's size
_pool: list[bytes] = []


def new_masking_key() -> bytes:
    """Draw a fresh, unpredictable masking key.

    Keys come from `os.urandom`, many at a time, so that a frame costs no system call.
    """
    while True:
        try:
            return _pool.pop()
        except IndexError:
            drawn = os.urandom(4 * _POOL_KEYS)
            _pool.extend(drawn[i : i + 4] for i in range(0, len(drawn), 4))


# A forked child must not repeat the keys of its parent.
if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but on Windows
    os.register_at_fork(after_in_child=_pool.clear)


def apply_mask(payload: BytesLike, key: bytes) -> bytes:
    """Mask or unmask a payload: the same operation both ways.

    Args:
        payload: The bytes to mask.
        key: Four bytes; the first applies to the first byte of the payload.
    """
    size = len(payload)
    if size > _MAX_AT_ONCE:  # or it would be in memory five times
        view = memoryview(payload)
        masked = io.BytesIO()  # which hands out what was written with no copy
        for start in range(0, size, _MAX_AT_ONCE):
            masked.write(apply_mask(view[start : start + _MAX_AT_ONCE], key))
        return masked.getvalue()
    # One XOR of two big integers beats a loop over the bytes a hundredfold.
    pad = key * (size // 4) + key[: size % 4]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pad, "little")).to_bytes(
        size, "little"
    )


def rotate_key(key: bytes, count: int) -> bytes:
    """The key as it applies after `count` bytes of the payload."""
    count %= 4
    return key[count:] + key[:count] if count else key
