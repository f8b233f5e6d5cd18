"""The dashboard, in a real browser where there is one, and over the wire."""

from __future__ import annotations

import base64
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from tests.examples.chromium import PATIENCE, needs_chromium, open_page
from tests.examples.programs import ROOT
from trio_wsendpoint import (
    ConnectionClosedError,
    Endpoint,
    HandshakeRejected,
    Response,
    connect,
    open_server,
)
from trio_wsendpoint.protocol import Request, ResponseReader, encode_request


@attrs.frozen
class Dashboard:
    port: int
    process: trio.Process

    async def get(self, target: str, **headers: str) -> Response:
        """Ask for a page."""
        reader = ResponseReader()
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            fields = {"Host": f"127.0.0.1:{self.port}", **headers}
            await stream.send_all(encode_request(Request(target, fields)))
            async for data in stream:
                response = reader.receive_data(data)
                if response is not None:
                    return response
        return reader.receive_eof()

    async def log_in(self) -> str:
        """The cookie of somebody who has logged in."""
        password = base64.b64encode(b"ada:lovelace").decode()
        response = await self.get("/login", Authorization=f"Basic {password}")
        assert response.status_code == 303
        return (response.header("Set-Cookie") or "").partition(";")[0]


@asynccontextmanager
async def running_dashboard() -> AsyncIterator[Dashboard]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "examples/dashboard.py", "0"], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        line = await process.stdout.receive_some()
        assert b"port" in line
        yield Dashboard(int(line.split()[-1]), process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await process.stdout.aclose()


async def nobody(endpoint: Endpoint) -> None: ...


async def show_blank(request: Request) -> Response:
    return Response.html("<title>another page</title>")


async def receive_to_the_end(endpoint: Endpoint) -> None:
    while True:
        await endpoint.receive()


async def test_its_pages_are_what_they_say() -> None:
    with trio.fail_after(PATIENCE):
        async with running_dashboard() as dashboard:
            assert (await dashboard.get("/health")).body == b'{"viewers": 0}'
            moved = await dashboard.get("/")
            assert (moved.status_code, moved.header("Location")) == (303, "/login")
            asked = await dashboard.get("/login")
            assert asked.status_code == 401
            assert "Basic" in (asked.header("WWW-Authenticate") or "")
            cookie = await dashboard.log_in()
            assert b"<h1" in (await dashboard.get("/", Cookie=cookie)).body
            assert (await dashboard.get("/", Cookie="session=guessed")).status_code == 303
            assert (await dashboard.get("/nothing", Cookie=cookie)).status_code == 404


async def test_it_ticks_measures_and_drains() -> None:
    with trio.fail_after(PATIENCE):
        async with running_dashboard() as dashboard:
            url = f"ws://127.0.0.1:{dashboard.port}/ticks"
            with pytest.raises(HandshakeRejected) as caught:
                await connect(url).__aenter__()
            assert caught.value.status_code == 401
            headers = {"Cookie": await dashboard.log_in()}
            async with connect(url, headers=headers) as endpoint:
                first, second = await endpoint.receive(), await endpoint.receive()
                assert re.fullmatch(r"tick \d+", str(first))
                assert first != second
                page = (await dashboard.get("/metrics")).body.decode()
                assert 'websocket_active_connections{websocket_role="server"} 1.0' in page
                assert 'handshake_refusals_total{http_response_status_code="401"} 1.0' in page
                assert "/ticks" not in page
                dashboard.process.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosedError, match="1012"):
                    await receive_to_the_end(endpoint)
            assert await dashboard.process.wait() == 0


async def test_a_second_signal_ends_it_at_once() -> None:
    with trio.fail_after(PATIENCE):
        async with running_dashboard() as dashboard:
            # A connection without a request holds draining up for a moment.
            stream = await trio.open_tcp_stream("127.0.0.1", dashboard.port)
            async with stream:
                dashboard.process.send_signal(signal.SIGTERM)
                await trio.sleep(0.1)
                dashboard.process.send_signal(signal.SIGINT)
                assert await dashboard.process.wait() == 0


@pytest.mark.slow
@needs_chromium
async def test_a_real_browser_shows_ticks_and_sees_how_it_ends() -> None:
    with trio.fail_after(3 * PATIENCE):
        async with running_dashboard() as dashboard, open_page() as page:
            host = f"127.0.0.1:{dashboard.port}"
            await page.go_to(f"http://ada:lovelace@{host}/login")
            assert await page.evaluate("location.pathname") == "/"
            await page.wait_for("document.getElementById('state').textContent", "open")
            tick = "document.getElementById('tick').textContent"
            await page.wait_for(f"{tick}.startsWith('tick ')", True)
            shown = await page.evaluate(tick)
            await page.wait_for(f"{tick} !== {shown!r}", True)
            assert (await dashboard.get("/health")).body == b'{"viewers": 1}'
            dashboard.process.send_signal(signal.SIGTERM)
            state = "document.getElementById('state').textContent"
            await page.wait_for(state, "closed with 1012")
            assert await dashboard.process.wait() == 0


@pytest.mark.slow
@needs_chromium
async def test_a_page_of_a_foreign_origin_is_refused() -> None:
    with trio.fail_after(3 * PATIENCE):
        async with running_dashboard() as dashboard, open_page() as page:
            # Another port is another origin, but not another site: the cookie is sent along.
            await page.go_to(f"http://ada:lovelace@127.0.0.1:{dashboard.port}/login")
            async with open_server(nobody, 0, host="127.0.0.1", on_request=show_blank) as other:
                port = other.listeners[0].socket.getsockname()[1]
                await page.go_to(f"http://127.0.0.1:{port}/")
                code = await page.evaluate(
                    "new Promise(resolve => {"
                    f"  const socket = new WebSocket('ws://127.0.0.1:{dashboard.port}/ticks');"
                    "  socket.onopen = () => resolve('open');"
                    "  socket.onclose = event => resolve(event.code);"
                    "})"
                )
            assert code == 1006
            page_of_metrics = (await dashboard.get("/metrics")).body.decode()
            assert 'refusals_total{http_response_status_code="403"} 1.0' in page_of_metrics
