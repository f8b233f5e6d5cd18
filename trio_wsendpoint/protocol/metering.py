"""A connection that tells of each message: one where nobody listens does without."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .assembly import InboundOptions
from .connection import Connection, Role
from .frames import ControlFrame, Frame
from .masking import BytesLike
from .messages import Entry, Message, Piece
from .sharing import SharedMessage

OnMessage: TypeAlias = Callable[[int], None]
"""Called with the size of a message: bytes of its payload, text encoded, nothing compressed."""


class MeteredConnection(Connection):
    """A `Connection` that has functions called with the size of each message."""

    __slots__ = ("_on_received", "_on_sent", "_part_received", "_part_sent", "_streaming")

    def __init__(self, role: Role, options: InboundOptions | None = None) -> None:
        super().__init__(role, options)
        self._part_received = 0
        self._part_sent = 0
        self._streaming = False
        self.meter(None, None)

    def meter(self, on_sent: OnMessage | None, on_received: OnMessage | None) -> None:
        """Have these functions called from here on; None for neither."""
        self._on_sent = on_sent
        self._on_received = on_received

    def at_rest(self) -> bool:
        """No: or messages would be cut and counted without us."""
        return False

    def receive_data(self, data: BytesLike, filled: int = 0) -> list[Entry]:
        """As `Connection` does."""
        batch = super().receive_data(data, filled)
        if not self._streaming:
            self._note_received(batch)
        return batch

    def stream_message(self) -> list[Piece]:
        """As `Connection` does."""
        self._streaming = True  # it calls `receive_data`, which must not count twice
        try:
            batch = super().stream_message()
        finally:
            self._streaming = False
        self._note_received(batch)
        return batch

    def _note_received(self, batch: list[Entry] | list[Piece]) -> None:
        for entry in batch:
            size = _size_of(entry.payload if isinstance(entry, Message | Piece) else entry)
            if isinstance(entry, Piece):
                self._part_received += size
                if not entry.final:
                    continue
                size, self._part_received = self._part_received, 0
            if self._on_received is not None:
                self._on_received(size)

    def send_message(
        self, message: str | BytesLike | Message, *, compress: bool = True
    ) -> None:
        """As `Connection` does."""
        super().send_message(message, compress=compress)
        if isinstance(message, Message):
            if issubclass(message.frame_type, ControlFrame):
                return
            message = message.payload
        self._note_sent(_size_of(message))

    def send_shared(self, shared: SharedMessage) -> None:
        """As `Connection` does."""
        super().send_shared(shared)
        self._note_sent(len(shared.payload))

    def send_fragment(
        self, frame_type: type[Frame], payload: BytesLike, *, final: bool, compress: bool = True
    ) -> None:
        """As `Connection` does."""
        super().send_fragment(frame_type, payload, final=final, compress=compress)
        self._part_sent += len(payload)
        if final:
            size, self._part_sent = self._part_sent, 0
            self._note_sent(size)

    def _note_sent(self, size: int) -> None:
        if self._on_sent is not None:
            self._on_sent(size)


def _size_of(payload: str | BytesLike) -> int:
    if isinstance(payload, str) and not payload.isascii():
        return len(payload.encode())
    return len(payload)
