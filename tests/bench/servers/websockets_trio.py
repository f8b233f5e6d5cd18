"""The server of websockets on Trio."""

from functools import partial

import trio
from websockets.trio.connection import broadcast as send_to_all
from websockets.trio.server import Server, ServerConnection, serve

from tests.bench.subject import announce, server_settings

connections: set[ServerConnection] = set()


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def broadcast(connection: ServerConnection) -> None:
    connections.add(connection)
    try:
        async for message in connection:
            await send_to_all(connections, message)
    finally:
        connections.discard(connection)


async def main() -> None:
    settings = server_settings()
    service = partial(
        serve,
        broadcast if settings.broadcast else echo,
        0,
        host="127.0.0.1",
        ssl=settings.ssl_context,
        compression="deflate" if settings.deflate else None,
    )
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(service)
        announce(server.listeners[0].socket.getsockname()[1])


trio.run(main)
