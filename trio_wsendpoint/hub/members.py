"""Those who are in a room in this process, and how a message gets to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import attrs
import trio

from ..endpoint import Endpoint, give_up_slow, share
from ..protocol import SharedMessage
from .channel import HubChannel
from .envelope import NOBODY, Envelope
from .history import Fetch, catch_up
from .ids import BEGINNING, Id
from .options import HubOptions, Wrap

logger = logging.getLogger("trio_wsendpoint.hub")


@attrs.define
class Counts:
    """What became of messages, so far.

    Attributes:
        published: Messages that this hub's `publish` was called with.
        delivered: How often a message was put in the outbox of a member, or in a channel.
        skipped: How often one was not, as too much was waiting there.
        closed: Members that were closed because of it.
        unconfirmed: Messages under way to Redis when the connection was lost: the other
            processes may or may not have got them.
    """

    published: int = 0
    delivered: int = 0
    skipped: int = 0
    closed: int = 0
    unconfirmed: int = 0


class _Turn(set["RoomMembers"]):
    """The rooms that a task has sent to since it last slept."""


class RoomMembers:
    """The members of one room, and how far they are with what was published in it.

    Args:
        name: The room's.
        options: The hub's.
        counts: Where to count.

    Attributes:
        seen: The id of the newest message that came by, delivered or not.
        delivered: The id of the last message that was delivered.
        base: An id behind which nothing is missing, where nothing was delivered yet.
        behind: Whether messages were missed, which are to be fetched before new ones are
            delivered.
    """

    __slots__ = (
        "_by_id",
        "_channels",
        "_counts",
        "_cursors",
        "_live",
        "_members",
        "_options",
        "base",
        "behind",
        "delivered",
        "name",
        "seen",
    )

    def __init__(self, name: str, options: HubOptions, counts: Counts) -> None:
        self.name = name
        self.seen: Id | None = None
        self.delivered: Id | None = None
        self.base: Id | None = None
        self.behind = False
        self._options = options
        self._counts = counts
        self._members: dict[Endpoint, Wrap | None] = {}
        self._by_id: dict[int, Endpoint] = {}
        self._channels: dict[HubChannel, None] = {}
        # Members that get messages as they come, by what wraps them.
        self._live: dict[Wrap | None, dict[Endpoint, None]] = {}
        # Those of them that were caught up further than the room itself.
        self._cursors: dict[Endpoint, Id] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __bool__(self) -> bool:
        return bool(self._members or self._channels)

    def __contains__(self, endpoint: Endpoint) -> bool:
        return endpoint in self._members

    # -- coming and going -----------------------------------------------------------------

    def add(self, endpoint: Endpoint, wrap: Wrap | None) -> None:
        """It is a member from now on; it gets nothing before it is live."""
        self._members[endpoint] = wrap
        self._by_id[endpoint.connection_id] = endpoint

    def go_live(self, endpoint: Endpoint, cursor: Id | None = None) -> None:
        """From now on it gets messages as they come; none up to the cursor."""
        wrap = self._members[endpoint]
        if cursor is not None:
            # Others still have to get what came before, and has not come by.
            if not (self._live or self._channels) and self.delivered is None:
                self.delivered = cursor
            self._cursors[endpoint] = cursor
        self._live.setdefault(wrap, {})[endpoint] = None

    def remove(self, endpoint: Endpoint) -> None:
        """It is no member any more."""
        wrap = self._members.pop(endpoint)
        del self._by_id[endpoint.connection_id]
        self._cursors.pop(endpoint, None)
        live = self._live.get(wrap, {})
        live.pop(endpoint, None)
        if not live:
            self._live.pop(wrap, None)

    def add_channel(self, channel: HubChannel) -> None:
        """It hears the room from now on."""
        self._channels[channel] = None

    def remove_channel(self, channel: HubChannel) -> None:
        """It hears it no more."""
        del self._channels[channel]

    def end(self) -> None:
        """The hub is closed, and no message will come."""
        for channel in self._channels:
            channel.end(trio.ClosedResourceError)

    # -- messages -------------------------------------------------------------------------

    def receive(self, entry: Envelope, excluded: int = NOBODY) -> None:
        """Take a message as it comes by, and deliver it if it is its turn."""
        if entry.id is not None:
            if self.delivered is not None and entry.id <= self.delivered:
                return
            self.seen = entry.id
            if self.behind:
                return
        self.deliver(entry.message, entry.id, excluded)

    def deliver(self, message: str | bytes, id_: Id | None, excluded: int) -> None:
        """Give a message to all members that have not got it, without waiting."""
        if id_ is not None:
            self.delivered = id_
        absent = self._absent(id_, excluded) if self._cursors or excluded else ()
        for wrap, members in self._live.items():
            targets: Collection[Endpoint] = members
            if absent:
                targets = [each for each in members if each not in absent]
            if targets:
                self._send(targets, message, id_, wrap)
        for channel in self._channels:
            got = channel.put(message)
            self._counts.delivered += got
            self._counts.skipped += not got

    def _absent(self, id_: Id | None, excluded: int) -> set[Endpoint]:
        """Who is not to get a message: it came from there, or is there already."""
        absent = {self._by_id[excluded]} if excluded in self._by_id else set()
        if id_ is not None:
            for endpoint, cursor in list(self._cursors.items()):
                if id_ <= cursor:
                    absent.add(endpoint)
                else:
                    del self._cursors[endpoint]
        return absent

    def _send(
        self,
        targets: Collection[Endpoint],
        message: str | bytes,
        id_: Id | None,
        wrap: Wrap | None,
    ) -> None:
        try:
            shared = SharedMessage(message if wrap is None else wrap(message, str(id_)))
        except Exception:
            # It is called for all members at once, in a task that is none of theirs.
            logger.exception("wrap has failed, and a message of %r is lost", self.name)
            return
        options, counts = self._options, self._counts
        # What follows in the same turn of a task leaves in one write for each member, not in
        # one for each message: they come out of Redis in bunches.
        task = trio.lowlevel.current_task()
        rooms = task.custom_sleep_data  # Trio resets it when the task sleeps
        if type(rooms) is not _Turn:
            rooms = task.custom_sleep_data = _Turn()
        sent, slow = share(targets, shared, options.max_waiting, gather=self in rooms)
        rooms.add(self)
        counts.delivered += sent
        if not slow:
            return
        if options.on_slow == "skip":
            counts.skipped += len(slow)
            return
        counts.closed += len(slow)
        for endpoint in slow:
            give_up_slow(endpoint)

    # -- catching up ----------------------------------------------------------------------

    async def replay(
        self, endpoint: Endpoint, since: Id, fetch: Fetch, excluded: Callable[[Envelope], int]
    ) -> Id:
        """Send a member, as fast as it takes them, all messages after an id."""
        wrap = self._members[endpoint]
        connection_id = endpoint.connection_id

        async def deliver(entry: Envelope) -> None:
            if excluded(entry) != connection_id:
                message = entry.message
                await endpoint.send(message if wrap is None else wrap(message, str(entry.id)))

        return await catch_up(since, fetch, deliver, lambda: self.seen)

    @property
    def reached(self) -> Id | None:
        """The id behind which it is to be caught up, if it has to be."""
        return self.delivered or self.base

    async def heal(self, since: Id, fetch: Fetch, excluded: Callable[[Envelope], int]) -> None:
        """Deliver to all members what came after an id while Redis was away."""

        async def deliver(entry: Envelope) -> None:
            self.deliver(entry.message, entry.id, excluded(entry))

        await catch_up(since, fetch, deliver, lambda: self.seen)
        self.behind = False

    def lose_past(self) -> list[Endpoint]:
        """Some of what was missed cannot be fetched; says who counts on having all."""
        self.delivered, self.base = None, BEGINNING
        self._cursors.clear()
        return [each for wrap, live in self._live.items() if wrap is not None for each in live]
