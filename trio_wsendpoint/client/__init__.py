"""The client: dial, shake hands, run the endpoint."""

from .connect import Connecting, connect
from .errors import ConnectError, ProxyError
from .http2 import Http2Session, open_http2
from .http2_pool import Http2Pool, open_http2_pool
from .options import ConnectOptions, DialKeywords
from .reconnect import Attempt, Reconnecting, reconnecting
from .url import Url, parse_url

__all__ = [
    "Attempt",
    "ConnectError",
    "ConnectOptions",
    "Connecting",
    "DialKeywords",
    "Http2Pool",
    "Http2Session",
    "ProxyError",
    "Reconnecting",
    "Url",
    "connect",
    "open_http2",
    "open_http2_pool",
    "parse_url",
    "reconnecting",
]
