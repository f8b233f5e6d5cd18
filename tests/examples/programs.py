"""Run a server from the command line, as a user does, and stop it as a user does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def running_server(*command: str) -> AsyncIterator[int]:
    """Run Python with these arguments; gives the port that the program says it listens on.

    It has to make a clean end of Ctrl-C.
    """
    process = await trio.lowlevel.open_process(
        [sys.executable, *command], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        line = await process.stdout.receive_some()
        assert b"port" in line
        yield int(line.split()[-1])
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


async def run_program(*command: str, stdin: str = "") -> str:
    """Run Python with these arguments to a clean end; gives what it printed."""
    process = await trio.run_process(
        [sys.executable, *command], stdin=stdin.encode(), capture_stdout=True, cwd=ROOT
    )
    return process.stdout.decode()
