"""The server of trio_wsendpoint."""

from functools import partial

import trio

from tests.bench.subject import announce, server_settings
from trio_wsendpoint import Endpoint, PermessageDeflate, serve

endpoints: set[Endpoint] = set()


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


async def broadcast(endpoint: Endpoint) -> None:
    endpoints.add(endpoint)
    try:
        async for message in endpoint:
            for each in endpoints:
                await each.send(message)
    finally:
        endpoints.discard(endpoint)


async def main() -> None:
    settings = server_settings()
    service = partial(
        serve,
        broadcast if settings.broadcast else echo,
        0,
        host="127.0.0.1",
        ssl_context=settings.ssl_context,
        extensions=[PermessageDeflate()] if settings.deflate else [],
        http2=settings.http2,
    )
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(service)
        if isinstance(listener, trio.SSLListener):
            listener = listener.transport_listener
        announce(listener.socket.getsockname()[1])


trio.run(main)
