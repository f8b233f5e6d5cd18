from __future__ import annotations

import os
from pathlib import Path

import pytest

from trio_wsendpoint import Request
from trio_wsendpoint.cli.exits import CommandError
from trio_wsendpoint.cli.static import StaticFiles

WEBSOCKET = {"Upgrade": "websocket", "Connection": "Upgrade"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_text("<p>home")
    (root / "sub" / "a b.css").write_text("body {}")
    (root / "data").write_bytes(b"\x00")
    (root / ".secret").write_text("secret")
    (tmp_path / "outside").write_text("outside")
    (root / "link").symlink_to(tmp_path / "outside")
    return root


@pytest.mark.parametrize(
    ("target", "kind", "body"),
    [
        ("/", "text/html; charset=utf-8", b"<p>home"),
        ("/index.html?a=b", "text/html; charset=utf-8", b"<p>home"),
        ("//sub//a%20b.css", "text/css; charset=utf-8", b"body {}"),
        ("/data", "application/octet-stream", b"\x00"),
    ],
)
async def test_a_file_is_answered_with_its_type(
    folder: Path, target: str, kind: str, body: bytes
) -> None:
    response = await StaticFiles(str(folder))(Request(target))
    assert response is not None
    assert (response.status_code, response.body) == (200, body)
    assert response.header("Content-Type") == kind


@pytest.mark.parametrize(
    "target",
    [
        "/nothing",
        "/sub",
        "/.secret",
        "/%2esecret",
        "/../outside",
        "/%2e%2e/outside",
        "/sub/..%2f..%2foutside",
        "/link",
        "/index.html/more",
        "/a%00b",
        "/" + "x" * 1000,
    ],
)
async def test_what_is_not_in_the_folder_is_not_found(folder: Path, target: str) -> None:
    response = await StaticFiles(str(folder))(Request(target))
    assert response is not None
    assert response.status_code == 404


async def test_a_websocket_is_left_to_its_handler(folder: Path) -> None:
    assert await StaticFiles(str(folder))(Request("/", WEBSOCKET)) is None


async def test_nothing_can_be_changed(folder: Path) -> None:
    response = await StaticFiles(str(folder))(Request("/", method="DELETE"))
    assert response is not None
    assert (response.status_code, response.header("Allow")) == (405, "GET, HEAD")


def test_a_folder_that_is_not_there_is_told() -> None:
    with pytest.raises(CommandError, match="--static: there is no folder '/nowhere'"):
        StaticFiles("/nowhere")


def test_a_file_is_no_folder() -> None:
    with pytest.raises(CommandError, match="--static: there is no folder"):
        StaticFiles(os.devnull)
