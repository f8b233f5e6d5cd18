"""Under the clocks of tests, where the time that passes is not real."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import open_scripted
from tests.protocol.wire import PING, PONG, TEXT
from trio_wsendpoint.endpoint import reader, watch


@pytest.fixture(autouse=True)
def time_is_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the clock itself, as an application's endpoints do."""
    monkeypatch.setattr(reader, "is_time_real", watch.is_time_real)


async def test_a_ping_is_answered_though_the_clock_stands_still(mock_clock: MockClock) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer):
        await peer.send(TEXT, b"unread")
        await peer.send(PING, b"x")
        await peer.expect(PONG, b"x")
        assert await endpoint.receive() == "unread"
        await peer.send(PING, b"y")
        await peer.expect(PONG, b"y")


async def test_a_ping_is_answered_under_autojump_while_a_task_is_busy(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (_, peer), trio.open_nursery() as nursery:

        async def be_busy() -> None:
            while True:
                await trio.lowlevel.checkpoint()

        nursery.start_soon(be_busy)
        await peer.send(PING, b"x")
        await peer.expect(PONG, b"x")
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel()


async def test_the_reader_task_reads_for_good_where_time_is_not_real(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(endpoint.receive)
        await wait_all_tasks_blocked()
        assert endpoint._core.reader._holder is reader.Holder.READER_TASK
        await peer.send(TEXT, b"x")


@pytest.mark.parametrize(("rate", "real"), [(0, False), (1, True), (1000, False)])
def test_time_is_real_where_a_second_takes_one(rate: float, real: bool) -> None:
    async def main() -> None:
        assert watch.is_time_real() is real

    trio.run(main, clock=MockClock(rate=rate))


async def test_the_clock_of_a_usual_run_is_real() -> None:
    assert watch.is_time_real()
