"""What stands in for a shell: pipes and terminals that a command runs in."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import attrs
import trio

from tests.examples.programs import ROOT
from trio_wsendpoint import Endpoint, serve
from trio_wsendpoint.cli.arguments import parse_arguments
from trio_wsendpoint.cli.console import Console
from trio_wsendpoint.cli.exits import Exit
from trio_wsendpoint.cli.main import execute

TIMEOUT = 30
"""Seconds after which something is taken not to come any more."""

WITHOUT_THE_EXTRA = """
import sys
sys.modules["prompt_toolkit"] = None
from trio_wsendpoint.cli import main
sys.exit(main())
"""


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


@asynccontextmanager
async def serving(
    handler: Any = echo, scheme: str = "ws", **options: Any
) -> AsyncIterator[str]:
    """Serve on loopback; gives the URL."""
    async with trio.open_nursery() as nursery:
        start = partial(serve, host="127.0.0.1", **options)
        listeners = await nursery.start(start, handler, 0)
        yield f"{scheme}://localhost:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def stay_silent(_: object) -> None:
    await trio.sleep_forever()


# -- pipes ------------------------------------------------------------------------------------


@attrs.frozen
class Outcome:
    exit: Exit
    out: bytes
    err: str


async def run_piped(*arguments: str, stdin: bytes | Path = b"") -> Outcome:
    """Run a command with its input from a pipe or a file, and its outputs to files."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        async with open_input(stdin) as fd:
            console = Console(fd, out.fileno(), err.fileno())
            exit_ = await execute(parse_arguments(arguments), console)
        return Outcome(exit_, read_back(out), read_back(err).decode())


def read_back(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


@asynccontextmanager
async def open_input(stdin: bytes | Path) -> AsyncIterator[int]:
    if isinstance(stdin, Path):
        with stdin.open("rb") as file:
            yield file.fileno()
        return
    reading, writing = os.pipe()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed, trio.lowlevel.FdStream(writing), stdin)
            yield reading
            nursery.cancel_scope.cancel()
    finally:
        os.close(reading)


async def feed(stream: trio.lowlevel.FdStream, data: bytes) -> None:
    async with stream:
        await stream.send_all(data)


# -- terminals --------------------------------------------------------------------------------


class Terminal:
    """A pseudo-terminal: a person's end, and one for programs."""

    def __init__(self) -> None:
        self.fd, self.program = pty.openpty()
        termios.tcsetwinsize(self.program, (24, 100))
        self.screen = ""

    def close(self) -> None:
        self.hang_up()
        self.leave_to_program()

    def hang_up(self) -> None:
        """Be gone, as a person is."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def leave_to_program(self) -> None:
        """Have the program be the last that has it open."""
        if self.program >= 0:
            os.close(self.program)
            self.program = -1

    async def type(self, text: str) -> None:
        await trio.lowlevel.wait_writable(self.fd)
        os.write(self.fd, text.encode())

    async def expect(self, pattern: str) -> re.Match[str]:
        """Read until there is something like this; what was read up to it is dropped."""
        with trio.fail_after(TIMEOUT):
            while (match := re.search(pattern, self.screen)) is None:
                await trio.lowlevel.wait_readable(self.fd)
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    data = b""
                if not data:
                    raise AssertionError(f"no {pattern!r} in {self.screen!r}")
                self.screen += without_codes(data.decode(errors="replace"))
        self.screen = self.screen[match.end() :]
        return match


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", text)


@asynccontextmanager
async def open_terminal() -> AsyncIterator[tuple[Terminal, int]]:
    terminal = Terminal()
    try:
        yield terminal, terminal.program
    finally:
        terminal.close()


@attrs.define
class Result:
    exit: Exit | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)


@asynccontextmanager
async def at_a_terminal(*arguments: str) -> AsyncIterator[tuple[Terminal, Result]]:
    """Run a command at a terminal, in this process; it must have ended when this is left."""
    result = Result()

    async def run(console: Console) -> None:
        result.exit = await execute(parse_arguments(arguments), console)
        result.ended.set()

    async with open_terminal() as (terminal, fd), trio.open_nursery() as nursery:
        nursery.start_soon(run, Console(fd, fd, fd))
        yield terminal, result
        with trio.fail_after(TIMEOUT):
            await result.ended.wait()


@asynccontextmanager
async def process_at_a_terminal(
    *arguments: str, program: str | None = None
) -> AsyncIterator[tuple[Terminal, trio.Process]]:
    """Run a command at a terminal of its own, in a process that Ctrl-C reaches."""
    start = ["-c", program] if program is not None else ["-m", "trio_wsendpoint"]
    async with open_terminal() as (terminal, fd):
        process = await trio.lowlevel.open_process(
            [sys.executable, *start, *arguments],
            cwd=ROOT,
            preexec_fn=partial(os.login_tty, fd),
        )
        terminal.leave_to_program()
        try:
            yield terminal, process
            with trio.fail_after(TIMEOUT):
                await process.wait()
        finally:
            process.kill()


async def run_process(
    *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line as a shell does."""
    return await trio.run_process(
        [sys.executable, "-m", "trio_wsendpoint", *arguments],
        stdin=stdin,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        cwd=ROOT,
    )
