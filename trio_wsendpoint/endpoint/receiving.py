"""Receiving: from the inbox to the application, as whole messages or piece by piece."""

from __future__ import annotations

import trio

from ..protocol import CloseCode, Connection, Entry, Message, Piece, memory_of
from .inbox import Inbox
from .owner import Owner
from .reader import Reader
from .waiting import Turns


class Receiver:
    """Hands out messages, one receiver at a time.

    Args:
        connection: Is told what becomes of the message that is arriving.
        reader: Waits for more.
        owner: Is told when a message was refused.

    Attributes:
        turns: Whose turn it is to receive; all methods but `next_message` are for its holder.
    """

    __slots__ = ("_connection", "_inbox", "_owner", "_pieces", "_reader", "turns")

    def __init__(self, connection: Connection, reader: Reader, owner: Owner) -> None:
        self._connection = connection
        self._reader = reader
        self._inbox: Inbox = reader.inbox
        self._owner = owner
        # Of a message that is streamed, what was taken from a batch but not handed out.
        self._pieces: list[Piece] = []
        self.turns = Turns("receiving")

    @property
    def size(self) -> int:
        """Bytes of memory that all takes which was read and not received."""
        in_pieces = sum(map(memory_of, self._pieces))
        return self._inbox.size + in_pieces + self._connection.inbound_size

    async def next_message(self) -> str | bytes | Message | None:
        """Wait for the next whole message; None once there will be no more.

        A cancellation point; cancelled, it has lost nothing. The pieces of a message whose
        stream was cancelled before it could be entered are put together again.
        """
        turns, inbox, reader = self.turns, self._inbox, self._reader
        if turns.holder is None:
            turns.holder = self
        else:
            await turns.take()
        try:
            if self._pieces or inbox.ready or inbox.refill():
                await inbox.checkpoint()
                reader.wants_whole = True
            elif not reader.ended:
                reader.wants_whole = True
                await reader.wait_for_batch()
            if inbox.ready and not self._pieces:
                entry: Entry | None = inbox.pop()
            else:
                entry = await self.next_entry()
            return await self._join(entry) if isinstance(entry, Piece) else entry
        finally:
            reader.wants_whole = False
            turns.pass_on()

    async def next_entry(self) -> Entry | None:
        """Wait for the next message, or the next piece of the one that is being streamed."""
        if self._pieces:
            return self._pieces.pop(0)
        inbox, reader = self._inbox, self._reader
        while not inbox.refill():
            if reader.ended:
                return None
            await reader.wait_for_batch()
        return inbox.pop()

    async def _join(self, piece: Piece) -> Message | None:
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
            self._pieces.insert(0, Piece(decode(payload), frame_type, final=False))
            raise

    def _refuse_pieces(self) -> None:
        limit = self._connection.max_message_size
        self._connection.fail(
            CloseCode.MESSAGE_TOO_BIG, f"a message of more than {limit} bytes"
        )
        self.drop()
        self._owner.on_news()
        self._reader.end()

    # -- as a stream ----------------------------------------------------------------------

    async def next_stream(self) -> Entry | None:
        """Wait for the first piece of the next message, or for the whole of it.

        Returns:
            The piece or the message; None once there will be no more.
        """
        if not self._pieces and not self._inbox.refill():
            self._pieces += self._connection.stream_message()
            self._reader.wake()
        try:
            return await self.next_entry()
        except trio.Cancelled:
            self._connection.unstream()
            raise

    def skip_message(self) -> None:
        """Drop the rest of the message that is being streamed."""
        while self._pieces or self._inbox.refill():
            entry = self._pieces.pop(0) if self._pieces else self._inbox.pop()
            if isinstance(entry, Piece) and entry.final:
                return
        self._connection.skip_message()
        self._reader.wake()

    def drop(self) -> None:
        """Forget all that was not received."""
        self._pieces.clear()
        self._inbox.drop()
