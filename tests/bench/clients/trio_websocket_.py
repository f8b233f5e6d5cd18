"""The client of trio-websocket, which has no heartbeat."""

from contextlib import suppress

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from tests.bench.subject import BURST, PAYLOAD, client_requests


async def echo(connection: WebSocketConnection) -> None:
    while True:
        await connection.send_message(await connection.get_message())


async def count(connection: WebSocketConnection) -> None:
    counted = 0
    while True:
        message = await connection.get_message()
        if isinstance(message, bytes):
            counted += 1
        else:
            await connection.send_message(str(counted))
            counted = 0


async def burst(connection: WebSocketConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            for _ in range(BURST):
                await connection.send_message(PAYLOAD)
            for _ in range(BURST):
                await connection.get_message()


async def main() -> None:
    work, urls = client_requests()
    for url in urls:
        async with open_websocket_url(url) as connection:
            with suppress(ConnectionClosed):
                await WORK[work](connection)


WORK = {"echo": echo, "count": count, "burst": burst}
trio.run(main)
