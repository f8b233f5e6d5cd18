"""The server of aiohttp with uvloop."""

import asyncio

import uvloop
from aiohttp import WSMsgType, web

from tests.bench.subject import HEARTBEAT, announce, server_settings

settings = server_settings()
connections: set[web.WebSocketResponse] = set()


async def open_connection(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse(heartbeat=HEARTBEAT, compress=settings.deflate)
    await connection.prepare(request)
    return connection


async def echo(request: web.Request) -> web.WebSocketResponse:
    connection = await open_connection(request)
    async for message in connection:
        if message.type is WSMsgType.BINARY:
            await connection.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await connection.send_str(message.data)
    return connection


async def broadcast(request: web.Request) -> web.WebSocketResponse:
    connection = await open_connection(request)
    connections.add(connection)
    try:
        async for message in connection:
            for each in connections:
                await each.send_bytes(message.data)
    finally:
        connections.discard(connection)
    return connection


async def main() -> None:
    application = web.Application()
    application.router.add_get("/", broadcast if settings.broadcast else echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=settings.ssl_context)
    await site.start()
    announce(runner.addresses[0][1])
    await asyncio.get_running_loop().create_future()


uvloop.run(main())
