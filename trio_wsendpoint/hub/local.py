"""A hub's rooms in one process: nothing to install, and nothing that can be away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import trio

from ..endpoint import Endpoint
from .envelope import NOBODY, Envelope
from .history import MemoryHistory
from .ids import Id
from .members import RoomMembers
from .options import HubOptions


class LocalRooms:
    """What a hub does by itself, where there is no Redis.

    Args:
        rooms: The rooms that somebody is in.
        options: The hub's.
    """

    connected = True

    def __init__(self, rooms: Mapping[str, RoomMembers], options: HubOptions) -> None:
        self._rooms = rooms
        self._history = (
            MemoryHistory(options.history, options.history_lifetime)
            if options.history
            else None
        )

    def opened(self, room: RoomMembers) -> None:
        """Somebody is in a room in which nobody was."""

    def closed(self, room: RoomMembers) -> None:
        """Nobody is in a room any more."""

    def changed(self, room: RoomMembers) -> None:
        """The number of members of a room has changed."""

    async def publish(
        self, name: str, message: str | bytes, excluded: int, _patient: bool
    ) -> str | None:
        """Deliver a message to all members of a room, and keep it if there is history."""
        entry = Envelope(message, b"", NOBODY)
        if self._history is not None:
            entry = self._history.add(name, message, excluded)
        room = self._rooms.get(name)
        if room is not None:
            room.receive(entry, excluded)
        return None if entry.id is None else str(entry.id)

    async def members(self, name: str) -> int:
        """Count the members of a room."""
        room = self._rooms.get(name)
        return 0 if room is None else len(room)

    async def replay(self, room: RoomMembers, endpoint: Endpoint, since: Id) -> Id:
        """Send a member all messages after an id; says which was the last.

        Raises:
            HistoryLost: the id is not kept any more.
        """
        history = self._history
        assert history is not None

        async def fetch(since: Id) -> Sequence[Envelope]:
            return history.after(room.name, since)

        return await room.replay(endpoint, since, fetch, lambda entry: entry.excluded)

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def run(self) -> NoReturn:
        """There is nothing to be done beside."""
        await trio.sleep_forever()

    async def leave(self) -> None:
        """Nobody has to be told."""
