from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.hub.worlds import (
    OpenWorld,
    member,
    member_pair,
    receive,
    settled,
    slow_member,
    until,
)
from trio_wsendpoint import Endpoint
from trio_wsendpoint.hub import Hub, open_hub
from trio_wsendpoint.testing import open_endpoint_pair

SILENCE = 0.1


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with open_endpoint_pair() as (_, server):
        yield server


async def hears_nothing(peer: Endpoint) -> None:
    """What has not come when all has settled, and a while after, does not come."""
    with trio.move_on_after(SILENCE) as scope:
        pytest.fail(f"{await peer.receive()!r} came")
    assert scope.cancelled_caught


async def test_a_message_reaches_all_members_of_its_room_and_no_others(
    world: OpenWorld,
) -> None:
    async with (
        world() as hubs,
        member(hubs.here, "kitchen") as ada,
        member(hubs.there, "kitchen") as bob,
        member(hubs.there, "cellar") as eve,
    ):
        assert await hubs.here.publish("kitchen", "hello") is None
        assert await receive(ada, 1) == ["hello"]
        assert await receive(bob, 1) == ["hello"]
        await hears_nothing(eve)


async def test_text_stays_text_and_binary_stays_binary(world: OpenWorld) -> None:
    messages: list[str | bytes] = ["", b"", "Grüße \0", b"\xff\0", "1-1 ", b"7-7 ", "ta", b"b"]
    async with world() as hubs, member(hubs.there, "room") as peer:
        for message in messages:
            await hubs.here.publish("room", message)
        received = await receive(peer, len(messages))
        assert received == messages
        assert list(map(type, received)) == list(map(type, messages))


@pytest.mark.parametrize("make", [bytearray, memoryview])
async def test_what_is_bytes_like_arrives_as_bytes(world: OpenWorld, make: Any) -> None:
    async with world() as hubs, member(hubs.there, "room") as peer:
        await hubs.here.publish("room", make(b"payload"))
        assert await receive(peer, 1) == [b"payload"]


async def test_messages_of_one_publisher_arrive_in_their_order(world: OpenWorld) -> None:
    async with (
        world() as hubs,
        member(hubs.here, "room") as near,
        member(hubs.there, "room") as far,
        trio.open_nursery() as nursery,
    ):

        async def publish(name: str) -> None:
            for number in range(1000):
                await hubs.here.publish("room", f"{name} {number}")

        for name in "abc":
            nursery.start_soon(publish, name)
        for peer in near, far:
            received = await receive(peer, 3000)
            for name in "abc":
                numbers = [str(each).split()[1] for each in received if str(each)[0] == name]
                assert numbers == [str(number) for number in range(1000)]


async def test_the_one_it_came_from_can_be_left_out(world: OpenWorld) -> None:
    async with (
        world() as hubs,
        member_pair(hubs.here, "room") as (sender, endpoint),
        member(hubs.here, "room") as near,
        member(hubs.there, "room") as far,
    ):
        await hubs.here.publish("room", "not for me", exclude=endpoint)
        await hubs.here.publish("room", "for all")
        assert await receive(near, 2) == ["not for me", "for all"]
        assert await receive(far, 2) == ["not for me", "for all"]
        assert await receive(sender, 1) == ["for all"]


async def test_to_leave_out_one_who_is_not_in_the_room_leaves_out_nobody(
    world: OpenWorld, endpoint: Endpoint
) -> None:
    async with world() as hubs, member(hubs.here, "room") as near:
        await hubs.here.publish("room", "for all", exclude=endpoint)
        assert await receive(near, 1) == ["for all"]


async def test_who_has_left_gets_nothing_more(world: OpenWorld, endpoint: Endpoint) -> None:
    async with world() as hubs, open_endpoint_pair() as (peer, server):
        async with hubs.there.join("room", server):
            await settled(hubs.there, "room")
            await hubs.here.publish("room", "first")
            assert await receive(peer, 1) == ["first"]
        await hubs.here.publish("room", "second")
        await hears_nothing(peer)
        async with hubs.there.join("room", server):
            await settled(hubs.there, "room")
            await hubs.here.publish("room", "third")
            assert await receive(peer, 1) == ["third"]


async def test_one_endpoint_may_be_in_many_rooms(world: OpenWorld, endpoint: Endpoint) -> None:
    async with (
        world() as hubs,
        open_endpoint_pair() as (peer, server),
        AsyncExitStack() as stack,
    ):
        for number in range(1000):
            await stack.enter_async_context(hubs.there.join(f"room {number}", server))
        await settled(hubs.there, "room 999")
        for number in range(1000):
            await hubs.here.publish(f"room {number}", str(number))
        received = await receive(peer, 1000)
        assert sorted(map(int, received)) == list(range(1000))
        assert hubs.there.statistics().rooms == 1000
    assert hubs.there.statistics().rooms == 0


