from __future__ import annotations

import logging
import time

import pytest
import trio

from tests.hub.redis_server import RedisServer, needs_redis
from tests.hub.worlds import (
    OpenWorld,
    cut_off,
    member,
    member_pair,
    receive,
    settled,
    slow_endpoint,
    until,
)
from trio_wsendpoint.hub import HistoryLost, Hub, HubKeywords, HubUnavailable, open_hub
from trio_wsendpoint.testing import open_endpoint_pair


def tag(message: str | bytes, message_id: str) -> str:
    return f"{message!s} {message_id}"


async def publish(hub: Hub, *messages: str | bytes, room: str = "room") -> list[str]:
    ids = [await hub.publish(room, message) for message in messages]
    return [each for each in ids if each is not None]


async def replayed(hub: Hub, since: str, count: int, room: str = "room") -> list[str | bytes]:
    async with open_endpoint_pair() as (peer, endpoint), hub.join(room, endpoint, since=since):
        return await receive(peer, count)


async def test_publish_returns_ids_that_grow(world: OpenWorld) -> None:
    async with world(history=5) as hubs:
        ids = await publish(hubs.here, *"abc") + await publish(hubs.there, *"def")
        pairs = [tuple(map(int, each.split("-"))) for each in ids]
        assert len(set(pairs)) == 6
        assert pairs == sorted(pairs)


async def test_who_comes_back_gets_what_it_has_missed_and_goes_on(world: OpenWorld) -> None:
    async with world(history=100) as hubs:
        ids = await publish(hubs.here, "a", b"\0", "c")
        async with member(hubs.there, "room", since=ids[0]) as peer:
            await publish(hubs.here, "d", "e")
            assert await receive(peer, 4) == [b"\0", "c", "d", "e"]


async def test_from_the_beginning_there_is_all_that_is_kept(world: OpenWorld) -> None:
    async with world(history=3) as hubs:
        assert await replayed(hubs.there, "0-0", 0) == []
        await publish(hubs.here, *"abcde")
        assert await replayed(hubs.there, "0-0", 3) == ["c", "d", "e"]


async def test_what_is_sent_can_be_made_of_the_message_and_its_id(world: OpenWorld) -> None:
    async with world(history=100) as hubs:
        ids = await publish(hubs.here, *"ab")
        async with (
            member(hubs.there, "room", since=ids[0], wrap=tag) as late,
            member(hubs.there, "room", wrap=tag) as early,
            member(hubs.there, "room") as plain,
        ):
            ids += await publish(hubs.here, "c")
            assert await receive(late, 2) == [f"b {ids[1]}", f"c {ids[2]}"]
            assert await receive(early, 1) == [f"c {ids[2]}"]
            assert await receive(plain, 1) == ["c"]


async def test_an_id_that_is_kept_no_more_is_history_lost(world: OpenWorld) -> None:
    async with world(history=3) as hubs:
        ids = await publish(hubs.here, *"abcd")
        with pytest.raises(HistoryLost) as info:
            await replayed(hubs.there, ids[0], 1)
        assert (info.value.room, info.value.since) == ("room", ids[0])
        assert (
            str(info.value) == f"the history of room 'room' does not have {ids[0]!r} any more"
        )
        assert await replayed(hubs.there, ids[1], 2) == ["c", "d"]
        assert await hubs.there.members("room") == 0


async def test_an_id_that_never_was_is_history_lost(world: OpenWorld) -> None:
    async with world(history=3) as hubs:
        with pytest.raises(HistoryLost):
            await replayed(hubs.there, "5-5", 1)
        ids = await publish(hubs.here, *"ab")
        with pytest.raises(HistoryLost):
            await replayed(hubs.there, "5-5", 1)
        assert await replayed(hubs.there, ids[1], 0) == []


async def test_a_long_past_is_fetched_in_parts(world: OpenWorld) -> None:
    async with world(history=1000) as hubs:
        ids = await publish(hubs.here, *map(str, range(750)))
        assert await replayed(hubs.there, ids[0], 749) == [str(each) for each in range(1, 750)]
        assert await replayed(hubs.there, "0-0", 750) == [str(each) for each in range(750)]


async def test_there_is_no_gap_and_no_double_while_others_publish(world: OpenWorld) -> None:
    async with world(history=2000) as hubs, trio.open_nursery() as nursery:
        (first,) = await publish(hubs.here, "first")

        async def go_on_publishing() -> None:
            for number in range(1000):
                await hubs.here.publish("room", str(number))

        nursery.start_soon(go_on_publishing)
        for _ in range(10):
            nursery.start_soon(hears_all, hubs.there, first)
            await trio.sleep(0.01)
        nursery.start_soon(hears_all, hubs.here, first)


async def hears_all(hub: Hub, since: str) -> None:
    assert await replayed(hub, since, 1000) == [str(each) for each in range(1000)]


