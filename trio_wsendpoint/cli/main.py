"""`main`: from the command line to an exit status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from .arguments import parse_arguments
from .console import Console
from .exits import Exit, explain


class Command(Protocol):
    """What can be asked for."""

    async def run(self, console: Console) -> Exit:
        """Do it."""
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of the process; returns the exit status."""
    try:
        return trio.run(execute, parse_arguments(arguments), Console())
    except KeyboardInterrupt:  # before anything was there to be stopped
        return Exit.OK


async def execute(command: Command, console: Console) -> Exit:
    """Run a command, and tell its user of errors in words.

    Raises:
        Exception: a bug.
    """
    try:
        return await command.run(console)
    except Exception as error:
        explained = explain(_only(error))
        if explained is None:
            raise
    exit_, message = explained
    console.complain(message)
    return exit_


def _only(error: Exception) -> Exception:
    """What is in a group of one; nurseries are how a command works, not what went wrong."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