async def test_an_endpoint_cannot_join_a_room_twice(world: OpenWorld) -> None:
    async with world() as hubs, member_pair(hubs.here, "room") as (peer, endpoint):
        with pytest.raises(ValueError, match="endpoint is in room 'room' already"):
            async with hubs.here.join("room", endpoint):
                pytest.fail("not reached")
        await hubs.here.publish("room", "once")
        assert await receive(peer, 1) == ["once"]


async def test_members_that_have_ended_hold_up_nobody(world: OpenWorld) -> None:
    async with (
        world() as hubs,
        member_pair(hubs.there, "room") as (gone, endpoint),
        member(hubs.there, "room") as peer,
    ):
        await gone.aclose()
        await until(lambda: endpoint.is_closed)
        await hubs.here.publish("room", "hello")
        assert await receive(peer, 1) == ["hello"]
        assert hubs.there.statistics().delivered == 1


async def test_a_slow_member_misses_messages_and_costs_the_others_nothing(
    world: OpenWorld,
) -> None:
    text = "x" * 10_000
    async with (
        world(max_waiting=100_000) as hubs,
        slow_member(hubs.there, "room") as slow,
        member(hubs.there, "room") as quick,
    ):
        for number in range(100):
            await hubs.here.publish("room", text + str(number))
            assert await receive(quick, 1) == [text + str(number)]
        statistics = hubs.there.statistics()
        assert statistics.skipped > 0
        assert statistics.delivered + statistics.skipped == 200
        assert slow.statistics().sent.waiting < 250_000
        assert not slow.is_closed


async def test_a_slow_member_is_closed_if_that_is_wanted(world: OpenWorld) -> None:
    text = "x" * 10_000
    async with (
        world(max_waiting=100_000, on_slow="close") as hubs,
        slow_member(hubs.there, "room") as slow,
        member(hubs.there, "room") as quick,
    ):
        for number in range(100):
            await hubs.here.publish("room", text + str(number))
            assert await receive(quick, 1) == [text + str(number)]
        assert hubs.there.statistics().closed == 1
        assert slow.is_closed
        assert slow.close_code == 1013


# -- channels -----------------------------------------------------------------------------


async def test_a_service_hears_a_room_without_being_a_member(world: OpenWorld) -> None:
    async with (
        world() as hubs,
        hubs.here.subscribe("room") as near,
        hubs.there.subscribe("room") as far,
        member(hubs.there, "room"),
    ):
        await settled(hubs.there, "room")
        await hubs.here.publish("room", "hello")
        await hubs.here.publish("room", b"\0")
        for channel in near, far:
            assert [await channel.receive() for _ in range(2)] == ["hello", b"\0"]
        assert await hubs.here.publish("elsewhere", "x") is None
        assert await hubs.there.members("room") == 1


async def test_a_channel_that_nobody_receives_from_takes_bounded_memory(
    world: OpenWorld,
) -> None:
    async with world(max_waiting=1000) as hubs, hubs.here.subscribe("room") as channel:
        for number in range(100):
            await hubs.here.publish("room", f"{number:036}")
        assert channel.skipped == 89
        received = [await channel.receive() for _ in range(11)]
        assert received == [f"{number:036}" for number in range(11)]
        await hubs.here.publish("room", "there is room again")
        assert await channel.receive() == "there is room again"


async def test_a_slow_channel_ends_if_that_is_wanted(world: OpenWorld) -> None:
    async with (
        world(max_waiting=0, on_slow="close") as hubs,
        hubs.here.subscribe("room") as channel,
    ):
        await hubs.here.publish("room", "first")
        await hubs.here.publish("room", "second")
        with pytest.raises(trio.BrokenResourceError):
            await channel.receive()
        await hubs.here.publish("room", "third")
        assert hubs.here.statistics().skipped == 1


async def test_a_channel_that_is_closed_hears_nothing_more(world: OpenWorld) -> None:
    async with world() as hubs, hubs.here.subscribe("room") as channel:
        await hubs.here.publish("room", "dropped")
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                await channel.receive()
                with pytest.raises(trio.ClosedResourceError):
                    await channel.receive()

            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            await channel.aclose()
        await hubs.here.publish("room", "too late")
        with pytest.raises(trio.ClosedResourceError):
            await channel.receive()


