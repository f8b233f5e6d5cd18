"""What `serve` can do with a connection."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from ..endpoint import Endpoint
from ..server import Room, broadcast
from .exits import CommandError

Handler: TypeAlias = Callable[[Endpoint], Awaitable[object]]


async def echo(endpoint: Endpoint) -> None:
    """Send every message back."""
    async for message in endpoint:
        await endpoint.send(message)


class Broadcaster:
    """What one sends, all others get."""

    def __init__(self) -> None:
        self._room = Room()

    async def __call__(self, endpoint: Endpoint) -> None:
        """Be a member for as long as the connection lasts."""
        with self._room.join(endpoint):
            async for message in endpoint:
                others = [member for member in self._room if member is not endpoint]
                broadcast(others, message, on_slow="close")


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
