"""Check an installed package: that it works, and with the extension unless it is pure.

Usage: python installed.py [--pure]
"""

import sys

import trio

import trio_wsendpoint
from trio_wsendpoint.protocol import in_c
from trio_wsendpoint.testing import open_endpoint_pair


async def main() -> None:
    async with open_endpoint_pair() as (client, server):
        for message in "hello", bytes(100_000):
            await client.send(message)
            assert await server.receive() == message
    assert in_c is ("--pure" not in sys.argv), f"in_c is {in_c}"
    print(trio_wsendpoint.__version__, "with" if in_c else "without", "the extension")


trio.run(main)
