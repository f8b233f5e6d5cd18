"""The public names, and what the reference has of them."""

from __future__ import annotations

import importlib
import re
import zlib
from pathlib import Path

ROOT = Path(__file__).parents[2]

PUBLIC = "trio_wsendpoint", "trio_wsendpoint.testing", "trio_wsendpoint.protocol"
"""The modules whose `__all__` is promised."""


def public_names(module: str) -> set[str]:
    return set(importlib.import_module(module).__all__)


def documented_names(module: str) -> set[str]:
    """The names of a module that the pages of the reference have a directive for."""
    found = set()
    for page in (ROOT / "docs/api").glob("*.rst"):
        text = page.read_text()
        if f".. currentmodule:: {module}\n" in text:
            found.update(re.findall(r"^\.\. auto\w+:: (\w+)$", text, re.MULTILINE))
    return found


def missing_names(inventory: Path) -> list[str]:
    """What a built site has no place for, by the inventory that Sphinx wrote of it."""
    *_, packed = inventory.read_bytes().split(b"\n", 4)
    there = {line.split(" ")[0] for line in zlib.decompress(packed).decode().splitlines()}
    top = public_names(PUBLIC[0])
    return [
        f"{module}.{name}"
        for module in PUBLIC
        for name in sorted(public_names(module))
        if f"{module}.{name}" not in there and (module == PUBLIC[0] or name not in top)
    ]
