"""Signals: first the talk ends, and if that takes too long, everything."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import attrs
import trio


@attrs.define
class Stop:
    """What to stop, the innermost last.

    Attributes:
        asked: Whether anybody has asked to stop.
    """

    asked: bool = False
    _scopes: list[trio.CancelScope] = attrs.field(factory=list)

    def ask(self) -> None:
        """Stop the innermost; asked again, what is around it."""
        self.asked = True
        if self._scopes:
            self._scopes.pop().cancel()

    @contextmanager
    def scope(self) -> Iterator[trio.CancelScope]:
        """What runs in here can be stopped."""
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            try:
                yield scope
            finally:
                if scope in self._scopes:
                    self._scopes.remove(scope)


@asynccontextmanager
async def stopping_on_signals() -> AsyncIterator[Stop]:
    """Ask to stop at each SIGINT or SIGTERM, until it is left."""
    stop = Stop()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, signals, stop)
            with stop.scope():
                yield stop
            nursery.cancel_scope.cancel()


async def _watch(signals: AsyncIterator[int], stop: Stop) -> None:
    async for _ in signals:
        stop.ask()


@asynccontextmanager
async def draining_on_signals(*, patient: bool) -> AsyncIterator[trio.Event]:
    """Give an event that the first SIGTERM sets; end at SIGINT, and at another SIGTERM.

    Args:
        patient: Whether another SIGTERM changes nothing. Whoever stops a service may tell
            all of its processes, and then a supervisor tells those again that it has started.
    """
    drain = trio.Event()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(_drain_then_end, signals, drain, scope, patient)
                yield drain
            nursery.cancel_scope.cancel()


async def _drain_then_end(
    signals: AsyncIterator[int], drain: trio.Event, scope: trio.CancelScope, patient: bool
) -> None:
    async for number in signals:
        if number == signal.SIGTERM and (patient or not drain.is_set()):
            drain.set()
        else:
            scope.cancel()
