"""The programs under test: which there are, how each is run, and what it has used."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import attrs

ROOT = Path(__file__).resolve().parents[2]
CPUS = sorted(os.sched_getaffinity(0))
# With one CPU there is nothing to choose, and nothing is pinned.
PROGRAM_CPU = CPUS[0] if len(CPUS) > 1 else None
LOAD_CPU = CPUS[1] if len(CPUS) > 1 else None
QUIET = 0.05  # seconds for which a program must not have worked, to be at rest
REST_CHECKS = 200
LAST_LINES = 3  # of a failed program's standard error, to be shown
CPUCLOCK_SCHED = 2  # of the kernel's clock identifiers: the time that a process has run


class ProgramError(Exception):
    """A program under test does not do what it has to."""


@attrs.frozen
class Peer:
    """A library, in one way of using it."""

    name: str
    title: str
    module: str
    packages: tuple[str, ...]
    environment: dict[str, str] = attrs.field(factory=dict)
    only: tuple[str, ...] = ()  # the scenarios that it can do, where it cannot do most
    without: tuple[str, ...] = ()  # the scenarios that it cannot do
    http2: bool = False  # whether it speaks that

    @property
    def is_installed(self) -> bool:
        """Whether all that it needs can be imported."""
        return all(find_spec(package) for package in self.packages)

    def can_do(self, scenario: str) -> bool:
        """Whether the library offers what `scenario` is about."""
        if scenario.startswith("http2-") and not self.http2:
            return False
        return scenario not in self.without and (not self.only or scenario in self.only)


PEERS = [
    Peer("ours", "trio_wsendpoint", "ours", ("trio_wsendpoint", "h2"), http2=True),
    Peer(
        "ours-pure",
        "trio_wsendpoint, pure Python",
        "ours",
        ("trio_wsendpoint",),
        {"TRIO_WSENDPOINT_PURE": "1"},
    ),
    Peer("websockets-trio", "websockets, Trio", "websockets_trio", ("websockets", "trio")),
    Peer(
        "websockets-uvloop",
        "websockets, asyncio + uvloop",
        "websockets_uvloop",
        ("websockets", "uvloop"),
    ),
    Peer(
        "trio-websocket",
        "trio-websocket",
        "trio_websocket_",
        ("trio_websocket",),
        without=("deflate-2k", "echo-32-10k"),
    ),
    Peer("aiohttp", "aiohttp + uvloop", "aiohttp_uvloop", ("aiohttp", "uvloop")),
    Peer(
        "picows",
        "picows + uvloop",
        "picows_uvloop",
        ("picows", "uvloop"),
        without=("deflate-2k",),
    ),
    Peer(
        "bare-trio",
        "bare Trio (+ h11)",
        "bare_trio",
        ("trio", "h11"),
        only=("echo-32", "echo-32-many", "echo-32-own", "echo-32-10k", "handshakes"),
    ),
]


@attrs.frozen
class Program:
    """A running process."""

    process: subprocess.Popen[str]

    def cpu_time(self) -> float:
        """Return the CPU seconds, user and system, that all its threads have used."""
        return time.clock_gettime(~self.process.pid << 3 | CPUCLOCK_SCHED)

    def resident(self) -> int:
        """Return the bytes of memory that it has resident."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * resource.getpagesize()

    def come_to_rest(self) -> None:
        """Wait until it has finished all that it had to do."""
        before = -1.0
        for _ in range(REST_CHECKS):
            if (now := self.cpu_time()) == before:
                return
            before = now
            time.sleep(QUIET)
        raise ProgramError("the program does not come to rest")

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(line + "\n")
        stdin.flush()

    def hear(self) -> str:
        """Return the next line of its standard output."""
        stdout = self.process.stdout
        assert stdout is not None
        return stdout.readline()


def last_words(errors: IO[str]) -> str:
    """Return the end of what a program has written to its standard error."""
    errors.seek(0)
    return "".join(errors.readlines()[-LAST_LINES:]).rstrip()


@contextmanager
def run_program(peer: Peer, kind: str, *options: str) -> Iterator[Program]:
    """Run the server or the client of `peer`, pinned to its CPU, until the context is left."""
    command = [sys.executable, "-m", f"tests.bench.{kind}.{peer.module}", *options]
    if PROGRAM_CPU is not None:
        command += ["--cpu", str(PROGRAM_CPU)]
    with TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | peer.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with process:
            try:
                yield Program(process)
            except (OSError, ProgramError) as error:
                error.add_note(last_words(errors))
                raise
            finally:
                process.kill()
