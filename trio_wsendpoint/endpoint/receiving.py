"""Receiving: from the batches that were read to the application, whole or piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..protocol import CloseCode, Connection, Entry, Message, Piece, memory_of
from .outbox import Outbox
from .reader import Reader
from .waiting import CHECKPOINT_EVERY, FEW_TURNS, FairLock

if TYPE_CHECKING:
    from .core import EndpointCore


class Receiver:
    """Hands out messages in order, to one task at a time.

    Args:
        connection: Is told what becomes of the message that is arriving.
        reader: Where the batches come from.
        outbox: Is corked while a batch of several messages is being received, so that the
            answers to them leave in one write.
        core: Is told when the messages before a failure were all handed out.

    Attributes:
        lock: Held by the task that receives; all methods but `next_message` need it.
        pieces: Of a message that is streamed, what was taken from a batch but not handed out.
        ready: Entries that may be received without a wait, the next one last; always the
            same list.
        rest: Of the same batch, what comes after `ready`, in the same order.
    """

    __slots__ = (
        "_connection",
        "_core",
        "_outbox",
        "_reader",
        "_since_checkpoint",
        "lock",
        "pieces",
        "ready",
        "rest",
    )

    def __init__(
        self, connection: Connection, reader: Reader, outbox: Outbox, core: EndpointCore
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._outbox = outbox
        self._core = core
        self.lock = FairLock("receiving")
        self.ready: list[Entry] = []
        self.rest: list[Entry] = []
        self._since_checkpoint = 0  # entries since others were last given a turn
        self.pieces: list[Piece] = []

    @property
    def size(self) -> int:
        """Bytes of memory of all that was read and not received, Python's overhead counted."""
        size = self._reader.waiting + self._connection.inbound_size
        size += sum(map(memory_of, self.pieces))
        if not self._reader.being_received:  # a receiver has read it itself, and not weighed
            size += sum(map(memory_of, (*self.ready, *self.rest)))
        return size

    @property
    def position(self) -> tuple[int, int, int]:
        """Where receiving stands; it changes with each message that is received."""
        return self._reader.taken, len(self.rest), len(self.ready)

    # -- entries --------------------------------------------------------------------------

    async def next_entry(self) -> Entry | None:
        """Wait for the next message, or the next piece of the one that is being streamed.

        Returns:
            None once there will be no more.
        """
        if self.pieces:
            return self.pieces.pop(0)
        while not self._fill_ready():
            if self._reader.ended or self._core.closed_by_us:
                if self._connection.close_held:
                    self._core.release_close()
                return None
            if self._core.drain_code is not None and await self._drain():
                continue
            self.start_batch(await self._reader.next_batch())
        return self._pop()

    async def _drain(self) -> bool:
        """Close if nothing can be received now, as the endpoint is to end when that is so.

        Returns:
            False if a message is under way, which may be waited for.
        """
        for _ in range(FEW_TURNS):  # the reader task reads what there is
            await trio.lowlevel.checkpoint()
        if not (self._fill_ready() or self._reader.ended):
            return self._core.close_drained()
        return True

    def _fill_ready(self) -> bool:
        """Have something in `ready`, if anything has been read; returns whether it has."""
        if not self.ready and not self.rest:
            self.start_batch(self._reader.next_batch_nowait())
        if not self.ready and self.rest:
            self._take_slice()
        return bool(self.ready)

    def start_batch(self, batch: list[Entry]) -> None:
        """Have the messages of the next batch received; all before it have been."""
        if len(batch) == 1:
            self.ready.append(batch[0])
        elif batch:
            batch.reverse()
            self.rest = batch
            self._outbox.corked = True
            self._take_slice()

    def _take_slice(self) -> None:
        # No more than may be received before others must have a turn.
        self.ready += self.rest[-CHECKPOINT_EVERY:]
        del self.rest[-CHECKPOINT_EVERY:]

    def _pop(self) -> Entry:
        entry = self.ready.pop()
        if not self.ready:
            self.note_ready_empty()
        return entry

    def note_ready_empty(self) -> None:
        """The last entry of `ready` has just been taken."""
        if not self.rest:
            # Uncorked already now: the answer to the last message takes those before it along.
            self._outbox.corked = False
            self._reader.note_received()

    async def _checkpoint(self) -> None:
        """Before an entry is taken from `ready`: a cancellation point, and others' turn."""
        if self._since_checkpoint + len(self.ready) > CHECKPOINT_EVERY:
            self._since_checkpoint = 0
            await self._outbox.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        self._since_checkpoint += len(self.ready)

    def discard(self) -> None:
        """Forget all that was read and not received."""
        self.pieces.clear()
        while self.ready or self.rest or self._fill_ready():
            self.ready.clear()
            self.rest.clear()
            self.note_ready_empty()

    # -- whole messages -------------------------------------------------------------------

    async def next_message(self) -> str | bytes | Message | None:
        """Wait for the next whole message; None once there will be no more.

        A cancellation point. Cancelled, it has lost nothing: the pieces of a message that it
        had begun to put together are kept.
        """
        lock, reader = self.lock, self._reader
        if lock.holder is None:
            lock.holder = self
        else:
            await lock.acquire()
        try:
            if self.pieces or self._fill_ready():
                await self._checkpoint()
            reader.wants_whole = True
            entry = await self.next_entry()
            return await self._join(entry) if isinstance(entry, Piece) else entry
        finally:
            reader.wants_whole = False
            lock.release()

    async def _join(self, piece: Piece) -> Message | None:
        """Put a message together whose stream was cancelled before it could be entered."""
        payload, frame_type = bytearray(), piece.frame_type
        decode = bytearray.decode if isinstance(piece.payload, str) else bytes
        try:
            while True:
                part = piece.payload
                payload += part.encode() if isinstance(part, str) else part
                if len(payload) > self._connection.max_message_size:
                    self._refuse_pieces()
                    return None
                if piece.final:
                    return Message(decode(payload), frame_type)
                self._reader.wants_whole = True
                entry = await self.next_entry()
                if entry is None:
                    return None
                assert isinstance(entry, Piece)
                piece = entry
        except trio.Cancelled:
            self.pieces.insert(0, Piece(decode(payload), frame_type, final=False))
            raise

    def _refuse_pieces(self) -> None:
        limit = self._connection.max_message_size
        self.discard()
        self._core.fail(CloseCode.MESSAGE_TOO_BIG, f"a message of more than {limit} bytes")

    # -- as a stream ----------------------------------------------------------------------

    async def next_stream(self) -> Entry | None:
        """Wait for the first piece of the next message, or for the whole of it.

        Returns:
            The piece or the message; None once there will be no more.
        """
        if not self.pieces and not self._fill_ready():
            self.pieces += self._connection.stream_message()
            self._reader.wake()
        try:
            return await self.next_entry()
        except trio.Cancelled:
            self._connection.unstream()
            raise

    def skip_message(self) -> None:
        """Drop the rest of the message that is being streamed."""
        while self.pieces or self._fill_ready():
            entry = self.pieces.pop(0) if self.pieces else self._pop()
            if isinstance(entry, Piece) and entry.final:
                return
        self._connection.skip_message()
        self._reader.wake()
