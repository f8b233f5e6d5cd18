"""The page on testing says what pytest needs, and its tests pass as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.pages import read_blocks
from tests.examples.programs import ROOT

PAGE = ROOT / "docs/testing.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    blocks = [block.source for block in read_blocks(PAGE) if block.info == "python run"]
    (tmp_path / "test_page.py").write_text("".join(blocks))
    return tmp_path


def run_pytest(folder: Path) -> tuple[int, str]:
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return outcome.returncode, outcome.stdout


def test_its_tests_pass_with_what_it_says_that_pytest_needs(folder: Path) -> None:
    (settings,) = [block.source for block in read_blocks(PAGE) if block.info == "toml"]
    (folder / "pyproject.toml").write_text(settings)
    status, output = run_pytest(folder)
    assert status == 0, output
    tests = (folder / "test_page.py").read_text().count("async def test_")
    assert f"{tests} passed" in output


def test_its_tests_do_not_run_without(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("")
    status, output = run_pytest(folder)
    assert status == 1
    assert "async def functions are not natively supported" in output
    assert "passed" not in output
