"""A file of any size each way, in pieces, and never the whole of it in memory.

Usage: python examples/streaming.py FILE COPY

The client streams FILE to a server, which streams it back piece by piece as it arrives; the
client writes what comes back to COPY. It is one message each way, however large.
"""

import sys
from functools import partial

import trio

from trio_wsendpoint import Endpoint, connect, serve

CHUNK_SIZE = 2**16


async def send_back(endpoint: Endpoint) -> None:
    async with (
        endpoint.open_receive_stream() as incoming,
        endpoint.open_send_stream(incoming.kind) as outgoing,
    ):
        async for piece in incoming:
            await outgoing.send(piece)


async def send_file(endpoint: Endpoint, path: str) -> None:
    async with (
        await trio.open_file(path, "rb") as file,
        endpoint.open_send_stream("binary") as stream,
    ):
        while chunk := await file.read(CHUNK_SIZE):
            await stream.send(chunk)


async def receive_file(endpoint: Endpoint, path: str) -> None:
    async with (
        await trio.open_file(path, "wb") as file,
        endpoint.open_receive_stream() as stream,
    ):
        async for piece in stream:
            assert isinstance(piece, bytes)  # what we sent was binary
            await file.write(piece)


async def main(source: str, target: str) -> None:
    async with trio.open_nursery() as nursery:
        start_server = partial(serve, host="127.0.0.1")
        listeners = await nursery.start(start_server, send_back, 0)
        port = listeners[0].socket.getsockname()[1]
        # Both at once, as the server reads no further than it can send back.
        async with connect(f"ws://127.0.0.1:{port}") as endpoint, trio.open_nursery() as both:
            both.start_soon(send_file, endpoint, source)
            both.start_soon(receive_file, endpoint, target)
        statistics = endpoint.statistics()
        print(f"sent {statistics.sent.size} bytes, received {statistics.received.size}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    try:
        trio.run(main, sys.argv[1], sys.argv[2])
    except* KeyboardInterrupt:
        pass
