from __future__ import annotations

import zlib
from pathlib import Path

import pytest

import trio_wsendpoint
from trio_wsendpoint.cli import main, version


def told(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    return capsys.readouterr().out


def test_the_version_and_where_it_is_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    first = told(capsys).splitlines()[0]
    folder = Path(trio_wsendpoint.__file__).parent
    assert first == f"trio-wsendpoint {trio_wsendpoint.__version__}, in {folder}"


@pytest.mark.parametrize(
    ("in_c", "files", "expected"),
    [
        (True, ["_speedups.abi3.so"], "C extension: in use\n"),
        (False, ["_speedups.abi3.so"], "C extension: not in use, but there"),
        (False, [], "C extension: not in use: it is not built here"),
    ],
)
def test_whether_the_extension_is_in_use_is_told(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    in_c: bool,
    files: list[str],
    expected: str,
) -> None:
    (tmp_path / "protocol").mkdir()
    for file in files:
        (tmp_path / "protocol" / file).touch()
    monkeypatch.setattr(version, "PACKAGE", tmp_path)
    monkeypatch.setattr(version, "in_c", in_c)
    assert expected in told(capsys)


def test_zlib_ng_is_told_with_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("zlib_ng")
    assert "zlib-ng: in use, " in told(capsys)


def test_how_to_get_zlib_ng_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "find_zlib", lambda: zlib)
    assert "zlib-ng: not in use: `pip install 'trio-wsendpoint[fast]'`" in told(capsys)
