"""What `serve` can do with a connection."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

import trio

from ..endpoint import Endpoint
from ..protocol import CloseCode
from .exits import CommandError

Handler: TypeAlias = Callable[[Endpoint], Awaitable[object]]

MAX_WAITING: Final = 100
"""Messages that wait for a slow member of a broadcast; then it is shown out."""


async def echo(endpoint: Endpoint) -> None:
    """Send every message back."""
    async for message in endpoint:
        await endpoint.send(message)


class Broadcast:
    """What one sends, all others get."""

    def __init__(self) -> None:
        self._members: dict[Endpoint, trio.MemorySendChannel[str | bytes]] = {}

    async def __call__(self, endpoint: Endpoint) -> None:
        """Be a member for as long as the connection lasts."""
        inbox, deliveries = trio.open_memory_channel[str | bytes](MAX_WAITING)
        self._members[endpoint] = inbox
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._deliver, deliveries, endpoint)
                async for message in endpoint:
                    self._send(message, endpoint)
                nursery.cancel_scope.cancel()
        finally:
            self._members.pop(endpoint, None)

    async def _deliver(
        self, deliveries: trio.MemoryReceiveChannel[str | bytes], endpoint: Endpoint
    ) -> None:
        async for message in deliveries:
            await endpoint.send(message)
        await endpoint.aclose(CloseCode.POLICY_VIOLATION, "too slow")

    def _send(self, message: str | bytes, sender: Endpoint) -> None:
        for member, inbox in list(self._members.items()):
            if member is not sender:
                try:
                    inbox.send_nowait(message)
                except trio.WouldBlock:
                    self._members.pop(member).close()


def import_handler(place: str) -> Handler:
    """The handler at `module:name`, from the folder where the command is run.

    Raises:
        CommandError: there is none.
    """
    module_name, _, name = place.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise CommandError(f"{place}: {error}") from error
    handler = getattr(module, name, None)
    if not callable(handler):
        raise CommandError(f"{place}: {module_name} has no function {name!r}")
    found: Handler = handler
    return found
