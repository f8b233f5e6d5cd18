from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import trio_wsendpoint
import trio_wsendpoint.hub
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
    async with running_server(str(server)):
        assert await run_program(str(client)) == "hello\nclosed with 1000\n"


async def test_ctrl_c_ends_the_programs_of_the_readme_without_a_traceback(
    tmp_path: Path,
) -> None:
    server, client = [
        block.source for block in read_blocks(ROOT / "README.md") if block.info == "python"
    ]
    file = tmp_path / "program.py"
    file.write_text(server.replace("8000", "0"))
    async with running_server(str(file)):
        pass  # it is interrupted on leaving, and must end well
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    file.write_text(client.replace("localhost:8000", f"127.0.0.1:{port}"))
    process = await trio.lowlevel.open_process(
        [sys.executable, str(file)], stderr=subprocess.PIPE, cwd=ROOT
    )
    async with listeners[0], await listeners[0].accept() as stream:
        await stream.receive_some()  # it waits for the opening handshake
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert process.stderr is not None
    async with process.stderr:
        assert await process.stderr.receive_some() == b""


@pytest.mark.parametrize(
    "module", [trio_wsendpoint, trio_wsendpoint.hub, trio_wsendpoint.testing]
)
def test_the_reference_has_every_public_name(module: object) -> None:
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)
    named = {name for heading in headings for name in re.findall(r"`(\w+)", heading)}
    assert set(module.__all__) <= named  # type: ignore[attr-defined]
