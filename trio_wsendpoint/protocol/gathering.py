"""A large frame that arrives in parts, gathered where it can be read straight into.

Its bytes are copied once more only when they are unmasked, which makes the message.
"""

from __future__ import annotations

import threading
from typing import Final

from .masking import BytesLike

MIN_GATHERED: Final = 2**13
"""Bytes of a frame from which on it pays to gather it."""

MAX_SPARE: Final = 2**20 + 2**10
"""Bytes of a buffer that is kept for the next frame: new ones cost as much as their copying."""

_LEAST_ROOM: Final = 2**13


class _Spare(threading.local):
    """The buffer that the last connection of a thread to gather a frame has left."""

    def __init__(self) -> None:
        self.buffer = bytearray()


_spare = _Spare()


class Gathering:
    """The beginning of a frame, and room for the rest of it.

    Args:
        start: What has arrived of the frame, from its header on; it is copied.
        size: Bytes of the whole frame.

    Attributes:
        filled: Bytes that have arrived.
    """

    __slots__ = ("_buffer", "_size", "filled")

    def __init__(self, start: BytesLike, size: int) -> None:
        self._size = size
        self._buffer = bytearray()
        if len(_spare.buffer) >= size:
            self._buffer, _spare.buffer = _spare.buffer, self._buffer
        self.filled = 0
        self.add(start)

    @property
    def complete(self) -> bool:
        """Whether the whole frame is there."""
        return self.filled == self._size

    @property
    def room(self) -> memoryview:
        """Where the next bytes of the frame belong; never empty while it is incomplete.

        It is to be released before anything else is done, as the buffer may have to grow.
        """
        if len(self._buffer) == self.filled:
            # Only a part of what has come: what a header says need not come.
            more = max(_LEAST_ROOM, self.filled // 8)
            self._buffer += bytes(min(more, self._size - self.filled))
        return memoryview(self._buffer)[self.filled : self._size]

    @property
    def data(self) -> memoryview:
        """What has arrived."""
        return memoryview(self._buffer)[: self.filled]

    def fill(self, count: int) -> None:
        """Note that bytes were put into `room`."""
        self.filled += count

    def add(self, data: BytesLike) -> BytesLike:
        """Take bytes of the frame; what does not belong to it comes back."""
        view = memoryview(data)
        count = min(len(view), self._size - self.filled)
        end = self.filled + count
        if end <= len(self._buffer):
            memoryview(self._buffer)[self.filled : end] = view[:count]
        else:
            del self._buffer[self.filled :]
            self._buffer += view[:count]
        self.filled = end
        return view[count:]

    def recycle(self) -> None:
        """Leave the buffer to others: nobody uses `room` or `data` any more."""
        if len(_spare.buffer) < len(self._buffer) <= MAX_SPARE:
            _spare.buffer = self._buffer
        self._buffer = bytearray()
        self.filled = self._size = 0
