"""What a service hears a room by."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from .options import OnSlow

OVERHEAD: Final = 64
"""Bytes that a message counts besides its own."""
CHECKPOINT_EVERY: Final = 64
"""Messages received without waiting, before the scheduler has its turn."""


class HubChannel(trio.abc.ReceiveChannel[str | bytes]):
    """The messages of a room, for a service that is no endpoint.

    Any number of tasks may receive: each message goes to one of them.

    Attributes:
        skipped: Messages that it missed because too much was waiting.
    """

    def __init__(self, max_waiting: int, on_slow: OnSlow) -> None:
        self.skipped = 0
        self._max_waiting = max_waiting
        self._on_slow = on_slow
        self._messages: deque[str | bytes] = deque()
        self._waiting = 0
        self._received = 0
        self._readers = trio.lowlevel.ParkingLot()
        self._end: type[Exception] | None = None

    def put(self, message: str | bytes) -> bool:
        """Add a message; says whether there was room for it."""
        if self._end is not None:
            return True
        if self._waiting > self._max_waiting:
            self.skipped += 1
            if self._on_slow == "close":
                self.end(trio.BrokenResourceError)
            return False
        self._messages.append(message)
        self._waiting += len(message) + OVERHEAD
        if self._readers:
            self._readers.unpark()
        return True

    def end(self, error: type[Exception]) -> None:
        """Nothing more will come: whoever receives gets the error."""
        self._end = self._end or error
        self._messages.clear()
        self._waiting = 0
        self._readers.unpark_all()

    async def receive(self) -> str | bytes:
        """Wait for the next message.

        Cancelled, it loses none: the next call gets it.

        Raises:
            trio.BrokenResourceError: too much was waiting, and the hub has `on_slow="close"`.
            trio.ClosedResourceError: the channel or its hub is closed.
        """
        self._received += 1
        if self._received % CHECKPOINT_EVERY:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        while not self._messages:
            if self._end is not None:
                raise self._end
            await self._readers.park()
        message = self._messages.popleft()
        self._waiting -= len(message) + OVERHEAD
        return message

    async def aclose(self) -> None:
        """Hear no more; what waits is dropped."""
        self.end(trio.ClosedResourceError)
        await trio.lowlevel.checkpoint()
