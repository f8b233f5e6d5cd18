from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

import pytest
import trio

from tests.endpoint.checkpoints import Canceller, Moment, Outcome, at_every_checkpoint
from tests.hub.worlds import OpenWorld, World, member, receive, settled
from trio_wsendpoint.hub import Hub, HubChannel, open_hub
from trio_wsendpoint.testing import open_endpoint_pair

PAGE: Final = Path(__file__).parents[2] / "docs" / "scaling.md"

Scene: TypeAlias = Callable[[World, Canceller], Awaitable[Outcome]]


def named_methods() -> set[str]:
    rows = PAGE.read_text().partition("## What cancellation does")[2].partition("\n## ")[0]
    return set(re.findall(r"(?m)^\| `([^`]*)`", rows))


def named_tests() -> set[str]:
    rows = PAGE.read_text().partition("## What it promises")[2].partition("\n## ")[0]
    return set(re.findall(r"`(test_\w+)`", rows))


def test_the_page_has_a_row_for_every_public_async_method() -> None:
    public = {
        f"{cls.__name__}.{name}"
        for cls in (Hub, HubChannel)
        for name, method in vars(cls).items()
        if name[0] != "_"
        and (
            inspect.iscoroutinefunction(method)
            or inspect.isasyncgenfunction(getattr(method, "__wrapped__", None))
        )
    }
    assert named_methods() == public | {"open_hub"}
    assert named_methods() == set(SCENES) | {"open_hub"}


def test_every_promise_has_its_test() -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert named_tests()
    for name in named_tests():
        assert f"def {name}(" in sources


async def publishes(world: World, canceller: Canceller) -> Outcome:
    async with member(world.here, "room") as near, member(world.there, "room") as far:
        outcome = await canceller.run(lambda: world.here.publish("room", "message"))
        await world.here.publish("room", "last")
        expected = [["last"], ["message", "last"]]
        heard = [await heard_until_last(near), await heard_until_last(far)]
        # Others never have what those in this process have not.
        assert heard[0] in expected
        assert heard[1] in (expected if outcome.raised else expected[1:])
        assert len(heard[1]) <= len(heard[0])
    return outcome


async def heard_until_last(peer: trio.abc.ReceiveChannel[str | bytes]) -> list[str | bytes]:
    heard: list[str | bytes] = []
    while not heard or heard[-1] != "last":
        with trio.fail_after(20):
            heard.append(await peer.receive())
    return heard


async def joins(world: World, canceller: Canceller) -> Outcome:
    async with open_endpoint_pair() as (peer, endpoint):

        async def join() -> None:
            async with world.there.join("room", endpoint):
                await trio.lowlevel.checkpoint()

        outcome = await canceller.run(join)
        assert await world.there.members("room") == 0
        assert world.there.statistics().rooms == 0
        async with world.there.join("room", endpoint):
            await settled(world.there, "room")
            await world.here.publish("room", "after")
            assert await receive(peer, 1) == ["after"]
    return outcome


async def subscribes(world: World, canceller: Canceller) -> Outcome:
    async def subscribe() -> None:
        async with world.there.subscribe("room"):
            await trio.lowlevel.checkpoint()

    outcome = await canceller.run(subscribe)
    assert world.there.statistics().rooms == 0
    return outcome


async def counts(world: World, canceller: Canceller) -> Outcome:
    async with member(world.here, "room"):
        outcome = await canceller.run(lambda: world.here.members("room"))
        assert outcome.raised or outcome.value == 1
        assert await world.here.members("room") == 1
    return outcome


async def receives(world: World, canceller: Canceller) -> Outcome:
    async with world.here.subscribe("room") as channel:
        outcome = await canceller.run(
            channel.receive, lambda: world.here.publish("room", "first")
        )
        await world.here.publish("room", "second")
        expected = ["first", "second"] if outcome.raised else ["second"]
        assert [await channel.receive() for _ in expected] == expected
    return outcome


async def closes(world: World, canceller: Canceller) -> Outcome:
    async with world.here.subscribe("room") as channel:
        outcome = await canceller.run(channel.aclose)
        with pytest.raises(trio.ClosedResourceError):
            await channel.receive()
    return outcome


SCENES: dict[str, Scene] = {
    "Hub.publish": publishes,
    "Hub.join": joins,
    "Hub.subscribe": subscribes,
    "Hub.members": counts,
    "HubChannel.receive": receives,
    "HubChannel.aclose": closes,
}


@pytest.mark.parametrize("moment", [Moment.BLOCKED, Moment.RESUMED])
@pytest.mark.parametrize("method", SCENES)
async def test_cancelled_at_any_checkpoint_a_method_does_what_the_page_says(
    world: OpenWorld, method: str, moment: Moment
) -> None:
    outcomes: list[Outcome] = []
    async with world() as hubs:

        async def play(canceller: Canceller) -> None:
            outcomes.append(await SCENES[method](hubs, canceller))

        await at_every_checkpoint(moment, play)
    assert outcomes[0].raised
    assert not outcomes[-1].raised


async def test_a_hub_that_is_cancelled_before_it_is_open_is_not_opened() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_hub():
            await trio.lowlevel.checkpoint()
            pytest.fail("not reached")
    assert scope.cancelled_caught
