"""A process under test: a server whose connections are all in one room, over a hub or bare.

    python -m tests.bench.hub.node hub|bare [URL]

It prints its port, and then does what it is told on standard input, a list in a line. Without
a URL the hub is in one process. It hears the room as a service does once it is told to
listen. Bare is
what there is without this library's hub: hiredis over two Trio streams, one that publishes,
and one that subscribes, once it is told to, and hands each message to the one member.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import hiredis
import trio

from tests.bench.subject import announce, raise_file_limit
from trio_wsendpoint import Endpoint, serve
from trio_wsendpoint.hub import Hub, open_hub

ROOM = "/"
BATCH = 2**16  # bytes that a bare publisher writes at a time
ENDLESS = 2**40  # no member is slow: the load reads as fast as it can


def pack(*command: str | bytes) -> bytes:
    """The bytes of a command."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


class Subject(Protocol):
    """What is measured."""

    heard: int

    async def be_member(self, endpoint: Endpoint) -> None:
        """Run a connection."""

    async def listen(self) -> None:
        """Hear the room, and count."""

    async def publish(self, payload: bytes, count: int) -> None:
        """Publish a message again and again, as fast as it goes."""


class HubSubject:
    """The hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.heard = 0

    async def be_member(self, endpoint: Endpoint) -> None:
        async with self.hub.join(ROOM, endpoint):
            async for _ in endpoint:
                pass

    async def publish(self, payload: bytes, count: int) -> None:
        publish = self.hub.publish
        for _ in range(count):
            await publish(ROOM, payload)

    async def listen(self) -> None:
        """Hear the room as a service does."""
        async with self.hub.subscribe(ROOM) as channel:
            while True:
                await channel.receive()
                self.heard += 1


class BareSubject:
    """Two connections to Redis, and hiredis."""

    def __init__(self, publisher: trio.SocketStream, subscriber: trio.SocketStream) -> None:
        self.publisher = publisher
        self.subscriber = subscriber
        self.member: Endpoint | None = None
        self.heard = 0

    async def be_member(self, endpoint: Endpoint) -> None:
        self.member = endpoint
        async for _ in endpoint:
            pass

    async def read_replies(self) -> None:
        parser = hiredis.Reader()
        while True:
            parser.feed(await self.publisher.receive_some(2**16))
            while parser.gets() is not False:
                pass

    async def listen(self) -> None:
        """Subscribe, and hand each message to the member, if there is one."""
        await self.subscriber.send_all(pack("SUBSCRIBE", ROOM))
        parser = hiredis.Reader()
        while True:
            parser.feed(await self.subscriber.receive_some(2**16))
            member = self.member
            while (reply := parser.gets()) is not False:
                if reply[0] == b"message":
                    self.heard += 1
                    if member is not None:
                        await member.send(reply[2])

    async def publish(self, payload: bytes, count: int) -> None:
        command = pack("PUBLISH", ROOM, payload)
        at_once = max(1, BATCH // len(command))
        for start in range(0, count, at_once):
            # Packed anew each time, as other messages would have to be.
            commands = [
                pack("PUBLISH", ROOM, payload) for _ in range(min(at_once, count - start))
            ]
            await self.publisher.send_all(b"".join(commands))


async def publish_paced(subject: Subject, size: int, count: int, interval: float) -> None:
    """Publish messages that say when they were published."""
    for _ in range(count):
        await trio.sleep(interval)
        payload = time.monotonic_ns().to_bytes(8, "big").ljust(size, b"\0")
        await subject.publish(payload, 1)


def memory() -> int:
    """Bytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def obey(subject: Subject, order: str, *args: Any) -> Any:
    """Do as told, and say what came of it."""
    if order == "publish":
        size, count = args
        await subject.publish(bytes(size), count)
    elif order == "paced":
        await publish_paced(subject, *args)
    elif order == "heard":
        while subject.heard < args[0]:  # noqa: ASYNC110
            await trio.sleep(0.001)
        subject.heard = 0
    elif order == "cpu":
        return time.process_time()
    elif order == "memory":
        return memory()
    return time.monotonic_ns()


async def run(subject: Subject, background: list[Any]) -> None:
    """Serve, and do what it is told."""
    pending = b""
    async with trio.open_nursery() as nursery:
        for task in background:
            nursery.start_soon(task)
        listeners = await nursery.start(serve, subject.be_member, 0)
        announce(listeners[0].socket.getsockname()[1])
        async for data in trio.lowlevel.FdStream(0):
            *lines, pending = (pending + data).split(b"\n")
            for order in map(json.loads, lines):
                result = None
                if order == ["listen"]:
                    nursery.start_soon(subject.listen)
                else:
                    result = await obey(subject, *order)
                print(json.dumps(result), flush=True)
        nursery.cancel_scope.cancel()


async def main(kind: str, url: str | None = None) -> None:
    if kind == "hub":
        async with open_hub(url, max_waiting=ENDLESS) as hub:
            await run(HubSubject(hub), [])
        return
    port = urlsplit(url or "").port
    assert port is not None
    streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
    bare = BareSubject(*streams)
    await run(bare, [bare.read_replies])


if __name__ == "__main__":
    raise_file_limit()
    trio.run(main, sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
