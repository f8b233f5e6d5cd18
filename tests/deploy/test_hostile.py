"""Bad clients by the thousand: the server serves on, and every bound holds."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from tests.server.world import HEAD, Answer, ask, request_bytes, upgrade_bytes
from trio_wsendpoint import connect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc"),
]
ROOT = Path(__file__).parents[2]
PATIENCE = 300
"""Seconds after which something hangs, however slow and busy the machine is."""


@attrs.frozen
class Server:
    """A server in a process of its own."""

    port: int
    log: Path

    async def dial(self) -> trio.SocketStream:
        sock = trio.socket.socket()
        await sock.connect(("127.0.0.1", self.port))
        return trio.SocketStream(sock)

    async def ask(self, request: bytes) -> Answer:
        return await ask(await self.dial(), request)

    async def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = json.loads((await self.ask(request_bytes("/stats"))).body)
        return stats

    async def assert_alive(self) -> None:
        with trio.fail_after(PATIENCE):
            async with connect(f"ws://127.0.0.1:{self.port}/") as client:
                await client.send("still there?")
                assert await client.receive() == "still there?"

    async def wait_until_idle(self) -> None:
        with trio.fail_after(PATIENCE):
            while (await self.stats())["open files"] > 20:  # noqa: ASYNC110
                await trio.sleep(0.1)


@asynccontextmanager
async def hostile_server(directory: Path, *options: str) -> AsyncIterator[Server]:
    log = directory / "log"
    with log.open("wb") as stderr:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "tests.deploy.hostile_server", *options],
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=ROOT,
        )
    assert process.stdout is not None
    try:
        with trio.fail_after(2 * PATIENCE):
            yield Server(int(await process.stdout.receive_some()), log)
        assert process.poll() is None, "it runs on"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


async def many(number: int, act: Callable[[], Awaitable[None]]) -> None:
    """Do something so many times, fifty at a time."""
    left = iter(range(number))

    async def work() -> None:
        for _ in left:
            await act()

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(work)


async def test_ten_thousand_half_open_handshakes_hold_up_nobody(tmp_path: Path) -> None:
    number = 10_000
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < number + 200:
        pytest.skip(f"only {limit} files may be open at a time")
    async with (
        hostile_server(tmp_path, "handshake_timeout=20") as server,
        AsyncExitStack() as stack,
    ):
        before = await server.stats()

        async def begin() -> None:
            stream = await server.dial()
            stack.push_async_callback(trio.aclose_forcefully, stream)
            await stream.send_all(HEAD[:-2])

        await many(number, begin)
        await server.assert_alive()
        during = await server.stats()
        assert during["megabytes"] - before["megabytes"] < number * 0.03
        await server.wait_until_idle()
        await server.assert_alive()


async def test_of_half_open_handshakes_no_more_are_accepted_than_there_may_be(
    tmp_path: Path,
) -> None:
    options = ("handshake_timeout=1", "max_handshakes=100")
    async with hostile_server(tmp_path, *options) as server, AsyncExitStack() as stack:

        async def begin() -> None:
            stream = await server.dial()
            stack.push_async_callback(trio.aclose_forcefully, stream)
            await stream.send_all(HEAD[:-2])

        await many(300, begin)
        # It waits for its turn behind those that are half open.
        assert (await server.stats())["open files"] < 100 + 30
        await server.assert_alive()


async def test_a_slow_loris_is_left_after_the_timeout(tmp_path: Path) -> None:
    async with hostile_server(tmp_path, "handshake_timeout=3") as server:

        async def drip() -> None:
            stream = await server.dial()
            sent = 0
            with contextlib.suppress(trio.BrokenResourceError):
                for byte in HEAD:
                    await stream.send_all(bytes((byte,)))
                    sent += 1
                    await trio.sleep(1)
            assert sent < len(HEAD)
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(drip)
            await trio.sleep(1)
            await server.assert_alive()
        await server.wait_until_idle()


async def test_a_thousand_connections_over_the_limit_are_refused(tmp_path: Path) -> None:
    async with (
        hostile_server(tmp_path, "max_connections=100") as server,
        AsyncExitStack() as stack,
    ):
        codes: list[int] = []

        async def enter() -> None:
            stream = await server.dial()
            stack.push_async_callback(trio.aclose_forcefully, stream)
            await stream.send_all(HEAD)
            codes.append(int(bytes(await stream.receive_some()).split()[1]))

        await many(1100, enter)
        assert (codes.count(101), codes.count(503)) == (100, 1000)
        assert (await server.stats())["handlers"] == 100
        await stack.aclose()
        await server.wait_until_idle()
        await server.assert_alive()


async def test_functions_that_hang_or_raise_cost_no_more_than_their_requests(
    tmp_path: Path,
) -> None:
    async with hostile_server(tmp_path, "handshake_timeout=2") as server:
        codes: list[int] = []

        async def ask_for(path: str, bytes_of: Callable[[str], bytes]) -> None:
            codes.append((await server.ask(bytes_of(path))).status_code)

        async with trio.open_nursery() as nursery:
            for bytes_of in (request_bytes, upgrade_bytes):
                for _ in range(100):
                    nursery.start_soon(ask_for, "/hang", bytes_of)
                    nursery.start_soon(ask_for, "/raise", bytes_of)
            await server.assert_alive()
        assert (codes.count(503), codes.count(500)) == (200, 200)
        await server.wait_until_idle()
        assert b"ZeroDivisionError" in server.log.read_bytes()


async def test_a_client_that_resets_in_any_state_harms_nobody(tmp_path: Path) -> None:
    def reset(stream: trio.SocketStream) -> None:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()

    masked_text = b"\x81\x85\0\0\0\0hello"
    masked_close = b"\x88\x82\0\0\0\0\x03\xe8"
    sent = [
        b"",
        HEAD[:10],
        HEAD[:-2],
        HEAD,
        HEAD + masked_text,
        HEAD + masked_text[:-1],
        HEAD + masked_text * 1000,
        HEAD + masked_close,
        HEAD + masked_text + masked_close,
        upgrade_bytes("/hang"),
        request_bytes("/raise"),
        request_bytes("/stats"),
    ]
    async with hostile_server(tmp_path, "max_connections=50", "handshake_timeout=3") as server:
        for data in sent:
            for answered in False, True:
                for _ in range(20):
                    stream = await server.dial()
                    if data:
                        await stream.send_all(data)
                    if answered:
                        with trio.move_on_after(0.02):
                            await stream.receive_some()
                    reset(stream)
        await server.assert_alive()
        await server.wait_until_idle()
        assert (await server.stats())["handlers"] == 0
