"""The standard streams: read and written cancellably, and left as they were found.

They may be a terminal, a pipe or a file, and are shared with other programs. So they are never
made non-blocking, which would hold for those, too; and no thread sits in a read of them, which
nothing could end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
import trio

CHUNK: Final = 2**16
"""Bytes that one read takes at most."""

PIPE_CHUNK: Final = 2**12
"""Bytes that a pipe takes without blocking, once it takes any (POSIX's PIPE_BUF)."""


@attrs.frozen
class Console:
    """Where a command reads and writes, by file descriptors."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2

    @property
    def interactive(self) -> bool:
        """Whether a person types and reads."""
        return os.isatty(self.stdin) and self.shows

    @property
    def shows(self) -> bool:
        """Whether what is written is seen by a person."""
        return os.isatty(self.stdout)

    @property
    def colour(self) -> bool:
        """Whether colours are wanted (no-color.org)."""
        return self.shows and not os.environ.get("NO_COLOR")

    def lines(self) -> Lines:
        """The lines of the standard input."""
        return Lines(partial(read_some, self.stdin))

    async def write(self, data: bytes) -> None:
        """Write all of it to the standard output."""
        await write_all(self.stdout, data)

    def remark(self, text: str) -> None:
        """Write a line to the standard error."""
        os.write(self.stderr, f"{text}\n".encode(errors="replace"))

    def complain(self, text: str) -> None:
        """Write a line to the standard error, in the name of the program."""
        self.remark(f"trio-wsendpoint: {text}")


async def read_some(fd: int) -> bytes:
    """Read what there is; empty at the end."""
    try:
        await trio.lowlevel.wait_readable(fd)
    except PermissionError:  # a file, which is always readable
        await trio.lowlevel.checkpoint()
    try:
        return os.read(fd, CHUNK)
    except OSError as error:
        if error.errno == errno.EIO:  # a terminal whose other end is gone
            return b""
        raise


async def write_all(fd: int, data: bytes) -> None:
    """Write all of it, as fast as the reader takes it.

    Raises:
        BrokenPipeError: nobody reads it any more.
    """
    left = memoryview(data)
    while left:
        try:
            await trio.lowlevel.wait_writable(fd)
        except PermissionError:  # a file
            await trio.lowlevel.checkpoint()
        left = left[os.write(fd, left[:PIPE_CHUNK]) :]


class Lines:
    """Lines, without their ends: `async for line in lines`.

    Args:
        read: Reads some bytes; empty at the end.
    """

    def __init__(self, read: Callable[[], Awaitable[bytes | bytearray]]) -> None:
        self._read = read
        self._buffer = bytearray()
        self._searched = 0
        self._ended = False

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> bytes:
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            data = b"" if self._ended else await self._read()
            if not data:
                return self._last()
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        await trio.lowlevel.checkpoint()
        return line.removesuffix(b"\r")

    def _last(self) -> bytes:
        """What has no newline behind it is a line, too."""
        if not self._buffer:
            raise StopAsyncIteration
        line = bytes(self._buffer)
        self._buffer.clear()
        self._ended = True
        return line
