"""`connect`: from a URL to an open endpoint."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

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
from ..protocol import Agreement, ClientHandshake, Role
from .handshake import request_endpoint
from .uri import Uri, parse_uri


@asynccontextmanager
async def connect(
    url: str,
    *,
    ssl_context: ssl.SSLContext | None = None,
    stream: trio.abc.Stream | None = None,
    **options: Unpack[HandshakeKeywords],
) -> AsyncIterator[Endpoint]:
    """Connect to a WebSocket server, and run an endpoint over the connection.

    Leaving the `async with` closes the connection: with 1000 if normally, 1011 if by an
    exception, 1001 if cancelled.

    Args:
        url: Such as `"wss://example.org/feed"`; user and password in it become an
            `Authorization` header.
        ssl_context: For `wss`; by default, what `ssl.create_default_context` makes.
        stream: One that is already connected, instead of dialling the URL's host. For
            `wss`, TLS is begun on it, unless it is a `trio.SSLStream`.
        **options: See `EndpointOptions` and `HandshakeOptions`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        OSError: nothing could be dialled.
        HandshakeRejected: the server answered with another status code than 101.
        HandshakeError: it answered wrongly, or not at all.
        HandshakeTimeout: all of that took more than `handshake_timeout`.
        HeartbeatTimeout: on leaving, if the server was given up on.
    """
    uri = parse_uri(url)
    _check_arguments(uri, ssl_context, stream)
    endpoint_options, handshake_options = parse_keywords(options, "connect")
    handshake = ClientHandshake(
        uri.host_header,
        uri.target,
        subprotocols=handshake_options.subprotocols,
        headers=handshake_options.headers,
        extensions=endpoint_options.extensions,
    )
    if uri.authorization is not None and not _has_authorization(handshake):
        handshake = attrs.evolve(
            handshake, headers=(*handshake.headers, ("Authorization", uri.authorization))
        )
    established = await _establish(uri, handshake, handshake_options, ssl_context, stream)
    async with EndpointScope(
        established[0], Role.CLIENT, endpoint_options, *established[1:]
    ) as endpoint:
        yield endpoint


def _check_arguments(
    uri: Uri, ssl_context: ssl.SSLContext | None, stream: trio.abc.Stream | None
) -> None:
    check_ssl_context(ssl_context, Role.CLIENT)
    if ssl_context is not None and not uri.secure:
        raise ValueError("ssl_context needs a url that begins with wss://")
    if stream is not None and not isinstance(stream, trio.abc.Stream):
        raise TypeError(f"stream must be a trio.abc.Stream, not {type(stream).__name__}")
    # Its checks would silently not be made.
    if ssl_context is not None and isinstance(stream, trio.SSLStream):
        raise ValueError("ssl_context must be None where stream is a trio.SSLStream already")


def _has_authorization(handshake: ClientHandshake) -> bool:
    return any(name.lower() == "authorization" for name, _ in handshake.headers)


async def _establish(
    uri: Uri,
    handshake: ClientHandshake,
    options: HandshakeOptions,
    ssl_context: ssl.SSLContext | None,
    stream: trio.abc.Stream | None,
) -> tuple[trio.abc.Stream, Agreement, bytes]:
    """Dial, begin TLS, shake hands: all of it in time."""
    with trio.move_on_after(options.handshake_timeout):
        if stream is None:
            stream = await trio.open_tcp_stream(uri.host, uri.port)
        below = stream
        try:
            if uri.secure and not isinstance(stream, trio.SSLStream):
                context = ssl_context or ssl.create_default_context()
                stream = await start_tls(stream, context, uri.host)
            return stream, *await request_endpoint(stream, handshake)
        except BaseException:
            await trio.aclose_forcefully(below)
            raise
    raise HandshakeTimeout(options.handshake_timeout)
