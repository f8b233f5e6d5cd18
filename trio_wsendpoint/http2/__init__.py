"""HTTP/2 below a WebSocket (RFC 9113, RFC 8441): a stream of it is a `trio.abc.Stream`."""

try:
    import h2
except ImportError as error:
    raise ImportError(
        "HTTP/2 needs h2: install the extra http2, as in trio-wsendpoint[http2]"
    ) from error

from .connection import Http2Connection, open_connection
from .fields import (
    IncomingRequest,
    MalformedMessage,
    connect_fields,
    read_response,
    response_fields,
)
from .guard import PREFACE
from .requesting import NotOverHttp2, request_websocket
from .serving import respond, serve_connection
from .stream import Half, Http2Stream, StreamRefused

del h2

__all__ = [
    "PREFACE",
    "Half",
    "Http2Connection",
    "Http2Stream",
    "IncomingRequest",
    "MalformedMessage",
    "NotOverHttp2",
    "StreamRefused",
    "connect_fields",
    "open_connection",
    "read_response",
    "request_websocket",
    "respond",
    "response_fields",
    "serve_connection",
]
