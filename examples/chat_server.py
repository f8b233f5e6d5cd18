"""A chat server with rooms; the path of the URL names the room.

Usage: python examples/chat_server.py [PORT] [--redis URL]

The first message of a member is its name. With the same Redis, any number of these servers
on any number of machines are one: the code does not know whether it is alone. Whoever is too
slow for a room is shown out, and holds up nobody.
"""

import argparse
import contextlib
import signal
from functools import partial

import trio

from trio_wsendpoint import Endpoint, serve
from trio_wsendpoint.hub import Hub, HubUnavailable, open_hub


def to_text(message: str | bytes) -> str:
    return message if isinstance(message, str) else f"({len(message)} bytes)"


async def post(hub: Hub, room: str, text: str) -> None:
    # While Redis is away, a room is smaller: those on this server have heard it already.
    with contextlib.suppress(HubUnavailable):
        await hub.publish(room, text)


async def chat(hub: Hub, endpoint: Endpoint) -> None:
    room = endpoint.request.path
    name = to_text(await endpoint.receive())
    try:
        async with hub.join(room, endpoint):
            await post(hub, room, f"* {name} came in")
            async for message in endpoint:
                await post(hub, room, f"{name}: {to_text(message)}")
    finally:
        await post(hub, room, f"* {name} left")


async def main(port: int, redis: str | None = None) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_hub(redis, on_slow="close") as hub, trio.open_nursery() as nursery:
            listeners = await nursery.start(serve, partial(chat, hub), port)
            print(f"listening on port {listeners[0].socket.getsockname()[1]}", flush=True)
            await anext(signals)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat server with rooms.")
    parser.add_argument("port", nargs="?", type=int, default=8000)
    parser.add_argument("--redis", metavar="URL", help="such as redis://localhost")
    arguments = parser.parse_args()
    trio.run(main, arguments.port, arguments.redis)
