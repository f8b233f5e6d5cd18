"""From decoded payload to what the application gets: whole messages, or pieces of one."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Final

import attrs

from .close import CloseCode
from .errors import ProtocolError
from .frames import (
    RSV_BITS,
    WHOLE_TEXT,
    BinaryFrame,
    Frame,
    FrameHeader,
    FrameParser,
    Opcode,
    TextFrame,
    encode_header,
)
from .messages import Entry, MessageBuilder, Piece, Utf8Decoder, received_message

WIRE_FACTOR: Final = 2
WIRE_ALLOWANCE: Final = 1024
"""An encoded message may be twice `max_message_size` and this many bytes more, and so may the
headers of its frames. No encoding worth its name needs as much, and neither a message that
decodes to nothing nor one of empty frames must go on for ever."""


OnDataFrame = Callable[[Frame], Frame | None]


@attrs.frozen
class InboundOptions:
    """How frames are read and what is made of them.

    Attributes:
        parser: Knows the kinds of frames.
        max_message_size: Bytes that a message, decoded, may have; None for no limit.
        on_data_frame: Called with each data frame, decoded, as it completes; the payload of
            the frame that it returns takes the place of the frame's own, None keeps it. What
            it raises leaves `receive_data`; the connection is then only fit to be failed.
        hold_oversize: Whether a message that is too big waits until `stream_message` or
            `refuse_oversize` decides, instead of being refused at once.
        hold_close: Whether the close frame for what the peer did wrong waits for
            `release_close`, so that the messages before it can still be answered.
    """

    parser: FrameParser = attrs.field(factory=FrameParser)
    max_message_size: int | None = attrs.field(default=2**20)
    on_data_frame: OnDataFrame | None = attrs.field(default=None)
    hold_oversize: bool = False
    hold_close: bool = False

    @parser.validator
    def _check_parser(self, _: object, parser: object) -> None:
        if not isinstance(parser, FrameParser):
            raise TypeError(f"parser must be a FrameParser, not {parser!r}")

    @max_message_size.validator
    def _check_max_message_size(self, _: object, size: object) -> None:
        if size is None:
            return
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"max_message_size must be an int or None, not {size!r}")
        if size < 0:
            raise ValueError(f"max_message_size must be at least 0 bytes, not {size}")

    @on_data_frame.validator
    def _check_on_data_frame(self, _: object, function: object) -> None:
        if function is not None and not callable(function):
            raise TypeError(f"on_data_frame must be callable or None, not {function!r}")


class Delivery(enum.Enum):
    """What becomes of the message that is arriving, or of the next one."""

    WHOLE = "as one message"
    STREAM = "piece by piece"
    SKIP = "not at all"


class Assembler:
    """Follows the message that is arriving, and keeps it or hands out its pieces.

    Args:
        options: How large a message may be, and what becomes of one that is larger.
        keep_wire: Whether payloads as they crossed the wire differ from those added.

    Attributes:
        oversize: Whether a message that is too big waits for somebody's decision.
    """

    __slots__ = (
        "_builder",
        "_decoder",
        "_delivery",
        "_frame_type",
        "_held_piece",
        "_hold",
        "_keep_wire",
        "_limit",
        "_next_delivery",
        "_parser",
        "oversize",
    )

    def __init__(self, options: InboundOptions, keep_wire: bool) -> None:
        limit = options.max_message_size
        self._parser = options.parser
        self._limit = math.inf if limit is None else limit
        self._hold = options.hold_oversize
        self._keep_wire = keep_wire
        self._delivery = self._next_delivery = Delivery.WHOLE
        self._frame_type: type[Frame] | None = None
        self._builder: MessageBuilder | None = None
        self._decoder: Utf8Decoder | None = None
        self._held_piece = b""
        self.oversize = False

    @property
    def idle(self) -> bool:
        """Whether the next message may be delivered whole without telling us."""
        return self._frame_type is None and self._delivery is Delivery.WHOLE

    @property
    def begun(self) -> bool:
        """Whether a message is arriving."""
        return self._frame_type is not None

    @property
    def size(self) -> int:
        """Bytes held of the message that is arriving."""
        builder = self._builder
        return builder.size + builder.overhead + len(self._held_piece) if builder else 0

    def begin_frame(self, header: FrameHeader) -> None:
        """A data frame begins.

        Raises:
            ProtocolError: it has no place here.
        """
        # "a fragmented message consists of a single frame with the FIN bit clear and an
        # opcode other than 0, followed by ... continuation" (section 5.4)
        if header.opcode == Opcode.CONTINUATION:
            if self._frame_type is None:
                raise ProtocolError("a continuation frame with no message to continue")
            return
        if self._frame_type is not None:
            raise ProtocolError("a new message before the last one ended")
        self._frame_type = self._parser.type_of(header.opcode)
        assert self._frame_type is not None
        if self._delivery is Delivery.WHOLE:
            self._builder = MessageBuilder(self._frame_type, self._keep_wire)
        elif self._frame_type is TextFrame:
            self._decoder = Utf8Decoder()

    def note_frame(self, first_byte: int, length: int) -> None:
        """Count a frame into its message, before its payload is there.

        Raises:
            ProtocolError: it makes the message too big.
        """
        if self._builder is None:
            return
        self._builder.note_frame(first_byte, length)
        wide_limit = self._limit * WIRE_FACTOR + WIRE_ALLOWANCE
        limit = wide_limit if self._keep_wire else self._limit
        if self._builder.wire_size > limit or self._builder.headers_size > wide_limit:
            self._exceed(b"")

    def add_wire(self, piece: bytes) -> None:
        """Note a part of a frame's payload as it crossed the wire."""
        if self._builder is not None and self._keep_wire:
            self._builder.add_wire(piece)

    def add(self, piece: bytes, batch: list[Entry] | list[Piece]) -> None:
        """Add a part of the message, decoded.

        Raises:
            ProtocolError: it makes the message too big, or is not UTF-8.
        """
        if self._builder is not None:
            if self._builder.size + len(piece) > self._limit:
                self._exceed(piece)
            else:
                self._builder.add(piece)
            return
        payload = self._decoder.decode(piece) if self._decoder else piece
        if self._delivery is Delivery.STREAM and payload:
            assert self._frame_type is not None
            batch.append(Piece(payload, self._frame_type, final=False))

    def end_message(self, batch: list[Entry]) -> None:
        """The final frame has ended.

        Raises:
            ProtocolError: text ends in the middle of a character.
        """
        assert self._frame_type is not None
        if self._builder is not None:
            batch.append(self._builder.finish(self._parser))
        else:
            payload = self._decoder.decode(b"", final=True) if self._decoder else b""
            if self._delivery is Delivery.STREAM:
                batch.append(Piece(payload, self._frame_type, final=True))
        self._builder = self._decoder = self._frame_type = None
        self._delivery, self._next_delivery = self._next_delivery, Delivery.WHOLE

    def add_message(
        self, first_byte: int, wire: bytes, payload: bytes, batch: list[Entry]
    ) -> bool:
        """Add a whole text or binary message of one frame, while `idle`.

        Args:
            first_byte: The frame's.
            wire: Its payload as it crossed the wire.
            payload: The same, decoded.
            batch: Where the message goes.

        Returns:
            Whether it was added; not if it is too big, or bad text.
        """
        if len(payload) > self._limit:
            return False
        is_text = first_byte & ~RSV_BITS == WHOLE_TEXT
        try:
            content = payload.decode() if is_text else payload
        except UnicodeDecodeError:
            return False
        if first_byte & RSV_BITS or wire != payload:
            kind = TextFrame if is_text else BinaryFrame
            headers = encode_header(first_byte, len(wire))
            batch.append(received_message(kind, content, headers, wire, self._parser))
        else:
            batch.append(content)  # no more is needed to rebuild its one frame
        return True

    def stream(self, batch: list[Piece]) -> None:
        """Hand out the message that is arriving, or the next one, piece by piece."""
        if self._delivery is Delivery.SKIP:
            self._next_delivery = Delivery.STREAM
            return
        self._delivery = Delivery.STREAM
        self.oversize = False
        if self._builder is None:
            return
        assert self._frame_type is not None
        payload, self._decoder = self._builder.into_stream()
        self._builder = None
        batch.append(Piece(payload, self._frame_type, final=False))
        piece, self._held_piece = self._held_piece, b""
        self.add(piece, batch)

    def skip(self) -> None:
        """Drop what is still to come of the message that is being streamed."""
        self._next_delivery = Delivery.WHOLE
        if self._delivery is Delivery.STREAM:
            begun = self._frame_type is not None
            self._delivery = Delivery.SKIP if begun else Delivery.WHOLE

    def unstream(self) -> None:
        """Deliver the next message whole after all, if it has not begun."""
        self._next_delivery = Delivery.WHOLE
        if self._frame_type is None:
            self._delivery = Delivery.WHOLE

    def discard(self) -> None:
        """Forget the message that is arriving."""
        self._builder = self._decoder = self._frame_type = None
        self._held_piece = b""
        self.oversize = False

    def refuse(self) -> None:
        """Refuse the message that is too big.

        Raises:
            ProtocolError: always, with 1009.
        """
        raise ProtocolError(
            f"a message of more than {self._limit} bytes", CloseCode.MESSAGE_TOO_BIG
        )

    def _exceed(self, piece: bytes) -> None:
        if not self._hold:
            self.refuse()
        self._held_piece = piece
        self.oversize = True
