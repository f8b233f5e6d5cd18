"""Tasks that wait for room, in the order in which they came."""

from __future__ import annotations

from collections import deque

import trio


class _Waiter:
    __slots__ = ("called", "patient", "woken")

    def __init__(self, patient: bool) -> None:
        self.patient = patient
        self.called = False
        self.woken = trio.Event()


class Line:
    """A line of tasks; whoever comes while somebody stands in it has to stand behind."""

    __slots__ = ("_called", "_waiters")

    def __init__(self) -> None:
        self._waiters: deque[_Waiter] = deque()
        # Whether one was called that has not run since.
        self._called = False

    def __bool__(self) -> bool:
        return self._called or bool(self._waiters)

    async def wait(self, patient: bool, *, in_front: bool = False) -> None:
        """Wait to be called, or, if one is not patient, to be turned away.

        Args:
            patient: Whether to wait also while nobody can be let in.
            in_front: Whether one was called already.
        """
        waiter = _Waiter(patient)
        if in_front:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        try:
            await waiter.woken.wait()
        except BaseException:
            self._waiters.remove(waiter)
            raise
        if waiter.called:
            self._called = False

    def call_next(self) -> None:
        """Let the next one in, unless one is on the way."""
        if self._waiters and not self._called:
            waiter = self._waiters.popleft()
            waiter.called = self._called = True
            waiter.woken.set()

    def turn_away(self, *, patient_too: bool = False) -> None:
        """Wake all who are not patient, or all: they need not wait any longer."""
        staying: deque[_Waiter] = deque()
        for waiter in self._waiters:
            if waiter.patient and not patient_too:
                staying.append(waiter)
            else:
                waiter.woken.set()
        self._waiters = staying
