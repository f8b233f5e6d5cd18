"""Proxies for the client's tests: HTTP CONNECT and SOCKS, small but real."""

from __future__ import annotations

import base64
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

import attrs
import trio
import trio.lowlevel

from tests.client.servers import header, read_request
from trio_wsendpoint.endpoint import STREAM_ERRORS

Speak: TypeAlias = Callable[["RunningProxy", trio.abc.Stream], Awaitable[None]]


@attrs.define
class RunningProxy:
    """A proxy that runs.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        asked_for: What it was asked to lead to.
        requests: The heads of the requests that came, if it speaks HTTP.
        clients: The addresses of those who have dialled it.
        credentials: The user name and password that it insists on.
        hosts: Where it finds hosts, instead of asking a resolver.
    """

    port: int = 0
    asked_for: list[str] = attrs.field(factory=list)
    requests: list[bytes] = attrs.field(factory=list)
    clients: list[str] = attrs.field(factory=list)
    credentials: tuple[str, str] | None = None
    hosts: dict[str, str] = attrs.field(factory=dict)

    async def dial(self, host: str, port: int) -> trio.SocketStream:
        self.asked_for.append(f"{host}:{port}")
        return await trio.open_tcp_stream(self.hosts.get(host, host), port)


@asynccontextmanager
async def running_proxy(
    speak: Speak,
    *,
    ssl_context: ssl.SSLContext | None = None,
    credentials: tuple[str, str] | None = None,
    hosts: dict[str, str] | None = None,
) -> AsyncIterator[RunningProxy]:
    """Run a proxy on loopback that speaks so with each client."""
    proxy = RunningProxy(credentials=credentials, hosts=hosts or {})

    async def talk(stream: trio.SocketStream) -> None:
        proxy.clients.append(stream.socket.getpeername()[0])
        below: trio.abc.Stream = stream
        if ssl_context is not None:
            below = trio.SSLStream(stream, ssl_context, server_side=True, https_compatible=True)
        try:
            await speak(proxy, below)
        except STREAM_ERRORS:
            pass
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(below)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, talk, 0, host="127.0.0.1"))
        proxy.port = listeners[0].socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()


async def tunnel(one: trio.abc.Stream, other: trio.abc.Stream) -> None:
    """Carry bytes both ways until either side ends."""

    async def carry(source: trio.abc.Stream, target: trio.abc.Stream) -> None:
        try:
            while data := await source.receive_some(2**16):
                await target.send_all(data)
        except STREAM_ERRORS:
            pass
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(carry, one, other)
        nursery.start_soon(carry, other, one)


# -- HTTP ---------------------------------------------------------------------------------


async def speak_http(proxy: RunningProxy, stream: trio.abc.Stream) -> None:
    request = await read_request(stream)
    proxy.requests.append(request)
    method, target, _ = request.split(b" ", 2)
    assert method == b"CONNECT"
    if proxy.credentials is not None:
        expected = base64.b64encode(":".join(proxy.credentials).encode()).decode()
        if header(request, "Proxy-Authorization") != f"Basic {expected}":
            await stream.send_all(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'Proxy-Authenticate: Basic realm="x"\r\nContent-Length: 9\r\n\r\nwho goes?'
            )
            return
    host, _, port = target.decode().rpartition(":")
    try:
        other = await proxy.dial(host.strip("[]"), int(port))
    except OSError:
        await stream.send_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        return
    async with other:
        await stream.send_all(b"HTTP/1.0 200 Connection")
        await trio.lowlevel.checkpoint()  # an answer may come in pieces
        await stream.send_all(b" established\r\nVia: x\r\n\r\n")
        await tunnel(stream, other)


# -- SOCKS --------------------------------------------------------------------------------


async def read_exactly(stream: trio.abc.Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            raise trio.BrokenResourceError
        data += bytes(more)
    return data


async def read_to_null(stream: trio.abc.Stream) -> str:
    data = b""
    while (byte := await read_exactly(stream, 1)) != b"\0":
        data += byte
    return data.decode()


async def speak_socks(proxy: RunningProxy, stream: trio.abc.Stream) -> None:
    version = await read_exactly(stream, 1)
    await (_speak_socks4 if version == b"\x04" else _speak_socks5)(proxy, stream)


async def _speak_socks4(proxy: RunningProxy, stream: trio.abc.Stream) -> None:
    command, *rest = await read_exactly(stream, 7)
    assert command == 1
    port = int.from_bytes(rest[:2], "big")
    address = bytes(rest[2:])
    user = await read_to_null(stream)
    if address[:3] == b"\0\0\0" and address[3]:
        host = await read_to_null(stream)
    else:
        host = str(ipaddress.IPv4Address(address))
    if proxy.credentials is not None and user != proxy.credentials[0]:
        await stream.send_all(b"\0\x5d" + bytes(6))
        return
    try:
        other = await proxy.dial(host, port)
    except OSError:
        await stream.send_all(b"\0\x5b" + bytes(6))
        return
    async with other:
        await stream.send_all(b"\0\x5a" + bytes(6))
        await tunnel(stream, other)


async def _speak_socks5(proxy: RunningProxy, stream: trio.abc.Stream) -> None:
    methods = await read_exactly(stream, (await read_exactly(stream, 1))[0])
    if proxy.credentials is None:
        await stream.send_all(b"\x05\x00")
    elif 2 not in methods:
        await stream.send_all(b"\x05\xff")
        return
    else:
        await stream.send_all(b"\x05\x02")
        await read_exactly(stream, 1)
        given = [
            (await read_exactly(stream, (await read_exactly(stream, 1))[0])).decode()
            for _ in range(2)
        ]
        refused = given != list(proxy.credentials)
        await stream.send_all(bytes((1, refused)))
        if refused:
            return
    _, command, _, kind = await read_exactly(stream, 4)
    assert command == 1
    if kind == 3:
        host = (await read_exactly(stream, (await read_exactly(stream, 1))[0])).decode()
    else:
        host = str(ipaddress.ip_address(await read_exactly(stream, 4 if kind == 1 else 16)))
    port = int.from_bytes(await read_exactly(stream, 2), "big")
    try:
        other = await proxy.dial(host, port)
    except OSError:
        await stream.send_all(b"\x05\x05\x00\x01" + bytes(6))
        return
    async with other:
        await stream.send_all(b"\x05\x00\x00\x01" + bytes(6))
        await tunnel(stream, other)


def says(*answers: bytes) -> Speak:
    """Say this, whatever is asked, piece by piece, and close."""

    async def speak(_: RunningProxy, stream: trio.abc.Stream) -> None:
        for answer in answers:
            await stream.receive_some(2**16)
            await stream.send_all(answer)

    return speak


async def stall(_: RunningProxy, __: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def hang_up(_: RunningProxy, stream: trio.abc.Stream) -> None:
    await stream.receive_some(2**16)
