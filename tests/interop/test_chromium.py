"""A real browser on a server of HTTP/2."""

from __future__ import annotations

import pytest
import trio

from tests.conftest import TLSContexts
from tests.http2.both import open_both
from tests.http2.servers import echo
from tests.interop.chromium import CHROMIUM, open_browser
from trio_wsendpoint import Endpoint, PermessageDeflate, Request, Response

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

LONG = 120
COUNT = 20

# Each sends a megabyte, has it back, and closes with a code of its own.
TALK = """
Promise.all([...Array(%d).keys()].map(number => new Promise((done, fail) => {
  const socket = new WebSocket(`wss://${location.host}/echo?${number}`, ["chat"]);
  socket.binaryType = "arraybuffer";
  const sent = new Uint8Array(1 << 20);
  for (let i = 0; i < sent.length; i += 65536)
    crypto.getRandomValues(sent.subarray(i, i + 65536));
  let same = false;
  socket.onopen = () => socket.send(sent);
  socket.onmessage = message => {
    const received = new Uint8Array(message.data);
    same = received.length === sent.length && received.every((byte, i) => byte === sent[i]);
    socket.close(4000 + number, "had enough");
  };
  socket.onclose = event => done(
    [same, event.code, event.reason, event.wasClean, socket.protocol, socket.extensions]);
})))
"""

# What the server does, as the page sees it.
WATCH = """
Promise.all(%s.map(path => new Promise(done => {
  const socket = new WebSocket(`wss://${location.host}${path}`);
  const seen = [];
  socket.onmessage = message => seen.push(message.data);
  socket.onclose = event => done([...seen, event.code, event.reason, event.wasClean]);
})))
"""


async def page(request: Request) -> Response | None:
    return None if request.is_websocket else Response.html("<title>a page</title>")


async def test_twenty_websockets_of_a_page_share_one_connection(
    tls_contexts: TLSContexts,
) -> None:
    carrying: set[tuple[object, object]] = set()
    codes: list[int | None] = []

    async def handler(endpoint: Endpoint) -> None:
        assert endpoint.request.http_version == "2"
        carrying.add(endpoint.remote_address)
        try:
            await echo(endpoint)
        finally:
            codes.append(endpoint.close_code)

    with trio.fail_after(LONG):
        async with (
            open_both(
                handler,
                ssl_context=tls_contexts.server,
                on_request=page,
                subprotocols=["chat"],
                extensions=[PermessageDeflate()],
                max_message_size=None,
            ) as port,
            open_browser() as browser,
        ):
            await browser.visit(f"https://localhost:{port}/")
            assert await browser.evaluate("document.title") == "a page"
            results = await browser.evaluate(TALK % COUNT)
    assert results == [
        [True, 4000 + number, "had enough", True, "chat", "permessage-deflate"]
        for number in range(COUNT)
    ]
    assert sorted(code or 0 for code in codes) == [4000 + number for number in range(COUNT)]
    # It may open one more, which carries no stream.
    assert len(carrying) == 1


async def test_what_the_server_does_is_seen_by_the_page(tls_contexts: TLSContexts) -> None:
    async def handler(endpoint: Endpoint) -> None:
        await endpoint.send("hello")
        if endpoint.request.target == "/closes":
            await endpoint.aclose(4001, "go away")
        elif endpoint.request.target == "/pings":
            assert await endpoint.ping() is not None
            await endpoint.send("answered")

    with trio.fail_after(LONG):
        async with (
            open_both(handler, ssl_context=tls_contexts.server, on_request=page) as port,
            open_browser() as browser,
        ):
            await browser.visit(f"https://localhost:{port}/")
            results = await browser.evaluate(WATCH % '["/closes", "/pings", "/returns"]')
    assert results == [
        ["hello", 4001, "go away", True],
        ["hello", "answered", 1000, "", True],
        ["hello", 1000, "", True],
    ]
