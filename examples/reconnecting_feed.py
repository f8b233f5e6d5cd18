"""A feed that is followed to its end, whatever happens to the connection on the way.

Usage: python examples/reconnecting_feed.py [URL]

Each message is printed. What fails on the way is logged, with when it is tried again. Ctrl-C
says goodbye to the server, and leaves.
"""

import itertools
import logging
import sys

import trio

from trio_wsendpoint import WebSocketError, reconnecting

tokens = itertools.count(1)


async def fresh_headers() -> dict[str, str]:
    """Asked for before each dial: a real application would fetch a token that is still good."""
    await trio.lowlevel.checkpoint()
    return {"Authorization": f"Bearer token-{next(tokens)}"}


async def main(url: str) -> None:
    try:
        async for attempt in reconnecting(url, headers=fresh_headers):
            if attempt.previous_error is not None:
                print("reconnecting ...", flush=True)
            async with attempt as endpoint:
                print(f"connected by dial {attempt.number}", flush=True)
                async for message in endpoint:
                    print(message, flush=True)
    except WebSocketError as error:
        print(f"for good: {error}")
    else:
        print("the feed has ended")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        trio.run(main, sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8000")
    except KeyboardInterrupt:
        print("goodbye")