async def test_each_message_goes_to_one_of_those_who_receive_from_a_channel(
    world: OpenWorld,
) -> None:
    received: list[str | bytes] = []

    async with world() as hubs, hubs.here.subscribe("room") as channel:

        async def receive(count: int) -> None:
            for _ in range(count):
                received.append(await channel.receive())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(receive, 10)
            for number in range(30):
                await hubs.here.publish("room", str(number))
        assert sorted(map(int, received)) == list(range(30))


# -- its end ------------------------------------------------------------------------------


async def test_a_hub_that_is_closed_does_nothing_more(
    world: OpenWorld, endpoint: Endpoint
) -> None:
    async with world() as hubs:
        hub = hubs.here
        subscription = hub.subscribe("room")
        channel = await subscription.__aenter__()
    with pytest.raises(trio.ClosedResourceError):
        await channel.receive()
    await subscription.__aexit__(None, None, None)
    with pytest.raises(trio.ClosedResourceError, match="the hub is closed"):
        await hub.publish("room", "message")
    with pytest.raises(trio.ClosedResourceError):
        await hub.members("room")
    with pytest.raises(trio.ClosedResourceError):
        async with hub.join("room", endpoint):
            pytest.fail("not reached")
    with pytest.raises(trio.ClosedResourceError):
        async with hub.subscribe("room"):
            pytest.fail("not reached")


async def test_exceptions_of_the_body_come_out_as_they_are(world: OpenWorld) -> None:
    with pytest.raises(KeyError, match="of the body"):
        async with world():
            raise KeyError("of the body")


async def test_a_hub_that_is_cancelled_ends(world: OpenWorld) -> None:
    with trio.move_on_after(0.5) as scope:
        async with world() as hubs, member(hubs.there, "room"):
            await trio.sleep_forever()
    assert scope.cancelled_caught


# -- wrong arguments ----------------------------------------------------------------------

Call = Any


async def join(hub: Hub, *args: Any, **options: Any) -> None:
    async with hub.join(*args, **options):
        pytest.fail("not reached")


async def subscribe(hub: Hub, *args: Any) -> None:
    async with hub.subscribe(*args):
        pytest.fail("not reached")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda hub, _: hub.publish(b"room", "x"), TypeError, "room must be a str, not bytes"),
        (lambda hub, _: hub.publish("\ud800", "x"), ValueError, "room must be encodable"),
        (lambda hub, _: hub.publish("room", 7), TypeError, "message must be str or bytes-like"),
        (lambda hub, _: hub.publish("room", "\ud800"), ValueError, "message must be encodable"),
        (
            lambda hub, _: hub.publish("room", "x", exclude="me"),
            TypeError,
            "exclude must be an Endpoint, not str",
        ),
        (
            lambda hub, _: hub.publish("room", "x", when_away="sulk"),
            ValueError,
            "when_away must be 'raise' or 'wait', not 'sulk'",
        ),
        (lambda hub, _: hub.members(7), TypeError, "room must be a str, not int"),
        (lambda hub, _: subscribe(hub, None), TypeError, "room must be a str, not NoneType"),
        (lambda hub, one: join(hub, 7, one), TypeError, "room must be a str, not int"),
        (lambda hub, _: join(hub, "room", "x"), TypeError, "endpoint must be an Endpoint"),
        (
            lambda hub, one: join(hub, "room", one, since="0-0"),
            ValueError,
            "since needs a hub with history",
        ),
        (
            lambda hub, one: join(hub, "room", one, wrap=str),
            ValueError,
            "wrap needs a hub with history",
        ),
    ],
)
async def test_a_wrong_argument_is_refused_by_name(
    endpoint: Endpoint, call: Call, error: type[Exception], message: str
) -> None:
    async with open_hub() as hub:
        with pytest.raises(error, match=message):
            await call(hub, endpoint)
        assert hub.statistics().published == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"since": 5}, TypeError, "since must be a str, not int"),
        ({"since": "5"}, ValueError, "since must be the id of a message, such as '0-0'"),
        ({"since": f"{2**64}-0"}, ValueError, "since must be the id of a message"),
        ({"wrap": "x"}, TypeError, "wrap must be a function, not str"),
    ],
)
async def test_a_wrong_past_is_refused_by_name(
    endpoint: Endpoint, options: Any, error: type[Exception], message: str
) -> None:
    async with open_hub(history=10) as hub:
        with pytest.raises(error, match=message):
            await join(hub, "room", endpoint, **options)


async def test_in_one_process_a_hub_is_always_connected() -> None:
    async with open_hub() as hub:
        assert hub.connected
