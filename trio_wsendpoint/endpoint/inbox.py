"""What was read and not yet received: the look-ahead.

Each read makes one batch of entries. A receiver that reads for itself has its batch at once;
those of the reader task cross a memory channel. From the batch that is being consumed, as many
entries as may be received without a schedule point lie `ready`, for the shortest way there is
from here to the application.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import trio

from ..protocol import Entry, memory_of
from .outbox import Outbox
from .waiting import CHECKPOINT_EVERY

LOOK_AHEAD: Final = 2**18
"""Bytes of messages, Python's overhead counted, at which the reader stops reading."""

Batch: TypeAlias = tuple[list[Entry], int]
"""What one read brought, and the memory that it takes; 0 if it was not weighed."""


class Inbox:
    """Entries in the order in which they came.

    Args:
        outbox: Told when frames should gather, because a batch is being consumed.
        on_room: Called when there is room for more.

    Attributes:
        ready: What may be received at once, the next entry last; always the same list.
        awaited: Whether a receiver waits for the reader task's next batch.
    """

    __slots__ = (
        "_channel",
        "_on_room",
        "_outbox",
        "_rest",
        "_since_checkpoint",
        "_size",
        "_weight",
        "awaited",
        "ready",
    )

    def __init__(self, outbox: Outbox, on_room: Callable[[], object]) -> None:
        self._outbox = outbox
        self._on_room = on_room
        # Made once the reader task has something to hand over, or is waited for.
        self._channel: (
            tuple[trio.MemorySendChannel[Batch], trio.MemoryReceiveChannel[Batch]] | None
        ) = None
        self.ready: list[Entry] = []
        self.awaited = False
        # Of the batch that is being consumed: what follows `ready`, in the same order, and
        # what it counts for in `_size`, which is all that was weighed.
        self._rest: list[Entry] = []
        self._weight = 0
        self._size = 0
        self._since_checkpoint = 0

    @property
    def size(self) -> int:
        """Bytes of memory that all of it takes."""
        unweighed = () if self._weight else (*self.ready, *self._rest)
        return self._size + sum(map(memory_of, unweighed))

    @property
    def full(self) -> bool:
        """Whether the reader task should read no more."""
        return self._size >= LOOK_AHEAD

    # -- taking entries out ---------------------------------------------------------------

    def pop(self) -> Entry:
        """Take the next entry that is ready; there must be one."""
        entry = self.ready.pop()
        if not self.ready:
            self.release()
        return entry

    def release(self) -> None:
        """To be called when the last entry that was ready has been taken."""
        if not self._rest:
            # The answer to the last message of a batch takes those before it along.
            self._outbox.gathering = False
            if self._weight:
                self._size -= self._weight
                self._weight = 0
                self._on_room()

    def refill(self) -> bool:
        """Have entries ready, if there are any; says whether there are."""
        if self.ready:
            return True
        if self._rest:
            self._slice()
            return True
        if self._channel is None:
            return False
        try:
            batch, weight = self._channel[1].receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return False
        self.load(batch, weight)
        return True

    def load(self, batch: list[Entry], weight: int = 0) -> None:
        """Have the next batch consumed, which has entries; the one before has been."""
        self._weight = weight
        if len(batch) == 1:
            self.ready.append(batch[0])
        else:
            batch.reverse()
            self._rest = batch
            self._outbox.gathering = True
            self._slice()

    def _slice(self) -> None:
        self.ready += self._rest[-CHECKPOINT_EVERY:]
        del self._rest[-CHECKPOINT_EVERY:]

    async def checkpoint(self) -> None:
        """A cancellation point, before one takes what is ready; often enough a checkpoint."""
        if self._since_checkpoint + len(self.ready) > CHECKPOINT_EVERY:
            self._since_checkpoint = 0
            await self._outbox.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        self._since_checkpoint += len(self.ready)

    async def wait(self) -> None:
        """Wait for the reader task's next batch, if there is another, and have it consumed."""
        self.awaited = True
        try:
            self.load(*await self._open()[1].receive())
        except trio.EndOfChannel:
            pass
        finally:
            self.awaited = False

    # -- putting entries in ---------------------------------------------------------------

    def put(self, batch: list[Entry]) -> None:
        """Hand over a batch of the reader task's."""
        weight = sum(map(memory_of, batch))
        self._size += weight
        # Whoever waits for it has what it wants.
        self.awaited = False
        self._open()[0].send_nowait((batch, weight))

    def _open(
        self,
    ) -> tuple[trio.MemorySendChannel[Batch], trio.MemoryReceiveChannel[Batch]]:
        if self._channel is None:
            self._channel = trio.open_memory_channel[Batch](math.inf)
        return self._channel

    def close(self) -> None:
        """No more will come: whoever waits is woken, and nobody may wait from here on."""
        if self._channel is not None:
            self._channel[0].close()

    def drop(self) -> None:
        """Forget all of it."""
        self.ready.clear()
        self._rest.clear()
        while self.refill():
            self.ready.clear()
            self._rest.clear()
            self.release()
