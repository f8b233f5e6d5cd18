"""A server in memory, and clients that speak bytes to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import memory_stream_pair

from tests.endpoint.peer import Peer
from trio_wsendpoint import Endpoint, Role, connect, serve_listeners

LOGGER = "trio_wsendpoint.server"
HEAD = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(64)


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts what the test dials, in memory."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](1000)
        self.accepted = 0
        self.is_closed = False

    def dial(self) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        self.hand_in(theirs)
        return ours

    def hand_in(self, stream: trio.abc.Stream) -> None:
        self._send.send_nowait(stream)

    async def accept(self) -> trio.abc.Stream:
        stream = await self._receive.receive()
        self.accepted += 1
        return stream

    async def aclose(self) -> None:
        self.is_closed = True
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def serving(
    handler: Callable[[Endpoint], Awaitable[object]], **options: Any
) -> AsyncIterator[MemoryListener]:
    """A server in memory, cancelled in the end."""
    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        run = partial(serve_listeners, handler, [listener], **options)
        assert await nursery.start(run) == [listener]
        yield listener
        nursery.cancel_scope.cancel()
    assert listener.is_closed


async def shake_hands(stream: trio.abc.Stream) -> Peer:
    await stream.send_all(HEAD)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += bytes(await stream.receive_some())
    assert answer.startswith(b"HTTP/1.1 101 ")
    return Peer(stream, Role.CLIENT)


async def assert_alive(listener: MemoryListener) -> None:
    """The server still takes connections, and its handler echoes."""
    async with connect("ws://localhost/", stream=listener.dial()) as client:
        await client.send("still there?")
        assert await client.receive() == "still there?"


def records_of(caplog: pytest.LogCaptureFixture, name: str = LOGGER) -> list[Any]:
    return [record for record in caplog.records if record.name == name]


@attrs.frozen
class Answer:
    """A response as it came over the wire."""

    status_code: int
    headers: dict[str, str]
    body: bytes


def request_bytes(target: str = "/", method: str = "GET", **headers: str) -> bytes:
    """A plain request; `x_y` is the header `x-y`."""
    fields = {"host": "localhost", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def upgrade_bytes(target: str = "/", **headers: str) -> bytes:
    """A request for a WebSocket."""
    return request_bytes(
        target,
        upgrade="websocket",
        connection="Upgrade",
        sec_websocket_version="13",
        sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    )


async def ask(stream: trio.abc.Stream, request: bytes) -> Answer:
    """Send a request, and read the response to the end of the stream."""
    await stream.send_all(request)
    data = b"".join([bytes(piece) async for piece in stream])
    await stream.aclose()
    return parse_answer(data)


def parse_answer(data: bytes) -> Answer:
    head, separator, body = data.partition(b"\r\n\r\n")
    assert separator, data
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, line
        headers[name.lower()] = value
    assert status_line.startswith("HTTP/1.1 ")
    return Answer(int(status_line.split()[1]), headers, body)
