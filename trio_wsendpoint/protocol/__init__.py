"""The sans-IO core: bytes in, messages out. No Trio, no clock, no I/O.

It can be used with no Trio at all; see `Connection`.
"""

from .close import CloseCode
from .connection import Connection, Counters, Role
from .errors import HandshakeError, LocalProtocolError, ProtocolError
from .extensions import Codec, Extension
from .frames import (
    BinaryFrame,
    CloseFrame,
    ContinuationFrame,
    ControlFrame,
    DataFrame,
    Frame,
    FrameParser,
    Opcode,
    PingFrame,
    PongFrame,
    TextFrame,
    encode_frame,
)
from .inbound import InboundOptions, OnDataFrame
from .masking import BytesLike
from .messages import Entry, Message, Piece, create_message, memory_of
from .state import TRANSITIONS, Event, State

__all__ = [
    "TRANSITIONS",
    "BinaryFrame",
    "BytesLike",
    "CloseCode",
    "CloseFrame",
    "Codec",
    "Connection",
    "ContinuationFrame",
    "ControlFrame",
    "Counters",
    "DataFrame",
    "Entry",
    "Event",
    "Extension",
    "Frame",
    "FrameParser",
    "HandshakeError",
    "InboundOptions",
    "LocalProtocolError",
    "Message",
    "OnDataFrame",
    "Opcode",
    "Piece",
    "PingFrame",
    "PongFrame",
    "ProtocolError",
    "Role",
    "State",
    "TextFrame",
    "create_message",
    "encode_frame",
    "memory_of",
]
