"""Cancels an operation at its first, second, ... n-th checkpoint, until it completes."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

MOST: Final = 1000
"""More checkpoints than any operation here has."""

FOREVER: Final = 1_000_000.0
"""Seconds after which a test is said to hang."""

Step: TypeAlias = Callable[[], Awaitable[object]]


class Moment(enum.Enum):
    """When the scope is cancelled.

    `BLOCKED`: as soon as the task has come to rest at its n-th checkpoint.
    `RESUMED`: when it has been woken from there, and is about to go on.
    `ANY_STEP`: after the n-th step of whatever task, its own or another one.
    """

    BLOCKED = enum.auto()
    RESUMED = enum.auto()
    ANY_STEP = enum.auto()


@attrs.frozen
class Outcome:
    """How an operation ended: by `trio.Cancelled`, or with a value."""

    raised: bool
    value: Any = None


class Canceller(trio.abc.Instrument):
    """Cancels an operation at one checkpoint.

    Args:
        number: Which checkpoint; 0 is before it begins.
        moment: When, at that checkpoint.

    Attributes:
        is_first: Whether it cancels before the operation begins.
        happened: Whether the operation had so many checkpoints.
        scope: The operation's.
        time: When it was cancelled.
    """

    def __init__(self, number: int, moment: Moment) -> None:
        self.is_first = number == 0
        self._number = number
        self._moment = moment
        self._task: trio.lowlevel.Task | None = None
        self._count = 0
        self.scope = trio.CancelScope()
        self.happened = False
        self.time = -1.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._moment is Moment.RESUMED and task is self._task:
            self._advance()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._task is None or self._moment is Moment.RESUMED:
            return
        if self._moment is Moment.ANY_STEP or task is self._task:
            self._advance()

    def _advance(self) -> None:
        self._count += 1
        self._cancel_if_due()

    def _cancel_if_due(self) -> None:
        if self._count == self._number:
            self.happened = True
            self.time = trio.current_time()
            self.scope.cancel()

    async def run(self, operation: Callable[[], Awaitable[object]], *steps: Step) -> Outcome:
        """Run the operation, and meanwhile the steps, each one when all tasks are blocked."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_walk, steps)
            trio.lowlevel.add_instrument(self)
            try:
                with self.scope:
                    self._task = trio.lowlevel.current_task()
                    self._cancel_if_due()
                    try:
                        value = await operation()
                    finally:
                        self._task = None
            finally:
                trio.lowlevel.remove_instrument(self)
        if self.scope.cancelled_caught:
            return Outcome(raised=True)
        return Outcome(raised=False, value=value)


async def _walk(steps: tuple[Step, ...]) -> None:
    for step in steps:
        await wait_all_tasks_blocked()
        await step()


async def at_every_checkpoint(
    moment: Moment, play: Callable[[Canceller], Awaitable[object]]
) -> None:
    """Play a scene anew for each checkpoint of the operation in it, and once uncancelled."""
    for number in range(MOST):
        canceller = Canceller(number, moment)
        try:
            with trio.fail_after(FOREVER):
                await play(canceller)
        except BaseException as error:
            error.add_note(f"cancelled at checkpoint {number}, {moment}")
            raise
        if not canceller.happened:
            return
    raise AssertionError("it has no end of checkpoints")
