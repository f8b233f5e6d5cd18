"""The one place that writes: whole frames go in, and leave in order.

Frames wait in the connection's own queue until the stream can take them. What the stream
took only a part of stays here, and nothing else is written before the rest of it: that is
why a sender may be cancelled at any time and no frame is ever cut.

On a socket the sender's own task writes at once. The writer task, started when it is first
needed, writes what is left; it also writes what gathered while a received batch was being
consumed, in the next tick of the scheduler.
"""

from __future__ import annotations

from typing import Final

import trio

from ..protocol import BUFFER_OVERHEAD, BytesLike, Outbound
from .owner import Owner
from .transport import STREAM_ERRORS, StreamTransport
from .waiting import CHECKPOINT_EVERY, Bell

HIGH_WATER: Final = 2**16
"""Bytes that may wait in the outbox before `send` waits; also those that gather at most."""


class Outbox:
    """Writes what its connection has to send.

    Args:
        outbound: Where the frames come from.
        transport: Where they go.
        owner: Starts the writer task, and is told when the stream can no longer be written.

    Attributes:
        gathering: Whether frames should gather until the tick ends, rather than each be
            written at once.
        written: Bytes that the stream has taken.
        broken: Whether the stream can no longer be written.
        full: Whether a sender has to wait: more than `HIGH_WATER` bytes wait already.
        yield_at: At which count of messages sent a sender has to call `checkpoint`.
    """

    __slots__ = (
        "_blocked",
        "_buffers",
        "_left",
        "_outbound",
        "_owner",
        "_transport",
        "_waiting",
        "_work",
        "broken",
        "full",
        "gathering",
        "written",
        "yield_at",
    )

    def __init__(
        self,
        outbound: Outbound,
        transport: StreamTransport,
        owner: Owner,
    ) -> None:
        self._outbound = outbound
        self._transport = transport
        self._owner = owner
        self._work: Bell | None = None  # there is one once the writer task is needed
        # What was taken from the connection's queue and is not yet written.
        self._buffers: list[BytesLike] = []
        self._left = 0
        # Whether the stream has not taken all, and the rest is for the writer task.
        self._blocked = False
        self._waiting: list[trio.lowlevel.Task] = []
        self.gathering = False
        self.broken = False
        self.full = False
        self.written = 0
        self.yield_at = CHECKPOINT_EVERY - 1

    @property
    def size(self) -> int:
        """Bytes that wait to be written."""
        return self._left + self._outbound.size + self._transport.unsent

    @property
    def memory(self) -> int:
        """Bytes of memory that they take."""
        taken = self._left + BUFFER_OVERHEAD * len(self._buffers)
        return taken + self._outbound.memory + self._transport.unsent

    @property
    def undelivered(self) -> int:
        """Bytes that the peer has not taken, so far as can be seen from here."""
        return self.size + self._transport.in_flight

    @property
    def delivered(self) -> int:
        """Bytes that the peer has taken, so far as can be seen from here."""
        return self.written - self._transport.in_flight

    def flush_soon(self) -> None:
        """Write what the connection has queued; while a batch is consumed, in this tick."""
        if not self.gathering or self._blocked or self._outbound.size > HIGH_WATER:
            self.flush()
        elif self._outbound.size:
            self._wake_writer()

    def flush(self) -> None:
        """Write what the connection has queued: now, as far as it goes, and soon the rest."""
        outbound, transport = self._outbound, self._transport
        size = outbound.size
        if self.broken or not (size or self._blocked or transport.unsent):
            return
        if self._blocked:
            self.full = self.size > HIGH_WATER
            self._wake_writer()
            return
        buffers = outbound.take()
        try:
            written = transport.write_nowait(buffers)
        except STREAM_ERRORS:
            self.give_up()
            return
        self.written += written
        self.full = False
        if self._waiting:
            self._wake_waiting()
        if written < size or transport.unsent:
            self._buffers, self._left = buffers, size
            self._drop(written)
            self._blocked = True
            self.full = self.size > HIGH_WATER
            self._wake_writer()

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
            self._waiting.remove(task)
            trio.lowlevel.reschedule(task)
            return trio.lowlevel.Abort.FAILED

        self._waiting.append(task)
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
        self._owner.on_broken()
        self._wake_waiting()
        if self._work is not None:
            self._work.ring()

    def _drop(self, count: int) -> None:
        """Let go of what was written."""
        self._left -= count
        done = 0
        while count and count >= len(self._buffers[done]):
            count -= len(self._buffers[done])
            done += 1
        del self._buffers[:done]
        if count:
            self._buffers[0] = memoryview(self._buffers[0])[count:]

    async def checkpoint(self) -> None:
        """Give the scheduler its turn, and senders leave to go on without for a while."""
        await trio.lowlevel.checkpoint()
        self.yield_at = self._outbound.sent.messages + CHECKPOINT_EVERY

    def _wake_writer(self) -> None:
        if self._work is None:
            self._work = Bell()
            self._owner.start_task(self.run_writer)
        else:
            self._work.ring()

    async def run_writer(self) -> None:
        """The writer task."""
        assert self._work is not None
        while not self.broken:
            if self._outbound.size and not self._blocked:
                self.flush()
            elif self.size:
                await self._write_when_possible()
            else:
                self._blocked = False
                await self._work.wait()

    async def _write_when_possible(self) -> None:
        if not self._left:
            self._left = self._outbound.size
            self._buffers = self._outbound.take()
        try:
            written = await self._transport.write_some(self._buffers)
        except STREAM_ERRORS:
            self.give_up()
            return
        self.written += written
        self._drop(written)
        self.full = self.size > HIGH_WATER
        self._wake_waiting()
