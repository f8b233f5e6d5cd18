"""A server's connections of HTTP/2: the same gate and the same handler for each stream."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from ..endpoint import EndpointScope, tell, tls_info
from ..protocol import HandshakeError, Request, Role
from .accept import Http2Opening
from .limits import Seat
from .log import log_no_connection
from .options import Settings
from .requests import Decision

if TYPE_CHECKING:
    from ..http2 import Http2Connection, Http2Stream


def offer_http2(ssl_context: ssl.SSLContext) -> None:
    """Have TLS offer HTTP/2, and HTTP/1.1 to those who want that."""
    ssl_context.set_alpn_protocols(["h2", "http/1.1"])


async def serve_http2(
    opening: Http2Opening,
    settings: Settings,
    run: Callable[[Seat, EndpointScope], Awaitable[None]],
    connections: set[Http2Connection],
) -> None:
    """Serve a connection of HTTP/2 until its end.

    Args:
        opening: The connection.
        settings: What is said to its requests.
        run: Runs the handler with an endpoint.
        connections: Has it for as long as it lasts, to be told to go away.
    """
    from ..http2 import respond, response_fields, serve_connection

    tls = tls_info(opening.stream)
    peer = opening.addresses[1]

    async def handle(stream: Http2Stream, request: Request) -> None:
        address = settings.proxies.client_address(peer, request)
        request = request.received_from(address, tls)
        decision = await _decide(settings, request)
        if decision.agreement is None or decision.seat is None:
            refused = HandshakeError(decision.reason, decision.response.status_code)
            if request.is_websocket:
                details = request, refused.status_code, decision.reason
                tell(settings.endpoint.instrument, "handshake_refused", *details)
            log_no_connection(refused, peer)
            with trio.move_on_after(settings.handshake_timeout):
                await respond(stream, decision.response, request.method)
            return
        with decision.seat:
            try:
                stream.send_fields(response_fields(decision.response, opens=True))
            except trio.BrokenResourceError as error:
                log_no_connection(error, peer)
                return
            scope = EndpointScope(stream, Role.SERVER, settings.endpoint, decision.agreement)
            await run(decision.seat, scope)

    def opened(connection: Http2Connection) -> None:
        kept.append(connection)
        connections.add(connection)
        if settings.gate.limits.draining:  # since just before
            connection.go_away()

    kept: list[Http2Connection] = []
    assert settings.max_streams is not None
    try:
        await serve_connection(
            opening.stream,
            handle,
            initial_data=opening.initial_data,
            handshake_timeout=settings.handshake_timeout,
            max_streams=settings.max_streams,
            on_open=opened,
        )
    finally:
        connections.difference_update(kept)


async def _decide(settings: Settings, request: Request) -> Decision:
    """Ask the gate, as one of the opening handshakes that may be under way."""
    deadline = trio.current_time() + settings.handshake_timeout
    limits = settings.gate.limits
    with trio.move_on_at(deadline) as waiting:
        await limits.wait_for_handshakes()
    if waiting.cancelled_caught:
        error = HandshakeError("the server has too much to do", 503)
        return Decision(settings.gate.refuse(error), reason=str(error))
    limits.handshakes += 1
    try:
        return await settings.gate.decide(request, deadline)
    finally:
        limits.handshake_done()
