"""An echo client: it sends each line of its input as a message, and prints what comes back.

Usage: python examples/echo_client.py [URL]
"""

import sys

import trio

from trio_wsendpoint import connect


async def main(url: str) -> None:
    async with connect(url) as endpoint:
        async for line in trio.wrap_file(sys.stdin):
            await endpoint.send(line.rstrip("\n"))
            print(await endpoint.receive(), flush=True)
    print(f"closed with {endpoint.close_code}")


if __name__ == "__main__":
    try:
        trio.run(main, sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8000")
    except* KeyboardInterrupt:
        pass
