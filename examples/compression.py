"""Compression: permessage-deflate, both ends, and what it saves.

Usage: python examples/compression.py
"""

import json
from functools import partial

import trio

from trio_wsendpoint import Endpoint, PermessageDeflate, connect, serve

QUOTES = json.dumps([{"symbol": f"S{i}", "bid": i / 7, "ask": i / 6} for i in range(100)])


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


async def round_trip(endpoint: Endpoint, message: str, *, compress: bool) -> int:
    before = endpoint.statistics().sent.size
    await endpoint.send(message, compress=compress)
    await endpoint.receive()
    return endpoint.statistics().sent.size - before


async def main() -> None:
    extensions = [PermessageDeflate(threshold=100)]
    async with trio.open_nursery() as nursery:
        start_server = partial(serve, host="127.0.0.1", extensions=extensions)
        listeners = await nursery.start(start_server, echo, 0)
        port = listeners[0].socket.getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", extensions=extensions) as endpoint:
            print(f"{'message':24}{'payload':>9}{'sent':>9}")
            for name, message, compress in (
                ("first", QUOTES, True),
                ("the same again", QUOTES, True),
                ("with compress=False", QUOTES, False),
                ("below the threshold", "tiny", True),
            ):
                sent = await round_trip(endpoint, message, compress=compress)
                print(f"{name:24}{len(message):9}{sent:9}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
