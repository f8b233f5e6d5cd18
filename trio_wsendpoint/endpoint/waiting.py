"""Two ways to wait that cost next to nothing while nobody does.

A `trio.Lock` and a `trio.lowlevel.ParkingLot` for each purpose would be most of what an idle
connection takes of memory, and much of what a message costs.
"""

from __future__ import annotations

from typing import Final

import trio

CHECKPOINT_EVERY: Final = 64
"""Messages sent or received without waiting, before the scheduler has its turn."""


class Bell:
    """Wakes the one task that waits for it."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Wait until it rings from now on; cancelled, it may be waited for again."""

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    def ring(self) -> bool:
        """Wake whoever waits; says whether anybody did."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        return task is not None


class Turns:
    """A lock that is passed on to those who wait for it, in the order in which they came.

    Args:
        purpose: What its holder does, for the error of a task that waits for itself.

    Attributes:
        holder: Whose turn it is: a task, or whatever else takes it when it is None and gives
            it up again without asking for it twice.
    """

    __slots__ = ("_lot", "_purpose", "holder")

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose
        self._lot: trio.lowlevel.ParkingLot | None = None
        self.holder: object | None = None

    async def take(self) -> None:
        """Wait for one's turn; no checkpoint if nobody else has it.

        Raises:
            RuntimeError: it is the caller's turn already, and it would wait for ever.
        """
        if self.holder is None:
            self.holder = trio.lowlevel.current_task()
            return
        if self.holder is trio.lowlevel.current_task():
            raise RuntimeError(f"this task is already {self._purpose} on this endpoint")
        if self._lot is None:
            self._lot = trio.lowlevel.ParkingLot()
        await self._lot.park()

    def pass_on(self) -> None:
        """End one's turn."""
        self.holder = None
        if self._lot is not None:
            for task in self._lot.unpark():
                self.holder = task

    async def __aenter__(self) -> None:
        await self.take()

    async def __aexit__(self, *_: object) -> None:
        self.pass_on()
