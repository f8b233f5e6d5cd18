"""Other libraries' servers and clients, all with the same few words.

A server echoes messages, but three it takes as words: at CLOSE_REQUEST it closes with
SERVER_CLOSE; at PING_REQUEST it pings, and says so when the pong has come; at
PIECES_REQUEST it answers with PIECES, a fragment each (aiohttp, which cannot, in one frame).

A client sends messages one behind the other, and collects the replies. Then, unless the
server has closed, it pings once, waits for the pong, and closes with CLIENT_CLOSE.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import aiohttp
import aiohttp.web
import attrs
import trio
import websockets.exceptions
import websockets.extensions.permessage_deflate as websockets_deflate
import websockets.trio.client
import websockets.trio.server

from tests.conftest import TLSContexts

CLOSE_REQUEST: Final = "close, please"
PING_REQUEST: Final = "ping, please"
PIECES_REQUEST: Final = "in pieces, please"

PING_ANSWERED: Final = "the pong has come"
PIECES: Final = ("one, ", "two, ", "three")
SERVER_CLOSE: Final = (4001, "asked for")
CLIENT_CLOSE: Final = (4001, "had enough")
MAX_SIZE: Final = 2**24
LONG: Final = 60  # seconds after which something hangs

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
    """How a connection is to be made; the same for its client and its server.

    Attributes:
        contexts: TLS, or None for plain TCP.
        compression: Parameters of permessage-deflate, or None for no compression.
        subprotocols: Those that this side speaks.
        fragmented: Whether the client sends its messages in two fragments and an empty one.
    """

    contexts: TLSContexts | None = None
    compression: Compression | None = None
    subprotocols: Sequence[Any] = ()
    fragmented: bool = False

    @property
    def server_context(self) -> ssl.SSLContext | None:
        return self.contexts.server if self.contexts else None

    @property
    def client_context(self) -> ssl.SSLContext | None:
        return self.contexts.client if self.contexts else None

    def url(self, port: int) -> str:
        return f"{'wss' if self.contexts else 'ws'}://127.0.0.1:{port}/"


@attrs.define
class Outcome:
    """What a client has seen: the replies, and how the server closed if it did."""

    subprotocol: str | None
    replies: list[str | bytes] = attrs.field(factory=list)
    received_close: tuple[int, str] | None = None


def in_two(message: str | bytes) -> list[Any]:
    half = len(message) // 2
    return [message[:half], message[half:]]


# -- websockets, on Trio ------------------------------------------------------------------


async def _websockets_words(connection: websockets.trio.server.ServerConnection) -> None:
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        while True:
            message = await connection.recv()
            if message == CLOSE_REQUEST:
                await connection.aclose(*SERVER_CLOSE)
            elif message == PING_REQUEST:
                await (await connection.ping()).wait()
                await connection.send(PING_ANSWERED)
            elif message == PIECES_REQUEST:
                await connection.send(PIECES)
            else:
                await connection.send(message)


def _websockets_extensions(setup: Setup, factory: Callable[..., T]) -> list[T] | None:
    if setup.compression is None:
        return None
    return [factory(**attrs.asdict(setup.compression))]


@contextlib.asynccontextmanager
async def websockets_server(setup: Setup) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(
                websockets.trio.server.serve,
                _websockets_words,
                0,
                host="127.0.0.1",
                ssl=setup.server_context,
                compression=None,
                extensions=_websockets_extensions(
                    setup, websockets_deflate.ServerPerMessageDeflateFactory
                ),
                subprotocols=setup.subprotocols or None,
                max_size=MAX_SIZE,
            )
        )
        yield server.listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def websockets_client(url: str, messages: Messages, setup: Setup) -> Outcome:
    async with websockets.trio.client.connect(
        url,
        ssl=setup.client_context,
        compression=None,
        extensions=_websockets_extensions(
            setup, websockets_deflate.ClientPerMessageDeflateFactory
        ),
        subprotocols=setup.subprotocols or None,
        max_size=MAX_SIZE,
        proxy=None,
    ) as connection:
        outcome = Outcome(connection.subprotocol)

        async def send() -> None:
            for message in messages:
                await connection.send(in_two(message) if setup.fragmented else message)

        async def receive() -> None:
            try:
                for _ in messages:
                    outcome.replies.append(await connection.recv())
            except websockets.exceptions.ConnectionClosed as closed:
                if closed.rcvd is None:
                    raise
                outcome.received_close = (closed.rcvd.code, closed.rcvd.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(receive)
        if outcome.received_close is None:
            await (await connection.ping()).wait()
            await connection.aclose(*CLIENT_CLOSE)
    return outcome


# -- aiohttp, on asyncio in a thread of its own -------------------------------------------

_AiohttpConnection: TypeAlias = (
    aiohttp.web.WebSocketResponse | aiohttp.ClientWebSocketResponse[bool]
)


async def _aiohttp_send(connection: _AiohttpConnection, message: str | bytes) -> None:
    if isinstance(message, str):
        await connection.send_str(message)
    else:
        await connection.send_bytes(message)


async def _aiohttp_words(setup: Setup, request: aiohttp.web.Request) -> Any:
    connection = aiohttp.web.WebSocketResponse(
        compress=setup.compression is not None,
        protocols=setup.subprotocols,
        max_msg_size=MAX_SIZE,
        autoping=False,
    )
    await connection.prepare(request)
    async for message in connection:
        if message.type is aiohttp.WSMsgType.PING:
            await connection.pong(message.data)
        elif message.type is aiohttp.WSMsgType.PONG:
            await connection.send_str(PING_ANSWERED)
        elif message.data == CLOSE_REQUEST:
            await connection.close(code=SERVER_CLOSE[0], message=SERVER_CLOSE[1].encode())
        elif message.data == PING_REQUEST:
            await connection.ping(b"there?")
        elif message.data == PIECES_REQUEST:
            await connection.send_str("".join(PIECES))
        else:
            await _aiohttp_send(connection, message.data)
    return connection


def _run_aiohttp_server(
    setup: Setup, started: Callable[[int, asyncio.AbstractEventLoop, asyncio.Event], None]
) -> None:
    async def run() -> None:
        application = aiohttp.web.Application()
        application.router.add_get("/", partial(_aiohttp_words, setup))
        runner = aiohttp.web.AppRunner(application)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0, ssl_context=setup.server_context)
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


async def _aiohttp_receive(connection: aiohttp.ClientWebSocketResponse[bool]) -> Any:
    while (message := await connection.receive()).type is aiohttp.WSMsgType.PING:
        await connection.pong(message.data)
    return message


async def _aiohttp_talk(url: str, messages: Messages, setup: Setup) -> Outcome:
    compression = setup.compression
    context = setup.client_context
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context or True)) as session,
        session.ws_connect(
            url,
            compress=0 if compression is None else compression.client_max_window_bits,
            protocols=setup.subprotocols,
            max_msg_size=MAX_SIZE,
            autoping=False,
        ) as connection,
    ):
        outcome = Outcome(connection.protocol)

        async def send() -> None:
            for message in messages:
                await _aiohttp_send(connection, message)

        sending = asyncio.create_task(send())
        for _ in messages:
            reply = await _aiohttp_receive(connection)
            if reply.type is aiohttp.WSMsgType.CLOSE:
                outcome.received_close = (reply.data, reply.extra)
                break
            outcome.replies.append(reply.data)
        await sending
        if outcome.received_close is None:
            await connection.ping(b"there?")
            pong = await _aiohttp_receive(connection)
            assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"there?")
            await connection.close(code=CLIENT_CLOSE[0], message=CLIENT_CLOSE[1].encode())
    return outcome


def _run_asyncio(talk: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own, and see to what it leaves behind.

    aiohttp leaves its transports to be closed by the loop, which ends before it gets to it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        result = asyncio.run(talk)
        gc.collect()
    return result


async def aiohttp_client(url: str, messages: Messages, setup: Setup) -> Outcome:
    return await trio.to_thread.run_sync(
        _run_asyncio, asyncio.wait_for(_aiohttp_talk(url, messages, setup), LONG)
    )


SERVERS: dict[str, Callable[[Setup], contextlib.AbstractAsyncContextManager[int]]] = {
    "websockets": websockets_server,
    "aiohttp": aiohttp_server,
}
CLIENTS: dict[str, Callable[[str, Messages, Setup], Awaitable[Outcome]]] = {
    "websockets": websockets_client,
    "aiohttp": aiohttp_client,
}