async def test_one_who_is_caught_up_gets_nothing_twice_that_comes_late(
    world: OpenWorld,
) -> None:
    """Members that were there before get what comes late, those that have it do not."""
    async with world(history=100) as hubs, member(hubs.there, "room") as early:
        ids = await publish(hubs.here, *"abc")
        async with member(hubs.there, "room", since=ids[0]) as late:
            await publish(hubs.here, "d")
            assert await receive(late, 3) == ["b", "c", "d"]
        assert await receive(early, 4) == ["a", "b", "c", "d"]


async def test_the_sender_is_left_out_of_its_own_past(world: OpenWorld) -> None:
    async with world(history=100) as hubs, open_endpoint_pair() as (peer, endpoint):
        (first,) = await publish(hubs.here, "first")
        await hubs.here.publish("room", "mine", exclude=endpoint)
        await publish(hubs.here, "last")
        async with hubs.here.join("room", endpoint, since=first):
            await settled(hubs.here, "room")
            await hubs.here.publish("room", "mine too", exclude=endpoint)
            await publish(hubs.here, "new")
            assert await receive(peer, 2) == ["last", "new"]


async def test_a_slow_peer_is_sent_the_past_as_fast_as_it_takes_it(world: OpenWorld) -> None:
    async with world(history=100, max_waiting=1000) as hubs:
        await publish(hubs.here, *["x" * 10_000] * 50)
        assert await replayed(hubs.there, "0-0", 50) == ["x" * 10_000] * 50
        assert hubs.there.statistics().skipped == 0


async def test_a_past_that_is_trimmed_before_it_was_sent_is_history_lost(
    world: OpenWorld,
) -> None:
    """A replay that gets stuck is overtaken by the messages of the others."""
    async with world(history=150) as hubs, slow_endpoint() as (endpoint, stream):
        await publish(hubs.here, *["x" * 20_000] * 150)
        async with trio.open_nursery() as nursery:

            async def come_back() -> None:
                with pytest.raises(HistoryLost):
                    async with hubs.there.join("room", endpoint, since="0-0"):
                        pytest.fail("not reached")

            nursery.start_soon(come_back)
            await until(lambda: endpoint.statistics().sent.messages > 0)
            await publish(hubs.here, *["y"] * 150)
            stream.resume()
        assert endpoint.statistics().sent.messages == 100


