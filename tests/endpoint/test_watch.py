from __future__ import annotations

import contextvars
import math

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import open_scripted
from tests.protocol.wire import TEXT
from trio_wsendpoint.endpoint import Endpoint
from trio_wsendpoint.endpoint.watch import TAKEOVER_DELAY, current_watch
from trio_wsendpoint.protocol import Frame, Role
from trio_wsendpoint.testing import open_endpoint_pair


def tasks_of(endpoint: Endpoint) -> list[str]:
    nursery = endpoint._core._nursery
    assert nursery is not None
    return sorted(task.name for task in nursery.child_tasks)


@pytest.mark.parametrize("interval", [5, math.inf])
async def test_an_endpoint_has_its_own_tasks_for_its_whole_life(
    interval: float, autojump_clock: MockClock
) -> None:
    expected = ["heartbeat", "reader"] if interval < math.inf else ["reader"]
    async with (
        open_scripted(Role.SERVER, "socket", ping_interval=interval) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(endpoint.receive)
        await trio.sleep(1)
        assert tasks_of(endpoint) == expected
        await peer.send(TEXT, b"hello")
        await trio.sleep(1)
        assert tasks_of(endpoint) == expected


async def test_nothing_ticks_while_nothing_is_watched(autojump_clock: MockClock) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer), trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        assert current_watch()._running
        nursery.start_soon(endpoint.receive)
        await trio.sleep(3 * TAKEOVER_DELAY)
        assert not current_watch()._running
        await peer.send(TEXT, b"hello")
        await wait_all_tasks_blocked()
        assert current_watch()._running


async def test_the_watch_of_a_run_is_not_that_of_another() -> None:
    async def current() -> object:
        return current_watch()

    assert current_watch() is current_watch()
    assert await trio.to_thread.run_sync(trio.run, current) is not current_watch()


async def test_pings_go_on_when_another_endpoint_is_closed(autojump_clock: MockClock) -> None:
    async with (
        open_endpoint_pair(ping_interval=5) as (one, two),
        open_endpoint_pair(ping_interval=5) as (three, _),
    ):
        await one.aclose()
        await two.aclose()
        await trio.sleep(21)
        assert three.statistics().sent.pings == 4


name: contextvars.ContextVar[str] = contextvars.ContextVar("name")


async def test_the_reader_task_has_the_context_of_its_endpoint(
    autojump_clock: MockClock,
) -> None:
    seen: list[str] = []

    def hook(_: Frame) -> None:
        seen.append(name.get())

    name.set("first")
    async with open_scripted(Role.SERVER, "socket"):
        name.set("second")
        async with open_scripted(Role.SERVER, "socket", on_data_frame=hook) as (_, peer):
            name.set("third")
            await peer.send(TEXT, b"read by the reader task, as nobody receives")
            await trio.sleep(1)
            assert seen == ["second"]
