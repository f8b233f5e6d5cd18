"""What a hub tells its application when it cannot do what it was asked for."""

from __future__ import annotations


class HubUnavailable(Exception):
    """Redis cannot be reached, or has refused what was asked of it."""


class HistoryLost(Exception):
    """A room's history does not reach back to the id any more, or never had it.

    Attributes:
        room: The name of the room.
        since: The id.
    """

    def __init__(self, room: str, since: str) -> None:
        super().__init__(room, since)
        self.room = room
        self.since = since

    def __str__(self) -> str:
        return f"the history of room {self.room!r} does not have {self.since!r} any more"
