"""Processes of their own with a hub each, and how to tell them what to do."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from tests.examples.programs import ROOT


class Worker:
    """A process with a hub."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._pending = b""

    async def line(self) -> str:
        assert self._process.stdout is not None
        while b"\n" not in self._pending:
            data = await self._process.stdout.receive_some()
            assert data, "the worker has died"
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    async def ask(self, *order: Any, seconds: float = 30) -> Any:
        """Give it an order, and wait for what comes of it."""
        assert self._process.stdin is not None
        with trio.fail_after(seconds):
            await self._process.stdin.send_all(json.dumps(order).encode() + b"\n")
            return json.loads(await self.line())

    async def numbers(self, room: str, count: int = 0, last: int = -1) -> list[int]:
        """The numbers that its member has received, once there are so many, or the last."""
        with trio.fail_after(30):
            while True:
                found = list(map(int, await self.ask("received", room)))
                if len(found) >= count and (last < 0 or last in found):
                    return found
                await trio.sleep(0.02)

    async def until(self, *order: Any, value: Any, seconds: float = 30) -> None:
        """Wait until an order has this outcome."""
        with trio.fail_after(seconds):
            while await self.ask(*order) != value:  # noqa: ASYNC110
                await trio.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def open_worker(url: str, **options: Any) -> AsyncIterator[Worker]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.hub.worker", url, json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    worker = Worker(process)
    try:
        assert await worker.line() == "ready"
        yield worker
    finally:
        with trio.CancelScope(shield=True):
            await worker.kill()
            for pipe in process.stdin, process.stdout:
                assert pipe is not None
                await pipe.aclose()
