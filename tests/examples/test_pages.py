from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import trio_wsendpoint
import trio_wsendpoint.testing
from tests.examples.pages import PAGES, read_blocks, run_page
from tests.examples.programs import ROOT, run_program, running_server

RUNNING = [
    page for page in PAGES if any(block.info == "python run" for block in read_blocks(page))
]


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    logger = logging.getLogger("trio_wsendpoint")
    handlers = list(logger.handlers)
    yield
    logger.handlers[:] = handlers
    logger.setLevel(logging.NOTSET)


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.stem)
async def test_the_code_of_a_page_runs(page: Path) -> None:
    with trio.fail_after(30):
        await run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_all_python_code_of_a_page_is_python(page: Path) -> None:
    for block in read_blocks(page):
        if block.info.startswith("python"):
            block.compile()


async def test_the_server_and_the_client_of_the_readme_run_as_they_stand(
    tmp_path: Path,
) -> None:
    server, client = tmp_path / "server.py", tmp_path / "client.py"
    with socket.create_server(("", 0)) as free:
        port = str(free.getsockname()[1])
    blocks = [block for block in read_blocks(ROOT / "README.md") if block.info == "python"]
    for file, block in zip((server, client), blocks, strict=True):
        assert "8000" in block.source
        file.write_text(block.source.replace("8000", port))
    async with running_server(str(server), clean=False):
        assert await run_program(str(client)) == "hello\nclosed with 1000\n"


@pytest.mark.parametrize("module", [trio_wsendpoint, trio_wsendpoint.testing])
def test_the_reference_has_every_public_name(module: object) -> None:
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)
    named = {name for heading in headings for name in re.findall(r"`(\w+)", heading)}
    assert set(module.__all__) <= named  # type: ignore[attr-defined]
