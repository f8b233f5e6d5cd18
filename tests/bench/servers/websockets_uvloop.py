"""The server of websockets on asyncio with uvloop."""

import asyncio

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.asyncio.server import broadcast as send_to_all

from tests.bench.subject import announce, server_settings

connections: set[ServerConnection] = set()


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def broadcast(connection: ServerConnection) -> None:
    connections.add(connection)
    try:
        async for message in connection:
            send_to_all(connections, message)
    finally:
        connections.discard(connection)


async def main() -> None:
    settings = server_settings()
    service = serve(
        broadcast if settings.broadcast else echo,
        "127.0.0.1",
        0,
        ssl=settings.ssl_context,
        compression="deflate" if settings.deflate else None,
    )
    async with service as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await asyncio.get_running_loop().create_future()


uvloop.run(main())
