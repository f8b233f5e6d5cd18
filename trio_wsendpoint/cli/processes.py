"""Several processes that serve on one port."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio

from .console import Console, Lines
from .exits import CommandError, Exit


async def serve_in_processes(
    number: int, arguments: Sequence[str], host: str, port: int, console: Console
) -> None:
    """Run the same command in several processes, until cancelled or one of them ends.

    The system shares out the connections among those that listen on a port.

    Args:
        number: How many.
        arguments: Those of the command, of which each process gets the port besides.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        console: Where it is told what they listen on.

    Raises:
        CommandError: one has ended, by itself.
        OSError: the address cannot be listened on.
    """
    with _reserved(host, port) as port:
        command = [sys.executable, "-m", "trio_wsendpoint", *arguments, f"--share-port={port}"]
        async with trio.open_nursery() as nursery:
            told = [await nursery.start(_run_process, command) for _ in range(number)]
            await console.write(told[0] + b"\n")


@contextmanager
def _reserved(host: str, port: int) -> Iterator[int]:
    """Have a port for those that will listen on it, and keep others out meanwhile."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
        yield reserved.getsockname()[1]


async def _run_process(command: list[str], task_status: trio.TaskStatus[bytes]) -> None:
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        task_status.started(await anext(Lines(process.stdout.receive_some), b""))
        status = await process.wait()
        raise CommandError(f"a process has ended with {status}", Exit.ENDED)
    finally:
        with trio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()
            await process.stdout.aclose()