async def test_a_wrap_that_fails_is_logged_and_harms_nobody(
    world: OpenWorld, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(message: str | bytes, message_id: str) -> str:
        if message == "bad":
            raise KeyError("of the application")
        return str(message)

    async with (
        world(history=10) as hubs,
        member(hubs.there, "room", wrap=fail) as peer,
        member(hubs.there, "room") as other,
    ):
        await publish(hubs.here, "bad", "good")
        assert await receive(peer, 1) == ["good"]
        assert await receive(other, 2) == ["bad", "good"]
    assert "wrap has failed" in caplog.text
    assert "of the application" in caplog.text


async def test_the_past_of_a_room_ends_some_time_after_its_last_message(
    world: OpenWorld,
) -> None:
    async with world(history=10, history_lifetime=0.2) as hubs:
        ids = await publish(hubs.here, *"ab")
        await trio.sleep(0.3)
        with pytest.raises(HistoryLost):
            await replayed(hubs.there, ids[0], 1)
        await publish(hubs.here, "c", room="other")
        assert await replayed(hubs.there, "0-0", 1, room="other") == ["c"]


async def test_without_history_there_are_no_ids(world: OpenWorld) -> None:
    async with world() as hubs:
        assert await hubs.here.publish("room", "message") is None


async def test_ids_grow_even_if_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_hub(history=10) as hub:
        ids = await publish(hub, "a")
        monkeypatch.setattr(time, "time", lambda: 5.0)
        ids += await publish(hub, "b")
        assert await replayed(hub, ids[0], 1) == ["b"]


# -- only with Redis ----------------------------------------------------------------------


@needs_redis
async def test_the_stream_at_redis_has_a_bounded_length(redis: RedisServer) -> None:
    async with open_hub(redis.url, history=7) as hub:
        await publish(hub, *map(str, range(100)))
        assert await redis.ask("XLEN", "trio_wsendpoint:history:room") == 7
        assert 0 < await redis.ask("PTTL", "trio_wsendpoint:history:room") <= 3_600_000


@needs_redis
async def test_what_no_hub_has_published_harms_nobody(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    channel = "trio_wsendpoint:0:room:room"
    async with open_hub(redis.url, history=7) as hub, member(hub, "room") as peer:
        for nonsense in (
            b"",
            b"nonsense" * 3,
            b"t",
            b"99 t",
            b"1-1 t",
            b"t" + bytes(16) + b"\xff",
        ):
            await redis.ask("PUBLISH", channel, nonsense)
        await publish(hub, "sense")
        assert await receive(peer, 1) == ["sense"]
    assert caplog.text.count("was dropped") == 6


@needs_redis
async def test_a_history_that_no_hub_has_written_is_refused(redis: RedisServer) -> None:
    async with open_hub(redis.url, history=7) as hub:
        await redis.ask("XADD", "trio_wsendpoint:history:room", "1-1", "m", "nonsense")
        with pytest.raises(HubUnavailable, match="the history at Redis is spoilt"):
            await replayed(hub, "0-0", 1)


@needs_redis
async def test_what_redis_refuses_is_told(redis: RedisServer) -> None:
    async with open_hub(redis.url, history=7) as hub:
        await redis.ask("SET", "trio_wsendpoint:history:room", "a string")
        with pytest.raises(HubUnavailable, match="Redis has refused: "):
            await hub.publish("room", "message")
        assert hub.connected


@needs_redis
async def test_a_gap_while_redis_was_away_is_filled_when_it_is_back(
    redis: RedisServer,
) -> None:
    async with (
        open_hub(redis.url, history=100) as near,
        open_hub(redis.url, history=1000) as far,
        member(far, "room", wrap=tag) as peer,
        member(far, "quiet") as quiet,
        member(far, "untouched"),
    ):
        ids = await publish(near, "a")
        assert await receive(peer, 1) == [f"a {ids[0]}"]
        await until(lambda: far._members["quiet"].base is not None)
        await cut_off(far)
        ids += await publish(near, *"bcd")
        await publish(near, "first", room="quiet")
        await until(lambda: far.connected)
        ids += await publish(near, "e")
        expected = [f"{text} {each}" for text, each in zip("bcde", ids[1:], strict=True)]
        assert await receive(peer, 4) == expected
        assert await receive(quiet, 1) == ["first"]


@needs_redis
async def test_a_gap_that_cannot_be_filled_is_told_to_those_who_count_on_ids(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_hub(redis.url, history=2) as near,
        open_hub(redis.url, history=2) as far,
        member_pair(far, "room", wrap=tag) as (peer, endpoint),
        member(far, "room") as plain,
    ):
        await publish(near, "a")
        await receive(peer, 1)
        await cut_off(far)
        await publish(near, *"bcde")
        await until(lambda: far.connected)
        await until(lambda: endpoint.is_closed)
        assert (endpoint.close_code, endpoint.close_reason) == (1013, "messages were lost")
        # The others get what there still is.
        assert await receive(plain, 3) == ["a", "d", "e"]
        await publish(near, "f")
        assert await receive(plain, 1) == ["f"]
    assert "members may have missed messages" in caplog.text


@needs_redis
async def test_a_redis_that_has_forgotten_all_is_not_a_gap_for_ever(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_hub(redis.url, history=20) as hub, member(hub, "room") as peer:
        await publish(hub, "a")
        assert await receive(peer, 1) == ["a"]
        await redis.kill()
        await until(lambda: not hub.connected)
        with pytest.raises(HubUnavailable, match="is away"):
            await hub.publish("room", "lost")
        with pytest.raises(HubUnavailable, match="is away"):
            await replayed(hub, "0-0", 1)
        await redis.start()
        await until(lambda: hub.connected)
        await settled(hub, "room")
        await publish(hub, "b")
        assert await receive(peer, 1) == ["b"]


@needs_redis
async def test_many_may_come_back_at_once(redis: RedisServer) -> None:
    async with open_hub(redis.url, history=5) as hub, trio.open_nursery() as nursery:
        await publish(hub, *"abc")

        async def come_back() -> None:
            assert await replayed(hub, "0-0", 3) == ["a", "b", "c"]

        for _ in range(5):
            nursery.start_soon(come_back)


@needs_redis
async def test_a_room_that_was_quiet_for_long_has_lost_nothing(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    options: HubKeywords = {"history": 5, "history_lifetime": 0.1}
    async with (
        open_hub(redis.url, **options) as hub,
        member(hub, "room", wrap=tag) as peer,
        member(hub, "other") as other,
    ):
        ids = await publish(hub, "a")
        assert await receive(peer, 1) == [f"a {ids[0]}"]
        await trio.sleep(0.2)
        await cut_off(hub)
        await until(lambda: hub.connected)
        await settled(hub, "room")
        ids = await publish(hub, "b")
        assert await receive(peer, 1) == [f"b {ids[0]}"]
        await publish(hub, "c", room="other")
        assert await receive(other, 1) == ["c"]
    assert "missed" not in caplog.text


@needs_redis
async def test_a_return_while_redis_goes_away_is_refused(redis: RedisServer) -> None:
    async with open_hub(redis.url, history=200) as hub, slow_endpoint() as (endpoint, stream):
        await publish(hub, *["x" * 20_000] * 90)

        async def come_back() -> None:
            with pytest.raises(HubUnavailable):
                async with hub.join("room", endpoint, since="0-0"):
                    pytest.fail("not reached")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come_back)
            await until(lambda: endpoint.statistics().sent.messages > 0)
            await cut_off(hub)
            stream.resume()
