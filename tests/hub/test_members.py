from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.hub.worlds import receive
from trio_wsendpoint import Endpoint
from trio_wsendpoint.hub.channel import HubChannel
from trio_wsendpoint.hub.envelope import Envelope
from trio_wsendpoint.hub.errors import HubUnavailable
from trio_wsendpoint.hub.ids import Id
from trio_wsendpoint.hub.line import Line
from trio_wsendpoint.hub.link import Link, LinkLost
from trio_wsendpoint.hub.members import Counts, RoomMembers
from trio_wsendpoint.hub.options import HubOptions
from trio_wsendpoint.testing import StallStream, open_endpoint_pair

Pair = tuple[Endpoint, Endpoint]


@pytest.fixture
def room() -> RoomMembers:
    return RoomMembers("room", HubOptions(history=10), Counts())


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with open_endpoint_pair(ping_interval=float("inf")) as pair:
        yield pair


@pytest.fixture
async def other_pair() -> AsyncIterator[Pair]:
    async with open_endpoint_pair(ping_interval=float("inf")) as pair:
        yield pair


def entry(number: int) -> Envelope:
    return Envelope(str(number), b"", 0, Id(number, 0))


async def test_what_comes_late_goes_to_those_alone_who_have_not_got_it(
    room: RoomMembers, pair: Pair, other_pair: Pair
) -> None:
    (early, early_endpoint), (late, late_endpoint) = pair, other_pair
    room.add(early_endpoint, None)
    room.go_live(early_endpoint)
    room.add(late_endpoint, None)
    # It has got 1 and 2 from the history, before they have come by.
    room.go_live(late_endpoint, Id(2, 0))
    for number in 1, 2, 3, 4:
        room.receive(entry(number))
    assert await receive(early, 4) == ["1", "2", "3", "4"]
    assert await receive(late, 2) == ["3", "4"]


async def test_a_channel_gets_what_comes_late_too(room: RoomMembers, pair: Pair) -> None:
    channel = HubChannel(1000, "skip")
    room.add_channel(channel)
    room.add(pair[1], None)
    room.go_live(pair[1], Id(1, 0))
    room.receive(entry(1))
    room.receive(entry(2))
    assert [await channel.receive() for _ in range(2)] == ["1", "2"]
    assert await receive(pair[0], 1) == ["2"]


async def test_what_was_delivered_is_not_delivered_again(room: RoomMembers, pair: Pair) -> None:
    peer, endpoint = pair
    room.add(endpoint, None)
    room.go_live(endpoint, Id(1, 0))  # alone, so that the room is as far as it
    for number in 1, 2, 2, 1, 3:
        room.receive(entry(number))
    assert await receive(peer, 2) == ["2", "3"]


async def test_while_messages_are_missing_new_ones_are_only_noted(
    room: RoomMembers, pair: Pair
) -> None:
    peer, endpoint = pair
    room.add(endpoint, None)
    room.go_live(endpoint)
    room.receive(entry(1))
    room.behind = True
    calls = 0

    async def fetch(since: Id) -> list[Envelope]:
        nonlocal calls
        calls += 1
        if calls == 1:
            room.receive(entry(3))
            return [entry(2)]
        if calls == 2:
            room.receive(entry(4))
            return [entry(3)]
        if calls == 3:
            room.receive(entry(5))
            return []  # what came by has been trimmed already
        return []

    await room.heal(Id(1, 0), fetch, lambda _: 0)
    assert calls == 4
    assert not room.behind
    room.receive(entry(6))
    assert await receive(peer, 4) == ["1", "2", "3", "6"]


async def test_a_channel_gives_each_message_to_whoever_is_quickest() -> None:
    channel = HubChannel(10**6, "skip")
    received: list[str | bytes] = []

    async def take(count: int) -> None:
        for _ in range(count):
            received.append(await channel.receive())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take, 1)
        await wait_all_tasks_blocked()
        channel.put("0")
        await take(1)  # before the one that was woken for it
        for number in range(1, 100):
            channel.put(str(number))
        await take(96)
    assert sorted(map(int, received)) == list(range(100))


# -- the line -----------------------------------------------------------------------------


async def test_a_line_calls_one_after_the_other(nursery: trio.Nursery) -> None:
    line, served = Line(), []

    async def stand(name: str) -> None:
        await line.wait(patient=True)
        served.append(name)
        line.call_next()

    for name in "abc":
        nursery.start_soon(stand, name)
        await wait_all_tasks_blocked()
    assert line
    line.call_next()
    line.call_next()  # the first is on the way
    await wait_all_tasks_blocked()
    assert served == ["a", "b", "c"]
    assert not line


async def test_one_who_was_called_in_vain_stands_in_front(nursery: trio.Nursery) -> None:
    line, served = Line(), []

    async def stand(name: str, calls: int) -> None:
        for number in range(calls):
            await line.wait(patient=True, in_front=number > 0)
        served.append(name)

    nursery.start_soon(stand, "a", 2)
    await wait_all_tasks_blocked()
    nursery.start_soon(stand, "b", 1)
    await wait_all_tasks_blocked()
    for _ in range(3):
        line.call_next()
        await wait_all_tasks_blocked()
    assert served == ["a", "b"]


async def test_one_who_is_cancelled_is_in_line_no_more(nursery: trio.Nursery) -> None:
    line = Line()
    with trio.move_on_after(0.01):
        await line.wait(patient=True)
    assert not line


# -- the link -----------------------------------------------------------------------------


async def test_a_connection_that_is_lost_takes_no_commands() -> None:
    pytest.importorskip("hiredis")
    ours, _ = memory_stream_pair()
    link = Link(ours)
    link.abandon()
    link.put("PUBLISH", "room", "message")
    with pytest.raises(HubUnavailable, match="was lost before it answered"):
        await link.call("PING")


async def test_a_connection_on_which_nothing_can_be_written_is_sent_no_ping(
    autojump_clock: MockClock,
) -> None:
    pytest.importorskip("hiredis")
    ours, _ = memory_stream_pair()
    link = Link(StallStream(ours, after_sent=0))

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run_writer)
            nursery.start_soon(link.run_watch)

    with pytest.RaisesGroup(pytest.RaisesExc(LinkLost, match="nothing has come for 6 seconds")):
        await run()
    assert trio.current_time() == 6
    # The first one is still being written.
    assert link.unconfirmed == 0
    assert len(link._unanswered) == 1
