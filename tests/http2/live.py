"""Two ends of an HTTP/2 stream, made without waiting, for tests that want a pair of streams."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import memory_stream_pair

from trio_wsendpoint.http2 import (
    Http2Connection,
    Http2Stream,
    IncomingRequest,
    connect_fields,
    response_fields,
)
from trio_wsendpoint.protocol import ClientHandshake, Role, ServerHandshake
from trio_wsendpoint.testing import StallStream


def http2_stream_pair(*, stalled: bool = False) -> tuple[Http2Stream, Http2Stream]:
    """The client's and the server's end of a stream whose opening handshake is done.

    Their connections run in system tasks, until the run of Trio ends.

    Args:
        stalled: Whether nothing leaves the client's end until `resume_http2`.
    """
    near: trio.abc.Stream
    near, far = memory_stream_pair()
    if stalled:
        near = StallStream(near, after_sent=0)
    client = Http2Connection(near, Role.CLIENT, 100)
    server = Http2Connection(far, Role.SERVER, 100)
    taken: list[Any] = []
    server.on_request = lambda *request: taken.append(request)
    exchange(client, server)
    handshake = ClientHandshake("localhost", "/chat")
    ours = client.open_stream(connect_fields(handshake.request, "https"))
    exchange(client, server)
    [(theirs, fields)] = taken
    response, _ = ServerHandshake().respond(IncomingRequest.read(fields).request)
    theirs.send_fields(response_fields(response, opens=True))
    exchange(client, server)
    for connection in (client, server):
        trio.lowlevel.spawn_system_task(connection.run, b"")
        trio.lowlevel.spawn_system_task(keep, connection)
    return ours, theirs


def resume_http2(stream: Http2Stream) -> None:
    """Let out what a stalled end has to send."""
    connection = stream._carrier
    assert isinstance(connection, Http2Connection)
    assert isinstance(connection._stream, StallStream)
    connection._stream.resume()


def exchange(client: Http2Connection, server: Http2Connection) -> None:
    """Hand over what the two have to say to each other."""
    for sender, receiver in ((client, server), (server, client)) * 2:
        receiver._take_in(sender._engine.take())


async def keep(connection: Http2Connection) -> None:
    """End a connection when the run of Trio ends."""
    try:
        await trio.sleep_forever()
    finally:
        if isinstance(connection._stream, StallStream):
            connection._stream.resume()
        connection.finish()
