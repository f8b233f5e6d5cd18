"""The one place that writes: whole frames go in, and leave in order.

Frames wait in the connection's own queue until the stream can take them. What the stream
took only a part of stays here, and nothing else is written before the rest of it: that is
why a sender may be cancelled at any time and no frame is ever cut.

On a socket the sender's own task writes at once. The writer task, started when it is first
needed, writes what is left; it also writes what gathered while a received batch was being
consumed, in the next tick of the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from ..protocol import BUFFER_OVERHEAD, BytesLike, Connection
from .transport import STREAM_ERRORS, NonblockingTransport, StreamTransport

HIGH_WATER: Final = 2**16
"""Bytes that may wait in the outbox before `send` waits; also those that gather at most."""


class Outbox:
    """Writes what its connection has to send.

    Args:
        connection: Where the frames come from.
        transport: Where they go.
        start_writer: Starts the writer task, given its async function.
        on_broken: Called when the stream can no longer be written.

    Attributes:
        gathering: Whether frames should gather until the tick ends, rather than each be
            written at once.
        written: Bytes that the stream has taken.
        broken: Whether the stream can no longer be written.
        full: Whether a sender has to wait: more than `HIGH_WATER` bytes wait already.
    """

    __slots__ = (
        "_buffers",
        "_connection",
        "_left",
        "_on_broken",
        "_start_writer",
        "_started",
        "_transport",
        "_waiting",
        "_work",
        "broken",
        "full",
        "gathering",
        "written",
    )

    def __init__(
        self,
        connection: Connection,
        transport: StreamTransport,
        start_writer: Callable[[], None],
        on_broken: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._start_writer = start_writer
        self._on_broken = on_broken
        self._started = False
        # What was taken from the connection's queue and is not yet written.
        self._buffers: list[BytesLike] = []
        self._left = 0
        self._work = trio.lowlevel.ParkingLot()
        self._waiting: set[trio.lowlevel.Task] = set()
        self.gathering = False
        self.broken = False
        self.full = False
        self.written = 0

    @property
    def size(self) -> int:
        """Bytes that wait to be written."""
        return self._left + self._connection.size_to_send + self._transport.unsent

    @property
    def memory(self) -> int:
        """Bytes of memory that they take."""
        taken = self._left + BUFFER_OVERHEAD * len(self._buffers)
        return taken + self._connection.memory_to_send + self._transport.unsent

    @property
    def undelivered(self) -> int:
        """Bytes that the peer has not taken, so far as can be seen from here."""
        return self.size + self._transport.in_flight

    @property
    def delivered(self) -> int:
        """Bytes that the peer has taken, so far as can be seen from here."""
        return self.written - self._transport.in_flight

    def flush(self, *, gather: bool = False) -> None:
        """Write what the connection has queued: now, as far as it goes, and soon the rest.

        Args:
            gather: Whether it may wait until the tick ends, if a batch is being consumed.
        """
        waiting = self.size
        if self.broken or not waiting:
            return
        gathers = gather and self.gathering and waiting <= HIGH_WATER
        if gathers or self._left or not self._write_nowait():
            self.full = self.size > HIGH_WATER and not self.broken
            self._wake_writer()

    def _write_nowait(self) -> bool:
        """Write what goes without waiting; says whether that is all."""
        if not isinstance(self._transport, NonblockingTransport):
            return False
        self._take()
        try:
            self._advance(self._transport.write_nowait(self._buffers))
        except STREAM_ERRORS:
            self.give_up()
        if self._waiting:
            self._wake_waiting()
        return not self._left and not self._transport.unsent

    async def wait_flushed(self, limit: int = HIGH_WATER) -> None:
        """Wait until at most `limit` bytes wait. Cancelled, it returns at once, silently.

        Whoever waits here has nothing left to undo: its frame will be written whatever
        becomes of the task, and to raise `trio.Cancelled` would say that it was not sent.
        """
        while self.size > limit and not self.broken:
            if await self._wait_for_progress():
                return

    async def wait_for_room(self) -> None:
        """Wait until a sender may add a frame.

        Raises:
            trio.Cancelled: it was cancelled before there was room.
        """
        while self.full:
            if await self._wait_for_progress():
                await trio.lowlevel.checkpoint_if_cancelled()

    async def _wait_for_progress(self) -> bool:
        """Sleep until bytes were written; says whether it was cancelled instead."""
        task = trio.lowlevel.current_task()
        cancelled = False

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            nonlocal cancelled
            cancelled = True
            self._waiting.discard(task)
            trio.lowlevel.reschedule(task)
            return trio.lowlevel.Abort.FAILED

        self._waiting.add(task)
        await trio.lowlevel.wait_task_rescheduled(abort)
        return cancelled

    def _wake_waiting(self) -> None:
        for task in self._waiting:
            trio.lowlevel.reschedule(task)
        self._waiting.clear()

    def give_up(self) -> None:
        """The stream is broken or closed: nothing more will be written."""
        if self.broken:
            return
        self.broken = True
        self.full = False
        self._buffers.clear()
        self._left = 0
        self._on_broken()
        self._wake_waiting()
        self._work.unpark_all()

    def _take(self) -> None:
        self._buffers += self._connection.data_to_send()
        self._left = sum(map(len, self._buffers))

    def _advance(self, count: int) -> None:
        """Drop what was written."""
        self.written += count
        self._left -= count
        if not self._left:
            self._buffers.clear()
            self.full = self._connection.size_to_send > HIGH_WATER
            return
        self.full = self.size > HIGH_WATER
        done = 0
        while count >= len(self._buffers[done]):
            count -= len(self._buffers[done])
            done += 1
        del self._buffers[:done]
        if count:
            self._buffers[0] = memoryview(self._buffers[0])[count:]

    def _wake_writer(self) -> None:
        if not self._started:
            self._started = True
            self._start_writer()
        elif self._work:
            self._work.unpark()

    async def run_writer(self) -> None:
        """The writer task."""
        while not self.broken:
            if not self.size:
                await self._work.park()
                continue
            if not self._left:
                if self._write_nowait():
                    continue
                self._take()
            try:
                self._advance(await self._transport.write_some(self._buffers))
            except STREAM_ERRORS:
                self.give_up()
            self._wake_waiting()
