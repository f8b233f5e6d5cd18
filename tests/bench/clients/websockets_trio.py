"""The client of websockets on Trio."""

import trio
from websockets.trio.client import ClientConnection, connect

from tests.bench.subject import client_requests


async def echo(connection: ClientConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def count(connection: ClientConnection) -> None:
    counted = 0
    async for message in connection:
        if isinstance(message, bytes):
            counted += 1
        else:
            await connection.send(str(counted))
            counted = 0


async def main() -> None:
    burst, urls = client_requests()
    for url in urls:
        async with connect(url, compression=None) as connection:
            await (count if burst else echo)(connection)


trio.run(main)
