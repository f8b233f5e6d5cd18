"""The one place that reads, and the look-ahead of what was read and not yet received.

Reading is a role, held by one task at a time. Each read becomes one batch of messages.

On a stream of any kind the role is the reader task's for good: it reads, and its batches
cross a memory channel to whoever receives.

On a socket, which can be read without blocking, a task that waits in `receive` takes the
role itself whenever nobody holds it, so that a message costs no switch between tasks. The
reader task takes it over when a tick (`TAKEOVER_DELAY`) has passed in which nobody began to
read: then the application is busy with other things, and pings must be answered, closes
noticed and the look-ahead filled all the same. It gives the role up after each read. So:

- nobody holds it between two reads; then whoever comes first may take it;
- a receiver holds it only inside `receive`, and lets go of it when cancelled, having lost
  nothing: bytes are read and made into messages between two checkpoints;
- a receiver that finds the reader task holding it waits at the memory channel for the next
  batch, for which the reader task goes on with no tick between its reads, and may take the
  role itself after that;
- while a receiver waits, which may be for hours, the reader task is parked with no timer. It
  is woken when the receiver leaves, and the tick begins: one timer for each connection on
  which something happens, at most once a tick, and none for one that is idle.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Final, TypeAlias

import trio

from ..protocol import (
    BytesLike,
    CloseCode,
    Connection,
    Entry,
    Message,
    Piece,
    State,
    memory_of,
)
from .outbox import Outbox
from .transport import STREAM_ERRORS, NonblockingTransport, StreamTransport

LOOK_AHEAD: Final = 2**18
"""Bytes of messages, Python's overhead counted, at which the reader stops reading."""

TAKEOVER_DELAY: Final = 0.02
"""Seconds without a read after which the reader task takes the role."""

Batch: TypeAlias = tuple[list[Entry], int]
"""What one read brought, and the memory that it takes."""


class Holder(enum.Enum):
    """Who reads the stream."""

    NOBODY = enum.auto()
    READER_TASK = enum.auto()
    RECEIVER = enum.auto()


