"""The code blocks of the documentation, and how to run them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import attrs

from tests.examples.programs import ROOT

PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"^```(?P<info>.*)\n(?P<source>(?:.*\n)*?)```$", re.MULTILINE)


@attrs.frozen
class Block:
    """A fenced block of code in a page."""

    page: Path
    line: int
    info: str
    source: str

    def compile(self) -> CodeType:
        """Compile it as the body of an async function; tracebacks show the page's lines."""
        code: CodeType = compile(
            "\n" * self.line + self.source,
            str(self.page),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        return code


def read_blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match["info"], match["source"])


async def run_page(page: Path) -> None:
    """Run all blocks of a page that say so, one after the other, in one namespace."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    for block in read_blocks(page):
        if block.info == "python run":
            outcome = eval(block.compile(), namespace)
            if inspect.iscoroutine(outcome):
                await outcome
