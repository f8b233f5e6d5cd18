"""A headless Chromium, driven over the port of its DevTools by this library's own `connect`."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trio_wsendpoint import Endpoint, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
PATIENCE = 60.0
"""Seconds for what may take a busy machine a while."""


class Page:
    """A tab, of which one command at a time is under way."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._numbers = itertools.count(1)
        self._session: dict[str, str] = {}

    async def attach(self) -> None:
        """Go from the browser to a tab of its own."""
        target = await self.call("Target.createTarget", url="about:blank")
        session = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = {"sessionId": session["sessionId"]}

    async def call(self, method: str, **parameters: Any) -> Any:
        """Give a command of the DevTools protocol, and get what comes of it."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters, **self._session}
        await self._endpoint.send(json.dumps(command))
        while True:
            answer = json.loads(await self._endpoint.receive())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def go_to(self, url: str) -> None:
        """Load a URL, and wait until it is loaded."""
        result = await self.call("Page.navigate", url=url)
        assert "errorText" not in result, result
        await self.wait_for("document.readyState === 'complete'", True)

    async def evaluate(self, expression: str) -> Any:
        """What a JavaScript expression is in the page; a promise is waited for."""
        result = await self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_for(self, expression: str, value: object) -> None:
        """Wait until an expression is what it should be."""
        found = None
        with trio.move_on_after(PATIENCE):
            while (found := await self.evaluate(expression)) != value:  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert found == value, expression


@asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """Start a browser with one empty page."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        environment = {**os.environ, "HOME": profile}
        process = await trio.lowlevel.open_process(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            url = await _find_url(trio.Path(profile) / "DevToolsActivePort")
            async with connect(url, max_message_size=2**26) as endpoint:
                page = Page(endpoint)
                await page.attach()
                yield page
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _find_url(file: trio.Path) -> str:
    """The WebSocket of DevTools, which the browser writes down when it has started."""
    with trio.fail_after(PATIENCE):
        while True:
            lines = (await file.read_text()).split() if await file.exists() else []
            if len(lines) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            await trio.sleep(0.05)
