"""The sans-IO core: bytes in, messages out. No Trio, no clock, no I/O.

It can be used with no Trio at all; see `Connection`.
"""

from .assembly import InboundOptions, OnDataFrame
from .close import CloseCode, check_close_arguments
from .connection import Connection, Role
from .deflate import PermessageDeflate, find_zlib
from .errors import (
    HandshakeError,
    HandshakeRejected,
    LocalProtocolError,
    ProtocolError,
    WebSocketError,
)
from .extensions import Codec, Extension, check_extensions
from .fields import Parameters
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
from .handshake import (
    Agreement,
    ClientHandshake,
    ServerHandshake,
    accept_value,
    refusal,
)
from .http import (
    Headers,
    HeadersLike,
    Request,
    Response,
    TLSInfo,
    to_extra_headers,
    to_headers,
)
from .http11 import (
    MAX_BODY_SIZE,
    MAX_HEAD_SIZE,
    MAX_HEADERS,
    RequestReader,
    ResponseReader,
    encode_request,
    encode_response,
)
from .masking import BYTES_LIKE, BytesLike
from .messages import (
    PLAIN_TYPES,
    Entry,
    Message,
    MessageKind,
    Piece,
    create_message,
    encode_text,
    frame_type_of,
    memory_of,
    to_sendable,
)
from .metering import MeteredConnection
from .outbound import BUFFER_OVERHEAD, Counters
from .sharing import SharedFrame, SharedMessage
from .speedups import in_c, write_each
from .state import OPEN, TRANSITIONS, Event, State
from .trace import describe_frame
from .version import VERSION

__all__ = [
    "BUFFER_OVERHEAD",
    "BYTES_LIKE",
    "MAX_BODY_SIZE",
    "MAX_HEADERS",
    "MAX_HEAD_SIZE",
    "OPEN",
    "PLAIN_TYPES",
    "TRANSITIONS",
    "VERSION",
    "Agreement",
    "BinaryFrame",
    "BytesLike",
    "ClientHandshake",
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
    "HandshakeRejected",
    "Headers",
    "HeadersLike",
    "InboundOptions",
    "LocalProtocolError",
    "Message",
    "MessageKind",
    "MeteredConnection",
    "OnDataFrame",
    "Opcode",
    "Parameters",
    "PermessageDeflate",
    "Piece",
    "PingFrame",
    "PongFrame",
    "ProtocolError",
    "Request",
    "RequestReader",
    "Response",
    "ResponseReader",
    "Role",
    "ServerHandshake",
    "SharedFrame",
    "SharedMessage",
    "State",
    "TLSInfo",
    "TextFrame",
    "WebSocketError",
    "accept_value",
    "check_close_arguments",
    "check_extensions",
    "create_message",
    "describe_frame",
    "encode_frame",
    "encode_request",
    "encode_response",
    "encode_text",
    "find_zlib",
    "frame_type_of",
    "in_c",
    "memory_of",
    "refusal",
    "to_extra_headers",
    "to_headers",
    "to_sendable",
    "write_each",
]
