"""The client: dial, shake hands, run the endpoint."""

from .connect import Connecting, connect
from .errors import ConnectError, ProxyError
from .options import ConnectOptions, DialKeywords
from .reconnect import Attempt, Reconnecting, reconnecting
from .retrying import Backoff
from .url import Url, parse_url

__all__ = [
    "Attempt",
    "Backoff",
    "ConnectError",
    "ConnectOptions",
    "Connecting",
    "DialKeywords",
    "ProxyError",
    "Reconnecting",
    "Url",
    "connect",
    "parse_url",
    "reconnecting",
]