class Reader:
    """Reads the stream, and hands out what arrived in order.

    Args:
        connection: Makes messages of bytes.
        transport: Where the bytes come from.
        outbox: Told when frames should gather.
        on_received: Called after each read, for all that it brought but messages.
        on_crash: Called with what a hook of the application raised.
        is_held_up: Whether reading has to wait for something else.

    Attributes:
        ended: Whether no more messages will come, and the look-ahead is all that is left.
        paused: Whether nothing is read, because the application does not receive.
        stream_error: What the stream raised when it broke, or None.
        urgent: How many tasks need what comes next without delay, though they do not receive.
    """

    __slots__ = (
        "_batch",
        "_batch_size",
        "_connection",
        "_draining",
        "_from_reader",
        "_holder",
        "_is_held_up",
        "_limit",
        "_on_crash",
        "_on_received",
        "_outbox",
        "_pieces",
        "_poke",
        "_reading",
        "_reads",
        "_receiver_left",
        "_size",
        "_to_receiver",
        "_transport",
        "_waits_at_channel",
        "_wants_whole",
        "ended",
        "paused",
        "stream_error",
        "urgent",
    )

    def __init__(
        self,
        connection: Connection,
        transport: StreamTransport,
        outbox: Outbox,
        on_received: Callable[[], None],
        on_crash: Callable[[Exception], None],
        is_held_up: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._outbox = outbox
        self._on_received = on_received
        self._on_crash = on_crash
        self._is_held_up = is_held_up
        self._to_receiver, self._from_reader = trio.open_memory_channel[Batch](math.inf)
        # The batch that is being consumed, its first entry last; and those in the channel.
        self._batch: list[Entry] = []
        self._batch_size = 0
        self._size = 0
        # Of a message that is streamed, what was taken from a batch but not handed out.
        self._pieces: list[Piece] = []
        self._limit = connection.max_message_size
        self._holder = Holder.NOBODY
        self._reading = trio.CancelScope()
        self._reads = 0
        self._receiver_left = trio.lowlevel.ParkingLot()
        self._poke = trio.lowlevel.ParkingLot()
        self._wants_whole = self._waits_at_channel = False
        self._draining = False
        self.ended = False
        self.paused = False
        self.urgent = 0
        self.stream_error: BaseException | None = None

    @property
    def size(self) -> int:
        """Bytes of memory that the look-ahead takes."""
        # A batch that was read in place has not been weighed yet.
        in_place = 0 if self._batch_size else sum(map(memory_of, self._batch))
        in_pieces = sum(map(memory_of, self._pieces))
        return self._size + in_place + in_pieces + self._connection.inbound_size

    # -- receiving ------------------------------------------------------------------------

    def next_nowait(self) -> Entry | None:
        """Take the next entry of the batch that is being consumed, if there is one."""
        batch = self._batch
        if not batch:
            return None
        entry = batch.pop()
        if not batch:
            self._release_batch()
        return entry

    def next_message_nowait(self) -> str | bytes | Message | None:
        """Take the next whole message of the batch that is being consumed, if there is one."""
        batch = self._batch
        if not batch or isinstance(batch[-1], Piece):
            return None
        message = batch.pop()
        if not batch:
            self._release_batch()
        return message  # type: ignore[return-value]

    async def next_entry(self, *, whole: bool) -> Entry | None:
        """Wait for the next entry; one task at a time.

        Args:
            whole: Whether a message that is too big is to be refused, not streamed.

        Returns:
            The entry, or None once there will be no more.
        """
        if whole:
            self._wants_whole = True
        try:
            while True:
                entry = self.next_nowait()
                if entry is not None:
                    return entry
                if not self._load_nowait():
                    if self.ended:
                        return None
                    await self._wait_for_batch()
        finally:
            if whole:
                self._wants_whole = False

    async def next_message(self) -> str | bytes | Message | None:
        """Wait for the next whole message, like `next_entry`.

        The pieces of one whose stream was cancelled before it could be entered are put
        together again.
        """
        entry = self._pieces.pop(0) if self._pieces else await self.next_entry(whole=True)
        return await self._join(entry) if isinstance(entry, Piece) else entry

    async def _join(self, piece: Piece) -> Message | None:
        payload, frame_type = bytearray(), piece.frame_type
        decode = bytearray.decode if isinstance(piece.payload, str) else bytes
        try:
            while True:
                part = piece.payload
                payload += part.encode() if isinstance(part, str) else part
                if len(payload) > self._limit:
                    self._refuse_pieces()
                    return None
                if piece.final:
                    return Message(decode(payload), frame_type)
                entry = await self.next_piece(whole=True)
                if entry is None:
                    return None
                assert isinstance(entry, Piece)
                piece = entry
        except trio.Cancelled:
            self._pieces.insert(0, Piece(decode(payload), frame_type, final=False))
            raise

    def _refuse_pieces(self) -> None:
        self._connection.fail(
            CloseCode.MESSAGE_TOO_BIG, f"a message of more than {self._limit} bytes"
        )
        self._drop()
        self._on_received()
        self.end()

    async def next_piece(self, *, whole: bool = False) -> Entry | None:
        """Wait for the next piece of the message that is being streamed; see `next_entry`."""
        return self._pieces.pop(0) if self._pieces else await self.next_entry(whole=whole)

    async def next_stream(self) -> Entry | None:
        """Wait for the first piece of the next message, or for the whole of it.

        Returns:
            The piece or the message; None once there will be no more.
        """
        if not self._pieces and not self._batch and not self._load_nowait():
            self._pieces += self._connection.stream_message()
            self.wake()
        try:
            return await self.next_piece()
        except trio.Cancelled:
            self._connection.unstream()
            raise

    def skip_message(self) -> None:
        """Drop the rest of the message that is being streamed."""
        while True:
            entry = self._pieces.pop(0) if self._pieces else self.next_nowait()
            if entry is None:
                if not self._load_nowait():
                    break
            elif isinstance(entry, Piece) and entry.final:
                return
        self._connection.skip_message()
        self.wake()

    def _load_nowait(self) -> bool:
        """Take a batch from the channel, if any is there."""
        try:
            batch, size = self._from_reader.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return False
        self._load(batch, size)
        return True

    def _load(self, batch: list[Entry], size: int) -> None:
        batch.reverse()
        self._batch, self._batch_size = batch, size
        self._outbox.gathering = len(batch) > 1

    def _release_batch(self) -> None:
        """The batch has been consumed, and makes room for others."""
        self._outbox.gathering = False
        if self._batch_size:
            self._size -= self._batch_size
            self._batch_size = 0
            if self.paused:
                self._poke.unpark_all()

    async def _wait_for_batch(self) -> None:
        transport = self._transport
        if self._connection.oversize and self._wants_whole:
            self._take_in(b"")
            self._end_if_over()
        elif self._may_read_in_place() and isinstance(transport, NonblockingTransport):
            await self._read_in_place(transport)
        else:
            self._waits_at_channel = True
            try:
                self._load(*await self._from_reader.receive())
            except trio.EndOfChannel:
                pass
            finally:
                self._waits_at_channel = False

    def _may_read_in_place(self) -> bool:
        return self._holder is Holder.NOBODY and not self._is_held_up()

    async def _read_in_place(self, transport: NonblockingTransport) -> None:
        """Read in the task that receives."""
        data: BytesLike | None = b""
        self._holder = Holder.RECEIVER
        self._reads += 1
        try:
            if self._connection.pending:
                await trio.lowlevel.checkpoint()
            else:
                await transport.wait_readable()
                data = transport.read_nowait()
                if data is None:
                    return
                data = data or None
        except STREAM_ERRORS as error:
            if self.ended:
                return  # it was `end` that woke us
            self.stream_error = error
            data = None
        finally:
            self._holder = Holder.NOBODY
            if self._receiver_left:
                self._receiver_left.unpark_all()
        self._load(self._take_in(data), 0)
        self._end_if_over()

    # -- reading --------------------------------------------------------------------------

    def _take_in(self, data: BytesLike | None) -> list[Entry]:
        """Make messages of what was read; None is the end of the stream."""
        connection = self._connection
        batch: list[Entry] = []
        if data is None:
            connection.receive_eof()
        else:
            try:
                batch = connection.receive_data(data)
            except Exception as error:  # from on_data_frame, which is the application's
                self._on_crash(error)
        if connection.oversize:
            if self._draining:
                connection.stream_message()
                connection.skip_message()
            elif self._wants_whole and not batch:
                connection.refuse_oversize()
        self._on_received()
        if self._draining:
            batch.clear()
        return batch

    def _end_if_over(self) -> None:
        if self._connection.peer_state is not State.OPEN:
            self.end()

    async def run(self) -> None:
        """The reader task: reads whenever it is its turn, until the peer's half has ended."""
        while await self._wait_for_turn():
            self._holder = Holder.READER_TASK
            self._reading = trio.CancelScope()
            try:
                data = await self._read()
            finally:
                self._holder = Holder.NOBODY
            if self.ended:
                return
            batch = self._take_in(data)
            if batch:
                self._hand_over(batch)
            self._end_if_over()

    async def _read(self) -> BytesLike | None:
        if self._connection.pending:
            await trio.lowlevel.checkpoint()
            return b""
        with self._reading:
            try:
                return await self._transport.read() or None
            except STREAM_ERRORS as error:
                self.stream_error = error
        return None

    async def _wait_for_turn(self) -> bool:
        """Wait until the reader task is to read; False if nothing is left to be read."""
        while True:
            if self._is_held_by_receiver:
                await self._receiver_left.park()
                # By now another receiver may hold it, and so on for each message. Only a tick
                # tells whether nobody reads any more.
                if not (self.ended or self._draining or self._is_in_a_hurry):
                    await self._sleep_for_a_tick()
            elif self.ended:
                return False
            elif self._draining:
                return True
            elif self._must_pause():
                self.paused = True
                await self._poke.park()
                self.paused = False
            elif self._is_in_a_hurry or not self._transport.nonblocking:
                return True
            else:
                reads = self._reads
                await self._sleep_for_a_tick()
                if self._reads == reads and not (self.ended or self._is_held_by_receiver):
                    return True

    async def _sleep_for_a_tick(self) -> None:
        with trio.move_on_after(TAKEOVER_DELAY):
            await self._poke.park()

    @property
    def _is_held_by_receiver(self) -> bool:
        return self._holder is Holder.RECEIVER

    @property
    def _is_in_a_hurry(self) -> bool:
        return self.urgent > 0 or self._waits_at_channel

    def _must_pause(self) -> bool:
        return self._size >= LOOK_AHEAD or self._connection.oversize or self._is_held_up()

    def feed(self, data: BytesLike) -> None:
        """Take in what was read before the endpoint was there."""
        batch = self._take_in(data)
        if batch:
            self._hand_over(batch)
        self._end_if_over()

    def _hand_over(self, batch: list[Entry]) -> None:
        size = sum(map(memory_of, batch))
        self._size += size
        # Whoever waits for it has what it wants: it may read in place after this one, and may
        # want to stream the next.
        self._waits_at_channel = self._wants_whole = False
        self._to_receiver.send_nowait((batch, size))

    # -- ending ---------------------------------------------------------------------------

    def wake(self) -> None:
        """Let the reader task look again whether it is its turn."""
        self._poke.unpark_all()

    def drain(self) -> None:
        """Drop all messages from here on: the application will receive no more."""
        self._draining = True
        self._drop()
        if self._connection.oversize:
            self._take_in(b"")
        self.wake()

    def _drop(self) -> None:
        self._batch.clear()
        self._pieces.clear()
        while self._load_nowait():
            self._batch.clear()
        self._release_batch()
        self._size = 0

    def end(self) -> None:
        """No more messages will come: whoever waits for some is woken."""
        self.ended = True
        self._to_receiver.close()
        self._reading.cancel()
        if self._holder is Holder.RECEIVER and isinstance(
            self._transport, NonblockingTransport
        ):
            self._transport.interrupt()
        self.wake()
