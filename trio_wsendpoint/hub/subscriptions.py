"""Which channels are wanted, and what Redis was told of it.

Whoever wants a channel does not wait for Redis: a task compares what is wanted with what was
told, and tells the difference, so that a hundred joins and leaves are one command or none.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final, NoReturn

import trio

from .link import Link, LinkLost, is_refusal

MAX_CHANNELS: Final = 500
"""Channels in one command."""


class _Channel:
    """A channel that is wanted, or of which Redis is still to be told that it is not."""

    __slots__ = ("confirmed", "pending", "told", "wanted")

    def __init__(self) -> None:
        self.wanted = False
        self.told = False
        # Commands that Redis has not confirmed yet.
        self.pending = 0
        self.confirmed: trio.Event | None = None


class Subscriptions:
    """The subscriptions of a hub, over one connection after the other.

    Args:
        on_message: Gets the channel and the data of each message.
        on_confirmed: Is told of each channel from which all messages come from now on.
    """

    def __init__(
        self,
        on_message: Callable[[bytes, bytes], None],
        on_confirmed: Callable[[bytes], None],
    ) -> None:
        self._on_message = on_message
        self._on_confirmed = on_confirmed
        self._channels: dict[bytes, _Channel] = {}
        self._dirty: dict[bytes, None] = {}
        self._work = trio.lowlevel.ParkingLot()

    def want(self, channel: bytes) -> None:
        """From now on its messages are wanted."""
        self._channels.setdefault(channel, _Channel()).wanted = True
        self._mark(channel)

    def drop(self, channel: bytes) -> None:
        """Its messages are not wanted any more."""
        state = self._channels[channel]
        state.wanted = False
        state.confirmed = None
        self._mark(channel)
        self._forget_if_over(channel, state)

    def _mark(self, channel: bytes) -> None:
        self._dirty[channel] = None
        self._work.unpark()

    def _forget_if_over(self, channel: bytes, state: _Channel) -> None:
        if not (state.wanted or state.told or state.pending):
            del self._channels[channel]
            self._dirty.pop(channel, None)

    async def wait_confirmed(self, channel: bytes) -> None:
        """Wait until messages of a channel that is wanted come, or the connection is lost."""
        state = self._channels[channel]
        if not (state.told and not state.pending):
            if state.confirmed is None:
                state.confirmed = trio.Event()
            await state.confirmed.wait()

    def reset(self) -> None:
        """The connection was lost: the next one knows nothing yet."""
        for channel, state in list(self._channels.items()):
            state.told = False
            state.pending = 0
            if state.confirmed is not None:
                state.confirmed.set()
                state.confirmed = None
            self._forget_if_over(channel, state)
        self._dirty = dict.fromkeys(self._channels)

    async def run(self, link: Link) -> NoReturn:
        """Tell Redis of all that is wanted, and of each change."""
        while True:
            while not self._dirty:
                await self._work.park()
            await link.wait_for_room()
            channels = list(islice(self._dirty, MAX_CHANNELS))
            for channel in channels:
                del self._dirty[channel]
            self._tell(link, b"SUBSCRIBE", channels, wanted=True)
            self._tell(link, b"UNSUBSCRIBE", channels, wanted=False)

    def _tell(self, link: Link, command: bytes, channels: list[bytes], wanted: bool) -> None:
        changed = [
            channel
            for channel in channels
            if (state := self._channels.get(channel)) is not None
            and state.wanted is wanted
            and state.told is not wanted
        ]
        for channel in changed:
            state = self._channels[channel]
            state.told = wanted
            state.pending += 1
        if changed:
            link.put(command, *changed)

    def receive(self, reply: Any) -> None:
        """Take what came over the connection.

        Raises:
            LinkLost: it is an error.
        """
        if type(reply) is list and len(reply) == 3:
            kind, channel, data = reply
            if kind == b"message":
                self._on_message(channel, data)
            else:  # subscribe or unsubscribe
                self._confirm(channel)
        elif is_refusal(reply):
            raise LinkLost(f"Redis has refused: {reply}")

    def _confirm(self, channel: bytes) -> None:
        state = self._channels[channel]
        state.pending -= 1
        if state.pending:
            return
        if state.told and state.wanted:
            if state.confirmed is not None:
                state.confirmed.set()
                state.confirmed = None
            self._on_confirmed(channel)
        self._forget_if_over(channel, state)
