"""The server of trio-websocket, which has no heartbeat and no extensions."""

from contextlib import suppress

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    serve_websocket,
)

from tests.bench.subject import announce, server_settings

connections: set[WebSocketConnection] = set()


async def echo(request: WebSocketRequest) -> None:
    connection = await request.accept()
    with suppress(ConnectionClosed):
        while True:
            await connection.send_message(await connection.get_message())


async def broadcast(request: WebSocketRequest) -> None:
    connection = await request.accept()
    connections.add(connection)
    with suppress(ConnectionClosed):
        while True:
            message = await connection.get_message()
            for each in connections:
                await each.send_message(message)
    connections.discard(connection)


async def main() -> None:
    settings = server_settings()
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            serve_websocket,
            broadcast if settings.broadcast else echo,
            "127.0.0.1",
            0,
            settings.ssl_context,
        )
        announce(server.port)


trio.run(main)
