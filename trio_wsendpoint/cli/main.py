"""`main`: from the command line to an exit status."""

from __future__ import annotations

from collections.abc import Sequence

from .arguments import make_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of the process; returns the exit status."""
    make_parser().parse_args(arguments)
    return 0
