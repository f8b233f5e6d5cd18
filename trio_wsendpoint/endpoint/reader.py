"""Reading is a role: the one clever thing in the house.

The role is held by one task at a time; each read becomes one batch of messages, in the inbox.

On a stream of any kind the role is the reader task's for good: it reads, and its batches
cross the inbox's memory channel to whoever receives.

On a socket, which can be read without blocking, a task that waits in `receive` takes the
role itself whenever nobody holds it, so that a message costs no switch between tasks. When it
has its message it lets go, and the connection is watched: if nobody has read it again when a
tick (`TAKEOVER_DELAY`) has passed, the application is busy with other things, and the reader
task takes over, as pings must be answered, closes noticed and the look-ahead filled all the
same. So:

- nobody holds the role between two reads; then a receiver may take it;
- a receiver holds it only inside `receive`, and lets go of it when cancelled, having lost
  nothing: bytes are read and made into messages between two checkpoints;
- a receiver that finds the reader task holding it waits at the memory channel for the next
  batch, and may take the role itself after that;
- the reader task is started when it is needed, and reads on while it is: while the connection
  is unattended, which ends when a receiver waits for it; while somebody waits for a pong; while
  the connection is being closed;
- while it is not, there is none, for hours if need be, and no timer either (see `watch`). A
  connection for which nobody holds the role is always watched, or has its reader task.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable
from typing import Final

import trio

from ..protocol import OPEN, BytesLike, Connection, Entry
from .inbox import Inbox
from .outbox import Outbox
from .owner import Owner
from .transport import STREAM_ERRORS, NonblockingTransport, StreamTransport
from .watch import current_watch


class Holder(enum.Enum):
    """Who reads the stream."""

    NOBODY = enum.auto()
    READER_TASK = enum.auto()
    RECEIVER = enum.auto()


# To look up a member of an enum takes ten times as long as this.
_NOBODY: Final = Holder.NOBODY
_RECEIVER: Final = Holder.RECEIVER


class Reader:
    """Reads the stream, and puts what arrived in the inbox.

    Args:
        connection: Makes messages of bytes.
        transport: Where the bytes come from.
        outbox: Told when frames should gather.
        owner: Starts the reader task, and is told what else a read has brought.

    Attributes:
        ended: Whether no more messages will come, and the look-ahead is all that is left.
        held_up: Whether reading has to wait for something else.
        inbox: What was read and not yet received.
        reads: How often a receiver has begun to read, or was about to.
        stream_error: What the stream raised when it broke, or None.
        urgent: How many reasons there are to read on without delay, though nobody receives.
        wants_whole: Whether a receiver waits for a whole message, and one that is too big is
            to be refused.
        watched: Whether it is noticed if nobody reads.
    """

    __slots__ = (
        "_connection",
        "_draining",
        "_holder",
        "_inbound",
        "_nonblocking",
        "_owner",
        "_reading",
        "_started",
        "_transport",
        "_unattended",
        "_watch",
        "ended",
        "held_up",
        "inbox",
        "reads",
        "stream_error",
        "urgent",
        "wants_whole",
        "watched",
    )

    def __init__(
        self,
        connection: Connection,
        transport: StreamTransport,
        outbox: Outbox,
        owner: Owner,
    ) -> None:
        assert connection.inbound is not None
        self._connection = connection
        self._inbound = connection.inbound
        self._transport = transport
        self._nonblocking = transport if isinstance(transport, NonblockingTransport) else None
        self._owner = owner
        self.inbox = Inbox(outbox, self.wake)
        self._holder = _NOBODY
        self._reading: trio.CancelScope | None = None
        self._watch = current_watch()
        self._unattended = self._nonblocking is None
        self._draining = False
        self._started = False
        self.watched = False
        self.ended = False
        self.held_up = False
        self.reads = 0
        self.urgent = 0
        self.wants_whole = False
        self.stream_error: BaseException | None = None

    # -- in the task that receives --------------------------------------------------------

    def wait_for_batch(self) -> Awaitable[None]:
        """Wait for something to be read, or read it; one receiver at a time.

        The inbox may be as empty as before: look again, and whether it has `ended`.
        """
        if self._inbound.assembler.oversize and self.wants_whole:
            return self._settle_oversize()
        if self._holder is _NOBODY and self._nonblocking and not self.held_up:
            return self._read_in_place(self._nonblocking)
        return self.inbox.wait()

    async def _settle_oversize(self) -> None:
        self._take_in(b"")
        self._end_if_over()

    async def _read_in_place(self, transport: NonblockingTransport) -> None:
        self._holder = _RECEIVER
        self._unattended = False
        self.reads += 1
        try:
            if self._inbound.pending:
                await trio.lowlevel.checkpoint()
                batch = self._take_in(b"")
            else:
                await transport.wait_readable()
                batch = self._read_nowait(transport)
        except STREAM_ERRORS as error:
            if self.ended:
                return  # it was `end` that woke us
            self.stream_error = error
            batch = self._take_in(None)
        finally:
            self._holder = _NOBODY
            self._have_watched()
            if self.urgent:
                self.wake()
        if batch:
            self.inbox.load(batch)
        self._end_if_over()

    def _read_nowait(self, transport: NonblockingTransport) -> list[Entry]:
        """Read, straight into its place what belongs to a large frame."""
        room = self._inbound.room
        if room is None:
            data = transport.read_nowait()
            return self._take_in(data or None) if data is not None else []
        with room:
            got = transport.read_into_nowait(room)
        if got is None:
            return []
        filled, data = got
        return self._take_in(data if filled or data else None, filled)

    def _have_watched(self) -> None:
        """Somebody has to read on: watch whether it is the application."""
        if not (self.watched or self.ended):
            self._watch.add(self)

    def take_over(self) -> None:
        """Nobody has read for a tick: the reader task has to."""
        self._unattended = True
        self.wake()

    @property
    def is_read(self) -> bool:
        """Whether a receiver is reading."""
        return self._holder is _RECEIVER

    # -- what was read --------------------------------------------------------------------

    def _take_in(self, data: BytesLike | None, filled: int = 0) -> list[Entry]:
        """Make messages of what was read; None is the end of the stream."""
        connection = self._connection
        batch: list[Entry] = []
        if data is None:
            connection.receive_eof()
        else:
            try:
                batch = connection.receive_data(data, filled)
            except Exception as error:  # from on_data_frame, which is the application's
                self._owner.crash(error)
        if connection.has_news or self._transport.unsent:
            if connection.oversize:
                self._decide_on_oversize(batch)
            self._owner.on_news()
        if self._draining:
            batch.clear()
        return batch

    def _decide_on_oversize(self, batch: list[Entry]) -> None:
        if self._draining:
            self._connection.stream_message()
            self._connection.skip_message()
        elif self.wants_whole and not batch:
            self._connection.refuse_oversize()

    def _end_if_over(self) -> None:
        if self._connection.peer_state is not OPEN:
            self.end()

    def feed(self, data: BytesLike) -> None:
        """Take in what was read before the endpoint was there."""
        self._hand_over(self._take_in(data))
        self._end_if_over()

    def _hand_over(self, batch: list[Entry]) -> None:
        if not batch:
            return
        if self.inbox.awaited and self._nonblocking:
            # Whoever gets it may read the next one for itself.
            self._unattended = False
            self.reads += 1
            self._have_watched()
        self.wants_whole = False  # and may want to stream it
        self.inbox.put(batch)

    # -- the reader task ------------------------------------------------------------------

    def start(self) -> None:
        """Begin: the stream is open."""
        if self._nonblocking:
            self._have_watched()
        self.wake()

    def wake(self) -> None:
        """Start the reader task, if it is its turn."""
        if not self._started and self._is_turn_of_task:
            self._started = True
            self._owner.start_task(self._owner.run_reader)

    async def run(self) -> bool:
        """The reader task: reads as long as it is its turn.

        Returns:
            Whether the peer's half has ended; if not, it will be started again.
        """
        while self._is_turn_of_task and not self.ended:
            self._holder = Holder.READER_TASK
            try:
                batch = await self._read()
            finally:
                self._holder = _NOBODY
            self._hand_over(batch)
            self._end_if_over()
        self._started = self.ended and self._holder is _NOBODY
        return self._started

    async def _read(self) -> list[Entry]:
        if self._connection.pending:
            await trio.lowlevel.checkpoint()
            return self._take_in(b"")
        data: BytesLike | None = None
        with trio.CancelScope() as self._reading:
            try:
                data = await self._transport.read() or None
            except STREAM_ERRORS as error:
                self.stream_error = error
        return [] if self.ended else self._take_in(data)

    @property
    def _is_turn_of_task(self) -> bool:
        """Whether the reader task has something to do; a receiver wakes it when it lets go."""
        if self._holder is not _NOBODY:
            return False
        return self.ended or (self._is_needed and not self._must_pause)

    @property
    def _is_needed(self) -> bool:
        return self._unattended or self.urgent > 0 or self.inbox.awaited

    @property
    def paused(self) -> bool:
        """Whether nothing is read, because the application does not receive."""
        return self._holder is _NOBODY and self._must_pause

    @property
    def _must_pause(self) -> bool:
        if self._draining:
            return False
        return self.inbox.full or self.held_up or self._connection.oversize

    # -- ending ---------------------------------------------------------------------------

    def drain(self) -> None:
        """Drop all messages from here on: the application will receive no more."""
        self._draining = True
        self.urgent += 1
        if self._connection.oversize:
            self._take_in(b"")
        self.wake()

    def end(self) -> None:
        """No more messages will come: whoever waits for some is woken."""
        self.ended = True
        self.urgent += 1
        self._watch.forget(self)
        self.inbox.close()
        if self._reading is not None:
            self._reading.cancel()
        if self._holder is _RECEIVER and self._nonblocking:
            self._nonblocking.interrupt()
        self.wake()
