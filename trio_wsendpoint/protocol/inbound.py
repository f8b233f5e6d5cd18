"""Their half: bytes in, messages out.

The bytes are looked at once. Whole, plain messages are cut off the buffer many at a time by
`cut_messages`, and where extensions are at work, one at a time by `Inbound._take_message`;
everything else goes frame by frame, and the payload of a data frame piece by piece, as it
arrives:

    wire -> unmask -> extensions (decode) -> on_data_frame -> Assembler -> batch

so that no frame is waited for whole, unless a hook or an extension must see it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, cast

from .assembly import Assembler, InboundOptions
from .close import CloseCode
from .errors import ProtocolError
from .extensions import Codec, decode_through
from .frames import (
    FIN,
    OPCODE_BITS,
    WHOLE_BINARY,
    ContinuationFrame,
    ControlFrame,
    DataFrame,
    Frame,
    FrameHeader,
)
from .gathering import MIN_GATHERED, Gathering
from .masking import BytesLike, rotate_key
from .messages import Entry, Piece
from .outbound import Trace
from .speedups import apply_mask, cut_frame, cut_messages

MAX_DECODED: Final = 2**18
"""Bytes that extensions may decode into one batch; what is left waits for the next one."""

MAX_BATCH: Final = 2**12
"""Messages that one batch has at most; what is left waits for the next one."""

ENTRY_SIZE: Final = 2**8
"""Bytes that a frame not cut with many others counts for besides: about what an empty message
takes that keeps its frames. On the wire it may have two."""


class Inbound:
    """Reads frames: control frames are handed on, data frames become messages.

    Args:
        masked: Whether the peer's frames must be masked: they must if it is a client.
        options: How to read them.
        codecs: The extensions agreed on, in the order negotiated.
        on_control: Called with each control frame; returns whether to go on reading.

    Attributes:
        assembler: Where the messages come together.
        at_rest: Whether the next byte begins both a frame and a message, as nothing is under
            way. False where it is not known; that only costs time.
        cut_limit: Bytes that a message may have to be cut off whole.
        masked: Whether the peer's frames must be masked.
        pending: Whether input waits that can be worked on with no further bytes.
        plain: Whether whole messages may be cut off what comes: no extension, hook or trace has
            to see their frames.
    """

    __slots__ = (
        "_buffer",
        "_codecs",
        "_decoded",
        "_frame_payload",
        "_gathering",
        "_header",
        "_hook_payload",
        "_hookless",
        "_key",
        "_left",
        "_offset",
        "_on_control",
        "_options",
        "_over",
        "_quick_codec",
        "_rsv",
        "_trace",
        "_whole_frames",
        "assembler",
        "at_rest",
        "cut_limit",
        "masked",
        "pending",
        "plain",
    )

    def __init__(
        self,
        masked: bool,
        options: InboundOptions,
        codecs: tuple[Codec, ...],
        on_control: Callable[[ControlFrame], bool],
    ) -> None:
        self.masked = masked
        self._options = options
        self._codecs = codecs
        self._on_control: Callable[[ControlFrame], bool] | None = on_control
        self._rsv = sum(codec.rsv for codec in codecs)
        self._hookless = options.on_data_frame is None
        self._quick_codec = codecs[0] if self._hookless and len(codecs) == 1 else None
        self._whole_frames = not all(codec.per_message for codec in codecs)
        limit = options.max_message_size
        self.cut_limit = 1 << 62 if limit is None else limit
        self.assembler = Assembler(options, keep_wire=self._hookless and bool(codecs))
        self._buffer: BytesLike = b""
        self._offset = 0
        self._gathering: Gathering | None = None
        self._over = False
        self.at_rest = True
        self.pending = False
        self.use_trace(None)
        # The data frame that is arriving: its header, how much of its payload is to come,
        # the key as it applies there, and the payload so far where it is wanted whole.
        self._header: FrameHeader | None = None
        self._left = 0
        self._key = b""
        self._frame_payload: bytearray | None = None
        self._hook_payload: bytearray | None = None
        self._decoded: Iterator[Frame] | None = None

    @property
    def size(self) -> int:
        """Bytes held: input that waits, and the message that is arriving."""
        whole = len(self._frame_payload or b"") + len(self._hook_payload or b"")
        gathered = self._gathering.filled if self._gathering else 0
        return len(self._buffer) - self._offset + whole + gathered + self.assembler.size

    @property
    def message_begun(self) -> bool:
        """Whether a part of a frame or of a message has come, and not yet the whole of it."""
        return (
            self._offset < len(self._buffer)
            or self._gathering is not None
            or self._header is not None
            or self.pending
            or self.assembler.begun
        )

    @property
    def room(self) -> memoryview | None:
        """Where the rest of a large frame is best read into, if one is arriving."""
        return self._gathering.room if self._gathering is not None else None

    def receive(self, data: BytesLike, batch: list[Entry], filled: int = 0) -> None:
        """Take what arrived, and append what became complete to the batch.

        Args:
            data: The bytes.
            batch: Where the messages go.
            filled: How many bytes came before them, into `room`.

        Raises:
            ProtocolError: the peer broke the protocol; what came before is in the batch.
        """
        if self.at_rest:
            if self.plain:
                offset = cut_messages(data, 0, self.masked, self.cut_limit, MAX_BATCH, batch)
                if offset < len(data):
                    self.receive_rest(data, offset, batch)
                return
            if self._quick_codec is not None and self._trace is None:
                self._receive_at_rest(self._quick_codec, data, batch)
                return
        gathering = self._gathering
        if gathering is not None:
            gathering.fill(filled)
            data = gathering.add(data)
            if not gathering.complete:
                return
            self._gathering = None
            batch.append(gathering.message)
        self._take(data, batch)

    def use_trace(self, trace: Trace | None) -> None:
        """Have a function called with each frame as it begins to arrive; None for none."""
        self._trace = trace
        self.plain = self._hookless and not self._codecs and trace is None

    def receive_rest(self, data: BytesLike, offset: int, batch: list[Entry]) -> None:
        """Take what `cut_messages` has left of what arrived, where it was allowed to cut.

        Args:
            data: The bytes.
            offset: Where the rest begins in them.
            batch: Where the messages are, and go.

        Raises:
            ProtocolError: as `receive`.
        """
        self._buffer, self._offset = data, offset
        self._work(batch)

    def _receive_at_rest(self, codec: Codec, data: BytesLike, batch: list[Entry]) -> None:
        """Take what arrived, which most often is one whole message and needs no more ado."""
        self._buffer, self._offset = data, 0
        try:
            taken = self._take_message(codec, batch)
        except BaseException:
            self._settle()
            raise
        if taken and self._offset == len(data):
            self._buffer, self._offset = b"", 0
        else:
            self._work(batch, MAX_DECODED - (taken or 0))

    def _take(self, data: BytesLike, batch: list[Entry]) -> None:
        if self._offset < len(self._buffer):
            if data:
                self._buffer = b"".join((self._buffer[self._offset :], data))
                self._offset = 0
        else:
            self._buffer, self._offset = data, 0
        self._work(batch)

    def _work(self, batch: list[Entry], room: int = MAX_DECODED) -> None:
        """Work on the input that waits, and keep what cannot be worked on yet.

        Args:
            batch: Where the messages go.
            room: How many more bytes may be decoded now.
        """
        self.pending = False
        try:
            self._parse(batch, room)
        finally:
            self._settle()

    def _settle(self) -> None:
        """Note how it stands, and keep what the caller may use again."""
        self.at_rest = not self._over and (
            self._offset >= len(self._buffer)
            and self._gathering is None
            and self._header is None
            and not self.pending
            and self.assembler.idle
        )
        if self._offset >= len(self._buffer):
            self._buffer, self._offset = b"", 0
        elif not isinstance(self._buffer, bytes):
            self._buffer, self._offset = bytes(self._buffer[self._offset :]), 0

    def stream(self, batch: list[Piece]) -> None:
        """Hand out the message that is arriving, or else the next, as pieces."""
        self.at_rest = False
        self.pending |= self.assembler.oversize
        self.assembler.stream(batch)

    def stop_gathering(self) -> bool:
        """Keep what was gathered as input like any other: it is not wanted whole any more.

        Returns:
            Whether there is some, which `receive` will work on without further bytes.
        """
        gathering, self._gathering = self._gathering, None
        if gathering is None:
            return False
        self._buffer, self._offset = gathering.wire, 0
        return True

    def discard(self) -> None:
        """Forget all input: nothing behind a close frame or a failure counts."""
        self._buffer, self._offset = b"", 0
        self._gathering = None
        self._over = True
        self.at_rest = False
        self._header = self._frame_payload = self._hook_payload = self._decoded = None
        self.pending = False
        self.assembler.discard()
        self._on_control = None  # it holds the connection, which holds us

    def _parse(self, batch: list[Entry], room: int) -> None:
        while not self.assembler.oversize:
            if room <= 0 or len(batch) >= MAX_BATCH:
                self.pending = True
                return
            if self._decoded is not None:
                room -= self._deliver_decoded(batch)
            elif self._header is not None:
                if not self._take_payload(self._header, batch):
                    return
            else:
                if batch:
                    room -= ENTRY_SIZE
                if self._trace is None and self.assembler.idle:
                    if self.plain:
                        self._offset = cut_messages(
                            self._buffer,
                            self._offset,
                            self.masked,
                            self.cut_limit,
                            MAX_BATCH,
                            batch,
                        )
                        if self._offset == len(self._buffer) or self._gather():
                            return
                    elif self._quick_codec is not None:
                        taken = self._take_message(self._quick_codec, batch)
                        if taken is not None:
                            if self._offset == len(self._buffer) and self._decoded is None:
                                return
                            room -= taken
                            continue
                if not self._begin_frame():
                    return
                if self._header is None:
                    room -= ENTRY_SIZE  # a control frame, which somebody may keep

    def _gather(self) -> bool:
        """Begin to gather if a part of a large frame is left; says whether it is.

        Text is not gathered: it is refused at its first bad byte, however large its frame.
        """
        if self._buffer[self._offset] != WHOLE_BINARY:
            return False
        header = self._options.parser.read_header(
            self._buffer, self._offset, masked=self.masked
        )
        if header is None or not MIN_GATHERED <= header.length <= self.cut_limit:
            return False
        rest = memoryview(self._buffer)[self._offset + header.size :]
        self._gathering = Gathering(header, rest)
        self._offset = len(self._buffer)
        return True

    def _take_message(self, codec: Codec, batch: list[Entry]) -> int | None:
        """Take a whole message of one frame and decode it in one go, as most can be.

        It does no more than the slow way does, but at a fraction of the cost. Whatever else
        it finds, it leaves to that, as if nothing had happened.

        Returns:
            How many bytes were decoded; None if there is no whole frame of a message.
        """
        found = cut_frame(self._buffer, self._offset, self.masked, self._rsv, self.cut_limit)
        if found is None:
            return None
        first_byte, wire, self._offset = found
        payload = codec.decode_message(first_byte, wire)
        if payload is not None and self.assembler.add_message(first_byte, wire, payload, batch):
            return len(payload)
        header = FrameHeader(first_byte, len(wire), b"", 0)
        if payload is None:
            decoded = codec.decode(self._as_frame(header, wire, first=True))
        else:
            decoded = iter((ContinuationFrame(payload),))
        self.assembler.begin_frame(header)
        self.assembler.note_frame(header.first_byte, header.length)
        self.assembler.add_wire(wire)
        self._header, self._left = header, 0
        self._decoded = decoded
        return 0

    def _begin_frame(self) -> bool:
        """Read a header, or a whole control frame; False to stop until more bytes arrive."""
        parser = self._options.parser
        header = parser.read_header(
            self._buffer, self._offset, masked=self.masked, rsv=self._rsv
        )
        if header is None:
            return False
        start = self._offset + header.size
        if header.opcode >= 8:
            # "Control frames ... MAY be injected in the middle of a fragmented message"
            # (section 5.4); no extension claims their reserved bits.
            end = start + header.length
            if header.rsv:
                raise ProtocolError("a control frame with a reserved bit")
            if len(self._buffer) < end:
                return False
            self._offset = end
            frame = parser.build(header, self._buffer[start:end])
            if self._trace is not None:
                self._trace(header.first_byte, frame.payload, header.length)
            assert self._on_control is not None
            return self._on_control(cast("ControlFrame", frame))
        self.assembler.begin_frame(header)
        self._offset = start
        self._header = header
        self._left = header.length
        self._key = header.masking_key
        if self._whole_frames:
            self._frame_payload = bytearray()
        if self._options.on_data_frame is not None:
            self._hook_payload = bytearray()
        if self._whole_frames or self._hook_payload is not None:
            self._check_frame_size(header.length)
        if self._hook_payload is None:
            self.assembler.note_frame(header.first_byte, header.length)
        return True

    def _check_frame_size(self, size: int) -> None:
        if size > self.cut_limit:
            raise ProtocolError(
                f"a frame of more than {self.cut_limit} bytes", CloseCode.MESSAGE_TOO_BIG
            )

    def _take_payload(self, header: FrameHeader, batch: list[Entry]) -> bool:
        """Take what is there of a data frame's payload; False if that is nothing."""
        size = min(self._left, len(self._buffer) - self._offset)
        if self._left and not size:
            return False
        first = self._left == header.length
        raw = self._buffer[self._offset : self._offset + size]
        self._offset += size
        self._left -= size
        if self._key:
            piece = apply_mask(raw, self._key)
            self._key = rotate_key(self._key, size)
        else:
            piece = bytes(raw)
        if first and self._trace is not None:
            self._trace(header.first_byte, piece, header.length)
        if self._frame_payload is not None:
            self._frame_payload += piece
            if self._left:
                return True
            piece, first, self._frame_payload = bytes(self._frame_payload), True, None
        if self._codecs:
            self.assembler.add_wire(piece)
            frame = self._as_frame(header, piece, first)
            self._decoded = decode_through(self._codecs, frame, self.cut_limit)
        else:
            self._deliver(piece, batch)
            if not self._left:
                self._end_frame(header, batch)
        return True

    def _as_frame(self, header: FrameHeader, piece: bytes, first: bool) -> Frame:
        """A piece of a frame as a frame: what follows the first piece is a continuation."""
        fin = FIN if header.fin and not self._left else 0
        first_byte = header.first_byte & ~FIN | fin if first else fin
        return self._options.parser.build(FrameHeader(first_byte, len(piece), b"", 0), piece)

    def _deliver_decoded(self, batch: list[Entry]) -> int:
        """Decode one step further, and return how many bytes came of it."""
        assert self._decoded is not None
        assert self._header is not None
        frame = next(self._decoded, None)
        if frame is not None:
            self._deliver(frame.payload, batch)
            return len(frame.payload)
        self._decoded = None
        if not self._left:
            self._end_frame(self._header, batch)
        return 0

    def _deliver(self, piece: bytes, batch: list[Entry]) -> None:
        if self._hook_payload is None:
            self.assembler.add(piece, batch)
        else:
            self._check_frame_size(len(self._hook_payload) + len(piece))
            self._hook_payload += piece

    def _end_frame(self, header: FrameHeader, batch: list[Entry]) -> None:
        if self._hook_payload is not None:
            payload, self._hook_payload = bytes(self._hook_payload), None
            self._call_hook(header, payload, batch)
            if self.assembler.oversize:
                self._decoded = iter(())  # come back here once that is decided
                return
        self._header = None
        if header.fin:
            self.assembler.end_message(batch)

    def _call_hook(self, header: FrameHeader, payload: bytes, batch: list[Entry]) -> None:
        assert self._options.on_data_frame is not None
        first_byte = header.first_byte & (FIN | OPCODE_BITS)
        decoded = FrameHeader(first_byte, len(payload), b"", 0)
        frame = self._options.parser.build(decoded, payload)
        kept = self._options.on_data_frame(frame)
        if kept is None:
            kept = frame
        elif not isinstance(kept, DataFrame):
            raise TypeError(f"on_data_frame must return a data frame or None, not {kept!r}")
        self.assembler.note_frame(first_byte, len(kept.payload))
        self.assembler.add(kept.payload, batch)


assert ContinuationFrame.opcode == 0
