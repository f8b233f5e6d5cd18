from pathlib import Path

import pytest

from tests.compliance import suite


def write_python(path: Path, status: int) -> Path:
    """Write a stand-in for python2.7 that ends with a status, whatever it is asked."""
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _no_python27(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))


def test_where_there_is_no_python27_the_message_says_what_to_do() -> None:
    with pytest.raises(suite.Python27NotFoundError, match="pyenv install"):
        suite.find_python27()


def test_python27_is_found_in_path_first(tmp_path: Path) -> None:
    write_python(tmp_path / "pyenv" / "versions" / "2.7.18" / "bin" / "python2.7", 0)
    in_path = write_python(tmp_path / "bin" / "python2.7", 0)
    assert suite.find_python27() == in_path


def test_a_shim_without_a_python27_behind_it_is_passed_over(tmp_path: Path) -> None:
    write_python(tmp_path / "bin" / "python2.7", 127)
    installed = write_python(
        tmp_path / "pyenv" / "versions" / "2.7.18" / "bin" / "python2.7", 0
    )
    assert suite.find_python27() == installed
