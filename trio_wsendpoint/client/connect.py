"""`connect`: from a URL to an open endpoint."""

from __future__ import annotations

import ssl
from collections.abc import Generator
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Unpack

import attrs
import trio

from ..endpoint import Endpoint, EndpointScope, HandshakeTimeout, tell
from ..protocol import Agreement, ClientHandshake, HandshakeRejected, HeadersLike, Role
from .dialling import begin_tls, open_tcp, open_unix
from .handshake import request_endpoint
from .options import ENVIRONMENT, ConnectOptions, DialKeywords, parse_options
from .proxy import Proxy, open_through, proxy_of_environment
from .redirects import STATUS_CODES, Hop, first_hop, next_hop
from .url import Url, parse_url


def connect(
    url: str,
    *,
    headers: HeadersLike = (),
    ssl_context: ssl.SSLContext | None = None,
    **options: Unpack[DialKeywords],
) -> Connecting:
    """Connect to a WebSocket server, and run an endpoint over the connection.

    Leaving the `async with` closes the connection: with 1000 if normally, 1011 if by an
    exception, 1001 if cancelled.

    Args:
        url: Such as `"wss://example.org/feed"`; user and password in it become an
            `Authorization` header.
        headers: Headers of the application's own: a mapping or pairs of `str`.
        ssl_context: For `wss`; by default one that trusts the authorities of the system, and
            that all connections of the process share.
        **options: See `EndpointOptions` and `ConnectOptions`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        ConnectError: nothing could be dialled; also an `OSError`.
        ProxyError: the proxy cannot be reached, or does not lead to the server.
        HandshakeRejected: the server answered with another status code than 101.
        HandshakeError: it answered wrongly, or not at all, or TLS failed.
        HandshakeTimeout: all of that took more than `handshake_timeout`.
        HeartbeatTimeout: on leaving, if the server was given up on.
    """
    keywords = {**options, "headers": headers, "ssl_context": ssl_context}
    parsed = parse_url(url)
    parsed_options = parse_options(keywords, "connect")
    parsed_options.check_url(parsed)
    return Connecting(parsed, parsed_options)


class Connecting:
    """The `async with` around the endpoint of a client, which `connect` returns."""

    __slots__ = ("_options", "_scope", "_url")

    def __init__(self, url: Url, options: ConnectOptions) -> None:
        self._url: Url | None = url
        self._options = options
        self._scope: EndpointScope | None = None

    def __await__(self) -> Generator[Any, None, NoReturn]:
        raise TypeError("connect() is not awaited: async with connect(...) as endpoint")

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Endpoint:
        if self._url is None:
            raise RuntimeError("each connect() can be entered once")
        url, self._url = self._url, None
        self._scope = await open_scope(url, self._options)
        return await self._scope.__aenter__()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:  # for type checkers: it swallows nothing
        assert self._scope is not None
        scope, self._scope = self._scope, None
        try:
            return await scope.__aexit__(kind, exception, traceback)
        finally:
            del self, scope, exception, traceback  # or a traceback would hold them in a cycle


async def open_scope(url: Url, options: ConnectOptions) -> EndpointScope:
    """Establish a connection, for an endpoint to run over it: not yet entered.

    Raises:
        WebSocketError: there is none to be had.
    """
    established = await establish(url, options)
    return EndpointScope(
        established.stream,
        Role.CLIENT,
        options.endpoint,
        established.agreement,
        established.rest,
    )


@attrs.frozen
class Established:
    """A stream whose opening handshake is done, and what came of it.

    Attributes:
        stream: The stream.
        agreement: What was agreed on.
        rest: What was read behind the response.
    """

    stream: trio.abc.Stream
    agreement: Agreement
    rest: bytes


async def establish(url: Url, options: ConnectOptions) -> Established:
    """Get from a URL to a stream whose opening handshake is done, redirects included, in time.

    Raises:
        WebSocketError: there is no way.
    """
    with trio.move_on_after(options.handshake_timeout) as scope:
        hops = [first_hop(url, options)]
        while True:
            established = await _go(hops[-1], options, scope)
            if isinstance(established, Established):
                return established
            hops.append(next_hop(hops, established.response, options))
    raise HandshakeTimeout(options.handshake_timeout)


async def _go(
    hop: Hop, options: ConnectOptions, scope: trio.CancelScope
) -> Established | HandshakeRejected:
    """Dial, begin TLS, shake hands; a redirect that may be followed comes back."""
    handshake = options.handshake_for(hop.url, hop.headers)
    try:
        if options.http2 is None:
            return await _go_alone(hop, options, handshake, scope)
        return Established(
            *await options.http2.establish(
                hop.url, handshake, partial(_dial, hop.url, options), options.proxy
            )
        )
    except HandshakeRejected as error:
        if error.status_code in STATUS_CODES and options.may_redirect:
            return error
        details = handshake.request, error.status_code, str(error)
        tell(options.endpoint.instrument, "handshake_refused", *details)
        raise


async def _go_alone(
    hop: Hop, options: ConnectOptions, handshake: ClientHandshake, scope: trio.CancelScope
) -> Established:
    """Go there by a connection of our own."""
    below = stream = await _dial(hop.url, options)
    try:
        if hop.url.secure and not isinstance(stream, trio.SSLStream):
            stream = await begin_tls(stream, options.ssl_context, hop.server_hostname)
        agreement, rest = await request_endpoint(
            stream, handshake, scope, secure=hop.url.secure
        )
        return Established(stream, agreement, rest)
    except BaseException:
        # What is already known must not get lost where the time is just over.
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(below)
        raise


async def _dial(url: Url, options: ConnectOptions) -> trio.abc.Stream:
    if options.stream is not None:
        return options.stream
    if options.unix_path is not None:
        return await open_unix(options.unix_path)
    proxy = options.proxy
    if proxy == ENVIRONMENT:
        proxy = proxy_of_environment(url)
    if isinstance(proxy, Proxy):
        return await open_through(
            proxy,
            url,
            local_address=options.local_address,
            ssl_context=options.proxy_ssl_context,
            user_agent=options.user_agent,
        )
    return await open_tcp(url.host, url.port, options.local_address)
