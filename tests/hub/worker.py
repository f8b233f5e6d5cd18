"""A process with a hub, which does what it is told line by line: see `tests.hub.workers`."""

from __future__ import annotations

import json
import sys
from typing import Any

import trio
import trio.lowlevel

from trio_wsendpoint import Endpoint
from trio_wsendpoint.hub import Hub, HubUnavailable, open_hub
from trio_wsendpoint.testing import open_endpoint_pair


class Worker:
    def __init__(self, hub: Hub, nursery: trio.Nursery) -> None:
        self.hub = hub
        self.nursery = nursery
        self.received: dict[str, list[str | bytes]] = {}
        self.leave: dict[str, trio.Event] = {}

    async def be_member(self, room: str, *, task_status: Any) -> None:
        self.leave[room] = trio.Event()
        self.received.setdefault(room, [])
        async with (
            open_endpoint_pair(ping_interval=float("inf")) as (peer, endpoint),
            self.hub.join(room, endpoint),
            trio.open_nursery() as nursery,
        ):
            rooms: Any = self.hub._rooms
            if self.hub.connected:
                await rooms._subscriptions.wait_confirmed(rooms._channel(room))
            nursery.start_soon(self.note, room, peer)
            task_status.started()
            await self.leave[room].wait()
            nursery.cancel_scope.cancel()

    async def note(self, room: str, peer: Endpoint) -> None:
        async for message in peer:
            self.received[room].append(message)

    async def obey(self, order: str, *args: Any) -> Any:
        if order == "join":
            await self.nursery.start(self.be_member, *args)
        elif order == "leave":
            self.leave.pop(args[0]).set()
        elif order == "publish":
            return await self.publish(*args)
        elif order == "received":
            return self.received[args[0]]
        elif order == "members":
            return await self.hub.members(*args)
        elif order == "connected":
            return self.hub.connected
        return None

    async def publish(
        self, room: str, first: int, count: int, size: int, when_away: Any
    ) -> int:
        """Publish numbers; says how many of them Redis did not take."""
        failures = 0
        for number in range(first, first + count):
            try:
                await self.hub.publish(room, f"{number}".ljust(size), when_away=when_away)
            except HubUnavailable:
                failures += 1
            await trio.lowlevel.checkpoint()
        return failures


async def main(url: str, options: str) -> None:
    async with open_hub(url, **json.loads(options)) as hub, trio.open_nursery() as nursery:
        worker = Worker(hub, nursery)
        print("ready", flush=True)
        pending = b""
        async with trio.lowlevel.FdStream(0) as stdin:
            async for data in stdin:
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    print(json.dumps(await worker.obey(*json.loads(line))), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
