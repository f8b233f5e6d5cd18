"""A large binary frame that arrives in parts, gathered where it can be read straight into.

Each part is unmasked where it lies, while the processor still has it at hand. What is complete
is the message.
"""

from __future__ import annotations

from typing import Final

from .frames import FrameHeader, encode_header
from .masking import BytesLike, apply_mask
from .speedups import fill_payload, in_c, new_payload, payload_room

MIN_GATHERED: Final = 2**13
"""Bytes of a frame from which on it pays to gather it."""

MAX_RESERVED: Final = 2**20 if in_c else 0
"""Bytes of a frame that may be reserved before they have come. In C they take no memory before
they are filled; in Python they would."""

_RESERVED_AT_ONCE: Final = 2**17
_RESERVED_FACTOR: Final = 8
"""A larger frame is reserved once so many times what has come is all of it."""

_LEAST_ROOM: Final = 2**13


class Gathering:
    """The payload of a frame, as far as it has come, and room for the rest of it.

    Args:
        header: The frame's.
        start: What has arrived of the payload; it is copied.

    Attributes:
        filled: Bytes that have arrived.
    """

    __slots__ = ("_header", "_payload", "filled")

    def __init__(self, header: FrameHeader, start: BytesLike) -> None:
        self._header = header
        self._payload: bytes | bytearray = bytearray()
        self.filled = 0
        self.add(start)

    @property
    def complete(self) -> bool:
        """Whether the whole payload is there."""
        return self.filled == self._header.length

    @property
    def room(self) -> memoryview:
        """Where the next bytes of the payload belong; never empty while it is incomplete.

        It is to be released before anything else is done.
        """
        if len(self._payload) == self.filled:
            self._grow(self.filled + max(_LEAST_ROOM, self.filled // 8))
        return payload_room(self._payload, self.filled)

    @property
    def message(self) -> bytes:
        """The whole payload."""
        return bytes(self._payload)  # no copy where it is `bytes` already

    @property
    def wire(self) -> bytes:
        """What has arrived of the frame, as it was on the wire."""
        header, data = self._header, bytes(self._payload[: self.filled])
        if header.masking_key:
            data = apply_mask(data, header.masking_key)
        return encode_header(header.first_byte, header.length, header.masking_key) + data

    def fill(self, count: int) -> None:
        """Note that bytes were put into `room`."""
        if count:
            with payload_room(self._payload, self.filled) as room, room[:count] as part:
                self._fill(part)

    def add(self, data: BytesLike) -> BytesLike:
        """Take bytes of the payload; what does not belong to it comes back."""
        view = memoryview(data)
        count = min(len(view), self._header.length - self.filled)
        if self.filled + count > len(self._payload):
            self._grow(self.filled + count)
        self._fill(view[:count])
        return view[count:]

    def _fill(self, part: BytesLike) -> None:
        self.filled = fill_payload(self._payload, self.filled, part, self._header.masking_key)

    def _grow(self, size: int) -> None:
        whole, filled = self._header.length, self.filled
        if whole <= MAX_RESERVED and whole <= max(_RESERVED_AT_ONCE, size * _RESERVED_FACTOR):
            begun, self._payload = self._payload, new_payload(whole)
            fill_payload(self._payload, 0, begun[:filled], b"")
        else:
            assert isinstance(self._payload, bytearray)
            self._payload += bytes(min(size, whole) - len(self._payload))
