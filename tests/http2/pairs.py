"""Both ends of HTTP/2 connections, in memory or on sockets, and WebSockets on their streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import memory_stream_pair

from trio_wsendpoint.http2 import (
    Http2Connection,
    Http2Stream,
    IncomingRequest,
    connect_fields,
    open_connection,
    read_response,
    response_fields,
)
from trio_wsendpoint.protocol import ClientHandshake, Role, ServerHandshake


class Pair:
    """Two ends of an HTTP/2 connection.

    Attributes:
        client: The client's end.
        server: The server's.
        requests: The streams that the client has opened, as the server sees them, each with
            the fields of its request.
    """

    def __init__(self, client: Http2Connection, server: Http2Connection, requests: Any) -> None:
        self.client = client
        self.server = server
        self.requests: trio.MemoryReceiveChannel[tuple[Http2Stream, Any]] = requests

    async def open_streams(self) -> tuple[Http2Stream, Http2Stream]:
        """The client's and the server's end of a stream whose opening handshake is done."""
        await self.client.wait_introduced()
        handshake = ClientHandshake("localhost", "/chat")
        ours = self.client.open_stream(connect_fields(handshake.request, "https"))
        theirs, fields = await self.requests.receive()
        request = IncomingRequest.read(fields).request
        response, agreement = ServerHandshake().respond(request)
        assert agreement is not None
        theirs.send_fields(response_fields(response, opens=True))
        answer = read_response(await ours.receive_fields(), handshake.request)
        handshake.complete(answer)
        return ours, theirs


@asynccontextmanager
async def open_pair(
    client_stream: trio.abc.Stream | None = None,
    server_stream: trio.abc.Stream | None = None,
    **options: Any,
) -> AsyncIterator[Pair]:
    """Both ends of an HTTP/2 connection, in memory unless there are streams for it."""
    if client_stream is None or server_stream is None:
        client_stream, server_stream = memory_stream_pair()
    send, receive = trio.open_memory_channel[Any](1000)
    with trio.fail_after(1000):
        async with (
            open_connection(server_stream, Role.SERVER, **options) as server,
            open_connection(client_stream, Role.CLIENT) as client,
        ):
            server.on_request = lambda stream, fields: send.send_nowait((stream, fields))
            yield Pair(client, server, receive)
