"""Our half: frames out, encoded, masked and queued until somebody writes them.

Extensions see the data frames, in the order negotiated; control frames go past them. Pongs
that are owed are not queued but kept aside, and only the latest few of them: as only the
latest ping need be answered (RFC 6455 section 5.5.3), no flood of them fills a queue that
nobody empties.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, TypeAlias

from .errors import LocalProtocolError
from .extensions import Codec
from .frames import (
    FIN,
    WHOLE_BINARY,
    WHOLE_TEXT,
    ContinuationFrame,
    ControlFrame,
    Frame,
    Opcode,
    encode_header,
)
from .masking import BytesLike, new_masking_key
from .sharing import SharedMessage
from .speedups import build_frame

JOIN_LIMIT: Final = 4096
"""Bytes up to which a payload is copied to join its header in one buffer."""

MAX_PONGS: Final = 16
"""Pongs that may be owed; of more, the oldest is never sent."""

BUFFER_OVERHEAD: Final = sys.getsizeof(b"") + 8
"""Bytes of memory that a buffer takes besides what is in it, its place in a list included."""

Trace: TypeAlias = Callable[[int, BytesLike, int], None]
"""Called with each frame that crosses: its first byte, its payload or the beginning of it,
and the payload's length."""


class Counters:
    """What crossed the connection so far, one object for each direction."""

    __slots__ = ("messages", "pings", "pongs", "size")

    def __init__(self) -> None:
        self.messages = 0
        self.size = 0
        self.pings = 0
        self.pongs = 0


