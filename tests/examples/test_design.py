from __future__ import annotations

import re

from tests.examples.pages import read_blocks
from tests.examples.programs import ROOT

PACKAGE = ROOT / "trio_wsendpoint"


def drawn_modules() -> set[str]:
    """The modules in the picture of the house, by their paths."""
    blocks = read_blocks(ROOT / "docs" / "design.md")
    picture = next(block.source for block in blocks if "__init__.py" in block.source)
    found, floor = set(), ""
    for line in picture.splitlines()[1:]:
        match = re.match(r"(?P<indent> +)(?P<name>\w+(/|\.py))", line)
        assert match is not None, line
        if match["name"].endswith("/"):
            floor = match["name"]
        elif len(match["indent"]) == 2:
            found.add(match["name"])
        else:
            found.add(floor + match["name"])
    return found


def test_the_picture_of_the_house_has_every_module_and_no_other() -> None:
    modules = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    rooms = {str(path) for path in modules if path.name != "__init__.py"} | {"__init__.py"}
    assert drawn_modules() == rooms
