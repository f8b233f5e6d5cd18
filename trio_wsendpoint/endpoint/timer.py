"""The one timer of a Trio run: it calls functions when they are due, for all endpoints.

A task that sleeps costs some 4 KB of memory and the time to start it, and an idle connection
has little else to do. So only one task of all keeps the time: it runs in the nursery of one of
the endpoints, and when that endpoint ends, in that of another.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import trio

T = TypeVar("T")

_MAX_CANCELLED: Final = 1000
"""Alarms that may lie cancelled, if they are more than half of all."""


class Host(Protocol):
    """An endpoint that can run a task, such as the timer's."""

    def start_task(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task until it returns, or the endpoint ends."""


class Alarm:
    """A function that will be called once.

    Attributes:
        due: When.
        callback: It must neither raise nor wait; None once it is cancelled.
    """

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def __lt__(self, other: Alarm) -> bool:
        return self.due < other.due


class Timer:
    """Calls functions at their time, in a task of one of its hosts."""

    __slots__ = ("_alarms", "_cancelled", "_hosts", "_keeper", "_sleep")

    def __init__(self) -> None:
        self._alarms: list[Alarm] = []
        self._cancelled = 0
        self._hosts: dict[Host, None] = {}
        self._keeper: Host | None = None
        self._sleep = trio.CancelScope()

    def join(self, host: Host) -> None:
        """Run in it, if need be, until it leaves."""
        self._hosts[host] = None
        self._start_if_needed()

    def leave(self, host: Host) -> None:
        """Run in it no more: its task is about to be cancelled."""
        self._hosts.pop(host, None)
        if self._keeper is host:
            self._keeper = None
            self._start_if_needed()

    def set(self, delay: float, callback: Callable[[], None]) -> Alarm:
        """Have a function called in so many seconds; some host must have joined."""
        alarm = Alarm(trio.current_time() + delay, callback)
        heapq.heappush(self._alarms, alarm)
        self._start_if_needed()
        if alarm.due < self._sleep.deadline:
            self._sleep.deadline = alarm.due
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        """Have it called no more, if it was not yet."""
        if alarm.callback is not None:
            alarm.callback = None
            self._cancelled += 1
            if self._cancelled > max(_MAX_CANCELLED, len(self._alarms) // 2):
                self._alarms = [alarm for alarm in self._alarms if alarm.callback]
                heapq.heapify(self._alarms)
                self._cancelled = 0

    def _start_if_needed(self) -> None:
        if self._alarms and self._hosts and self._keeper is None:
            self._keeper = next(iter(self._hosts))
            self._sleep = trio.CancelScope(deadline=self._alarms[0].due)
            self._keeper.start_task(self._keep_time, self._keeper)

    async def _keep_time(self, host: Host) -> None:
        """The timer's task; it ends when another host has one, or its own one ends."""
        while self._keeper is host:
            with self._sleep:
                await trio.sleep_forever()
            self._call_due()
            due = self._alarms[0].due if self._alarms else math.inf
            self._sleep = trio.CancelScope(deadline=due)

    def _call_due(self) -> None:
        now = trio.current_time()
        while self._alarms and self._alarms[0].due <= now:
            alarm = heapq.heappop(self._alarms)
            if alarm.callback is None:
                self._cancelled -= 1
            else:
                callback, alarm.callback = alarm.callback, None
                callback()


def once_per_run(name: str, make: Callable[[], T]) -> Callable[[], T]:
    """A function that returns what this Trio run has of something, made when first needed."""
    var: trio.lowlevel.RunVar[T] = trio.lowlevel.RunVar(name)

    def current() -> T:
        try:
            return var.get()
        except LookupError:
            value = make()
            var.set(value)
            return value

    return current


current_timer = once_per_run("trio_wsendpoint timer", Timer)