class Outbound:
    """Makes frames into bytes, and keeps them until they are taken.

    Args:
        masks: Whether our frames are masked: they are if we are the client.
        codecs: The extensions agreed on, in the order negotiated.

    Attributes:
        sent: What was queued so far.
        size: Bytes that `take` would return.
        fragment_type: The kind of the fragmented message that is under way, or None.
        direct: Whether a message may be written at once if nothing is queued: our half is
            open, no fragmented message is under way, no frame is traced or encoded.
        masks: Whether our frames are masked.
        codecs: The extensions agreed on.
    """

    __slots__ = (
        "_behind",
        "_behind_memory",
        "_is_open",
        "_pongs",
        "_queue",
        "_trace",
        "codecs",
        "direct",
        "fragment_type",
        "masks",
        "sent",
        "size",
    )

    def __init__(self, masks: bool, codecs: tuple[Codec, ...] = ()) -> None:
        self.masks = masks
        self.codecs = codecs
        self._queue: list[BytesLike] = []
        self._pongs: list[bytes] = []
        # What others share with us, and waits for the end of a fragmented message.
        self._behind: list[SharedMessage] | None = None
        self._behind_memory = 0
        self.size = 0
        self.sent = Counters()
        self.fragment_type: type[Frame] | None = None
        self._is_open = False
        self.use_trace(None)

    @property
    def memory(self) -> int:
        """Bytes of memory that all of it takes, Python's overhead counted."""
        buffers = len(self._queue) + len(self._pongs)
        return self.size + BUFFER_OVERHEAD * buffers + self._behind_memory

    @property
    def total_size(self) -> int:
        """Bytes of all that was queued so far, and of the pongs that are owed."""
        return self.sent.size + sum(map(self._pong_size, self._pongs))

    def use(self, codecs: tuple[Codec, ...]) -> None:
        """Our half is open: encode data frames with these extensions from here on."""
        self.codecs = codecs
        self._is_open = True
        self._note_directness()

    def end_messages(self) -> None:
        """Our half is open no more."""
        self._is_open = False
        self._note_directness()

    @property
    def may_encode(self) -> bool:
        """Whether a message may be written at once although an extension encodes it."""
        plain = self.fragment_type is None and self._trace is None
        return self._is_open and plain and len(self.codecs) == 1 and not self.size

    def use_trace(self, trace: Trace | None) -> None:
        """Have a function called with each frame; None for none."""
        self._trace = trace
        self._note_directness()

    def _note_directness(self) -> None:
        plain = self.fragment_type is None and self._trace is None
        self.direct = self._is_open and plain and not self.codecs

    def take(self) -> list[BytesLike]:
        """Take what is queued: buffers to be written in this order, whole.

        A `memoryview` is of the same frame as the buffer before it; all others begin one.
        """
        if self._pongs:
            # In front of the data that waits: the queue only ever holds whole frames.
            waiting, self._queue = self._queue, []
            self.add_pongs()
            self._queue += waiting
        queue, self._queue = self._queue, []
        self.size = 0
        return queue

    def clear(self) -> None:
        """Forget what is queued: nothing more can be written."""
        self._queue = []
        self._pongs = []
        self._behind = None
        self._behind_memory = 0
        self.size = 0

    def owe_pong(self, payload: bytes) -> None:
        """Answer a ping as soon as frames are taken."""
        self._pongs.append(payload)
        self.size += self._pong_size(payload)
        if len(self._pongs) > MAX_PONGS:
            self.size -= self._pong_size(self._pongs.pop(0))

    def _pong_size(self, payload: bytes) -> int:
        return len(payload) + (6 if self.masks else 2)

    def add_plain(self, message: str | bytes) -> bool:
        """Queue a whole message the shortest way, if it may go that way.

        Returns:
            Whether it was queued; if not, `add_message` has to do it, or say what is wrong.
        """
        if not self.direct:
            return False
        is_text = type(message) is str
        if not is_text and not self.masks and len(message) > JOIN_LIMIT:
            self._add(WHOLE_BINARY, message)  # which does not copy it
        else:
            first_byte = WHOLE_TEXT if is_text else WHOLE_BINARY
            key = new_masking_key() if self.masks else b""
            try:
                frame = build_frame(first_byte, message, key)
            except UnicodeEncodeError:
                return False
            size = len(frame)
            self._queue.append(frame)
            self.size += size
            self.sent.size += size
        self.sent.messages += 1
        return True

    def add_message(self, frame_type: type[Frame], payload: BytesLike, compress: bool) -> None:
        """Queue a whole message.

        Raises:
            LocalProtocolError: a fragmented message is under way.
        """
        if self.fragment_type is not None:
            raise LocalProtocolError("no new message before the fragmented one has ended")
        self.sent.messages += 1
        if not self.codecs:
            self._add(FIN | frame_type.opcode, payload)
        elif len(self.codecs) == 1:
            self._add(*self.codecs[0].encode_message(frame_type, bytes(payload), compress))
        else:
            self._add_encoded(frame_type(payload), compress)

    def add_shared(self, shared: SharedMessage) -> None:
        """Queue a whole message that other connections send too.

        If a fragmented message is under way, it is queued when that has ended.
        """
        if self.fragment_type is not None:
            self._behind = self._behind or []
            self._behind.append(shared)
            self._behind_memory += BUFFER_OVERHEAD + len(shared.payload)
            return
        frame = shared.frame_for(self.codecs)
        if frame is None:
            self.add_message(shared.frame_type, shared.payload, shared.compress)
            return
        self.sent.messages += 1
        if self.masks or self._trace is not None:
            self._add(frame.first_byte, frame.payload)
        else:
            self._queue.append(frame.data)
            self.size += len(frame.data)
            self.sent.size += len(frame.data)

    def _add_behind(self) -> None:
        """Queue what has waited for the end of a fragmented message."""
        behind, self._behind, self._behind_memory = self._behind, None, 0
        for shared in behind or ():
            self.add_shared(shared)

    def add_fragment(
        self, frame_type: type[Frame], payload: bytes, final: bool, compress: bool
    ) -> None:
        """Queue one frame of a fragmented message.

        Raises:
            LocalProtocolError: another message is under way.
        """
        if self.fragment_type not in (None, frame_type):
            raise LocalProtocolError("no new message before the fragmented one has ended")
        kind = frame_type if self.fragment_type is None else ContinuationFrame
        self.fragment_type = None if final else frame_type
        self._note_directness()
        self.sent.messages += final
        if self.codecs:
            self._add_encoded(kind(payload, fin=final), compress)
        else:
            self._add(FIN | kind.opcode if final else kind.opcode, payload)
        if final and self._behind:
            self._add_behind()

    def add_control(self, frame: ControlFrame) -> None:
        """Queue a control frame."""
        self._add(frame.first_byte, frame.payload)

    def add_pongs(self) -> None:
        """Queue the pongs that are owed."""
        pongs, self._pongs = self._pongs, []
        for payload in pongs:
            self.size -= self._pong_size(payload)
            self.sent.pongs += 1
            self._add(FIN | Opcode.PONG, payload)

    def _add_encoded(self, frame: Frame, compress: bool) -> None:
        for codec in self.codecs:
            frame = codec.encode(frame, compress=compress)
        self._add(frame.first_byte, frame.payload)

    def _add(self, first_byte: int, payload: str | BytesLike) -> None:
        size = len(payload)
        if self._trace is not None:
            assert not isinstance(payload, str)
            self._trace(first_byte, payload, size)
        if self.masks or size <= JOIN_LIMIT or isinstance(payload, str):
            frame = build_frame(first_byte, payload, new_masking_key() if self.masks else b"")
            size = len(frame)
            self._queue.append(frame)
        else:
            header = encode_header(first_byte, size)
            size += len(header)
            self._queue += (header, memoryview(payload))
        self.size += size
        self.sent.size += size
