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
    number: int, arguments: Sequence[str], port: int, drain: trio.Event, console: Console
) -> None:
    """Run the same command in several processes, until one ends by itself, or all are drained.

    The system shares out the connections among those that listen on a port. Cancelled, it
    has them end at once.

    Args:
        number: How many.
        arguments: Those of the command, of which each process gets the port besides.
        port: The port, reserved for them.
        drain: When it is set, all of them are told to drain.
        console: Where it is told what they listen on.

    Raises:
        CommandError: one has ended, by itself.
    """
    command = [sys.executable, "-m", "trio_wsendpoint", *arguments, f"--share-port={port}"]
    async with trio.open_nursery() as nursery:
        told = [await nursery.start(_run_process, command, drain) for _ in range(number)]
        await console.write(told[0] + b"\n")


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Have a port for those that will listen on it, and keep others out meanwhile.

    Args:
        host: The address to listen on.
        port: The port; 0 for any that is free.

    Raises:
        OSError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
        yield reserved.getsockname()[1]


async def _run_process(
    command: list[str], drain: trio.Event, task_status: trio.TaskStatus[bytes]
) -> None:
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    at_once = signal.SIGTERM  # while it imports, SIGINT would end it with a traceback
    try:
        task_status.started(await anext(Lines(process.stdout.receive_some), b""))
        at_once = signal.SIGINT
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, drain, process)
            status = await process.wait()
            nursery.cancel_scope.cancel()
        if not drain.is_set():
            raise CommandError(f"a process has ended with {status}", Exit.ENDED)
    finally:
        with trio.CancelScope(shield=True):
            _tell(process, at_once)
            await process.wait()
            await process.stdout.aclose()


async def _pass_on(drain: trio.Event, process: trio.Process) -> None:
    await drain.wait()
    _tell(process, signal.SIGTERM)


def _tell(process: trio.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
