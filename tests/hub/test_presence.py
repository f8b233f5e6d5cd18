from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio

from tests.hub.redis_server import RedisServer, needs_redis
from tests.hub.worlds import OpenWorld, cut_off, member, settled, until
from trio_wsendpoint.hub import Hub, HubUnavailable, open_hub
from trio_wsendpoint.testing import open_endpoint_pair


async def counts(hub: Hub, room: str, expected: int) -> None:
    """What other hubs have told is seen in a moment."""
    with trio.fail_after(20):
        while await hub.members(room) != expected:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_members_are_counted_over_all_processes(world: OpenWorld) -> None:
    async with world() as hubs:
        assert await hubs.here.members("room") == 0
        async with member(hubs.here, "room"), member(hubs.there, "room"):
            async with member(hubs.there, "room"), member(hubs.there, "other"):
                await counts(hubs.here, "room", 3)
                await counts(hubs.there, "other", 1)
            await counts(hubs.here, "room", 2)
            await counts(hubs.here, "other", 0)
        await counts(hubs.here, "room", 0)


async def test_a_hub_sees_its_own_members_at_once(world: OpenWorld) -> None:
    async with world() as hubs, open_endpoint_pair() as (_, endpoint):
        for _ in range(10):
            async with hubs.here.join("room", endpoint):
                assert await hubs.here.members("room") == 1
            assert await hubs.here.members("room") == 0


@needs_redis
async def test_more_rooms_than_one_command_tells_are_told(redis: RedisServer) -> None:
    async with open_hub(redis.url) as hub, open_endpoint_pair() as (_, endpoint):
        async with AsyncExitStack() as stack:
            for number in range(1200):
                await stack.enter_async_context(hub.join(str(number), endpoint))
            for number in 0, 600, 1199:
                assert await hub.members(str(number)) == 1
        assert await hub.members("1199") == 0


@needs_redis
async def test_members_of_a_hub_that_died_go_when_its_lease_is_over(
    redis: RedisServer,
) -> None:
    async with open_hub(redis.url) as living:
        async with open_hub(redis.url, lease=0.5) as dead, member(dead, "room"):
            await counts(living, "room", 1)
            presence = dead._rooms._presence  # type: ignore[union-attr]
            presence.leave = lambda _: None  # type: ignore[method-assign]
            presence.suspend()
        assert await living.members("room") == 1
        await counts(living, "room", 0)
        assert await redis.ask("SCARD", "trio_wsendpoint:hubs") == 1


@needs_redis
async def test_the_lease_is_renewed_for_as_long_as_the_hub_lives(redis: RedisServer) -> None:
    async with open_hub(redis.url, lease=0.3) as hub, member(hub, "room"):
        for _ in range(10):
            await trio.sleep(0.1)
            assert await hub.members("room") == 1
            assert 0 < await hash_ttl(redis) <= 300


async def hash_ttl(redis: RedisServer) -> int:
    (key,) = await redis.ask("KEYS", "trio_wsendpoint:hub:*")
    ttl: int = await redis.ask("PTTL", key)
    return ttl


@needs_redis
async def test_a_hub_whose_lease_ran_out_tells_all_anew(redis: RedisServer) -> None:
    """As after its process was stopped for long."""
    async with open_hub(redis.url, lease=0.3) as hub, member(hub, "room"), member(hub, "other"):
        await counts(hub, "room", 1)
        await redis.ask("FLUSHALL")
        await counts(hub, "room", 1)
        await counts(hub, "other", 1)


@needs_redis
async def test_members_are_told_anew_to_a_redis_that_comes_back(redis: RedisServer) -> None:
    async with open_hub(redis.url) as hub, member(hub, "room"):
        await counts(hub, "room", 1)
        await redis.kill()
        await until(lambda: not hub.connected)
        with pytest.raises(HubUnavailable, match="is away"):
            await hub.members("room")
        async with member(hub, "new"):
            await redis.start()
            await until(lambda: hub.connected)
            await counts(hub, "room", 1)
            await counts(hub, "new", 1)


@needs_redis
async def test_a_redis_that_takes_nothing_is_asked_again(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hub(redis.url, lease=0.3) as hub:
        await redis.ask("CONFIG", "SET", "maxmemory", 1)
        async with member(hub, "room"):
            await until(lambda: "Redis did not take how many members there are" in caplog.text)
            await redis.ask("CONFIG", "SET", "maxmemory", 0)
            await counts(hub, "room", 1)


@needs_redis
async def test_a_hub_that_is_left_leaves_nothing_at_redis(redis: RedisServer) -> None:
    async with open_hub(redis.url) as hub, member(hub, "room"):
        await counts(hub, "room", 1)
        assert await redis.ask("KEYS", "*") != []
    assert await redis.ask("KEYS", "*") == []


@needs_redis
async def test_rooms_that_come_and_go_while_redis_is_away_leave_nothing(
    redis: RedisServer,
) -> None:
    async with open_hub(redis.url) as hub, open_endpoint_pair() as (_, endpoint):
        await redis.kill()
        await until(lambda: not hub.connected)
        for number in range(1000):
            async with hub.join(str(number), endpoint):
                pass
        rooms = hub._rooms
        assert not rooms._presence._dirty  # type: ignore[union-attr]
        assert not rooms._subscriptions._channels  # type: ignore[union-attr]
        await redis.start()
        await until(lambda: hub.connected)
        async with hub.join("room", endpoint):
            await settled(hub, "room")
            await cut_off(hub)
            await until(lambda: hub.connected)
            await counts(hub, "room", 1)
