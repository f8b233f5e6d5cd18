"""A server of HTTP/2 for the tests, with a handler for each WebSocket."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

from trio_wsendpoint import (
    ConnectionClosed,
    Endpoint,
    Request,
    open_endpoint,
)
from trio_wsendpoint.http2 import (
    Http2Connection,
    Http2Stream,
    respond,
    response_fields,
    serve_connection,
)
from trio_wsendpoint.protocol import Response, Role, ServerHandshake

Handler = Callable[[Endpoint], Awaitable[None]]


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


def handle_with(
    handler: Handler,
    handshake: ServerHandshake | None = None,
    refusal: Response | None = None,
    page: Response | None = None,
    **options: Any,
) -> Callable[[Http2Stream, Request], Awaitable[None]]:
    """What a server does with each stream.

    Args:
        handler: Runs with each endpoint.
        handshake: What is agreed on.
        refusal: The answer to all, instead.
        page: The answer to what asks for no WebSocket.
        **options: Of the endpoints.
    """
    handshake = handshake or ServerHandshake()

    async def handle(stream: Http2Stream, request: Request) -> None:
        response, agreement = handshake.respond(request)
        if page is not None and not request.is_websocket:
            await respond(stream, page, request.method)
        elif agreement is None or refusal is not None:
            await respond(stream, refusal or response, request.method)
        else:
            with suppress(trio.BrokenResourceError, ConnectionClosed):
                stream.send_fields(response_fields(response, opens=True))
                async with open_endpoint(
                    stream, Role.SERVER, agreement=agreement, **options
                ) as endpoint:
                    await handler(endpoint)

    return handle


@asynccontextmanager
async def open_server(
    handler: Handler = echo,
    ssl_context: ssl.SSLContext | None = None,
    max_streams: int = 100,
    connections: list[Http2Connection] | None = None,
    **options: Any,
) -> AsyncIterator[int]:
    """A server on a port of its own, which the context manager returns.

    Args:
        handler: Runs with each endpoint.
        ssl_context: With it, over TLS.
        max_streams: How many a connection may have.
        connections: Where each connection is to be noted.
        **options: The handshake, and those of the endpoints.
    """
    handle = handle_with(handler, **options)
    noted = [] if connections is None else connections

    async def serve(stream: trio.abc.Stream) -> None:
        if ssl_context is not None:
            ssl_context.set_alpn_protocols(["h2", "http/1.1"])
            stream = trio.SSLStream(stream, ssl_context, server_side=True)
            with suppress(trio.BrokenResourceError):
                await stream.do_handshake()
        await serve_connection(stream, handle, max_streams=max_streams, on_open=noted.append)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()
