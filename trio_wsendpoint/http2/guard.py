"""What a peer may send of HTTP/2, before h2 sees any of it: sizes, floods, GOAWAY.

h2 reads frames as large as their headers say, keeps every setting it is sent, and answers
whatever comes as often as it comes. So each frame is looked at here first, whole ones are
passed on, and those that a peer has no honest use for in such numbers end the connection.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

from h2.errors import ErrorCodes
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from ..protocol import BytesLike

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113 section 3.4)."""

MAX_FRAME_SIZE: Final = 2**16
"""Bytes of a frame's payload, as our SETTINGS say."""
MAX_BLOCK_SIZE: Final = 2**16
"""Bytes of one message's header fields as they are sent, compressed."""
MAX_CONTINUATIONS: Final = 16
"""CONTINUATION frames that header fields may come in."""
MAX_SETTINGS: Final = 64
"""Settings in one SETTINGS frame."""

PERIOD: Final = 10.0
"""Seconds in which frames are counted."""
MAX_RESETS: Final = 200
"""Streams that the peer may reset, or have us reset, in that time."""
MAX_SETTINGS_FRAMES: Final = 200
"""SETTINGS frames in that time."""
MAX_IDLE_FRAMES: Final = 1000
"""Frames of one kind that carry nothing, in that time: PING, PRIORITY, empty DATA and so on."""

_HEAD: Final = struct.Struct(">HBBBI")
_ACK: Final = 0x1
_END_STREAM: Final = 0x1
_END_HEADERS: Final = 0x4
_PADDED: Final = 0x8
_KNOWN_SETTINGS: Final = frozenset({1, 2, 3, 4, 5, 6, 8})
# What a peer sends most often, and has a use for as often as we send DATA.
_UPDATES_PER_DATA: Final = 2


