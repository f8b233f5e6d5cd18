"""The server's side of an HTTP/2 connection: each request in a task of its own."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias

import attrs
import trio
from h2.errors import ErrorCodes

from ..protocol import BytesLike, Request, Response, Role
from .connection import Http2Connection, open_connection
from .engine import MAX_STREAMS
from .fields import Fields, IncomingRequest, MalformedMessage, response_fields
from .stream import Half, Http2Stream

IDLE_TIMEOUT: Final = 60.0
"""Seconds that a client may keep a connection on which no stream is open."""

MAX_LINGERING: Final = 200
"""Handlers of a connection that may still run when their streams have ended."""

Handle: TypeAlias = Callable[[Http2Stream, Request], Awaitable[None]]
"""What is to be done with a request: answer it, and use the stream or close it."""


async def serve_connection(
    stream: trio.abc.Stream,
    handle: Handle,
    *,
    initial_data: BytesLike = b"",
    handshake_timeout: float = math.inf,
    max_streams: int = MAX_STREAMS,
    on_open: Callable[[Http2Connection], None] | None = None,
) -> None:
    """Serve an HTTP/2 connection until its end, or until it has been idle for too long.

    Cancelled, it waits for the handlers, and writes what they have to say last.

    Args:
        stream: What it runs on; closed in the end.
        handle: Called with each stream and its request, in a task of its own. It must not
            raise.
        initial_data: What was read of the stream already.
        handshake_timeout: Seconds that the client may take to introduce itself.
        max_streams: How many it may have open at a time.
        on_open: Called with the connection, such as to have it `go_away` later.
    """
    async with (
        open_connection(
            stream, Role.SERVER, initial_data=initial_data, max_streams=max_streams
        ) as connection,
        trio.open_nursery() as nursery,
    ):
        server = _Server(connection, handle, nursery, max_streams + MAX_LINGERING)
        connection.on_request = server.take
        if on_open is not None:
            on_open(connection)
        try:
            with trio.move_on_after(handshake_timeout) as scope:
                await connection.wait_introduced()
            if not scope.cancelled_caught:
                await _wait_over(connection)
        finally:
            connection.go_away()


async def _wait_over(connection: Http2Connection) -> None:
    """Wait until the connection has ended, or is of no more use."""
    while not connection.is_spent:
        idle = not connection.stream_count
        with trio.move_on_after(IDLE_TIMEOUT if idle else math.inf) as scope:
            await connection.wait_changed()
        if scope.cancelled_caught:
            return


@attrs.define
class _Server:
    """Starts a task for each request that is one."""

    connection: Http2Connection
    handle: Handle
    nursery: trio.Nursery
    max_tasks: int
    tasks: int = 0

    def take(self, stream: Http2Stream, fields: Fields) -> None:
        try:
            incoming = IncomingRequest.read(fields)
        except MalformedMessage:
            self.connection.refuse(stream, ErrorCodes.PROTOCOL_ERROR)
            return
        if self.tasks >= self.max_tasks:
            self.connection.refuse(stream, ErrorCodes.REFUSED_STREAM)
            return
        self.tasks += 1
        self.nursery.start_soon(self._run, stream, incoming)

    async def _run(self, stream: Http2Stream, incoming: IncomingRequest) -> None:
        try:
            refusal = _refuse(incoming)
            if refusal is None:
                await self.handle(stream, incoming.request)
            else:
                await respond(stream, refusal)
        finally:
            self.tasks -= 1
            await trio.aclose_forcefully(stream)


def _refuse(incoming: IncomingRequest) -> Response | None:
    """What is not even a question for the application."""
    if incoming.too_large:
        return Response(431, body=b"the header fields are too large\n")
    if incoming.request.protocol not in (None, "websocket"):
        return Response(501, body=b"the only :protocol here is websocket\n")
    if incoming.request.method == "CONNECT":
        return Response(501, body=b"this is no proxy\n")
    return None


async def respond(stream: Http2Stream, response: Response, method: str = "GET") -> None:
    """Send a response that ends its stream; what the client makes of it is its own affair.

    Args:
        stream: Where the request came.
        response: What to send.
        method: The request's: the answer to HEAD has no body.
    """
    # The client does not wait to be told.
    with suppress(trio.BrokenResourceError):
        body = b"" if method == "HEAD" else response.body
        stream.send_fields(response_fields(response), end=not body)
        if body:
            await stream.send_all(body)
            await stream.send_eof()
        # "requesting that the client abort transmission of a request without error by sending
        # a RST_STREAM with an error code of NO_ERROR after sending a complete response"
        # (RFC 9113 section 8.1)
        if stream.receiving is Half.OPEN:
            stream.reset(ErrorCodes.NO_ERROR)
