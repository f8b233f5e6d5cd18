"""A redis-server of the tests' own, on a free port of loopback."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import hiredis
import pytest
import trio

PROGRAM: Final = shutil.which("redis-server")

needs_redis = pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


class RedisServer:
    """A redis-server that may be killed, stopped and started again.

    Attributes:
        port: Where it listens.
        url: The same for a hub.
    """

    def __init__(self, directory: Path, options: tuple[str, ...], port: int | None) -> None:
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._directory = directory
        self._options = options
        self._process: trio.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        assert PROGRAM is not None
        port = () if "--port" in self._options else ("--port", str(self.port))
        where = ("--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory))
        self._process = await trio.lowlevel.open_process(
            [PROGRAM, *port, *where, *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with trio.fail_after(20):
            while True:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", self.port)
                except OSError:
                    await trio.sleep(0.02)
                else:
                    await stream.aclose()
                    return

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """As kill -9 does."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def ask(self, *command: str | bytes | int) -> Any:
        """Send it one command, over a connection of its own; gives the reply."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            await stream.send_all(hiredis.pack_command(command))  # type: ignore[arg-type]
            parser = hiredis.Reader()
            while (reply := parser.gets()) is False:
                parser.feed(bytes(await stream.receive_some()))
            return reply


@asynccontextmanager
async def redis_server(*options: str, port: int | None = None) -> AsyncIterator[RedisServer]:
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory), options, port)
        await server.start()
        try:
            yield server
        finally:
            with trio.CancelScope(shield=True):
                await server.kill()
