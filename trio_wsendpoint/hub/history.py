"""What was published in a room lately: how it is kept, and how members catch up with it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import attrs

from .envelope import Envelope, unpack
from .errors import HistoryLost, HubUnavailable
from .ids import BEGINNING, Id, parse_id
from .link import Link

CHUNK: Final = 100
"""Messages that are fetched at a time."""

PUBLISH: Final = """
-- KEYS: the room's stream. ARGV: its channel, the message, how many are kept, and for how many
-- milliseconds. One script, so that the order of the ids is the order of the messages.
local id = redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[3], '*', 'm', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[1], id .. ' ' .. ARGV[2])
return id
"""

Fetch = Callable[[Id], Awaitable[Sequence[Envelope]]]
"""Gets the next messages after an id; none if there are none. Raises `HistoryLost`."""


async def catch_up(
    since: Id,
    fetch: Fetch,
    deliver: Callable[[Envelope], Awaitable[None]],
    newest: Callable[[], Id | None],
) -> Id:
    """Deliver all messages after an id, until there are no more.

    Messages that come by meanwhile are not delivered, only noted by whoever knows `newest`;
    they are fetched in their turn. So nothing has to be kept until the past is done with.
    When it returns, the next message that comes by is the next one to be delivered.

    Returns:
        The id of the last one.
    """
    while True:
        before = newest()
        entries = await fetch(since)
        for entry in entries:
            await deliver(entry)
            assert entry.id is not None
            since = entry.id
        # What came by before was kept before, and would have been fetched.
        if not entries and newest() == before:
            return since


class RedisHistory:
    """The streams at Redis, one for each room.

    Args:
        room: The name of the room.
        stream: The key of its stream.
    """

    def __init__(self, room: str, stream: str) -> None:
        self._room = room
        self._stream = stream

    async def fetch(self, link: Link, since: Id) -> list[Envelope]:
        """Get the next messages after an id.

        Raises:
            HistoryLost: the id is not kept any more, so that others may be missing too.
            HubUnavailable: Redis is away.
        """
        begun = since != BEGINNING
        count = CHUNK + begun  # the id itself comes first
        reply = await link.call("XRANGE", self._stream, str(since), "+", "COUNT", count)
        if begun:
            if not reply or reply[0][0] != str(since).encode():
                raise HistoryLost(self._room, str(since))
            del reply[0]
        return [_read_entry(*entry) for entry in reply]

    async def newest(self, link: Link) -> Id:
        """The id of the last message; `BEGINNING` if there is none."""
        reply = await link.call("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        return parse_id(reply[0][0].decode()) if reply else BEGINNING


def _read_entry(id: bytes, fields: list[Any]) -> Envelope:  # noqa: A002
    try:
        return unpack(fields[1], parse_id(id.decode()))
    except ValueError as error:
        raise HubUnavailable(f"the history at Redis is spoilt: {error}") from error


@attrs.define
class _Kept:
    """What is kept of a room."""

    entries: deque[Envelope]
    last: float


class MemoryHistory:
    """The messages of all rooms of one process.

    Args:
        length: How many messages of each room are kept.
        lifetime: Seconds after its last message when a room is forgotten.
    """

    def __init__(self, length: int, lifetime: float) -> None:
        self._length = length
        self._lifetime = lifetime
        # In the order of their last messages.
        self._rooms: dict[str, _Kept] = {}
        self._last = BEGINNING

    def add(self, room: str, message: str | bytes, excluded: int) -> Envelope:
        """Keep a message, and give it an id."""
        now = time.time()
        self._forget_before(now - self._lifetime)
        milliseconds = int(now * 1000)
        number = self._last.number + 1 if milliseconds <= self._last.milliseconds else 0
        self._last = Id(max(milliseconds, self._last.milliseconds), number)
        entry = Envelope(message, b"", excluded, self._last)
        kept = self._rooms.pop(room, None) or _Kept(deque(maxlen=self._length), now)
        kept.entries.append(entry)
        kept.last = now
        self._rooms[room] = kept
        return entry

    def _forget_before(self, moment: float) -> None:
        while self._rooms:
            room = next(iter(self._rooms))
            if self._rooms[room].last > moment:
                break
            del self._rooms[room]

    def after(self, room: str, since: Id) -> list[Envelope]:
        """The next messages after an id.

        Raises:
            HistoryLost: the id is not kept any more.
        """
        self._forget_before(time.time() - self._lifetime)
        kept = self._rooms.get(room)
        entries = [] if kept is None else list(kept.entries)
        if since == BEGINNING:
            return entries[:CHUNK]
        for index, entry in enumerate(entries):
            if entry.id == since:
                return entries[index + 1 : index + 1 + CHUNK]
        raise HistoryLost(room, str(since))
