"""The client of websockets on asyncio with uvloop."""

from contextlib import suppress

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.bench.subject import BURST, PAYLOAD, client_requests


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


async def burst(connection: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            for _ in range(BURST):
                await connection.send(PAYLOAD)
            for _ in range(BURST):
                await connection.recv()


async def main() -> None:
    work, urls = client_requests()
    for url in urls:
        async with connect(url, compression=None) as connection:
            await WORK[work](connection)


WORK = {"echo": echo, "count": count, "burst": burst}
uvloop.run(main())
