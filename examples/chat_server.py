"""A chat server with rooms; the path of the URL names the room.

Usage: python examples/chat_server.py [PORT]

The first message of a member is its name. Each member has an inbox, a memory channel, and a
task that delivers from it: so one whose connection is slow holds up nobody. Whoever lags a
whole inbox behind is shown out.
"""

import signal
import sys
from collections import defaultdict
from typing import TypeAlias

import trio

from trio_wsendpoint import CloseCode, Endpoint, serve

INBOX_SIZE = 64

Inbox: TypeAlias = trio.MemorySendChannel[str]
Room: TypeAlias = dict[Inbox, trio.CancelScope]

rooms: defaultdict[str, Room] = defaultdict(dict)


def to_text(message: str | bytes) -> str:
    return message if isinstance(message, str) else f"({len(message)} bytes)"


def post(room: Room, text: str) -> None:
    for inbox, too_slow in room.items():
        try:
            inbox.send_nowait(text)
        except trio.WouldBlock:
            too_slow.cancel()


async def deliver(inbox: trio.MemoryReceiveChannel[str], endpoint: Endpoint) -> None:
    async for text in inbox:
        await endpoint.send(text)


async def converse(endpoint: Endpoint, room: Room, too_slow: trio.CancelScope) -> None:
    name = to_text(await endpoint.receive())
    inbox, deliveries = trio.open_memory_channel[str](INBOX_SIZE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, deliveries, endpoint)
        room[inbox] = too_slow
        try:
            post(room, f"* {name} came in")
            async for message in endpoint:
                post(room, f"{name}: {to_text(message)}")
        finally:
            del room[inbox]
            post(room, f"* {name} left")
        nursery.cancel_scope.cancel()


async def chat(endpoint: Endpoint) -> None:
    path = endpoint.request.path
    with trio.CancelScope() as too_slow:
        await converse(endpoint, rooms[path], too_slow)
    if not rooms[path]:
        del rooms[path]
    if too_slow.cancelled_caught:
        await endpoint.aclose(CloseCode.POLICY_VIOLATION, "too slow for this room")


async def main(port: int) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(serve, chat, port)
            print(f"listening on port {listeners[0].socket.getsockname()[1]}", flush=True)
            await anext(signals)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
