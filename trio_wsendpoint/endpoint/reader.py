"""Reading the stream: by the reader task, or by a receiver in its stead.

Every endpoint has a reader task. It reads the stream, and sends each batch of messages that a
read brings to the receivers, through a memory channel. That is all there is to it on most
streams.

On a socket one thing is done differently, as a switch between two tasks is much of what a small
message costs. Reading is a role there, held by one task at a time (`Holder`):

- A receiver that waits for a message takes the role if nobody has it, and reads the socket in
  its own task. The reader task is parked meanwhile. When the receiver has a batch, or is
  cancelled, it gives up the role. It cannot lose anything: bytes are read and made into
  messages between two checkpoints.
- If then no receiver has read for a tick, the watch (see `watch`) wakes the reader task, which
  takes the role: the application is busy, but pings must be answered, closes noticed, and
  messages read ahead.
- A receiver that finds the reader task reading waits for its batch at the memory channel; after
  that, it may take the role itself again.
- The reader task also reads while somebody waits for a pong, and while the connection is being
  closed.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from ..protocol import OPEN, BytesLike, Connection, Entry, memory_of
from .transport import STREAM_ERRORS, NonblockingTransport, StreamTransport
from .waiting import WakeUp
from .watch import current_watch, is_time_real

if TYPE_CHECKING:
    from .core import EndpointCore

Batch: TypeAlias = tuple[list[Entry], int]
"""What one read brought, and the memory that it takes."""


class Holder(enum.Enum):
    """Who reads the stream."""

    NOBODY = enum.auto()
    READER_TASK = enum.auto()
    RECEIVER = enum.auto()


# To look up a member of an enum takes ten times as long as this.
_NOBODY: Final = Holder.NOBODY
_RECEIVER: Final = Holder.RECEIVER


def _none() -> int:
    return -1


class Reader:
    """Reads the stream, and makes batches of messages.

    Args:
        connection: Makes messages of bytes.
        transport: Where the bytes come from.
        max_look_ahead: Bytes of messages that wait for a receiver, at which the reader task
            stops reading.
        core: Is told of all that a read brings besides messages.

    Attributes:
        being_received: Of `waiting`, the batch that a receiver has taken.
        ended: Whether no more messages will come, but those that wait already.
        held_up: Whether reading has to wait for the handlers of control frames.
        receive_at_rest: The transport's.
        reads: How often a receiver has begun to read, or was about to.
        taken: How many batches of the reader task receivers have taken.
        urgent: How many reasons there are for the reader task to read although a receiver
            might do so.
        waiting: Bytes of memory of the batches that the reader task has read and that are
            not yet received.
        wake_up: What the reader task is parked at.
        wants_whole: Whether a receiver waits for a whole message, so that one which is too
            big is refused; else it is kept for somebody who may stream it.
        watched: Whether the watch has it.
    """

    __slots__ = (
        "_awaited",
        "_channel",
        "_connection",
        "_core",
        "_deadline",
        "_descriptor",
        "_discarding",
        "_holder",
        "_max_look_ahead",
        "_receivers_read",
        "_scope",
        "_transport",
        "_unattended",
        "_watch",
        "being_received",
        "ended",
        "held_up",
        "reads",
        "receive_at_rest",
        "taken",
        "urgent",
        "waiting",
        "wake_up",
        "wants_whole",
        "watched",
    )

    def __init__(
        self,
        connection: Connection,
        transport: StreamTransport,
        max_look_ahead: int,
        core: EndpointCore,
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._max_look_ahead = max_look_ahead
        self._core = core
        self._receivers_read = False
        self._descriptor = _none
        if isinstance(transport, NonblockingTransport) and is_time_real():
            self._receivers_read = True
            self._descriptor = transport.wait_descriptor
        self.receive_at_rest = transport.receive_at_rest
        # Made when the reader task has its first batch, or a receiver first waits for one.
        self._channel: (
            tuple[trio.MemorySendChannel[Batch], trio.MemoryReceiveChannel[Batch]] | None
        ) = None
        self._awaited = False  # whether a receiver waits at the channel
        self._holder = _NOBODY
        self._scope: trio.CancelScope | None = None
        self._deadline = math.inf
        self._watch = current_watch()
        self._unattended = not self._receivers_read  # no receiver has read for a tick
        self._discarding = False
        self.being_received = 0
        self.ended = False
        self.held_up = False
        self.reads = 0
        self.taken = 0
        self.urgent = 0
        self.waiting = 0
        self.wake_up = WakeUp()
        self.wants_whole = False
        self.watched = False

    # -- what was read --------------------------------------------------------------------

    def _take_in(self, data: BytesLike | None) -> list[Entry]:
        """Make messages of what was read; None is the end of the stream."""
        connection = self._connection
        batch: list[Entry] = []
        if data is None:
            connection.receive_eof()
        else:
            try:
                batch = connection.receive_data(data)
            except BaseException as error:  # from on_data_frame, which is the application's
                self._core.crash(error)
        return self._see_to(batch)

    def _see_to(self, batch: list[Entry]) -> list[Entry]:
        """See to what a read has brought besides messages."""
        connection = self._connection
        if connection.control_arrived or self._transport.unsent:
            if connection.oversize:
                self._decide_on_oversize(batch)
            self._core.handle_control()
        if self._discarding:
            batch.clear()
        return batch

    def _decide_on_oversize(self, batch: list[Entry]) -> None:
        if self._discarding:
            self._connection.stream_message()
            self._connection.skip_message()
        elif self.wants_whole and not batch:
            self._connection.refuse_oversize()

    # -- in the task of a receiver, of which there is one at a time -----------------------

    def next_batch(self) -> Awaitable[list[Entry]]:
        """Wait for the next batch, or read it. It may be empty: then see whether it `ended`."""
        if self.wants_whole and self._connection.oversize:
            return self._refuse_oversize()
        if self._receivers_read and self._holder is _NOBODY and not self.held_up:
            return self._read_in_place()
        return self._receive_batch()

    async def _refuse_oversize(self) -> list[Entry]:
        batch = self._take_in(b"")
        self._end_if_over()
        return batch

    async def _read_in_place(self) -> list[Entry]:
        assert isinstance(self._transport, NonblockingTransport)
        self._begin_read()
        try:
            if self._connection.pending:
                await trio.lowlevel.checkpoint()
                batch = self._take_in(b"")
                self._end_if_over()
                return batch
            await self._transport.wait_readable()
            return self.read_nowait(self._transport.receive_nowait)
        except STREAM_ERRORS as error:
            return self.note_failed_read(error)
        finally:
            self.finish_read()

    def begin_plain_read(self) -> int:
        """Take the role for a receiver, if there is nothing to be seen to but the socket.

        Then the receiver waits until the descriptor is readable, and calls `read_nowait`, with
        `receive_at_rest`; `note_failed_read` if either raises; and `finish_read` in any case.

        Returns:
            The descriptor; -1 if the receiver has to call `next_batch`.
        """
        if (
            self._holder is _NOBODY
            and not (self.waiting or self.held_up)
            and self._connection.at_rest()
            and (descriptor := self._descriptor()) >= 0
        ):
            self._holder = _RECEIVER
            self._unattended = False
            self.reads += 1
            return descriptor
        return -1

    def _begin_read(self) -> None:
        self._holder = _RECEIVER
        self._unattended = False
        self.reads += 1

    def read_nowait(self, receive: Callable[[Connection], list[Entry] | None]) -> list[Entry]:
        """Read what is there, by a method of the transport."""
        connection = self._connection
        try:
            batch = receive(connection)
        except STREAM_ERRORS:
            raise
        except BaseException as error:  # from on_data_frame, which is the application's
            self._core.crash(error)
            batch = []
        if batch is None:
            return []
        if connection.control_arrived or self._transport.unsent or self._discarding:
            self._see_to(batch)
            self._holder = _NOBODY  # nobody waits who would have to be interrupted
            self._end_if_over()
        return batch

    def note_failed_read(self, error: Exception) -> list[Entry]:
        """See to what the transport has raised; as a read, it brings no messages."""
        # Or the stream was not at fault: `end` or `take_back` has woken us.
        if not self.ended and self._receivers_read:
            self._core.note_stream_error(error)
            self._take_in(None)
            self._holder = _NOBODY
            self._end_if_over()
        return []

    def finish_read(self) -> None:
        """Give up the role."""
        self._holder = _NOBODY
        if self.urgent or not self.watched:
            if not (self.watched or self.ended):
                self._watch.add(self)
            if self.urgent or self.ended:
                self.wake()

    async def _receive_batch(self) -> list[Entry]:
        self._awaited = True
        try:
            batch, self.being_received = await self._open_channel()[1].receive()
        except trio.EndOfChannel:
            return []
        finally:
            self._awaited = False
        self.taken += 1
        return batch

    def next_batch_nowait(self) -> list[Entry]:
        """The next batch that the reader task has read; empty if there is none."""
        if self._channel is None:
            return []
        try:
            batch, self.being_received = self._channel[1].receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return []
        self.taken += 1
        return batch

    def note_received(self) -> None:
        """All of a batch has been received: the reader task may read on, if it was full."""
        if self.being_received:
            self.waiting -= self.being_received
            self.being_received = 0
            self.wake()

    @property
    def is_read(self) -> bool:
        """Whether a receiver is reading."""
        return self._holder is _RECEIVER

    def take_back(self) -> None:
        """Leave reading to the reader task for good, and wake the receiver that waits.

        It gets an empty batch, and can see what has changed.
        """
        if self._receivers_read:
            self._receivers_read = False
            self._descriptor = _none
            self.urgent += 1
        if self._holder is _RECEIVER:
            assert isinstance(self._transport, NonblockingTransport)
            self._transport.interrupt()
        elif self._awaited and not self.ended:
            self._awaited = False
            self._open_channel()[0].send_nowait(([], 0))
        self.wake()

    def take_over(self) -> None:
        """Have the reader task read: no receiver has done so for a tick."""
        self._unattended = True
        self.wake()

    # -- the reader task ------------------------------------------------------------------

    async def run(self) -> None:
        """The reader task: read whenever it is its turn, until no more messages will come.

        All that it waits for is shielded from cancellation; `end` makes it return.
        """
        if self._receivers_read and not self.ended:
            self._watch.add(self)
        while not (self.ended and self._holder is _NOBODY):
            if not self._is_its_turn:
                if self._deadline == math.inf:
                    await self.wake_up.wait(shielded=True)
                else:
                    await self._wait_in_time()
                continue
            self._holder = Holder.READER_TASK
            try:
                batch = await self._read()
            finally:
                self._holder = _NOBODY
            self._hand_over(batch)
            self._end_if_over()

    async def _wait_in_time(self) -> None:
        with trio.CancelScope(deadline=self._deadline, shield=True) as scope:
            await self.wake_up.wait()
        if scope.cancelled_caught:
            self.end()

    async def _read(self) -> list[Entry]:
        if self._connection.pending:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return [] if self.ended else self._take_in(b"")
        data: BytesLike | None = None
        with trio.CancelScope(deadline=self._deadline, shield=True) as self._scope:
            try:
                data = await self._transport.read() or None
            except STREAM_ERRORS as error:
                self._core.note_stream_error(error)
        self._scope = None
        return [] if self.ended else self._take_in(data)

    def feed(self, data: BytesLike) -> None:
        """Take in what was read before the endpoint was there."""
        self._hand_over(self._take_in(data))
        self._end_if_over()

    def _hand_over(self, batch: list[Entry]) -> None:
        if not batch:
            return
        if self._awaited and self._receivers_read:
            # Whoever gets it may read the next one in its own task.
            self._unattended = False
            self.reads += 1
            if not (self.watched or self.ended):
                self._watch.add(self)
        self._awaited = False
        self.wants_whole = False  # whoever receives next says anew what it wants
        weight = sum(map(memory_of, batch))
        self.waiting += weight
        self._open_channel()[0].send_nowait((batch, weight))

    def _open_channel(
        self,
    ) -> tuple[trio.MemorySendChannel[Batch], trio.MemoryReceiveChannel[Batch]]:
        if self._channel is None:
            # Its bound is in bytes: `max_look_ahead`.
            self._channel = trio.open_memory_channel[Batch](math.inf)
        return self._channel

    def wake(self) -> None:
        """Wake the reader task, if it is its turn to read."""
        if self._is_its_turn:
            self.wake_up.wake()

    @property
    def _is_its_turn(self) -> bool:
        if self._holder is not _NOBODY:
            return False
        needed = self._unattended or self.urgent > 0 or self._awaited
        return self.ended or (needed and not self._must_pause)

    @property
    def _must_pause(self) -> bool:
        if self._discarding:
            return False
        too_much = self.waiting >= self._max_look_ahead
        return too_much or self.held_up or self._connection.oversize

    @property
    def paused(self) -> bool:
        """Whether nothing is read, because the application does not receive."""
        return self._holder is _NOBODY and self._must_pause

    # -- ending ---------------------------------------------------------------------------

    def _end_if_over(self) -> None:
        if self._connection.peer_state is not OPEN:
            self.end()

    def discard(self) -> None:
        """Read on, but discard all messages: the application will receive no more."""
        self._discarding = True
        self.urgent += 1
        if self._connection.oversize:
            self._take_in(b"")
        self.wake()

    def end_by(self, deadline: float) -> None:
        """Read for so long at most: what has not come by then is not waited for."""
        self._deadline = min(self._deadline, deadline)
        self.urgent += 1
        if self._scope is not None:
            self._scope.deadline = self._deadline
        self.wake_up.wake()

    def end(self) -> None:
        """Read no more, and wake whoever waits for a message."""
        self.ended = True
        self._watch.forget(self)
        if self._channel is not None:
            self._channel[0].close()
        if self._scope is not None:
            self._scope.cancel()
        if self._holder is _RECEIVER:
            assert isinstance(self._transport, NonblockingTransport)
            self._transport.interrupt()  # it wakes the reader task in turn
        else:
            self.wake_up.wake()
