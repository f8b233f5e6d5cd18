"""Chromium without a window, driven by our own client over its DevTools port."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from trio_wsendpoint import Endpoint, connect

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")

_ARGUMENTS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--ignore-certificate-errors",
)


class Browser:
    """A tab of a browser."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._numbers = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the DevTools protocol, and wait for its result."""
        number = next(self._numbers)
        request = {"id": number, "method": method, "params": parameters}
        await self._endpoint.send(json.dumps(request))
        while True:
            answer = json.loads(await self._endpoint.receive())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def visit(self, url: str) -> None:
        """Load a page."""
        await self.call("Page.navigate", url=url)
        state = None
        while state != [url, "complete"]:
            await trio.sleep(0.05)
            state = await self.evaluate("[location.href, document.readyState]")

    async def evaluate(self, script: str) -> Any:
        """Evaluate an expression on the page; of a promise, wait for the value."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Start a browser, and end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await trio.lowlevel.open_process(
            [str(CHROMIUM), *_ARGUMENTS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = await _wait_for_port(trio.Path(folder, "DevToolsActivePort"))
            url = await _find_tab(port)
            async with connect(url, max_message_size=None) as endpoint:
                yield Browser(endpoint)
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _wait_for_port(path: trio.Path) -> int:
    while True:
        lines = (await path.read_text()).splitlines() if await path.exists() else []
        if len(lines) == 2:
            return int(lines[0])
        await trio.sleep(0.05)


async def _find_tab(port: int) -> str:
    """Ask for the tabs that there are, by HTTP."""
    url = f"http://127.0.0.1:{port}/json/list"
    while True:
        answer = await trio.to_thread.run_sync(_fetch, url)
        for tab in json.loads(answer):
            if tab["type"] == "page":
                return str(tab["webSocketDebuggerUrl"])
        await trio.sleep(0.05)


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as response:
        answer: bytes = response.read()
    return answer
