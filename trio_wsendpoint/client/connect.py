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
    HandshakeKeywords,
    closing_on_error,
    handshake_deadline,
    parse_keywords,
    request_endpoint,
    run_endpoint,
)
from ..protocol import Agreement, ClientHandshake, HandshakeError, Role
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
    endpoint_options, handshake_options = parse_keywords(options)
    headers = handshake_options.headers
    handshake = ClientHandshake(
        uri.host_header,
        uri.target,
        subprotocols=handshake_options.subprotocols,
        headers=headers,
        extensions=endpoint_options.extensions,
    )
    if uri.authorization is not None and not _has_authorization(handshake):
        handshake = attrs.evolve(
            handshake, headers=(*handshake.headers, ("Authorization", uri.authorization))
        )
    dialled = _Dialled()
    async with handshake_deadline(handshake_options.handshake_timeout):
        await dialled.dial(uri, handshake, ssl_context, stream)
    assert dialled.stream is not None
    async with run_endpoint(
        dialled.stream, Role.CLIENT, endpoint_options, dialled.agreement, dialled.rest
    ) as endpoint:
        yield endpoint


def _check_arguments(
    uri: Uri, ssl_context: ssl.SSLContext | None, stream: trio.abc.Stream | None
) -> None:
    if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
        raise TypeError(
            f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}"
        )
    if ssl_context is not None and not uri.secure:
        raise ValueError("ssl_context needs a url that begins with wss://")
    if stream is not None and not isinstance(stream, trio.abc.Stream):
        raise TypeError(f"stream must be a trio.abc.Stream, not {type(stream).__name__}")


def _has_authorization(handshake: ClientHandshake) -> bool:
    return any(name.lower() == "authorization" for name, _ in handshake.headers)


@attrs.define
class _Dialled:
    """What dialling brought, once it is done."""

    stream: trio.abc.Stream | None = None
    agreement: Agreement | None = None
    rest: bytes = b""

    async def dial(
        self,
        uri: Uri,
        handshake: ClientHandshake,
        ssl_context: ssl.SSLContext | None,
        stream: trio.abc.Stream | None,
    ) -> None:
        if stream is None:
            stream = await trio.open_tcp_stream(uri.host, uri.port)
        async with closing_on_error(stream):
            if uri.secure and not isinstance(stream, trio.SSLStream):
                stream = await start_tls(stream, uri.host, ssl_context)
            self.agreement, self.rest = await request_endpoint(stream, handshake)
        self.stream = stream


async def start_tls(
    stream: trio.abc.Stream, host: str, ssl_context: ssl.SSLContext | None
) -> trio.SSLStream[trio.abc.Stream]:
    """Begin TLS on a stream, as a client.

    Raises:
        HandshakeError: the TLS handshake failed, such as for a certificate that is not valid.
    """
    tls = trio.SSLStream(
        stream,
        ssl_context or ssl.create_default_context(),
        server_hostname=host,
        https_compatible=True,
    )
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        cause = error.__cause__ or error
        raise HandshakeError(f"the TLS handshake failed: {cause}") from error
    return tls
