"""The Trio shell: an endpoint over a stream. It knows tasks and scopes, but no bytes."""

from .anyio_stream import from_anyio_stream
from .backoff import Backoff, check_wait
from .endpoint import Endpoint, Statistics, Traffic
from .errors import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeTimeout,
    HeartbeatTimeout,
    LookAheadFull,
)
from .instrument import Instrument, tell
from .opening import EndpointScope, open_endpoint
from .options import (
    EndpointKeywords,
    EndpointOptions,
    HandshakeKeywords,
    HandshakeOptions,
    check_count,
    check_keywords,
    check_limit,
    check_seconds,
    parse_keywords,
    split_keywords,
)
from .sharing import begin_drain, call_when_ended, forget_when_ended, give_up_slow, share
from .stream_setup import (
    check_ssl_context,
    check_stream,
    is_closed_socket,
    receive_at_once,
    send_at_once,
    send_nowait,
    socket_addresses,
    start_tls,
    tls_info,
    transport_for,
)
from .streams import ReceiveStream, SendStream
from .transport import READ_SIZE, STREAM_ERRORS, StreamTransport

__all__ = [
    "READ_SIZE",
    "STREAM_ERRORS",
    "Backoff",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "Endpoint",
    "EndpointKeywords",
    "EndpointOptions",
    "EndpointScope",
    "HandshakeKeywords",
    "HandshakeOptions",
    "HandshakeTimeout",
    "HeartbeatTimeout",
    "Instrument",
    "LookAheadFull",
    "ReceiveStream",
    "SendStream",
    "Statistics",
    "StreamTransport",
    "Traffic",
    "begin_drain",
    "call_when_ended",
    "check_count",
    "check_keywords",
    "check_limit",
    "check_seconds",
    "check_ssl_context",
    "check_stream",
    "check_wait",
    "forget_when_ended",
    "from_anyio_stream",
    "give_up_slow",
    "is_closed_socket",
    "open_endpoint",
    "parse_keywords",
    "receive_at_once",
    "send_at_once",
    "send_nowait",
    "share",
    "socket_addresses",
    "split_keywords",
    "start_tls",
    "tell",
    "tls_info",
    "transport_for",
]
