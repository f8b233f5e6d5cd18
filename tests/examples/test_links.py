from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.pages import PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_all_links_of_a_page_lead_to_something(page: Path) -> None:
    text = re.sub(r"(?m)^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in map(to_anchor, headings), target


def to_anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
