"""The Trio shell: an endpoint over a stream. It knows tasks and scopes, but no bytes."""

from .endpoint import Endpoint, Statistics, Traffic
from .errors import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeTimeout,
    HeartbeatTimeout,
)
from .life import socket_addresses
from .opening import (
    Acceptor,
    HandshakeKeywords,
    HandshakeOptions,
    accept,
    check_ssl_context,
    open_endpoint,
    parse_keywords,
    request_endpoint,
)
from .options import EndpointKeywords, EndpointOptions
from .scope import EndpointScope
from .streams import ReceiveStream, SendStream
from .tls import start_tls

__all__ = [
    "Acceptor",
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
    "ReceiveStream",
    "SendStream",
    "Statistics",
    "Traffic",
    "accept",
    "check_ssl_context",
    "open_endpoint",
    "parse_keywords",
    "request_endpoint",
    "socket_addresses",
    "start_tls",
]
