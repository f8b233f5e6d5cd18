"""The client of trio_wsendpoint."""

import trio

from tests.bench.subject import client_requests
from trio_wsendpoint import Endpoint, connect


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


async def main() -> None:
    burst, urls = client_requests()
    for url in urls:
        async with connect(url) as endpoint:
            await (count if burst else echo)(endpoint)


trio.run(main)
