"""The client of aiohttp with uvloop."""

import uvloop
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from tests.bench.subject import HEARTBEAT, client_requests


async def echo(connection: ClientWebSocketResponse) -> None:
    async for message in connection:
        await connection.send_bytes(message.data)


async def count(connection: ClientWebSocketResponse) -> None:
    counted = 0
    async for message in connection:
        if message.type is WSMsgType.BINARY:
            counted += 1
        else:
            await connection.send_str(str(counted))
            counted = 0


async def main() -> None:
    burst, urls = client_requests()
    async with ClientSession() as session:
        for url in urls:
            async with session.ws_connect(url, heartbeat=HEARTBEAT) as connection:
                await (count if burst else echo)(connection)


uvloop.run(main())
