"""What `serve` can do with a connection."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from ..endpoint import Endpoint
from ..hub import Hub, HubUnavailable, open_hub
from .exits import CommandError

Handler: TypeAlias = Callable[[Endpoint], Awaitable[object]]

ROOM: Final = "broadcast"
"""The one that all are in."""


async def echo(endpoint: Endpoint) -> None:
    """Send every message back."""
    async for message in endpoint:
        await endpoint.send(message)


@attrs.frozen
class Broadcaster:
    """What one sends, all others get; those in this process also while Redis is away.

    Attributes:
        hub: Where they are in one room.
    """

    hub: Hub

    async def __call__(self, endpoint: Endpoint) -> None:
        """Be a member for as long as the connection lasts."""
        async with self.hub.join(ROOM, endpoint):
            async for message in endpoint:
                with contextlib.suppress(HubUnavailable):
                    await self.hub.publish(ROOM, message, exclude=endpoint)


@asynccontextmanager
async def open_broadcaster(redis: str | None) -> AsyncIterator[Broadcaster]:
    """Give a `Broadcaster`.

    Args:
        redis: The URL of the Redis through which it reaches those of other processes; None
            for this process alone.

    Raises:
        CommandError: hiredis is not installed.
        ValueError: the URL is none.
        HubUnavailable: Redis cannot be reached.
    """
    try:
        async with open_hub(redis, on_slow="close") as hub:
            yield Broadcaster(hub)
    except ImportError as error:
        raise CommandError(str(error)) from error


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
