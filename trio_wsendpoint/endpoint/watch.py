"""Finds the connections that nobody reads any more, all those of a Trio run together.

A receiver reads its socket itself. When it has its message and goes off to work on it, somebody
else must read on: a ping may come, or a close. That is the connection's reader task; but it
should not take over between any two messages, as that would cost as much as the messages do.

So whoever stops reading has the connection watched. Once a tick, the watch looks at all that
it watches. It wakes the reader task of each that was not read for a whole tick, and forgets
each that is being read. It is a system task of the Trio run, and does nothing to an endpoint
but wake its reader task. It ends when there is nothing left to watch.
"""

from __future__ import annotations

from typing import Final, Protocol

import trio

TAKEOVER_DELAY: Final = 0.02
"""Seconds after which the reader task takes over a connection that nobody reads, at most."""

_TICK: Final = TAKEOVER_DELAY / 2  # noticed at one tick, and taken over at the next


class Watched(Protocol):
    """What the watch needs to know of a reader.

    Attributes:
        reads: How often a receiver has begun to read, or was about to.
        watched: Whether the watch has it; only the watch sets it.
    """

    reads: int
    watched: bool

    @property
    def is_read(self) -> bool:
        """Whether a receiver is reading."""

    def take_over(self) -> None:
        """Wake the reader task: nobody else reads."""


class Watch:
    """The connections of a Trio run that a receiver has stopped reading."""

    __slots__ = ("_running", "_seen")

    def __init__(self) -> None:
        # How often each had been read when it was last looked at; -1 if it was not yet.
        self._seen: dict[Watched, int] = {}
        self._running = False

    def add(self, reader: Watched) -> None:
        """Watch a reader from here on."""
        reader.watched = True
        self._seen[reader] = -1
        if not self._running:
            self._running = True
            trio.lowlevel.spawn_system_task(self._run, name="trio_wsendpoint watch")

    def forget(self, reader: Watched) -> None:
        """Watch a reader no more."""
        reader.watched = False
        self._seen.pop(reader, None)

    async def _run(self) -> None:
        while self._seen:
            await trio.sleep(_TICK)
            self._look()
        self._running = False

    def _look(self) -> None:
        for reader, reads in list(self._seen.items()):
            if not reader.is_read and reader.reads != reads:
                self._seen[reader] = reader.reads
                continue
            self.forget(reader)
            if not reader.is_read:
                reader.take_over()


_watch: trio.lowlevel.RunVar[Watch] = trio.lowlevel.RunVar("trio_wsendpoint watch")


def is_time_real() -> bool:
    """Whether the clock of this Trio run goes as time does.

    Under the clocks of tests a tick may never come, or only once nothing else happens.
    """
    clock = trio.lowlevel.current_clock()
    return 0.5 < clock.deadline_to_sleep_time(clock.current_time() + 1) < 2


def current_watch() -> Watch:
    """The watch of this Trio run, made when it is first needed."""
    try:
        return _watch.get()
    except LookupError:
        watch = Watch()
        _watch.set(watch)
        return watch
