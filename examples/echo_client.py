"""An echo client: it sends each line of its input as a message, and prints what comes back.

Usage: python examples/echo_client.py [URL]

Ctrl-C, or the end of the input (Ctrl-D at a terminal), closes the connection with 1000.
"""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator

import trio

from trio_wsendpoint import Endpoint, connect

STDIN = 0


class Lines(AsyncIterator[str]):
    """The lines of the standard input.

    `trio.wrap_file(sys.stdin)` would read in a thread, which Ctrl-C cannot end.
    """

    def __init__(self) -> None:
        self.rest = b""

    async def __anext__(self) -> str:
        while b"\n" not in self.rest:
            with contextlib.suppress(PermissionError):  # a file is always readable
                await trio.lowlevel.wait_readable(STDIN)
            data = os.read(STDIN, 65536)
            if not data and not self.rest:
                raise StopAsyncIteration
            self.rest += data or b"\n"  # the last line may have no end
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()


async def exchange(endpoint: Endpoint, scope: trio.CancelScope) -> None:
    async for line in Lines():
        await endpoint.send(line)
        print(await endpoint.receive(), flush=True)
    scope.cancel()


async def main(url: str) -> None:
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with connect(url) as endpoint, trio.open_nursery() as nursery:
            nursery.start_soon(exchange, endpoint, nursery.cancel_scope)
            await anext(signals)
            nursery.cancel_scope.cancel()
    print(f"closed with {endpoint.close_code}")


if __name__ == "__main__":
    try:
        trio.run(main, sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8000")
    except* KeyboardInterrupt:
        pass