class Violation(Exception):
    """The peer does what ends its connection.

    Attributes:
        code: The error code of the GOAWAY.
        reason: The same in words.
    """

    def __init__(self, code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Rate:
    """Counts what may happen so often in `PERIOD` and no more.

    Args:
        limit: How often.
    """

    __slots__ = ("_times",)

    def __init__(self, limit: int) -> None:
        self._times: deque[float] = deque(maxlen=limit)

    def exceeds(self, now: float) -> bool:
        """Count one more at a time in seconds; says whether that is one too many."""
        times = self._times
        full = len(times) == times.maxlen and now - times[0] < PERIOD
        times.append(now)
        return full


class FrameGuard:
    """Cuts what arrives into whole frames, and raises at those that are too much.

    Args:
        expects_preface: Whether the peer is a client.

    Attributes:
        resets: Counts the streams that the peer resets, or has us reset.
    """

    __slots__ = (
        "_block",
        "_buffer",
        "_continuations",
        "_idle",
        "_preface",
        "_started",
        "_updates_earned",
        "resets",
    )

    def __init__(self, *, expects_preface: bool) -> None:
        self._buffer = bytearray()
        self._preface = PREFACE if expects_preface else b""
        self._started = False
        # Bytes of the header fields that are on their way, or None.
        self._block: int | None = None
        self._continuations = 0
        self._idle: dict[int, Rate] = {}
        self._updates_earned = 0
        self.resets = Rate(MAX_RESETS)

    def on_data_sent(self) -> None:
        """A DATA frame is sent, which the peer answers with updates of its windows."""
        self._updates_earned += _UPDATES_PER_DATA

    def receive_data(
        self, data: BytesLike, now: float
    ) -> tuple[list[bytes | GoAwayFrame], Violation | None]:
        """Take in what arrived at a time in seconds.

        Returns:
            Bytes for h2 and GOAWAY frames, in order; and what the peer did wrong behind
            them.
        """
        self._buffer += data
        parts: list[bytes | GoAwayFrame] = []
        try:
            self._cut(parts, now)
        except Violation as violation:
            return parts, violation
        return parts, None

    def _cut(self, parts: list[bytes | GoAwayFrame], now: float) -> None:
        buffer = self._buffer
        start = 0
        at = self._skip_preface()
        if self._preface:
            return
        try:
            while len(buffer) >= at + _HEAD.size:
                high, low, kind, flags, stream_id = _HEAD.unpack_from(buffer, at)
                length = high << 8 | low
                payload_at = at + _HEAD.size
                self._check_size(kind, flags, length)
                if len(buffer) < payload_at + length:
                    break
                self._count(kind, flags, length, payload_at, now)
                if kind == GoAwayFrame.type or (kind == SettingsFrame.type and length):
                    payload = bytes(buffer[payload_at : payload_at + length])
                    other = _rewrite(kind, flags, stream_id, payload)
                    parts += (bytes(buffer[start:at]), other)
                    start = payload_at + length
                at = payload_at + length
        finally:
            if start < at:
                parts.append(bytes(buffer[start:at]))
            del buffer[:at]

    def _skip_preface(self) -> int:
        """Find the client's preface in front of its first frame."""
        preface = self._preface
        got = bytes(self._buffer[: len(preface)])
        if not preface.startswith(got):
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "what arrives is not HTTP/2")
        if len(got) == len(preface):
            self._preface = b""
        return len(got)

    def _check_size(self, kind: int, flags: int, length: int) -> None:
        """Look at what a frame's head says, as soon as it is there."""
        if not self._started:
            # "This sequence MUST be followed by a SETTINGS frame ... The server connection
            # preface consists of a potentially empty SETTINGS frame that MUST be the first
            # frame the server sends" (RFC 9113 section 3.4)
            if kind != SettingsFrame.type or flags & _ACK or length > MAX_FRAME_SIZE:
                raise Violation(ErrorCodes.PROTOCOL_ERROR, "what arrives is not HTTP/2")
            self._started = True
        if length > MAX_FRAME_SIZE:
            raise Violation(
                ErrorCodes.FRAME_SIZE_ERROR, f"a frame of more than {MAX_FRAME_SIZE} bytes"
            )
        if kind == SettingsFrame.type and length > 6 * MAX_SETTINGS:
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, f"more than {MAX_SETTINGS} settings")
        is_block = kind in (HeadersFrame.type, PushPromiseFrame.type, ContinuationFrame.type)
        if is_block and (self._block or 0) + length > MAX_BLOCK_SIZE:
            raise Violation(
                ErrorCodes.ENHANCE_YOUR_CALM, f"a header of more than {MAX_BLOCK_SIZE} bytes"
            )

    def _count(self, kind: int, flags: int, length: int, payload_at: int, now: float) -> None:
        """Take account of a whole frame."""
        if self._block is not None and kind != ContinuationFrame.type:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a frame between those of a header")
        if kind in (HeadersFrame.type, PushPromiseFrame.type):
            self._block = None if flags & _END_HEADERS else length
            self._continuations = 0
        elif kind == ContinuationFrame.type:
            self._continue_block(flags, length)
        elif kind == RstStreamFrame.type:
            if self.resets.exceeds(now):
                raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, "too many resets")
        elif kind == WindowUpdateFrame.type and self._updates_earned:
            self._updates_earned -= 1
        elif kind != DataFrame.type or self._is_empty(flags, length, payload_at):
            self._count_idle(kind, now)

    def _continue_block(self, flags: int, length: int) -> None:
        if self._block is None:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a CONTINUATION of nothing")
        self._block += length
        self._continuations += 1
        if flags & _END_HEADERS:
            self._block = None
        elif self._continuations >= MAX_CONTINUATIONS:
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, "too many CONTINUATION frames")

    def _is_empty(self, flags: int, length: int, payload_at: int) -> bool:
        if flags & _END_STREAM:
            return False
        if length and flags & _PADDED:
            return length == 1 + self._buffer[payload_at]
        return not length

    def _count_idle(self, kind: int, now: float) -> None:
        rate = self._idle.get(kind)
        if rate is None:
            limit = MAX_SETTINGS_FRAMES if kind == SettingsFrame.type else MAX_IDLE_FRAMES
            rate = self._idle[kind] = Rate(limit)
        if rate.exceeds(now):
            name = _NAMES.get(kind, f"type {kind}")
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, f"too many frames of {name}")


_NAMES: Final = {
    DataFrame.type: "DATA with nothing in it",
    PriorityFrame.type: "PRIORITY",
    SettingsFrame.type: "SETTINGS",
    PingFrame.type: "PING",
    GoAwayFrame.type: "GOAWAY",
    WindowUpdateFrame.type: "WINDOW_UPDATE",
}


def _rewrite(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes | GoAwayFrame:
    """What h2 is not to see as it is: a GOAWAY, and settings that nobody knows."""
    if kind == GoAwayFrame.type:
        try:
            frame = GoAwayFrame(stream_id)
            frame.parse_body(memoryview(payload))
        except HyperframeError:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a malformed GOAWAY") from None
        return frame
    # h2 would keep them all. One that is malformed is left for it to find.
    if len(payload) % 6 == 0:
        settings = [payload[at : at + 6] for at in range(0, len(payload), 6)]
        payload = b"".join(
            each for each in settings if int.from_bytes(each[:2], "big") in _KNOWN_SETTINGS
        )
    return _HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream_id) + payload
