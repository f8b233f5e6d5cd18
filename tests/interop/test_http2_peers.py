"""WebSockets over HTTP/2 with others: node's http2, both ways, and hypercorn as a server."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conftest import TLSContexts
from tests.http2.both import open_both
from trio_wsendpoint import HandshakeRejected, connect, open_http2, open_http2_pool

NODE = shutil.which("node")
SCRIPT = Path(__file__).with_name("node_http2.mjs")
LONG = 60

needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
needs_hypercorn = pytest.mark.skipif(
    importlib.util.find_spec("hypercorn") is None, reason="hypercorn is not installed"
)


@asynccontextmanager
async def open_node_server() -> AsyncIterator[int]:
    """A server of node's, and its port."""
    command = [str(NODE), str(SCRIPT), "server"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            data = await process.stdout.receive_some()
            assert data, "node has ended"
            line += data
        yield int(line)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


@needs_node
async def test_many_websockets_to_a_server_of_node_s() -> None:
    with trio.fail_after(LONG):
        async with (
            open_node_server() as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):

            async def talk(number: int) -> None:
                async with session.connect(
                    f"/chat?{number}", max_message_size=None
                ) as endpoint:
                    message = bytes([number]) * 300_000
                    await endpoint.send(message)
                    assert await endpoint.receive() == message
                    assert await endpoint.ping() is not None
                    await endpoint.aclose(4000 + number)
                    frame = endpoint.received_close_frame
                    assert frame is not None
                    assert frame.code == 4000 + number

            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(talk, number)
            with pytest.raises(HandshakeRejected) as caught:
                async with session.connect("/forbidden"):
                    pass
            assert (caught.value.status_code, caught.value.body) == (403, b"not here")


@needs_node
async def test_a_pool_shares_a_connection_to_a_server_of_node_s() -> None:
    with trio.fail_after(LONG):
        async with open_node_server() as port, open_http2_pool() as pool:
            url = f"ws://127.0.0.1:{port}/chat"
            async with connect(url, http2=pool) as one, connect(url, http2=pool) as two:
                await one.send("1")
                await two.send("2")
                assert (await one.receive(), await two.receive()) == ("1", "2")
                assert one.local_address == two.local_address


@needs_node
@pytest.mark.parametrize("secure", [False, True])
async def test_many_websockets_of_a_client_of_node_s(
    secure: bool, tls_contexts: TLSContexts
) -> None:
    context = tls_contexts.server if secure else None
    with trio.fail_after(LONG):
        async with open_both(ssl_context=context) as port:
            url = f"{'https' if secure else 'http'}://127.0.0.1:{port}"
            command = [str(NODE), str(SCRIPT), "client", url, "20", "300000"]
            done = await trio.run_process(command, capture_stdout=True)
    results = json.loads(done.stdout)
    assert {result["status"] for result in results} == {200}
    assert {result["size"] for result in results} == {300_000}
    assert sorted(result["code"] for result in results) == list(range(4000, 4020))


async def application(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that echoes, and refuses one path."""
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": f"{event['type']}.complete"})
    await receive()
    if scope["path"] == "/forbidden":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        answer = {key: event[key] for key in ("bytes", "text") if event.get(key) is not None}
        await send({"type": "websocket.send", **answer})


@asynccontextmanager
async def open_hypercorn(certificate: tuple[str, str] | None) -> AsyncIterator[int]:
    """A server of hypercorn's, and its port."""
    from hypercorn.config import Config
    from hypercorn.trio import serve

    socket = trio.socket.socket()
    await socket.bind(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{os.dup(socket.fileno())}"]
    config.websocket_max_message_size = 2**24
    config.loglevel = "ERROR"
    if certificate is not None:
        config.certfile, config.keyfile = certificate
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, application, config)
        port = socket.getsockname()[1]
        socket.close()
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.01)
            else:
                break
        yield port
        nursery.cancel_scope.cancel()


@needs_hypercorn
async def test_many_websockets_to_a_server_of_hypercorn_s() -> None:
    with trio.fail_after(LONG):
        async with (
            open_hypercorn(None) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):

            async def talk(number: int) -> None:
                # It answers a close, but never ends the stream (hypercorn 0.18).
                async with session.connect(
                    f"/chat?{number}", max_message_size=None, close_timeout=0.5
                ) as endpoint:
                    message = bytes([number]) * 300_000
                    await endpoint.send(message)
                    assert await endpoint.receive() == message
                    await endpoint.send("text")
                    assert await endpoint.receive() == "text"

            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(talk, number)
            with pytest.raises(HandshakeRejected) as caught:
                async with session.connect("/forbidden"):
                    pass
            assert caught.value.status_code == 403
            assert session.is_open
