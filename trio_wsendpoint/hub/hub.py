"""`open_hub`: rooms whose members are in one process, or in many on many machines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Unpack

import attrs
import trio

from ..endpoint import Endpoint
from .channel import HubChannel
from .envelope import NOBODY
from .link import check_hiredis
from .local import LocalRooms
from .members import Counts, RoomMembers
from .options import (
    HubKeywords,
    HubOptions,
    WhenAway,
    Wrap,
    check_choice,
    check_encodable,
    check_replay,
    check_room,
    parse_options,
)
from .redis import RedisRooms
from .url import parse_redis_url

CHECKPOINT_EVERY: Final = 256
"""Messages published and delivered, before a publisher gives the scheduler its turn."""


@asynccontextmanager
async def open_hub(
    url: str | None = None, **options: Unpack[HubKeywords]
) -> AsyncIterator[Hub]:
    """Open a hub: rooms, and messages to all who are in them.

    Its tasks run until the `async with` is left; by then nobody should be in a room. If
    Redis goes away meanwhile, they dial it again and again.

    Args:
        url: Such as `"redis://user:password@example.org:6379/0"`, or `rediss://` over TLS:
            all processes with the same one share their rooms. Without it, rooms are this
            process' own.
        **options: See `HubOptions`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        ImportError: `url` needs hiredis, which the extra `redis` installs.
        HubUnavailable: Redis cannot be reached, or does not let us in.
    """
    hub = Hub(url, parse_options(dict(options)))
    await hub._rooms.open()
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub._rooms.run)
        # What the body raises is kept out of the nursery, which would wrap it in a group.
        try:
            yield hub
        except BaseException as error:
            failure = error
        nursery.cancel_scope.shield = True
        hub._end()
        await hub._rooms.leave()
        nursery.cancel_scope.cancel()
    try:
        if failure is not None:
            raise failure
    finally:
        del failure  # or the traceback would hold it in a cycle


@attrs.frozen
class HubStatistics:
    """What went through a hub so far.

    Attributes:
        rooms: Rooms that somebody of this process is in at the moment.
        published: Messages that this hub's `publish` was called with.
        delivered: How often a message was put in the outbox of a member, or in a channel.
        skipped: How often one was not, as too much was waiting there.
        closed: Members that were closed because of it.
        unconfirmed: Messages that were under way to Redis when the connection to it was
            lost: the other processes may or may not have got them.
    """

    rooms: int
    published: int
    delivered: int
    skipped: int
    closed: int
    unconfirmed: int


class Hub:
    """Rooms, and messages to all who are in them, in whatever process. See `open_hub`."""

    def __init__(self, url: str | None, options: HubOptions) -> None:
        self._options = options
        self._members: dict[str, RoomMembers] = {}
        self._counts = Counts()
        self._closed = False
        self._yield_at = 0
        self._rooms: LocalRooms | RedisRooms
        secure = False
        if url is None:
            self._rooms = LocalRooms(self._members, options)
        else:
            address = parse_redis_url(url)
            check_hiredis()
            secure = address.secure
            self._rooms = RedisRooms(address, self._members, options, self._counts)
        if options.ssl_context is not None and not secure:
            raise ValueError("ssl_context needs a url that begins with rediss://")

    # -- being in a room ------------------------------------------------------------------

    @asynccontextmanager
    async def join(
        self,
        room: str,
        endpoint: Endpoint,
        *,
        since: str | None = None,
        wrap: Wrap | None = None,
    ) -> AsyncIterator[None]:
        """Be in a room for as long as the `async with` lasts.

        It does not wait for Redis, unless `since` is given: messages of other processes come
        as soon as Redis knows. With `since`, it first sends the endpoint what came after that
        message, as fast as it takes it, and goes on without a gap or a double.

        Cancelled, the endpoint is in the room no more, and Redis knows nothing of it.

        Args:
            room: The name of the room.
            endpoint: What gets the messages; it may be in many rooms, once in each.
            since: The id of the last message that its peer has; `"0-0"` for none. Needs a
                hub with history.
            wrap: Makes what is sent of each message and its id, a plain function; it is
                called once for all members that give the same one. Needs a hub with history.

        Raises:
            TypeError, ValueError: an argument is wrong; the message names it.
            HistoryLost: `since` is not kept any more.
            HubUnavailable: `since` was given, and Redis is away.
            ConnectionClosedError: the connection ended while the past was sent.
            trio.ClosedResourceError: the hub is closed.
        """
        check_room(room)
        cursor = check_replay(self._options.history, since, wrap)
        if not isinstance(endpoint, Endpoint):
            raise TypeError(f"endpoint must be an Endpoint, not {type(endpoint).__name__}")
        await trio.lowlevel.checkpoint()
        members = self._enter(room)
        if endpoint in members:
            raise ValueError(f"endpoint is in room {room!r} already")
        members.add(endpoint, wrap)
        self._rooms.changed(members)
        try:
            if cursor is not None:
                cursor = await self._rooms.replay(members, endpoint, cursor)
            members.go_live(endpoint, cursor)
            yield
        finally:
            members.remove(endpoint)
            self._rooms.changed(members)
            self._leave(members)

    @asynccontextmanager
    async def subscribe(self, room: str) -> AsyncIterator[HubChannel]:
        """Hear a room, for as long as the `async with` lasts: for what is no endpoint.

        It does not wait for Redis, and whoever hears is no member.

        Args:
            room: The name of the room.

        Raises:
            TypeError, ValueError: `room` is wrong.
            trio.ClosedResourceError: the hub is closed.
        """
        check_room(room)
        await trio.lowlevel.checkpoint()
        members = self._enter(room)
        channel = HubChannel(self._options.max_waiting, self._options.on_slow)
        members.add_channel(channel)
        try:
            yield channel
        finally:
            channel.end(trio.ClosedResourceError)
            members.remove_channel(channel)
            self._leave(members)

    def _enter(self, room: str) -> RoomMembers:
        self._check_open()
        members = self._members.get(room)
        if members is None:
            members = self._members[room] = RoomMembers(room, self._options, self._counts)
            self._rooms.opened(members)
        return members

    def _leave(self, members: RoomMembers) -> None:
        if not members:
            del self._members[members.name]
            self._rooms.closed(members)

    # -- messages -------------------------------------------------------------------------

    async def publish(
        self,
        room: str,
        message: str | bytes,
        *,
        exclude: Endpoint | None = None,
        when_away: WhenAway = "raise",
    ) -> str | None:
        """Send a message to all who are in a room, in whatever process.

        Members in this process get it at once, also while Redis is away, the others through
        Redis, at most once; those who are slow hold up nobody. With history, it goes to
        nobody before Redis has kept it, and then to all in the same order.

        Cancelled, members in this process have got it, or nobody has; with history, it may
        have been published.

        Args:
            room: The name of the room.
            message: `str` for a text message, bytes-like for a binary one.
            exclude: A member that does not get it, such as the one it came from.
            when_away: Whether to raise `HubUnavailable` while Redis is away, or wait until
                it is back.

        Returns:
            The id of the message, if the hub has history; else None.

        Raises:
            TypeError, ValueError: an argument is wrong; the message names it.
            HubUnavailable: Redis is away, or went away before it could say that the message
                was kept. To publish it again may repeat it to those who have got it.
            trio.ClosedResourceError: the hub is closed.
        """
        check_room(room)
        if type(message) is not bytes:
            message = _check_message(message)
        if when_away != "raise":
            check_choice("when_away", when_away, ("raise", "wait"))
        excluded = NOBODY
        if exclude is not None:
            if not isinstance(exclude, Endpoint):
                raise TypeError(f"exclude must be an Endpoint, not {type(exclude).__name__}")
            excluded = exclude.connection_id
        self._check_open()
        counts = self._counts
        if counts.published + counts.delivered < self._yield_at:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
            self._yield_at = counts.published + counts.delivered + CHECKPOINT_EVERY
        counts.published += 1
        return await self._rooms.publish(room, message, excluded, when_away != "raise")

    async def members(self, room: str) -> int:
        """Count the endpoints that are in a room, over all processes.

        What other processes have told Redis: that is a moment old, and those of a process
        that has died are counted until its lease is over.

        Raises:
            TypeError, ValueError: `room` is wrong.
            HubUnavailable: Redis is away.
            trio.ClosedResourceError: the hub is closed.
        """
        check_room(room)
        self._check_open()
        await trio.lowlevel.checkpoint()
        return await self._rooms.members(room)

    # -- looking at it --------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether Redis is there; always so in one process."""
        return self._rooms.connected

    def statistics(self) -> HubStatistics:
        """What went through the hub so far."""
        return HubStatistics(len(self._members), **attrs.asdict(self._counts))

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the hub is closed")

    def _end(self) -> None:
        self._closed = True
        for members in self._members.values():
            members.end()


def _check_message(message: str | bytes) -> str | bytes:
    if isinstance(message, str):
        check_encodable("message", message)
        return message
    if not isinstance(message, bytes | bytearray | memoryview):
        raise TypeError(f"message must be str or bytes-like, not {type(message).__name__}")
    return bytes(message)
