"""What the packages say of themselves; `make dist` tries the packages."""

from __future__ import annotations

import tomllib

import pytest

import trio_wsendpoint
from tests.packaging.pythons import ROOT, VERSIONS, answers_as, find_pythons

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_changelog_begins_with_this_version() -> None:
    headings = [
        line
        for line in (ROOT / "docs/changelog.md").read_text().splitlines()
        if line.startswith("## ")
    ]
    assert headings[0].startswith(f"## {trio_wsendpoint.__version__} - ")


def test_the_pythons_that_are_found_are_what_they_are_called() -> None:
    for version, python in find_pythons().items():
        assert answers_as(python, version)
        assert not answers_as(python, "2.7")


@pytest.mark.parametrize("file", [".github/workflows/test.yml", "docs/versions.md"])
def test_the_oldest_python_is_the_same_everywhere(file: str) -> None:
    oldest = VERSIONS[0]
    assert PROJECT["project"]["requires-python"] == f">={oldest}"
    assert PROJECT["tool"]["cibuildwheel"]["build"] == f"cp{oldest.replace('.', '')}-*"
    assert oldest in (ROOT / file).read_text()


def test_everything_that_a_page_of_the_top_links_to_is_in_the_source_distribution() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text()
    for page in "CONTRIBUTING.md", "SECURITY.md":
        assert (ROOT / page).exists()
        assert page in manifest
