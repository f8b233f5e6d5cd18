"""Ways to wait that cost next to nothing while nobody does.

A `trio.Event`, a `trio.Lock` or a `trio.lowlevel.ParkingLot` for each purpose would be most of
the memory that an idle connection takes, and much of what a message costs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

CHECKPOINT_EVERY: Final = 64
"""Messages that a task may send or receive without waiting before it must let others run."""

FEW_TURNS: Final = 5
"""Turns of the scheduler that are enough for the reader task to wake up, to wait for the socket
and to read it, or for the writer task to write."""


def _stay(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


class WakeUp:
    """Lets one task sleep until another wakes it."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    def wait(self, *, shielded: bool = False) -> Awaitable[None]:
        """Sleep until the next `wake`. Cancelled, it may be called again.

        Args:
            shielded: Whether to sleep on when cancelled. A `CancelScope` would do the same
                with twice the memory of the task.
        """
        self._task = trio.lowlevel.current_task()
        abort = _stay if shielded else self._leave
        return trio.lowlevel.wait_task_rescheduled(abort)  # noqa: ASYNC105 - the caller does

    def _leave(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def wake(self) -> None:
        """Wake the task that sleeps, if one does."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)


class Ending:
    """An event that happens once, like a `trio.Event`."""

    __slots__ = ("_functions", "_lot", "happened")

    def __init__(self) -> None:
        self.happened = False
        self._functions: list[Callable[[], None]] | None = None
        self._lot: trio.lowlevel.ParkingLot | None = None

    def set(self) -> None:
        """Let it happen, wake whoever waits, and call what is to be called then."""
        self.happened = True
        if self._lot is not None:
            self._lot.unpark_all()
        functions, self._functions = self._functions, None
        for function in functions or ():
            function()

    def add(self, function: Callable[[], None]) -> bool:
        """Have a function called when it happens; says whether that is still to come."""
        if not self.happened:
            self._functions = self._functions or []
            self._functions.append(function)
        return not self.happened

    def remove(self, function: Callable[[], None]) -> None:
        """Take `add` back."""
        if self._functions is not None:
            self._functions.remove(function)

    async def wait(self) -> None:
        """Wait until it has happened; a checkpoint in any case."""
        if self.happened:
            await trio.lowlevel.checkpoint()
            return
        if self._lot is None:
            self._lot = trio.lowlevel.ParkingLot()
        await self._lot.park()


class FairLock:
    """A lock that goes to the tasks that wait for it in the order in which they came.

    Args:
        purpose: What its holder does, for the error of a task that would wait for itself.

    Attributes:
        holder: Who has the lock, or None. To save a call for each message, whoever finds None
            may set it without `acquire`; it calls `release` all the same.
    """

    __slots__ = ("_lot", "_purpose", "holder")

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose
        self._lot: trio.lowlevel.ParkingLot | None = None
        self.holder: object | None = None

    async def acquire(self) -> None:
        """Wait for the lock; no checkpoint if it is free.

        Raises:
            RuntimeError: the caller has it already, and would wait for ever.
        """
        if self.holder is None:
            self.holder = trio.lowlevel.current_task()
            return
        if self.holder is trio.lowlevel.current_task():
            raise RuntimeError(f"this task is already {self._purpose} on this endpoint")
        if self._lot is None:
            self._lot = trio.lowlevel.ParkingLot()
        await self._lot.park()

    def release(self) -> None:
        """Give the lock to the task that has waited longest, if any does."""
        self.holder = None
        if self._lot is not None:
            for task in self._lot.unpark():
                self.holder = task

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()
