"""A hub's rooms over all processes that share a Redis."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Mapping
from typing import Final, NoReturn

import attrs
import trio

from ..endpoint import Endpoint
from ..protocol import CloseCode
from .envelope import HUB_ID_SIZE, NOBODY, Envelope, message_of, pack, unpack
from .errors import HistoryLost, HubUnavailable
from .history import PUBLISH, RedisHistory
from .ids import BEGINNING, Id
from .line import Line
from .link import Link, LinkLost, dial
from .members import Counts, RoomMembers
from .options import HubOptions
from .presence import Presence
from .subscriptions import Subscriptions
from .url import RedisAddress

logger = logging.getLogger("trio_wsendpoint.hub")

PREFIX: Final = "trio_wsendpoint:"
"""What all keys and channels at Redis begin with."""
MAX_NAMES: Final = 4096
"""Names of channels that are at hand."""
LEAVE_TIMEOUT: Final = 1.0
"""Seconds that Redis may take to be told that the hub is leaving."""


@attrs.frozen(eq=False)
class Session:
    """The two connections while they last: one for commands, one that subscribes."""

    commands: Link
    subscriber: Link

    async def aclose(self) -> None:
        """Close both."""
        await self.commands.aclose()
        await self.subscriber.aclose()


class RedisRooms:
    """What a hub does with Redis.

    Args:
        address: Where Redis is.
        rooms: The rooms that somebody is in.
        options: The hub's.
        counts: Where to count.
    """

    def __init__(
        self,
        address: RedisAddress,
        rooms: Mapping[str, RoomMembers],
        options: HubOptions,
        counts: Counts,
    ) -> None:
        self._address = address
        self._rooms = rooms
        self._options = options
        self._counts = counts
        self._hub_id = os.urandom(HUB_ID_SIZE)
        # What begins so, without an id in front, local members have had already.
        self._own_heads = (b"t" + self._hub_id, b"b" + self._hub_id)
        # Channels, unlike keys, are the same in all databases.
        prefix = f"{PREFIX}{address.database}:room:"
        self._channel = functools.lru_cache(MAX_NAMES)(lambda name: (prefix + name).encode())
        self._by_channel: dict[bytes, RoomMembers] = {}
        self._session: Session | None = None
        self._line = Line()
        self._closed = False
        self._subscriptions = Subscriptions(self._receive, self._on_confirmed)
        self._presence = Presence(
            PREFIX,
            self._hub_id.hex(),
            options.lease,
            lambda: [name for name, room in rooms.items() if len(room)],
            lambda name: len(rooms.get(name, ())),
        )
        # Rooms whose messages come again, or for the first time.
        self._confirmed: dict[RoomMembers, None] = {}
        self._healing = trio.lowlevel.ParkingLot()

    @property
    def connected(self) -> bool:
        """Whether Redis is there."""
        return self._session is not None

    def _away(self) -> HubUnavailable:
        return HubUnavailable(f"Redis at {self._address} is away")

    # -- rooms ----------------------------------------------------------------------------

    def opened(self, room: RoomMembers) -> None:
        """Somebody is in a room in which nobody was."""
        channel = self._channel(room.name)
        self._by_channel[channel] = room
        self._subscriptions.want(channel)

    def closed(self, room: RoomMembers) -> None:
        """Nobody is in a room any more."""
        channel = self._channel(room.name)
        del self._by_channel[channel]
        self._subscriptions.drop(channel)

    def changed(self, room: RoomMembers) -> None:
        """The number of members of a room has changed."""
        self._presence.changed(room.name)

    async def members(self, name: str) -> int:
        """Count the members of a room over all processes.

        Raises:
            HubUnavailable: Redis is away.
        """
        if self._session is None:
            raise self._away()
        return await self._presence.members(self._session.commands, name)

    # -- publishing -----------------------------------------------------------------------

    async def publish(
        self, name: str, message: str | bytes, excluded: int, patient: bool
    ) -> str | None:
        """Deliver a message to local members, then to all others; see `Hub.publish`."""
        if not self._options.history:
            room = self._rooms.get(name)
            if room is not None:
                room.deliver(message, None, excluded)
        data = pack(message, self._hub_id, excluded)
        link = self._free_link() or await self._admitted(patient)
        try:
            if not self._options.history:
                link.put(b"PUBLISH", self._channel(name), data)
                return None
            reply = link.add(
                "EVAL",
                PUBLISH,
                1,
                _stream(name),
                self._channel(name),
                data,
                self._options.history,
                max(1, int(self._options.history_lifetime * 1000)),
            )
        finally:
            if self._line:
                self._let_in()
        id_: bytes = await reply.wait()
        return id_.decode()

    def _free_link(self) -> Link | None:
        """The link that commands may be given to, if nobody has to wait for it."""
        session = self._session
        if session is None or self._line or session.commands.full:
            return None
        return session.commands

    async def _admitted(self, patient: bool) -> Link:
        """Wait for one's turn to give Redis a command."""
        called = False
        while True:
            session = self._session
            if self._closed:
                raise trio.ClosedResourceError("the hub is closed")
            if session is None and not patient:
                raise self._away()
            if session is not None and not session.commands.full and (called or not self._line):
                return session.commands
            await self._line.wait(patient, in_front=called)
            called = True

    def _let_in(self) -> None:
        if self._session is not None and not self._session.commands.full:
            self._line.call_next()

    # -- receiving ------------------------------------------------------------------------

    def _receive(self, channel: bytes, data: bytes) -> None:
        room = self._by_channel.get(channel)
        if room is None or data.startswith(self._own_heads):
            return
        try:
            if (message := message_of(data)) is not None:
                room.deliver(message, None, NOBODY)
                return
            entry = unpack(data)
        except ValueError as error:
            logger.warning("a message in room %r was dropped: %s", room.name, error)
            return
        room.receive(entry, self._excluded(entry))

    def _excluded(self, entry: Envelope) -> int:
        return entry.excluded if entry.hub_id == self._hub_id else NOBODY

    # -- history --------------------------------------------------------------------------

    async def replay(self, room: RoomMembers, endpoint: Endpoint, since: Id) -> Id:
        """Send a member all messages after an id; says which was the last.

        Raises:
            HistoryLost: the id is not kept any more.
            HubUnavailable: Redis is away.
        """
        session = self._session
        if session is None:
            raise self._away()
        # What is published from now on comes by, and what was published before is there.
        await self._subscriptions.wait_confirmed(self._channel(room.name))
        history = RedisHistory(room.name, _stream(room.name))
        fetch = functools.partial(history.fetch, session.commands)
        cursor = since
        if self._session is session:
            cursor = await room.replay(endpoint, since, fetch, self._excluded)
        if self._session is not session:
            raise self._away()
        return cursor

    def _on_confirmed(self, channel: bytes) -> None:
        if self._options.history and channel in self._by_channel:
            self._confirmed[self._by_channel[channel]] = None
            self._healing.unpark()

    async def _run_healer(self, session: Session, nursery: trio.Nursery) -> NoReturn:
        """See to it that no message of a room's history is missed while Redis was away."""
        while True:
            while not self._confirmed:
                await self._healing.park()
            room = next(iter(self._confirmed))
            del self._confirmed[room]
            try:
                await self._heal(room, session.commands, nursery)
            except HubUnavailable as error:
                raise LinkLost(str(error)) from error

    async def _heal(self, room: RoomMembers, link: Link, nursery: trio.Nursery) -> None:
        """Deliver what was missed, or tell those who have to know that it cannot be."""
        history = RedisHistory(room.name, _stream(room.name))
        fetch = functools.partial(history.fetch, link)
        if not room.behind:
            room.base = await history.newest(link)
            return
        since = room.reached
        assert since is not None
        try:
            await room.heal(since, fetch, self._excluded)
        except HistoryLost as error:
            losers = room.lose_past()
            # A room that was quiet for so long has lost nothing.
            if time.time() - since.milliseconds / 1000 < self._options.history_lifetime:
                logger.warning("members may have missed messages: %s", error)
                for endpoint in losers:
                    nursery.start_soon(_show_out, endpoint)
            await room.heal(BEGINNING, fetch, self._excluded)

    # -- its life -------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect to Redis for the first time.

        Raises:
            HubUnavailable: it cannot be reached, or does not let us in.
        """
        self._attach(await self._dial())

    async def _dial(self) -> Session:
        commands = await dial(self._address, self._options.ssl_context)
        try:
            subscriber = await dial(
                self._address, self._options.ssl_context, self._subscriptions.receive
            )
        except BaseException:
            await commands.aclose()
            raise
        return Session(commands, subscriber)

    async def run(self) -> NoReturn:
        """Keep up the connections to Redis, and make them anew when they are lost."""
        backoff, failures = self._options.backoff, 0
        session = self._session
        assert session is not None
        while True:
            began = trio.current_time()
            reason: Exception = await self._run_session(session)
            lost = trio.current_time()
            if lost - began >= backoff.healthy_after:
                failures = 0
            while True:
                delay = backoff.delay(failures)
                failures += 1
                logger.warning(
                    "Redis at %s is away: %s; next attempt in %.1f s",
                    self._address,
                    reason,
                    delay,
                )
                await trio.sleep(delay)
                try:
                    session = await self._dial()
                    break
                except HubUnavailable as error:
                    reason = error
            logger.info(
                "Redis at %s is back after %.1f s", self._address, trio.current_time() - lost
            )

    async def _run_session(self, session: Session) -> LinkLost:
        """Use the connections for as long as they last; says why they ended."""
        self._attach(session)
        session.commands.on_room = self._let_in
        reason = LinkLost("the hub is closed")
        try:
            async with trio.open_nursery() as nursery:
                for link in (session.commands, session.subscriber):
                    nursery.start_soon(link.run_reader)
                    nursery.start_soon(link.run_writer)
                    nursery.start_soon(link.run_watch)
                nursery.start_soon(self._subscriptions.run, session.subscriber)
                nursery.start_soon(self._presence.run, session.commands)
                nursery.start_soon(self._run_healer, session, nursery)
                self._let_in()
        except* LinkLost as group:
            reason = _first_of(group)
        finally:
            self._detach(session)
            await session.aclose()
        return reason

    def _attach(self, session: Session) -> None:
        self._session = session
        self._presence.begin_anew()

    def _detach(self, session: Session) -> None:
        """The connections are lost, and nobody may wait for them any more."""
        self._session = None
        self._counts.unconfirmed += session.commands.unconfirmed
        session.commands.abandon()
        session.subscriber.abandon()
        self._line.turn_away()
        self._subscriptions.reset()
        self._presence.suspend()
        self._confirmed.clear()
        for room in self._rooms.values():
            room.behind = room.reached is not None

    async def leave(self) -> None:
        """Write what waits to be written, and tell Redis that this hub is no more."""
        self._closed = True
        self._line.turn_away(patient_too=True)
        if self._session is not None:
            link = self._session.commands
            self._presence.suspend()
            self._presence.leave(link)
            with trio.move_on_after(LEAVE_TIMEOUT, shield=True):
                await link.wait_written()


def _stream(name: str) -> str:
    return f"{PREFIX}history:{name}"


def _first_of(group: BaseExceptionGroup[LinkLost]) -> LinkLost:
    """One of the reasons, as the others follow from it or say the same."""
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _show_out(endpoint: Endpoint) -> None:
    """Close an endpoint that has missed messages: its peer comes back, and is told."""
    await endpoint.aclose(CloseCode.TRY_AGAIN_LATER, "messages were lost")
