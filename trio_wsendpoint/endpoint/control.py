"""Custom control frames, handed to the application's handlers one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..protocol import Connection, ControlFrame
from .options import ControlHandler
from .waiting import WakeUp

MAX_WAITING: Final = 256
"""Custom control frames that may wait for their handlers before the reader stops reading."""


class ControlDispatcher:
    """Runs the handlers in a task of their own, in the order in which the frames came.

    The reader goes on meanwhile; only when a whole queue of frames waits does it stop.

    Args:
        connection: Where the frames come from.
        handlers: What to run for each type.
        on_room: Called when the queue is no longer full.
    """

    __slots__ = ("_connection", "_handlers", "_on_room", "_queue", "_wake_up")

    def __init__(
        self,
        connection: Connection,
        handlers: Mapping[type[ControlFrame], ControlHandler],
        on_room: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._handlers = handlers
        self._on_room = on_room
        self._queue: list[ControlFrame] = []
        self._wake_up = WakeUp()

    @property
    def full(self) -> bool:
        """Whether reading should wait."""
        return len(self._queue) >= MAX_WAITING

    @property
    def size(self) -> int:
        """Bytes of memory that the frames which wait take."""
        return sum(
            sys.getsizeof(frame) + sys.getsizeof(frame.payload) + 8 for frame in self._queue
        )

    def take(self, *, closing: bool) -> None:
        """Take what the connection received.

        Args:
            closing: Whether reading goes on in any case, so that frames for which there is no
                room must be dropped.
        """
        frames = self._connection.control_frames
        if not (closing and self.full):
            self._queue.extend(frame for frame in frames if type(frame) in self._handlers)
        frames.clear()
        self._wake_up.wake()

    async def run(self, endpoint: Any) -> None:
        """The task that runs the handlers."""
        while True:
            while not self._queue:
                await self._wake_up.wait()
            was_full = self.full
            frame = self._queue.pop(0)
            if was_full and not self.full:
                self._on_room()
            await self._handlers[type(frame)](endpoint, frame)
