"""What can be said on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from .version import describe_version


class _Version(argparse.Action):
    """`--version`, with more to tell than argparse's own can without work at every start."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(
            option_strings,
            dest,
            nargs=0,
            help="tell the version, and whether the C extension and zlib-ng are in use",
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(describe_version())
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="trio-wsendpoint", description="WebSocket from the command line."
    )
    parser.add_argument("--version", action=_Version)
    return parser
