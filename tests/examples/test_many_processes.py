from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.examples.programs import ROOT
from tests.hub.redis_server import RedisServer, needs_redis, redis_server
from trio_wsendpoint import ConnectionClosed, Endpoint, connect

pytestmark = [needs_redis, pytest.mark.slow]


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


class Supervisor:
    """The program, and the processes that it has started."""

    def __init__(self, process: trio.Process, port: int) -> None:
        self.process = process
        self.port = port

    def workers(self) -> set[int]:
        paths = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return {int(pid) for path in paths for pid in path.read_text().split()}

    async def connect(self, stack: AsyncExitStack, room: str) -> Endpoint:
        """A client; the processes may not listen yet."""
        for _ in range(600):
            with contextlib.suppress(OSError):
                url = f"ws://127.0.0.1:{self.port}/{room}"
                return await stack.enter_async_context(connect(url))
            await trio.sleep(0.05)
        pytest.fail("no process listens")


@asynccontextmanager
async def running(redis: RedisServer, processes: int) -> AsyncIterator[Supervisor]:
    program = ("examples/many_processes.py", "0", "--processes", str(processes))
    process = await trio.lowlevel.open_process(
        [sys.executable, *program, "--redis", redis.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        line = await process.stdout.receive_some()
        yield Supervisor(process, int(line.split()[-1]))
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            await process.wait()
            await process.stdout.aclose()


async def test_clients_of_all_processes_hear_each_other() -> None:
    async with (
        redis_server() as redis,
        running(redis, 2) as supervisor,
        AsyncExitStack() as stack,
    ):
        # The system shares connections out; of so many, each process has some.
        clients = [await supervisor.connect(stack, "room") for _ in range(16)]
        with trio.fail_after(30):
            while int(await redis.ask("EVAL", MEMBERS, 0)) < 16:  # noqa: ASYNC110
                await trio.sleep(0.05)
        await clients[0].send("hello")
        with trio.fail_after(10):
            assert [await each.receive() for each in clients] == ["hello"] * 16


MEMBERS = """
local members = 0
for _, key in ipairs(redis.call('KEYS', 'trio_wsendpoint:hub:*')) do
  members = members + tonumber(redis.call('HGET', key, 'room:/room') or 0)
end
return members
"""


async def test_a_process_that_dies_is_started_again() -> None:
    async with (
        redis_server() as redis,
        running(redis, 2) as supervisor,
        AsyncExitStack() as stack,
    ):
        await supervisor.connect(stack, "room")
        before = supervisor.workers()
        os.kill(min(before), signal.SIGKILL)
        with trio.fail_after(30):
            while len(supervisor.workers() - before) < 1:  # noqa: ASYNC110
                await trio.sleep(0.05)
        with contextlib.suppress(ConnectionClosed):
            client = await supervisor.connect(stack, "other")
            await client.send("hello")
            assert await client.receive() == "hello"


async def test_at_sigterm_all_clients_are_told_to_come_again_and_nothing_is_left() -> None:
    async with redis_server() as redis:
        async with running(redis, 2) as supervisor, AsyncExitStack() as stack:
            clients = [await supervisor.connect(stack, "room") for _ in range(8)]
            workers = supervisor.workers()
            supervisor.process.terminate()
            for client in clients:
                with pytest.raises(ConnectionClosed) as info:
                    await client.receive()
                assert info.value.code == 1012
            assert await supervisor.process.wait() == 0
        assert not any(map(is_running, workers))
        assert await redis.ask("KEYS", "*") == []
