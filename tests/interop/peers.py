"""Other libraries' echo servers and clients, all with the same few words.

A server echoes messages, closes with 4001 and "asked for" when it is sent "close, please",
and takes part in pings by itself. A client sends messages one behind the other, collects as
many replies, pings once, and closes with 4001 and "had enough".
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import aiohttp
import aiohttp.web
import attrs
import trio
import websockets.exceptions
import websockets.extensions.permessage_deflate as websockets_deflate
import websockets.trio.client
import websockets.trio.server

CLOSE_REQUEST = "close, please"
SERVER_CLOSE = (4001, "asked for")
CLIENT_CLOSE = (4001, "had enough")
MAX_SIZE = 2**24

T = TypeVar("T")
Messages: TypeAlias = Sequence[str | bytes]


@attrs.frozen(kw_only=True)
class Compression:
    """Parameters of permessage-deflate, as both peers can be told them."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15


@attrs.frozen(kw_only=True)
class Setup:
    """How a connection is to be made."""

    ssl_context: ssl.SSLContext | None = None
    compression: Compression | None = None


def _flags(compression: Compression) -> dict[str, Any]:
    return attrs.asdict(compression)


# -- websockets, on Trio ------------------------------------------------------------------


@contextlib.asynccontextmanager
async def websockets_server(setup: Setup) -> AsyncIterator[int]:
    async def echo(connection: websockets.trio.server.ServerConnection) -> None:
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            while True:
                message = await connection.recv()
                if message == CLOSE_REQUEST:
                    await connection.aclose(*SERVER_CLOSE)
                await connection.send(message)

    extensions = None
    if setup.compression is not None:
        factory = websockets_deflate.ServerPerMessageDeflateFactory
        extensions = [factory(**_flags(setup.compression))]
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(
                websockets.trio.server.serve,
                echo,
                0,
                host="127.0.0.1",
                ssl=setup.ssl_context,
                compression=None,
                extensions=extensions,
                max_size=MAX_SIZE,
            )
        )
        yield server.listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def websockets_client(url: str, messages: Messages, setup: Setup) -> list[str | bytes]:
    extensions = None
    if setup.compression is not None:
        factory = websockets_deflate.ClientPerMessageDeflateFactory
        extensions = [factory(**_flags(setup.compression))]
    replies: list[str | bytes] = []
    async with websockets.trio.client.connect(
        url,
        ssl=setup.ssl_context,
        compression=None,
        extensions=extensions,
        max_size=MAX_SIZE,
        proxy=None,
    ) as connection:

        async def send() -> None:
            for message in messages:
                await connection.send(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            replies = [await connection.recv() for _ in messages]
        pong = await connection.ping()
        await pong.wait()
        await connection.aclose(*CLIENT_CLOSE)
    return replies


# -- aiohttp, on asyncio in a thread of its own -------------------------------------------


def _aiohttp_compress(setup: Setup) -> int:
    return 0 if setup.compression is None else setup.compression.client_max_window_bits


async def _aiohttp_echo(setup: Setup, request: aiohttp.web.Request) -> Any:
    connection = aiohttp.web.WebSocketResponse(
        compress=setup.compression is not None, max_msg_size=MAX_SIZE
    )
    await connection.prepare(request)
    async for message in connection:
        if message.data == CLOSE_REQUEST:
            await connection.close(code=SERVER_CLOSE[0], message=SERVER_CLOSE[1].encode())
        elif message.type is aiohttp.WSMsgType.TEXT:
            await connection.send_str(message.data)
        else:
            await connection.send_bytes(message.data)
    return connection


def _run_aiohttp_server(
    setup: Setup, started: Callable[[int, asyncio.AbstractEventLoop, asyncio.Event], None]
) -> None:
    async def run() -> None:
        application = aiohttp.web.Application()
        application.router.add_get("/", partial(_aiohttp_echo, setup))
        runner = aiohttp.web.AppRunner(application)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0, ssl_context=setup.ssl_context)
        await site.start()
        stop = asyncio.Event()
        started(runner.addresses[0][1], asyncio.get_running_loop(), stop)
        await stop.wait()
        await runner.cleanup()

    _run_asyncio(run())


@contextlib.asynccontextmanager
async def aiohttp_server(setup: Setup) -> AsyncIterator[int]:
    send, receive = trio.open_memory_channel[
        tuple[int, asyncio.AbstractEventLoop, asyncio.Event]
    ](1)

    def started(port: int, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        trio.from_thread.run_sync(send.send_nowait, (port, loop, stop))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, _run_aiohttp_server, setup, started)
        port, loop, stop = await receive.receive()
        try:
            yield port
        finally:
            loop.call_soon_threadsafe(stop.set)


async def _aiohttp_talk(url: str, messages: Messages, setup: Setup) -> list[str | bytes]:
    replies: list[str | bytes] = []
    connector = aiohttp.TCPConnector(ssl=setup.ssl_context or True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(
            url, compress=_aiohttp_compress(setup), max_msg_size=MAX_SIZE, autoping=False
        ) as connection,
    ):

        async def send() -> None:
            for message in messages:
                if isinstance(message, str):
                    await connection.send_str(message)
                else:
                    await connection.send_bytes(message)

        sending = asyncio.create_task(send())
        replies = [(await connection.receive()).data for _ in messages]
        await sending
        await connection.ping(b"there?")
        pong = await connection.receive()
        assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"there?")
        await connection.close(code=CLIENT_CLOSE[0], message=CLIENT_CLOSE[1].encode())
    return replies


def _run_asyncio(talk: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own, and see to what it leaves behind.

    aiohttp leaves its transports to be closed by the loop, which ends before it gets to it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        result = asyncio.run(talk)
        gc.collect()
    return result


async def aiohttp_client(url: str, messages: Messages, setup: Setup) -> list[str | bytes]:
    return await trio.to_thread.run_sync(
        _run_asyncio, _aiohttp_talk(url, messages, setup), abandon_on_cancel=False
    )


SERVERS: dict[str, Callable[[Setup], contextlib.AbstractAsyncContextManager[int]]] = {
    "websockets": websockets_server,
    "aiohttp": aiohttp_server,
}
CLIENTS: dict[str, Callable[[str, Messages, Setup], Awaitable[list[str | bytes]]]] = {
    "websockets": websockets_client,
    "aiohttp": aiohttp_client,
}
