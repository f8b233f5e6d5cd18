"""The client of aiohttp with uvloop."""

import uvloop
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from tests.bench.subject import BURST, HEARTBEAT, PAYLOAD, client_requests


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


async def burst(connection: ClientWebSocketResponse) -> None:
    while not connection.closed:
        for _ in range(BURST):
            await connection.send_bytes(PAYLOAD)
        for _ in range(BURST):
            if (await connection.receive()).type is not WSMsgType.BINARY:
                return


async def main() -> None:
    work, urls = client_requests()
    async with ClientSession() as session:
        for url in urls:
            async with session.ws_connect(url, heartbeat=HEARTBEAT) as connection:
                await WORK[work](connection)


WORK = {"echo": echo, "count": count, "burst": burst}
uvloop.run(main())
