from __future__ import annotations

import contextvars
import math
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import open_scripted
from tests.protocol.wire import TEXT
from trio_wsendpoint.endpoint import timer
from trio_wsendpoint.endpoint.timer import Timer, current_timer
from trio_wsendpoint.protocol import Frame, Role
from trio_wsendpoint.testing import open_endpoint_pair


class NurseryHost:
    """A host that runs what it is given in a nursery of its own, until it is closed."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.scope = trio.CancelScope()
        self.tasks = 0

    def start_task(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        self._nursery.start_soon(self._run, partial(task, *args))

    async def _run(self, task: Callable[[], Awaitable[None]]) -> None:
        self.tasks += 1
        with self.scope:
            await task()
        self.tasks -= 1

    def leave(self, clock: Timer) -> None:
        clock.leave(self)
        self.scope.cancel()


class Calls(list[tuple[str, float]]):
    """Which alarms were called, and when."""

    def note(self, name: str) -> Callable[[], None]:
        return lambda: self.append((name, trio.current_time()))


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def clock() -> Timer:
    return Timer()


@pytest.fixture
def first(clock: Timer, nursery: trio.Nursery) -> NurseryHost:
    """The host that keeps the time."""
    host = NurseryHost(nursery)
    clock.join(host)
    return host


@pytest.fixture
def second(clock: Timer, nursery: trio.Nursery, first: NurseryHost) -> NurseryHost:
    """A host that keeps it when the first one has left."""
    host = NurseryHost(nursery)
    clock.join(host)
    return host


async def test_alarms_are_called_when_they_are_due(
    clock: Timer,
    calls: Calls,
    first: NurseryHost,
    autojump_clock: MockClock,
) -> None:
    clock.set(3, calls.note("third"))
    clock.set(1, calls.note("first"))
    clock.set(2, calls.note("second"))
    await trio.sleep(5)
    assert calls == [("first", 1), ("second", 2), ("third", 3)]


async def test_an_alarm_for_an_earlier_time_wakes_the_sleeping_timer(
    clock: Timer,
    calls: Calls,
    first: NurseryHost,
    autojump_clock: MockClock,
) -> None:
    clock.set(10, calls.note("late"))
    await trio.sleep(1)
    clock.set(1, calls.note("early"))
    await trio.sleep(2)
    assert calls == [("early", 2)]


async def test_an_alarm_set_by_another_one_is_called(
    clock: Timer,
    calls: Calls,
    first: NurseryHost,
    autojump_clock: MockClock,
) -> None:
    clock.set(1, lambda: void(clock.set(1, calls.note("next"))))
    await trio.sleep(3)
    assert calls == [("next", 2)]


def void(_: object) -> None:
    pass


async def test_a_cancelled_alarm_is_not_called(
    clock: Timer,
    calls: Calls,
    first: NurseryHost,
    autojump_clock: MockClock,
) -> None:
    alarm = clock.set(1, calls.note("cancelled"))
    clock.set(2, calls.note("kept"))
    clock.cancel(alarm)
    clock.cancel(alarm)
    await trio.sleep(3)
    assert calls == [("kept", 2)]


async def test_cancelling_an_alarm_that_was_called_does_nothing(
    clock: Timer,
    calls: Calls,
    first: NurseryHost,
    autojump_clock: MockClock,
) -> None:
    alarm = clock.set(1, calls.note("called"))
    await trio.sleep(2)
    clock.cancel(alarm)
    clock.set(1, calls.note("next"))
    await trio.sleep(2)
    assert calls == [("called", 1), ("next", 3)]


async def test_cancelled_alarms_do_not_pile_up(
    clock: Timer,
    calls: Calls,
    first: NurseryHost,
    autojump_clock: MockClock,
) -> None:
    clock.set(20, calls.note("kept"))
    for _ in range(10 * timer._MAX_CANCELLED):
        clock.cancel(clock.set(10, calls.note("cancelled")))
        assert len(clock._alarms) <= timer._MAX_CANCELLED + 2
    await trio.sleep(30)
    assert calls == [("kept", 20)]


async def test_when_its_host_leaves_another_one_keeps_the_time(
    clock: Timer,
    calls: Calls,
    first: NurseryHost,
    second: NurseryHost,
    autojump_clock: MockClock,
) -> None:
    clock.set(2, calls.note("kept"))
    await trio.sleep(1)
    assert (first.tasks, second.tasks) == (1, 0)
    first.leave(clock)
    await trio.sleep(0.5)
    assert (first.tasks, second.tasks) == (0, 1)
    await trio.sleep(2)
    assert calls == [("kept", 2)]


async def test_a_host_may_leave_before_the_timers_task_has_begun(
    clock: Timer,
    calls: Calls,
    first: NurseryHost,
    second: NurseryHost,
    autojump_clock: MockClock,
) -> None:
    clock.set(1, calls.note("kept"))
    first.leave(clock)
    await trio.sleep(2)
    assert (first.tasks, second.tasks) == (0, 1)
    assert calls == [("kept", 1)]


async def test_a_host_that_does_not_keep_the_time_may_leave(
    clock: Timer,
    calls: Calls,
    first: NurseryHost,
    second: NurseryHost,
    autojump_clock: MockClock,
) -> None:
    clock.set(1, calls.note("kept"))
    second.leave(clock)
    await trio.sleep(2)
    assert calls == [("kept", 1)]
    assert first.tasks == 1


async def test_alarms_wait_for_a_host(
    clock: Timer,
    calls: Calls,
    first: NurseryHost,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    clock.set(1, calls.note("late"))
    first.leave(clock)
    await trio.sleep(2)
    assert calls == []
    clock.join(NurseryHost(nursery))
    await wait_all_tasks_blocked()
    assert calls == [("late", 2)]


async def test_an_endpoint_that_waits_for_a_message_has_no_task_but_the_timers(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_scripted(Role.SERVER, "socket") as (host, _),
        open_scripted(Role.SERVER, "socket") as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(endpoint.receive)
        await trio.sleep(1)
        assert endpoint._life._scopes == []
        assert host._life._scopes
        await peer.send(TEXT, b"hello")


async def test_one_task_keeps_the_time_of_all_endpoints(autojump_clock: MockClock) -> None:
    async with (
        open_endpoint_pair(ping_interval=5) as (one, two),
        open_endpoint_pair(ping_interval=5) as (three, four),
    ):
        await trio.sleep(1)
        # Those of memory streams have a reader task each.
        tasks = [len(each._life._scopes) for each in (one, two, three, four)]
        assert sorted(tasks) == [1, 1, 1, 2]
        await trio.sleep(60)
        assert all(each.statistics().sent.pings >= 11 for each in (one, two, three, four))


async def test_pings_go_on_when_the_endpoint_that_kept_the_time_is_closed(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_endpoint_pair(ping_interval=5) as (one, two),
        open_endpoint_pair(ping_interval=5) as (three, _),
    ):
        await one.aclose()
        await two.aclose()
        await trio.sleep(21)
        assert three.statistics().sent.pings == 4


async def test_the_timer_of_a_run_is_not_that_of_another() -> None:
    async def current() -> Timer:
        return current_timer()

    assert current_timer() is current_timer()
    assert await trio.to_thread.run_sync(trio.run, current) is not current_timer()


name: contextvars.ContextVar[str] = contextvars.ContextVar("name")


async def test_a_task_that_the_timer_starts_has_the_context_of_its_endpoint(
    autojump_clock: MockClock,
) -> None:
    seen: list[str] = []

    def hook(_: Frame) -> None:
        seen.append(name.get())

    name.set("first")
    async with open_scripted(Role.SERVER, "socket", ping_interval=math.inf):
        name.set("second")
        async with open_scripted(
            Role.SERVER, "socket", ping_interval=math.inf, on_data_frame=hook
        ) as (_, peer):
            name.set("third")
            await peer.send(TEXT, b"read by the reader task, as nobody receives")
            await trio.sleep(1)
            assert seen == ["second"]
