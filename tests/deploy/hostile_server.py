"""A server that bad clients are let loose on; it tells of itself at `/stats`.

Usage: python -m tests.deploy.hostile_server [OPTION=NUMBER]...
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import trio

from trio_wsendpoint import Endpoint, Request, Response, serve

handlers = 0


async def echo(endpoint: Endpoint) -> None:
    global handlers
    handlers += 1
    try:
        async for message in endpoint:
            await endpoint.send(message)
    finally:
        handlers -= 1


async def on_request(request: Request) -> Response | None:
    if request.path == "/hang":
        await trio.sleep_forever()
    if request.path == "/raise":
        raise ZeroDivisionError
    if request.path != "/stats":
        return None
    return Response.json(collect_stats())


def collect_stats() -> dict[str, float]:
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "handlers": handlers,
        "open files": len(list(Path("/proc/self/fd").iterdir())),
        "megabytes": resident * os.sysconf("SC_PAGE_SIZE") / 1e6,
    }


async def main() -> None:
    options = {name: int(value) for name, value in (arg.split("=") for arg in sys.argv[1:])}
    run = partial(serve, echo, 0, host="127.0.0.1", on_request=on_request, **options)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(run)
        print(listeners[0].socket.getsockname()[1], flush=True)


if __name__ == "__main__":
    trio.run(main)
