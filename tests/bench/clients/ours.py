"""The client of trio_wsendpoint."""

from contextlib import suppress

import trio

from tests.bench.subject import BURST, PAYLOAD, client_requests
from trio_wsendpoint import ConnectionClosed, Endpoint, connect


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


async def count(endpoint: Endpoint) -> None:
    counted = 0
    async for message in endpoint:
        if isinstance(message, bytes):
            counted += 1
        else:
            await endpoint.send(str(counted))
            counted = 0


async def burst(endpoint: Endpoint) -> None:
    with suppress(ConnectionClosed):
        while True:
            for _ in range(BURST):
                await endpoint.send(PAYLOAD)
            for _ in range(BURST):
                await endpoint.receive()


async def main() -> None:
    work, urls = client_requests()
    for url in urls:
        async with connect(url) as endpoint:
            await WORK[work](endpoint)


WORK = {"echo": echo, "count": count, "burst": burst}
trio.run(main)
