"""Reading and cutting, building and writing, each as one step, in pure Python.

The protocol itself never touches a stream. But where the stream is a socket, to read and to cut
in one call of C, and to build and to write in another, is most of what a message can be spared.
So these functions are given a file descriptor, by those who know when to read and write it.
Each has a twin in `_speedups.c`, which takes its place where it was built.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from .cutting import build_frame, cut_messages
from .masking import BytesLike


def read_messages(
    descriptor: int,
    scratch: bytearray | memoryview,
    masked: bool,
    max_size: int,
    max_count: int,
    out: list[Any],
) -> tuple[int, int] | None:
    """Read a socket once, and cut the messages off what was read, as `cut_messages` does.

    Args:
        descriptor: That of a socket; it is never waited for.
        scratch: What to read into; what was not cut off is found there.
        masked: Whether frames must be masked.
        max_size: Bytes of payload that a message may have.
        max_count: Messages after which to stop.
        out: The messages are appended to it.

    Returns:
        How many bytes were read, which is 0 at the end of the stream, and how many of them are
        in the messages; None if it would block.

    Raises:
        OSError: the socket is broken.
    """
    try:
        size = os.readv(descriptor, (scratch,))
    except (BlockingIOError, InterruptedError):
        return None
    with memoryview(scratch) as view, view[:size] as data:
        return size, cut_messages(data, 0, masked, max_size, max_count, out)


def write_frame(
    descriptor: int, first_byte: int, payload: str | BytesLike, masking_key: bytes
) -> int | tuple[int, bytes]:
    """Build a frame as `build_frame` does, and write it to a socket.

    Returns:
        Its bytes, if the socket took them all; or how many it took, and the rest of them.

    Raises:
        UnicodeEncodeError: text has a lone surrogate.
        OSError: the socket is broken.
    """
    frame = build_frame(first_byte, payload, masking_key)
    try:
        written = os.write(descriptor, frame)
    except (BlockingIOError, InterruptedError):
        written = 0
    return written if written == len(frame) else (written, frame[written:])


def write_each(descriptors: list[int], data: bytes) -> list[int]:
    """Write the same bytes to each of many sockets, without a wait.

    Args:
        descriptors: File descriptors of the sockets, no two of them the same.
        data: At most 2 GiB.

    Returns:
        For each, how many of the bytes it took; of a broken one, the error's number, negated.
    """
    return [_write(descriptor, data) for descriptor in descriptors]


def _write(descriptor: int, data: bytes) -> int:
    try:
        return os.write(descriptor, data)
    except (BlockingIOError, InterruptedError):
        return 0
    except OSError as error:
        return -(error.errno or errno.EIO)
