"""Notices the connections that nobody reads any more, all those of a Trio run at once.

An alarm for each would cost more than the messages do. So whoever leaves off reading a
connection has it watched, and once a tick all the watched are looked at: those that were not
read for a whole tick are given to their reader tasks; those that are being read, if only by
somebody who waits for hours, are forgotten. Once nothing is left there are no ticks.
"""

from __future__ import annotations

from typing import Final, Protocol

from .timer import current_timer, once_per_run

TAKEOVER_DELAY: Final = 0.02
"""Seconds after which a connection that nobody reads is taken over by its reader task."""

_TICK: Final = TAKEOVER_DELAY / 2  # seen at one, and taken over at the next


class Watched(Protocol):
    """What the watch knows of a reader.

    Attributes:
        reads: How often somebody began to read, of those who are not the reader task.
        watched: Whether it is watched, for the watch alone to change.
    """

    reads: int
    watched: bool

    @property
    def is_read(self) -> bool:
        """Whether a receiver is reading."""

    def take_over(self) -> None:
        """Nobody reads it: its reader task has to."""


class Watch:
    """The connections of a Trio run that somebody has left off reading."""

    __slots__ = ("_seen", "_ticks", "_timer")

    def __init__(self) -> None:
        self._seen: dict[Watched, int] = {}
        self._timer = current_timer()
        self._ticks = False

    def add(self, reader: Watched) -> None:
        """Watch a reader from here on."""
        reader.watched = True
        self._seen[reader] = -1
        if not self._ticks:
            self._ticks = True
            self._timer.set(_TICK, self._look)

    def forget(self, reader: Watched) -> None:
        """There is nothing to read any more."""
        reader.watched = False
        self._seen.pop(reader, None)

    def _look(self) -> None:
        for reader, reads in list(self._seen.items()):
            if not reader.is_read and reader.reads != reads:
                self._seen[reader] = reader.reads
                continue
            self.forget(reader)
            if not reader.is_read:
                reader.take_over()
        self._ticks = bool(self._seen)
        if self._ticks:
            self._timer.set(_TICK, self._look)


current_watch = once_per_run("trio_wsendpoint watch", Watch)
