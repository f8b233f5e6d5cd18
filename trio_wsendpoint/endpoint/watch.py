"""Notices the connections that nobody reads any more: one timer for all those of a Trio run.

A timer for each would cost more than the messages do. So whoever leaves off reading a
connection has it watched, and one of the reader tasks of the watched, the leader, wakes once a
tick and looks at them all: those that were not read for a whole tick it gives to their reader
tasks; those that are being read, if only by somebody who waits for hours, it forgets. Once
nothing is left there is no leader, and no timer.

The leader is a reader task with nothing else to do. When it has, or is done, it leaves, and
another one takes its place.
"""

from __future__ import annotations

from typing import Final, Protocol

import trio

from .waiting import Bell

TAKEOVER_DELAY: Final = 0.02
"""Seconds after which a connection that nobody reads is taken over by its reader task."""

_TICK: Final = TAKEOVER_DELAY / 2  # seen at one, and taken over at the next


class Watched(Protocol):
    """What the watch knows of a reader.

    Attributes:
        bell: Wakes its reader task, if that has nothing to do.
        reads: How often somebody began to read, of those who are not the reader task.
    """

    bell: Bell
    reads: int

    @property
    def is_read(self) -> bool:
        """Whether a receiver is reading."""

    def take_over(self) -> None:
        """Nobody reads it: its reader task has to."""


class Watch:
    """The connections of a Trio run that somebody has left off reading."""

    __slots__ = ("_due", "_leader", "_seen")

    def __init__(self) -> None:
        self._seen: dict[Watched, int] = {}
        self._leader: Watched | None = None
        self._due = 0.0

    def add(self, reader: Watched) -> None:
        """Watch a reader from here on."""
        if reader not in self._seen:
            self._seen[reader] = -1
            if self._leader is None:
                self._elect(reader)

    def _elect(self, reader: Watched) -> bool:
        """Make it the leader, if its reader task has nothing to do."""
        if not reader.bell.ring():
            return False
        self._leader = reader
        self._due = trio.current_time() + _TICK
        return True

    async def wait(self, reader: Watched) -> None:
        """Wait in a reader task for its bell; and keep the time, if nobody else does."""
        if self._leader is None and self._seen:
            self._leader = reader
            self._due = trio.current_time() + _TICK
        if self._leader is not reader:
            await reader.bell.wait()
            return
        with trio.move_on_at(self._due) as timer:
            await reader.bell.wait()
        if timer.cancelled_caught:
            self._look()

    def leave(self, reader: Watched) -> None:
        """The reader task has something else to do: let another one keep the time."""
        if self._leader is reader:
            self._leader = None
            any(self._elect(other) for other in self._seen if other is not reader)

    def forget(self, reader: Watched) -> None:
        """The reader task is done."""
        self._seen.pop(reader, None)
        self.leave(reader)

    def _look(self) -> None:
        for reader, reads in list(self._seen.items()):
            if reader.is_read:
                del self._seen[reader]
            elif reader.reads != reads:
                self._seen[reader] = reader.reads
            else:
                del self._seen[reader]
                reader.take_over()
        self._due = trio.current_time() + _TICK
        if not self._seen:
            self._leader = None


_watch: trio.lowlevel.RunVar[Watch] = trio.lowlevel.RunVar("trio_wsendpoint watch")


def current_watch() -> Watch:
    """The watch of this Trio run."""
    try:
        return _watch.get()
    except LookupError:
        watch = Watch()
        _watch.set(watch)
        return watch
