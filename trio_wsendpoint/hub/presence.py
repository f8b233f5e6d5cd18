"""How many members there are: each hub tells Redis of its own, under a lease.

For each hub there is one hash at Redis, of rooms and their numbers of members, which expires
unless the hub renews it; and one set has the ids of all hubs. So nothing has to be cleaned up
after a process that has died, and a room costs nothing that nobody is in.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, NoReturn

import trio

from .link import Link, is_refusal

logger = logging.getLogger("trio_wsendpoint.hub")

MAX_ROOMS: Final = 500
"""Rooms in one command."""

_UPDATE: Final = """
-- KEYS: the hub's hash, the set of hubs. ARGV: the hub, its lease in milliseconds, whether to
-- begin anew, and then pairs of a room and its number of members. Says whether the hash is new.
if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
local new = redis.call('HSET', KEYS[1], 'alive', 1)
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '0' then redis.call('HDEL', KEYS[1], ARGV[i])
  else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
return new
"""

_COUNT: Final = """
-- KEYS: the set of hubs. ARGV: what the keys of their hashes begin with, and the room.
local members = 0
for _, hub in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local key = ARGV[1] .. hub
  if redis.call('EXISTS', key) == 0 then redis.call('SREM', KEYS[1], hub)
  else members = members + tonumber(redis.call('HGET', key, ARGV[2]) or 0) end
end
return members
"""


class Presence:
    """The members of this hub's rooms, as Redis is to know them.

    Args:
        prefix: What the keys at Redis begin with.
        hub_id: This hub's id.
        lease: Seconds for which Redis keeps what it was told.
        rooms: Names the rooms that have members now.
        count: Counts the members of a room.
    """

    def __init__(
        self,
        prefix: str,
        hub_id: str,
        lease: float,
        rooms: Callable[[], Iterable[str]],
        count: Callable[[str], int],
    ) -> None:
        self._hashes = f"{prefix}hub:"
        self._hubs = f"{prefix}hubs"
        self._hub_id = hub_id
        self._lease = lease
        self._rooms = rooms
        self._count = count
        self._dirty: dict[str, None] = {}
        self._anew = True
        self._refused = False
        self._away = True
        self._work = trio.lowlevel.ParkingLot()

    def changed(self, room: str) -> None:
        """The number of its members has changed."""
        if not self._away:
            self._dirty[room] = None
            self._work.unpark()

    def suspend(self) -> None:
        """Redis is away: there is nothing to be told until it is back, and then all."""
        self._away = True
        self._dirty.clear()

    def begin_anew(self) -> None:
        """Redis may know nothing of our members: tell it of all of them."""
        self._away = self._refused = False
        self._dirty = dict.fromkeys(self._rooms())
        self._anew = True

    async def run(self, link: Link) -> NoReturn:
        """Tell Redis of all members, and of each change; renew the lease in time."""
        while True:
            await link.wait_for_room()
            self._tell(link)
            if not self._dirty:
                with trio.move_on_after(self._lease / 3):
                    await self._work.park()
                if self._refused:
                    self.begin_anew()

    def _tell(self, link: Link) -> None:
        rooms = list(islice(self._dirty, MAX_ROOMS))
        arguments: list[str | int] = []
        for room in rooms:
            del self._dirty[room]
            arguments += (f"room:{room}", self._count(room))
        link.put(
            "EVAL",
            _UPDATE,
            2,
            self._hashes + self._hub_id,
            self._hubs,
            self._hub_id,
            max(1, int(self._lease * 1000)),
            int(self._anew),
            *arguments,
            on_reply=functools.partial(self._on_told, self._anew),
        )
        self._anew = False

    def _on_told(self, anew: bool, reply: Any) -> None:
        if is_refusal(reply):
            logger.warning("Redis did not take how many members there are: %s", reply)
            self._refused = True
        # The lease had run out, such as while this process was stopped: all is to be told.
        elif reply == 1 and not anew:
            self.begin_anew()
            self._work.unpark()

    async def members(self, link: Link, room: str) -> int:
        """Count the members of a room over all hubs, our own changes included."""
        while self._dirty:
            await link.wait_for_room()
            self._tell(link)
        return int(await link.call("EVAL", _COUNT, 1, self._hubs, self._hashes, f"room:{room}"))

    def leave(self, link: Link) -> None:
        """Tell Redis that this hub is no more."""
        link.put("DEL", self._hashes + self._hub_id)
        link.put("SREM", self._hubs, self._hub_id)
