"""WebSockets over HTTP/2: one connection to a server, or a pool of them (RFC 8441)."""

from __future__ import annotations

import functools
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Unpack

import attrs
import trio

from ..endpoint import (
    Endpoint,
    EndpointScope,
    HandshakeKeywords,
    HandshakeOptions,
    HandshakeTimeout,
    check_ssl_context,
    parse_keywords,
    start_tls,
)
from ..protocol import ClientHandshake, HandshakeError, Role
from .uri import Uri, parse_uri

if TYPE_CHECKING:
    from ..http2 import Http2Connection

HTTP2: Final = "h2"
HTTP11: Final = "http/1.1"

_WEB_SCHEME = re.compile("http(?=s?://)", re.IGNORECASE)


@attrs.frozen
class Http2Session:
    """An HTTP/2 connection to a server, for any number of WebSockets; see `open_http2`."""

    _uri: Uri
    _connection: Http2Connection

    @property
    def is_open(self) -> bool:
        """Whether more WebSockets can be opened: not once the server goes away."""
        return not self._connection.going_away

    @asynccontextmanager
    async def connect(
        self, target: str = "/", **options: Unpack[HandshakeKeywords]
    ) -> AsyncIterator[Endpoint]:
        """Open a WebSocket on a stream of its own, and run an endpoint over it.

        Where all streams that the server allows are open, it waits for one to end.

        Args:
            target: Path and query.
            **options: See `EndpointOptions` and `HandshakeOptions`.

        Raises:
            TypeError, ValueError: an argument is wrong; the message names it.
            HandshakeRejected: the server refused.
            HandshakeError: it takes no WebSockets over HTTP/2, answered wrongly, goes away, or
                the connection was lost.
            HandshakeTimeout: it took more than `handshake_timeout`.
            HeartbeatTimeout: on leaving, if the server was given up on.
        """
        from ..http2 import request_websocket

        endpoint_options, handshake_options = parse_keywords(options, "connect")
        handshake = ClientHandshake(
            self._uri.host_header,
            target,
            subprotocols=handshake_options.subprotocols,
            headers=handshake_options.headers,
            extensions=endpoint_options.extensions,
        )
        established = None
        with trio.move_on_after(handshake_options.handshake_timeout):
            scheme = web_scheme(self._uri)
            established = await request_websocket(self._connection, handshake, scheme)
        if established is None:
            raise HandshakeTimeout(handshake_options.handshake_timeout)
        stream, agreement = established
        async with EndpointScope(stream, Role.CLIENT, endpoint_options, agreement) as endpoint:
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
        OSError: nothing could be dialled.
        HandshakeError: the server does not speak HTTP/2.
        HandshakeTimeout: all of that took more than `handshake_timeout`.
    """
    from ..http2 import open_connection

    uri = parse_origin(url, ssl_context, stream)
    HandshakeOptions(handshake_timeout=handshake_timeout)  # checks it
    deadline = trio.current_time() + handshake_timeout
    with trio.move_on_at(deadline):
        if stream is None:
            stream = await dial(uri, ssl_context, (HTTP2,))
    if stream is None:
        raise HandshakeTimeout(handshake_timeout)
    async with open_connection(stream, Role.CLIENT) as connection:
        with trio.move_on_at(deadline) as scope:
            await connection.wait_introduced()
        if scope.cancelled_caught:
            raise HandshakeTimeout(handshake_timeout)
        if connection.ended:
            raise HandshakeError(f"the server does not speak HTTP/2: {connection.reason}")
        yield Http2Session(uri, connection)


def parse_origin(
    url: str, ssl_context: ssl.SSLContext | None, stream: trio.abc.Stream | None = None
) -> Uri:
    """Take the URL of a server to pieces, and check what belongs to it.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    uri = parse_uri(_WEB_SCHEME.sub("ws", url, count=1))
    if uri.target != "/":
        raise ValueError("url must not have a path or query: these are for session.connect")
    if uri.username is not None:
        raise ValueError("url must not have a user name: give session.connect a header")
    check_ssl_context(ssl_context, Role.CLIENT)
    if ssl_context is not None and not uri.secure:
        raise ValueError("ssl_context needs a url that begins with https:// or wss://")
    if not isinstance(stream, trio.abc.Stream | None):
        raise TypeError(f"stream must be a trio.abc.Stream, not {type(stream).__name__}")
    if stream is not None and ssl_context is not None:
        raise ValueError("ssl_context must be None where there is a stream already")
    return uri


def web_scheme(uri: Uri) -> str:
    """What stands in `:scheme`."""
    return "https" if uri.secure else "http"


async def dial(
    uri: Uri, ssl_context: ssl.SSLContext | None, protocols: tuple[str, ...]
) -> trio.abc.Stream:
    """Connect to a server, and begin TLS with ALPN where there is any.

    Raises:
        OSError: nothing could be dialled.
        HandshakeError: TLS failed, or HTTP/2 is all that is offered and was not chosen.
    """
    below = await trio.open_tcp_stream(uri.host, uri.port)
    if not uri.secure:
        return below
    try:
        context = ssl_context or _default_context()
        context.set_alpn_protocols(list(protocols))
        stream = await start_tls(below, context, uri.host)
        chosen = chosen_protocol(stream)
        if protocols == (HTTP2,) and chosen != HTTP2:
            raise HandshakeError(f"the server does not speak HTTP/2: ALPN has chosen {chosen}")
        return stream
    except BaseException:
        await trio.aclose_forcefully(below)
        raise


@functools.cache
def _default_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def chosen_protocol(stream: trio.abc.Stream) -> str | None:
    """What ALPN has chosen on a stream with TLS, if anything."""
    tls: Any = getattr(stream, "ssl_object", stream)
    choice: str | None = tls.selected_alpn_protocol()
    return choice
