"""Several processes, a real Redis, and all that may happen to either."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from tests.hub.proxy import open_proxy
from tests.hub.redis_server import RedisServer, needs_redis
from tests.hub.workers import Worker, open_worker
from tests.hub.worlds import member, receive, settled, until
from trio_wsendpoint.hub import HubUnavailable, link, open_hub
from trio_wsendpoint.testing import open_endpoint_pair

pytestmark = [needs_redis, pytest.mark.slow]


@asynccontextmanager
async def open_workers(url: str, count: int) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(open_worker(url)) for _ in range(count)]
        for worker in workers:
            await worker.ask("join", "room")
        yield workers


def assert_in_order(numbers: list[int]) -> None:
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("count", [2, 3])
async def test_all_processes_hear_each_other(redis: RedisServer, count: int) -> None:
    async with open_workers(redis.url, count) as workers:
        await workers[0].until("members", "room", value=count)
        async with trio.open_nursery() as nursery:
            for index, worker in enumerate(workers):
                first = 10_000 * index
                nursery.start_soon(worker.ask, "publish", "room", first, 1000, 100, "raise")
        for worker in workers:
            numbers = await worker.numbers("room", 1000 * count)
            for index in range(count):
                of_one = [each for each in numbers if each // 10_000 == index]
                assert of_one == list(range(10_000 * index, 10_000 * index + 1000))


async def test_members_of_a_process_that_was_killed_go_by_themselves(
    redis: RedisServer,
) -> None:
    async with (
        open_worker(redis.url, lease=1.0) as dying,
        open_worker(redis.url) as living,
    ):
        await dying.ask("join", "room")
        await living.ask("join", "room")
        await living.until("members", "room", value=2)
        async with trio.open_nursery() as nursery:
            # In the middle of traffic.
            nursery.start_soon(living.ask, "publish", "room", 0, 2000, 100, "raise")
            await dying.kill()
        await living.until("members", "room", value=1, seconds=5)
        assert await living.numbers("room", 2000) == list(range(2000))
        assert await redis.ask("SCARD", "trio_wsendpoint:hubs") == 1


async def test_a_process_that_was_stopped_for_long_is_there_again(redis: RedisServer) -> None:
    async with (
        open_worker(redis.url, lease=0.5) as stopped,
        open_worker(redis.url) as living,
    ):
        await stopped.ask("join", "room")
        await living.until("members", "room", value=1)
        stopped.signal(signal.SIGSTOP)
        await living.until("members", "room", value=0)
        await living.ask("publish", "room", 0, 10, 100, "raise")
        stopped.signal(signal.SIGCONT)
        await living.until("members", "room", value=1)
        assert await stopped.numbers("room", 10) == list(range(10))


async def test_redis_is_killed_in_the_middle_of_traffic_and_comes_back(
    redis: RedisServer,
) -> None:
    async with open_workers(redis.url, 2) as (here, there):
        failures = 0

        async def publish() -> None:
            nonlocal failures
            failures = await here.ask("publish", "room", 0, 20_000, 100, "raise")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            await there.numbers("room", 100)
            await redis.kill()
        assert failures > 0
        # Local members have all of it, the others what had come through: in order, once each.
        assert await here.numbers("room", 20_000) == list(range(20_000))
        before = await there.numbers("room", 100)
        assert_in_order(before)
        assert len(before) < 20_000
        await redis.start()
        for worker in here, there:
            await worker.until("connected", value=True)
            await worker.until("members", "room", value=2)
        assert await here.ask("publish", "room", 30_000, 100, 100, "raise") == 0
        after = await there.numbers("room", last=30_099)
        assert after == before + list(range(30_000, 30_100))


async def test_publishers_that_wait_go_on_when_redis_is_back(redis: RedisServer) -> None:
    async with open_workers(redis.url, 2) as (here, there):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.ask, "publish", "room", 0, 20_000, 100, "wait")
            await there.numbers("room", 100)
            await redis.kill()
            await redis.start()
        await there.until("connected", value=True)
        await there.until("members", "room", value=2)
        await here.ask("publish", "room", 30_000, 1, 100, "wait")
        numbers = await there.numbers("room", last=30_000)
        assert_in_order(numbers)


# -- silence ------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["stopped", "partition"])
async def test_a_silent_redis_is_noticed_in_time_and_nothing_hangs(
    redis: RedisServer, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_proxy(redis.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with (
            open_hub(url) as hub,
            open_hub(redis.url) as other,
            member(hub, "room") as peer,
            member(other, "room") as far,
        ):
            await hub.publish("room", "before")
            assert await receive(far, 1) == await receive(peer, 1) == ["before"]
            began = trio.current_time()
            if cause == "stopped":
                redis.signal(signal.SIGSTOP)
            else:
                proxy.stall()
            await hub.publish("room", "into the silence")
            assert await receive(peer, 1) == ["into the silence"]
            with pytest.raises(HubUnavailable):
                await hub.members("room")
            await until(lambda: not hub.connected)
            assert trio.current_time() - began < 10
            await until(lambda: "nothing has come for 6 seconds" in caplog.text)
            with pytest.raises(HubUnavailable):
                await hub.publish("room", "it is away")
            redis.signal(signal.SIGCONT)
            proxy.resume()
            await until(lambda: hub.connected and other.connected)
            await settled(hub, "room")
            await settled(other, "room")
            await other.publish("room", "after")
            assert (await receive(peer, 2))[-1] == "after"
            assert "is back after" in caplog.text


async def test_messages_held_back_by_a_partition_come_at_most_once_and_in_order(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "TICK", 0.1)
    async with (
        open_proxy(redis.port) as proxy,
        open_hub(f"redis://127.0.0.1:{proxy.port}") as here,
        open_hub(redis.url) as there,
        there.subscribe("room") as channel,
    ):
        await settled(there, "room")
        for number in range(300):
            if number == 100:
                proxy.stall()
            if number == 200:
                await until(lambda: not here.connected)
                proxy.resume()
            await here.publish("room", str(number), when_away="wait")
        received: list[int] = []
        while 299 not in received:
            with trio.fail_after(20):
                received.append(int(await channel.receive()))
        assert_in_order([each for each in received if each < 200])
        assert_in_order([each for each in received if each >= 200])
        assert len(received) == len(set(received))
        assert set(range(100)) | set(range(200, 300)) <= set(received)


# -- many ---------------------------------------------------------------------------------


async def test_two_hundred_joins_and_leaves_a_second_among_a_thousand_rooms(
    redis: RedisServer,
) -> None:
    async with open_hub(redis.url) as here, open_hub(redis.url) as there:
        async with AsyncExitStack() as stack:
            peer = await stack.enter_async_context(member(there, "0"))
            _, endpoint = await stack.enter_async_context(open_endpoint_pair())
            for number in range(1, 1000):
                await stack.enter_async_context(there.join(str(number), endpoint))
            await settled(there, "999")
            began = trio.current_time()
            for number in range(400):
                async with there.join(f"passing {number % 50}", endpoint):
                    await here.publish("0", str(number))
            assert await receive(peer, 400) == [str(number) for number in range(400)]
            assert trio.current_time() - began < 2
            for room in "0", "500", "999":
                assert await here.members(room) == 1
            assert await here.members("passing 7") == 0
        with trio.fail_after(20):
            while await redis.ask("PUBSUB", "CHANNELS"):  # noqa: ASYNC110
                await trio.sleep(0.01)
