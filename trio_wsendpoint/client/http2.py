"""`open_http2`: one connection of HTTP/2 to a server, for any number of WebSockets."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Unpack

import attrs
import trio

from ..endpoint import (
    Endpoint,
    EndpointScope,
    HandshakeKeywords,
    HandshakeOptions,
    HandshakeTimeout,
    check_keywords,
    check_ssl_context,
)
from ..protocol import HandshakeError, Role
from .alpn import HTTP2, begin_tls_offering, web_scheme
from .dialling import open_tcp
from .options import parse_options
from .url import Url, parse_url

if TYPE_CHECKING:
    from ..http2 import Http2Connection

_WEB_SCHEME = re.compile("http(?=s?://)", re.IGNORECASE)


class SessionKeywords(HandshakeKeywords, total=False):
    """What `Http2Session.connect` takes: of the options of `connect`, those for a request."""

    user_agent: str | None
    origin: str | None


@attrs.frozen
class Http2Session:
    """A connection of HTTP/2 to a server, for any number of WebSockets; see `open_http2`."""

    _url: Url
    _connection: Http2Connection

    @property
    def is_open(self) -> bool:
        """Whether more WebSockets can be opened: not once the server goes away."""
        return not self._connection.going_away

    @asynccontextmanager
    async def connect(
        self, target: str = "/", **options: Unpack[SessionKeywords]
    ) -> AsyncIterator[Endpoint]:
        """Open a WebSocket on a stream of its own, and run an endpoint over it.

        Where all streams that the server allows are open, it waits for one to end.

        Args:
            target: Path and query.
            **options: See `EndpointOptions`; and `handshake_timeout`, `subprotocols`,
                `headers`, `user_agent` and `origin` of `ConnectOptions`.

        Raises:
            TypeError, ValueError: an argument is wrong; the message names it.
            HandshakeRejected: the server refused.
            HandshakeError: it takes no WebSockets over HTTP/2, answered wrongly, goes away, or
                the connection was lost.
            HandshakeTimeout: it took more than `handshake_timeout`.
            HeartbeatTimeout: on leaving, if the server was given up on.
        """
        from ..http2 import request_websocket

        check_keywords("connect", options, SessionKeywords.__annotations__)
        parsed = parse_options(options, "connect")
        handshake = attrs.evolve(parsed.handshake, host=self._url.host_header, target=target)
        established = None
        with trio.move_on_after(parsed.handshake_timeout):
            established = await request_websocket(
                self._connection, handshake, web_scheme(self._url)
            )
        if established is None:
            raise HandshakeTimeout(parsed.handshake_timeout)
        stream, agreement = established
        async with EndpointScope(stream, Role.CLIENT, parsed.endpoint, agreement) as endpoint:
            yield endpoint


@asynccontextmanager
async def open_http2(
    url: str,
    *,
    ssl_context: ssl.SSLContext | None = None,
    stream: trio.abc.Stream | None = None,
    handshake_timeout: float = 10.0,
) -> AsyncIterator[Http2Session]:
    """Connect to a server by HTTP/2, for any number of WebSockets on one connection.

    Needs the extra `http2`. Leaving the `async with` closes the connection; whatever is open
    on it by then is broken off.

    Args:
        url: Such as `"https://example.org"` or `"wss://example.org"`, with no path. Over
            `http` and `ws` the server must be known to speak HTTP/2.
        ssl_context: For `https` and `wss`, one of its own, as its ALPN protocols are set here.
        stream: One that is already connected, and for `https` and `wss` has begun TLS, instead
            of dialling the URL's host.
        handshake_timeout: Seconds that all may take until the server's SETTINGS are there.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        ImportError: the extra is not installed.
        ConnectError: nothing could be dialled; also an `OSError`.
        HandshakeError: the server does not speak HTTP/2.
        HandshakeTimeout: all of that took more than `handshake_timeout`.
    """
    from ..http2 import open_connection

    origin = parse_origin(url, ssl_context, stream)
    HandshakeOptions(handshake_timeout=handshake_timeout)  # checks it
    deadline = trio.current_time() + handshake_timeout
    with trio.move_on_at(deadline):
        if stream is None:
            below = await open_tcp(origin.host, origin.port, None)
            stream = await begin_tls_offering(below, origin, ssl_context, HTTP2)
    if stream is None:
        raise HandshakeTimeout(handshake_timeout)
    async with open_connection(stream, Role.CLIENT) as connection:
        with trio.move_on_at(deadline) as scope:
            await connection.wait_introduced()
        if scope.cancelled_caught:
            raise HandshakeTimeout(handshake_timeout)
        if connection.ended:
            raise HandshakeError(f"the server does not speak HTTP/2: {connection.reason}")
        yield Http2Session(origin, connection)


def parse_origin(
    url: str, ssl_context: ssl.SSLContext | None, stream: trio.abc.Stream | None
) -> Url:
    """Take the URL of a server to pieces, and check what belongs to it.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    origin = parse_url(_WEB_SCHEME.sub("ws", url, count=1))
    if origin.target != "/":
        raise ValueError("url must not have a path or query: these are for session.connect")
    if origin.username is not None:
        raise ValueError("url must not have a user name: give session.connect a header")
    check_ssl_context(ssl_context, Role.CLIENT)
    if ssl_context is not None and not origin.secure:
        raise ValueError("ssl_context needs a url that begins with https:// or wss://")
    if not isinstance(stream, trio.abc.Stream | None):
        raise TypeError(f"stream must be a trio.abc.Stream, not {type(stream).__name__}")
    if stream is not None and ssl_context is not None:
        raise ValueError("ssl_context must be None where there is a stream already")
    return origin
