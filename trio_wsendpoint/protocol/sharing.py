"""A message that many connections send: framed once for all that may share the bytes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import attrs

from .extensions import Codec
from .frames import FIN, BinaryFrame, ControlFrame, Frame, TextFrame
from .masking import BytesLike
from .messages import Message, encode_text, to_sendable
from .speedups import build_frame


@attrs.frozen(eq=False)
class SharedFrame:
    """A whole message, encoded by the extensions of those that share it.

    Attributes:
        first_byte: Of the frame: fin, reserved bits, opcode.
        payload: The frame's.
        data: The whole frame, unmasked.
    """

    first_byte: int
    payload: bytes
    data: bytes

    @classmethod
    def create(cls, first_byte: int, payload: bytes) -> SharedFrame:
        """Frame an encoded payload."""
        return cls(first_byte, payload, build_frame(first_byte, payload, b""))


class SharedMessage:
    """A message for many connections, which keeps each form of it that several may send.

    Args:
        message: `str` for a text message, bytes-like for a binary one, or a `Message`.
        compress: False to ask compressing extensions to leave it alone.

    Raises:
        TypeError: `message` is none of these.
        ValueError: `message` is a control frame, or text with a lone surrogate.

    Attributes:
        frame_type: The kind of the message.
        payload: As bytes.
        compress: As given.
        plain: Its frame where no extension has changed it.
    """

    __slots__ = ("_frames", "compress", "frame_type", "payload", "plain")

    def __init__(self, message: str | BytesLike | Message, *, compress: bool = True) -> None:
        sendable = to_sendable(message)
        self.frame_type: type[Frame]
        if isinstance(sendable, Message):
            self.frame_type, self.payload = sendable.frame_type, sendable.data
        elif isinstance(sendable, str):
            self.frame_type, self.payload = TextFrame, encode_text(sendable, "message")
        else:
            self.frame_type, self.payload = BinaryFrame, sendable
        if issubclass(self.frame_type, ControlFrame):
            raise ValueError(f"message must be no control frame, not {sendable!r}")
        self.compress = compress
        self.plain = SharedFrame.create(FIN | self.frame_type.opcode, self.payload)
        self._frames: dict[Hashable, SharedFrame] = {}

    def frame_for(self, codecs: Sequence[Codec]) -> SharedFrame | None:
        """The frame for a connection with these extensions.

        Returns:
            None if no other connection could send the same; it has to encode it by itself.
        """
        if not codecs:
            return self.plain
        key = codecs[0].sharing_key(len(self.payload), self.compress)
        if key is None or len(codecs) > 1:
            return None
        frame = self._frames.get(key)
        if frame is None:
            encoded = codecs[0].encode_message(self.frame_type, self.payload, self.compress)
            frame = self._frames[key] = SharedFrame.create(*encoded)
        return frame
