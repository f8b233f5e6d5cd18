"""A dashboard: a page, and live ticks to all browsers that show it, on one port.

Usage: python examples/dashboard.py [PORT]

    /          the page; whoever has not logged in is sent to /login
    /login     asks for a name and a password (ada, lovelace), and sets a cookie
    /ticks     the WebSocket that the page opens
    /health    for load balancers
    /metrics   for Prometheus

SIGTERM or Ctrl-C drains it: its pages see 1012 and come back in a moment. A second one ends it
at once. It needs the extras `router` and `prometheus`. Passwords belong on TLS; see
`ssl_context`.
"""

import secrets
import signal
import sys
from collections.abc import AsyncIterator
from http.cookies import CookieError, SimpleCookie
from typing import Final

import prometheus_client
import trio

from trio_wsendpoint import (
    Endpoint,
    PermessageDeflate,
    PrometheusInstrument,
    Request,
    Response,
    Room,
    Router,
    basic_auth,
    open_server,
)

PAGE: Final = """<!doctype html>
<title>Dashboard</title>
<h1 id="tick">no tick yet</h1>
<p id="state">connecting</p>
<script>
  const show = (id, text) => document.getElementById(id).textContent = text;
  const url = location.protocol.replace("http", "ws") + "//" + location.host + "/ticks";
  function open() {
    const socket = new WebSocket(url);
    socket.onopen = () => show("state", "open");
    socket.onmessage = event => show("tick", event.data);
    socket.onclose = event => {
      show("state", `closed with ${event.code}`);
      setTimeout(open, 2000 + 3000 * Math.random());
    };
  }
  open();
</script>
"""
COOKIE: Final = "session"

router = Router()
viewers = Room()
sessions: set[str] = set()
registry = prometheus_client.CollectorRegistry()
ask_for_password = basic_auth(("ada", "lovelace"), "Dashboard")


def is_logged_in(request: Request) -> bool:
    try:
        cookies = SimpleCookie("; ".join(request.header_values("Cookie")))
    except CookieError:
        return False
    return COOKIE in cookies and cookies[COOKIE].value in sessions


async def check_login(request: Request) -> Response | None:
    """What is asked before all pages and WebSockets: may this client have it?"""
    if request.path in ("/health", "/metrics"):
        return None
    if request.path == "/login":
        return await ask_for_password(request)  # type: ignore[return-value]
    if is_logged_in(request):
        return None
    if request.is_websocket:
        return Response.text("log in first\n", 401)
    return Response.redirect("/login")


@router.page("/")
async def show_page(request: Request) -> Response:
    return Response.html(PAGE, headers={"Cache-Control": "no-store"})


@router.page("/login")
async def log_in(request: Request) -> Response:
    session = secrets.token_urlsafe()
    sessions.add(session)
    cookie = f"{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict"
    return Response.redirect("/", headers={"Set-Cookie": cookie})


@router.page("/health")
async def show_health(request: Request) -> Response:
    return Response.json({"viewers": len(viewers)})


@router.page("/metrics")
async def show_metrics(request: Request) -> Response:
    return Response.text(prometheus_client.generate_latest(registry).decode())


@router.route("/ticks")
async def show_ticks(endpoint: Endpoint) -> None:
    with viewers.join(endpoint):
        async for _ in endpoint:
            pass  # it has nothing to say; but so we see its close, and may drain


async def tick() -> None:
    number = 0
    while True:
        number += 1
        viewers.broadcast(f"tick {number}", max_waiting=2**16, on_slow="close")
        await trio.sleep(0.2)


async def end_at_next(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    await anext(signals)
    scope.cancel()


async def main(port: int) -> None:
    server_options = {
        "on_request": check_login,
        "extensions": [PermessageDeflate(server_no_context_takeover=True)],
        "instrument": PrometheusInstrument(registry),
        "drain_timeout": 20,
    }
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with (
            open_server(router, port, **server_options) as server,  # type: ignore[arg-type]
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(tick)
            port = server.listeners[0].socket.getsockname()[1]
            print(f"listening on port {port}", flush=True)
            await anext(signals)
            nursery.start_soon(end_at_next, signals, nursery.cancel_scope)
            await server.drain()
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
