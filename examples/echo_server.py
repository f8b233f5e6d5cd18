"""An echo server: it sends every message back as it came.

Usage: python examples/echo_server.py [PORT]

Ctrl-C stops it: it closes its connections with 1001 (going away).
"""

import signal
import sys

import trio

from trio_wsendpoint import Endpoint, serve


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


async def main(port: int) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(serve, echo, port)
            print(f"listening on port {listeners[0].socket.getsockname()[1]}", flush=True)
            await anext(signals)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
