"""Servers of all kinds for the client's tests, on loopback."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import attrs
import trio

from trio_wsendpoint import Endpoint, Role, open_endpoint, serve
from trio_wsendpoint.endpoint import STREAM_ERRORS
from trio_wsendpoint.protocol.handshake import accept_value

Answer: TypeAlias = Callable[[trio.abc.Stream, bytes], Awaitable[None]]
Handler: TypeAlias = Callable[[Endpoint], Awaitable[None]]


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


async def read_request(stream: trio.abc.Stream) -> bytes:
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        more = await stream.receive_some()
        if not more:
            raise trio.BrokenResourceError(f"only {request!r}")
        request += bytes(more)
    return request


def header(request: bytes, name: str) -> str | None:
    for line in request.decode().split("\r\n")[1:]:
        key, _, value = line.partition(": ")
        if key.lower() == name.lower():
            return value
    return None


def switching(request: bytes, *extra: str, accept: str | None = None) -> bytes:
    """The answer that opens the connection."""
    key = header(request, "Sec-WebSocket-Key")
    assert key is not None
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept or accept_value(key)}",
        *extra,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@asynccontextmanager
async def echo_server(**options: Any) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve, echo, 0, host="127.0.0.1", **options))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def exchange(client: Endpoint) -> None:
    await client.send("hello")
    assert await client.receive() == "hello"


@attrs.define
class ScriptedServer:
    """A server that has an answer for each connection, the last one for all that follow.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        requests: The heads of all requests that came.
    """

    port: int
    requests: list[bytes] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    @property
    def targets(self) -> list[str]:
        return [request.split()[1].decode() for request in self.requests]

    def headers(self, name: str) -> list[str | None]:
        return [header(request, name) for request in self.requests]


@asynccontextmanager
async def scripted_server(
    *answers: Answer, ssl_context: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[ScriptedServer]:
    script = itertools.chain(answers, itertools.repeat(answers[-1]))
    server = ScriptedServer(0)

    async def talk(stream: trio.abc.Stream) -> None:
        answer = next(script)
        if ssl_context is not None:
            stream = trio.SSLStream(
                stream, ssl_context, server_side=True, https_compatible=True
            )
        try:
            request = await read_request(stream)
            server.requests.append(request)
            await answer(stream, request)
        except STREAM_ERRORS:
            pass
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, talk, port, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


def answers(status: str, *headers: str, body: bytes = b"") -> Answer:
    """Answer with this, and close."""

    async def answer(stream: trio.abc.Stream, request: bytes) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
        await stream.send_all("\r\n".join(lines).encode() + body)

    return answer


def moves(location: str, status: str = "302 Found") -> Answer:
    return answers(status, f"Location: {location}")


async def hangs_up(stream: trio.abc.Stream, request: bytes) -> None:
    """Answer nothing at all."""


async def stalls(stream: trio.abc.Stream, request: bytes) -> None:
    await trio.sleep_forever()


def opens(handler: Handler = echo, *headers: str) -> Answer:
    """Open the connection, and run an endpoint over it."""

    async def answer(stream: trio.abc.Stream, request: bytes) -> None:
        await stream.send_all(switching(request, *headers))
        async with open_endpoint(stream, Role.SERVER) as endpoint:
            await handler(endpoint)

    return answer


def closes(code: int | None, reason: str = "") -> Answer:
    """Open the connection, and close it at once."""

    async def handler(endpoint: Endpoint) -> None:
        await endpoint.aclose(code, reason)

    return opens(handler)


async def breaks(stream: trio.abc.Stream, request: bytes) -> None:
    """Open the connection, and break it off."""
    await stream.send_all(switching(request))
