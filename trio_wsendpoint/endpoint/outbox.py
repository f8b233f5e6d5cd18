"""The one place that writes: whole frames go in, and leave in order.

Frames wait in the connection's own queue until the stream can take them. If the stream takes
only a part of what it is given, the rest stays here, and nothing else is written before it.
That is why a sender may be cancelled at any time and no frame is ever cut.

On a socket, the sender's own task writes at once. What the socket does not take is left to the
writer task, which is started when the first such rest appears. The writer task also writes what
has gathered while the outbox was corked, in the next turn of the scheduler.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import trio
from trio.lowlevel import current_task

from ..protocol import BUFFER_OVERHEAD, PLAIN_TYPES, BytesLike, Connection, Message
from .transport import LARGE_WRITE, STREAM_ERRORS, StreamTransport
from .waiting import CHECKPOINT_EVERY, WakeUp

if TYPE_CHECKING:
    from .core import EndpointCore

Sendable: TypeAlias = str | BytesLike | Message

HIGH_WATER: Final = 2**16
"""Bytes that may wait in the outbox before `send` waits; also those that gather at most."""


def _no_descriptor() -> int:
    return -1


class Outbox:
    """Writes what its connection has to send.

    Args:
        connection: Where the frames come from.
        transport: Where they go.
        core: Starts the writer task, and is told when the stream can no longer be written.

    Attributes:
        cleared: Whether what waited was dropped.
        corked: Whether frames gather until the scheduler's next turn, rather than each be
            written at once.
        descriptor: Gives the file descriptor that frames may be written to; -1 for none.
        ended: Whether nothing can be written any more.
        held: Whether a sender must not simply go on: more than `HIGH_WATER` bytes wait, or
            nothing can be written any more.
        yield_at: At which count of messages sent a sender has to call `checkpoint`.
    """

    __slots__ = (
        "_blocked",
        "_buffers",
        "_connection",
        "_core",
        "_due",
        "_left",
        "_transport",
        "_waiting",
        "_wake_up",
        "cleared",
        "corked",
        "descriptor",
        "ended",
        "held",
        "yield_at",
    )

    def __init__(
        self, connection: Connection, transport: StreamTransport, core: EndpointCore
    ) -> None:
        self._connection = connection
        self._transport = transport
        self.descriptor: Callable[[], int] = transport.descriptor
        self._core = core
        self._wake_up: WakeUp | None = None  # the writer task's, once there is one
        # What was taken from the connection's queue and is not yet written.
        self._buffers: list[BytesLike] = []
        self._left = 0
        # Whether the stream has not taken all, and the rest is for the writer task.
        self._blocked = False
        self._due = False  # whether the writer task was woken, and has not had its turn yet
        self._waiting: list[trio.lowlevel.Task] = []
        self.cleared = False
        self.corked = False
        self.ended = False
        self.held = False
        self.yield_at = CHECKPOINT_EVERY - 1

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
    def progress(self) -> tuple[int, int]:
        """How many bytes have gone to the peer so far, and how many should have.

        Bytes on their way through the network count as gone. They show nothing of the peer:
        its system takes them, though its program may hang.
        """
        wanted = self._connection.size_to_write
        return wanted - self.size - self._transport.held_by_system, wanted

    def write_by_connection(self) -> None:
        """Have the connection see all frames that are written, and give out no descriptor."""
        self.descriptor = _no_descriptor

    # -- writing --------------------------------------------------------------------------

    def send(self, message: Sendable, compress: bool) -> None:
        """Have the connection send a message, and write it.

        The first message that a task sends is written at once. Those that follow before the
        scheduler has had its turn gather, and leave in one write when it has.
        """
        task = current_task()
        # Of whom this is so, that task has not slept since it has sent: Trio resets it then.
        if self.corked or task.custom_sleep_data is self:
            self._connection.send_message(message, compress=compress)
            self.flush_in_next_turn()
            return
        task.custom_sleep_data = self
        descriptor = self.descriptor()
        if (
            descriptor < 0
            or self._blocked
            or type(message) not in PLAIN_TYPES
            or len(message) >= LARGE_WRITE  # type: ignore[arg-type]
        ):
            self._connection.send_message(message, compress=compress)
            self.flush()
            return
        try:
            rest = self._connection.write_message(message, descriptor, compress)  # type: ignore[arg-type]
        except OSError as error:
            self._break(error)
            return
        if rest:
            self._leave([memoryview(rest)], len(rest))
        elif rest is None:
            self.flush()

    def flush_soon(self) -> None:
        """Write what the connection has queued: now, or if corked, in the next turn."""
        if self.corked:
            self.flush_in_next_turn()
        else:
            self.flush()

    def flush_in_next_turn(self) -> None:
        """Write what the connection has queued when the scheduler has had its turn."""
        size = self._connection.size_to_send
        if self._blocked or size > HIGH_WATER:
            self.flush()
        elif size and not self._due:
            self._wake_writer()

    def flush(self) -> None:
        """Write what the connection has queued: now, as far as it goes, and soon the rest."""
        connection, transport = self._connection, self._transport
        size = connection.size_to_send
        if self.ended or not (size or self._blocked or transport.unsent):
            return
        if self._blocked:
            self.held = self.size > HIGH_WATER
            self._wake_writer()
            return
        buffers = connection.data_to_send()
        try:
            written = transport.write_nowait(buffers)
        except STREAM_ERRORS as error:
            self._break(error)
            return
        self.held = False
        if self._waiting:
            self._wake_waiting()
        if written < size or transport.unsent:
            self._leave(buffers, size, written)

    def _leave(self, buffers: list[BytesLike], size: int, written: int = 0) -> None:
        """Leave to the writer task what the stream has not taken."""
        self._buffers, self._left = buffers, size
        self._drop(written)
        self._blocked = True
        self.held = self.size > HIGH_WATER
        self._wake_writer()

    def note_attempt(self, frame: bytes, result: int) -> None:
        """Take note that a frame was written to `descriptor`, but not all of it.

        Args:
            frame: The frame, which counts as sent already.
            result: How many bytes of it were written, or an error's number, negated.
        """
        if result < 0:
            self._break(OSError(-result, os.strerror(-result)))
        else:
            self._leave([frame], len(frame), result)

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

    def clear(self) -> None:
        """Drop what waits, but not the rest of a frame that was begun."""
        self.cleared = True
        self._connection.drop_queued()
        under_way = self._transport.write_ahead
        kept: list[BytesLike] = []
        for buffer in self._buffers:
            if under_way <= 0 and not isinstance(buffer, memoryview):
                break
            kept.append(buffer)
            under_way -= len(buffer)
        self._buffers[:] = kept  # in place: the writer task may be about to write it
        self._left = sum(map(len, kept))
        self._wake_waiting()

    # -- waiting for it -------------------------------------------------------------------

    async def wait_flushed(self) -> None:
        """Wait until most of it is written, or never will. Cancelled, it returns silently.

        Whoever waits here has nothing left to undo: its frame will be written whatever
        becomes of the task, and to raise `trio.Cancelled` would say that it was not sent.
        """
        while self.size > HIGH_WATER and not (self.ended or self.cleared):
            if await self._wait_for_progress():
                return

    async def wait_empty(self) -> None:
        """Wait until nothing waits to be written. Cancelled, it returns silently."""
        while self.size and not self.ended:
            if await self._wait_for_progress():
                return

    async def wait_for_room(self) -> None:
        """Wait until a sender may add a frame, or nothing can be written any more.

        Raises:
            trio.Cancelled: it was cancelled before that.
        """
        while self.held and not (self.ended or self.cleared):
            if await self._wait_for_progress():
                await trio.lowlevel.checkpoint_if_cancelled()

    async def _wait_for_progress(self) -> bool:
        """Sleep until bytes were written; returns whether it was cancelled instead."""
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

    async def checkpoint(self) -> None:
        """Let other tasks run; senders need not do so again for a while."""
        await trio.lowlevel.checkpoint()
        self.yield_at = self._connection.sent.messages + CHECKPOINT_EVERY

    # -- the writer task ------------------------------------------------------------------

    def _wake_writer(self) -> None:
        self._due = True
        if self._wake_up is None:
            self._wake_up = WakeUp()
            self._core.start_task(self.run_writer, "writer")
        else:
            self._wake_up.wake()

    async def run_writer(self) -> None:
        """The writer task: write what senders have left, until nothing can be written."""
        assert self._wake_up is not None
        while not self.ended:
            self._due = False
            if self._connection.size_to_send and not self._blocked:
                self.flush()
            elif self.size:
                await self._write_when_possible()
            else:
                self._blocked = False
                await self._wake_up.wait()

    async def _write_when_possible(self) -> None:
        if not self._left:
            self._left = self._connection.size_to_send
            self._buffers = self._connection.data_to_send()
        try:
            written = await self._transport.write_some(self._buffers)
        except STREAM_ERRORS as error:
            self._break(error)
            return
        self._drop(written)
        self.held = self.size > HIGH_WATER
        self._wake_waiting()

    # -- ending ---------------------------------------------------------------------------

    def _break(self, error: Exception) -> None:
        if not self.ended:
            self._core.on_write_failed(error)
            self.end()

    def end(self) -> None:
        """Write nothing more, and wake whoever waits to send."""
        self.ended = self.held = True
        self._buffers.clear()
        self._left = 0
        self._wake_waiting()
        if self._wake_up is not None:
            self._wake_up.wake()
