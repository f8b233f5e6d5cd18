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

_FIRST_SIZE: Final = 2**14


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
        self._buffer, _spare.buffer = _spare.buffer, bytearray()
        self.filled = 0
        if len(self._buffer) < min(size, 2 * len(start)):
            self._buffer = bytearray(min(size, 2 * len(start)))
        self._reserve()
        self.add(start)

    def _reserve(self) -> None:
        """Have room for more, about as much as has come: what a header says need not come."""
        capacity = len(self._buffer)
        if capacity == self.filled < self._size:
            grown = bytearray(min(self._size, max(2 * capacity, _FIRST_SIZE)))
            memoryview(grown)[:capacity] = self._buffer
            self._buffer = grown

    @property
    def complete(self) -> bool:
        """Whether the whole frame is there."""
        return self.filled == self._size

    @property
    def room(self) -> memoryview:
        """Where the next bytes of the frame belong; never empty while it is incomplete."""
        return memoryview(self._buffer)[self.filled : self._size]

    @property
    def data(self) -> memoryview:
        """What has arrived."""
        return memoryview(self._buffer)[: self.filled]

    def fill(self, count: int) -> None:
        """Note that bytes were put into `room`."""
        self.filled += count
        self._reserve()

    def add(self, data: BytesLike) -> BytesLike:
        """Take bytes of the frame; what does not belong to it comes back."""
        while data and not self.complete:
            room = self.room
            count = min(len(room), len(data))
            room[:count] = data[:count]
            self.fill(count)
            data = memoryview(data)[count:]
        return data

    def recycle(self) -> None:
        """Leave the buffer to others: nobody uses `room` or `data` any more."""
        if len(_spare.buffer) < len(self._buffer) <= MAX_SPARE:
            _spare.buffer = self._buffer
        self._buffer = bytearray()
        self.filled = self._size = 0
