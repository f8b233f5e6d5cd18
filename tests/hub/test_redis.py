from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from tests.hub.redis_server import RedisServer, free_port, needs_redis, redis_server
from tests.hub.worlds import cut_off, member, receive, settled, until
from trio_wsendpoint import Backoff
from trio_wsendpoint.hub import Hub, HubUnavailable, link, open_hub
from trio_wsendpoint.hub.link import HIGH_WATER
from trio_wsendpoint.testing import open_endpoint_pair

pytestmark = needs_redis


async def channels(redis: RedisServer) -> set[str]:
    found = await redis.ask("PUBSUB", "CHANNELS", "trio_wsendpoint:*")
    return {channel.decode().rpartition(":")[2] for channel in found}


async def subscribed(redis: RedisServer, *rooms: str) -> None:
    with trio.fail_after(20):
        while await channels(redis) != set(rooms):  # noqa: ASYNC110
            await trio.sleep(0.01)


def redis_rooms(hub: Hub) -> link.Link:
    return hub._rooms._session.commands  # type: ignore[union-attr]


# -- getting in ---------------------------------------------------------------------------


async def test_user_and_password_get_in() -> None:
    acl = ("--user", "me", "on", ">sec@ret", "~*", "&*", "+@all", "--user", "default", "off")
    async with redis_server(*acl) as redis:
        async with open_hub(f"redis://me:sec%40ret@127.0.0.1:{redis.port}") as hub:
            assert await hub.members("room") == 0
        for url in redis.url, f"redis://me:wrong@127.0.0.1:{redis.port}":
            with pytest.raises(HubUnavailable, match=r"is not available: (NOAUTH|WRONGPASS)"):
                async with open_hub(url):
                    pytest.fail("not reached")


async def test_a_password_alone_gets_in() -> None:
    async with (
        redis_server("--requirepass", "secret") as redis,
        open_hub(f"redis://:secret@127.0.0.1:{redis.port}") as hub,
    ):
        assert await hub.members("room") == 0


async def test_hubs_on_two_databases_have_nothing_to_do_with_each_other(
    redis: RedisServer,
) -> None:
    async with (
        open_hub(f"{redis.url}/1", history=5) as first,
        open_hub(f"{redis.url}/2", history=5) as second,
        member(first, "room") as one,
        member(second, "room") as two,
    ):
        await first.publish("room", "one")
        await second.publish("room", "two")
        assert await receive(one, 1) == ["one"]
        assert await receive(two, 1) == ["two"]
        assert await first.members("room") == 1


async def test_a_database_that_there_is_not_is_refused(redis: RedisServer) -> None:
    with pytest.raises(HubUnavailable, match="DB index is out of range"):
        async with open_hub(f"{redis.url}/77"):
            pytest.fail("not reached")


async def test_rediss_is_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    paths = {name: str(tmp_path / name) for name in ("key", "cert", "ca")}
    certificate.private_key_pem.write_to_path(paths["key"])
    certificate.cert_chain_pems[0].write_to_path(paths["cert"])
    authority.cert_pem.write_to_path(paths["ca"])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    port = free_port()
    tls = ("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no")
    files = ("--tls-cert-file", paths["cert"], "--tls-key-file", paths["key"])
    async with redis_server(*tls, *files, "--tls-ca-cert-file", paths["ca"], port=port):
        url = f"rediss://127.0.0.1:{port}"
        async with (
            open_hub(url, ssl_context=context) as here,
            open_hub(url, ssl_context=context) as there,
            member(there, "room") as peer,
        ):
            await here.publish("room", "hello")
            assert await receive(peer, 1) == ["hello"]
        with pytest.raises(HubUnavailable, match="TLS handshake failed"):
            async with open_hub(url):
                pytest.fail("not reached")


async def test_nobody_there_is_hub_unavailable() -> None:
    with pytest.raises(HubUnavailable, match=r"Redis at 127.0.0.1:\d+ is not available"):
        async with open_hub(f"redis://127.0.0.1:{free_port()}"):
            pytest.fail("not reached")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Protocol error"),
        (b"", "it has closed the connection"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
    ],
)
async def test_what_is_no_redis_is_hub_unavailable(answer: bytes, reason: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer or b"")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(HubUnavailable, match=reason):
            async with open_hub(f"redis://127.0.0.1:{port}"):
                pytest.fail("not reached")
        nursery.cancel_scope.cancel()


async def say_nothing(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def test_one_who_never_answers_is_hub_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "DIAL_TIMEOUT", 0.1)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, say_nothing, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(HubUnavailable, match=r"no answer within 0.1 seconds"):
            async with open_hub(f"redis://127.0.0.1:{port}"):
                pytest.fail("not reached")
        nursery.cancel_scope.cancel()


async def test_if_only_one_connection_is_let_in_it_is_closed_again(
    redis: RedisServer,
) -> None:
    await redis.ask("CONFIG", "SET", "maxclients", 1)
    with pytest.raises(HubUnavailable, match="max number of clients"):
        async with open_hub(redis.url):
            pytest.fail("not reached")


def test_without_hiredis_the_error_names_the_extra() -> None:
    program = """
import sys
sys.modules["hiredis"] = None
import trio
from trio_wsendpoint.hub import open_hub
async def main():
    async with open_hub() as hub:
        await hub.publish("room", "in one process it is not needed")
    try:
        async with open_hub("redis://localhost"):
            pass
    except ImportError as error:
        print(error)
trio.run(main)
"""
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout
    assert output == "a hub over Redis needs hiredis: pip install 'trio-wsendpoint[redis]'\n"


# -- subscriptions ------------------------------------------------------------------------


async def test_a_room_is_subscribed_on_the_first_join_and_left_on_the_last_leave(
    redis: RedisServer,
) -> None:
    async with open_hub(redis.url) as hub:
        assert await channels(redis) == set()
        async with member(hub, "room"):
            assert await channels(redis) == {"room"}
            async with member(hub, "room"), member(hub, "other"):
                await subscribed(redis, "room", "other")
            await subscribed(redis, "room")
        await subscribed(redis)
        async with hub.subscribe("room"):
            await subscribed(redis, "room")
        await subscribed(redis)


async def test_a_room_without_local_members_costs_this_process_nothing(
    redis: RedisServer,
) -> None:
    async with (
        open_hub(redis.url) as here,
        open_hub(redis.url) as there,
        member(there, "room") as peer,
    ):
        subscriber = here._rooms._session.subscriber  # type: ignore[union-attr]
        before = subscriber._reads
        for number in range(100):
            await here.publish("room", str(number))
        await receive(peer, 100)
        assert subscriber._reads - before <= 1  # a PING may come between


async def test_a_join_does_not_wait_for_redis(redis: RedisServer) -> None:
    async with open_hub(redis.url) as hub, open_endpoint_pair() as (peer, endpoint):
        await redis.kill()
        with trio.fail_after(1):
            async with hub.join("room", endpoint), hub.subscribe("room") as channel:
                await until(lambda: not hub.connected)
                with pytest.raises(HubUnavailable):
                    await hub.publish("room", "local members have it all the same")
                assert "local" in str(await peer.receive())
                assert "local" in str(await channel.receive())


async def test_a_cancelled_join_leaves_nothing_at_redis(redis: RedisServer) -> None:
    async with open_hub(redis.url) as hub, open_endpoint_pair() as (_, endpoint):
        for steps in range(8):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, scope, steps)
                    async with hub.join("room", endpoint):
                        await trio.sleep_forever()
            await subscribed(redis)
            assert await hub.members("room") == 0
            assert hub.statistics().rooms == 0


async def cancel_after(scope: trio.CancelScope, steps: int) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_joins_and_leaves_that_follow_each_other_end_as_they_should(
    redis: RedisServer,
) -> None:
    async with open_hub(redis.url) as here, open_hub(redis.url) as hub:
        async with open_endpoint_pair() as (peer, endpoint):
            for number in range(50):
                async with hub.join("room", endpoint):
                    if number % 3:
                        await trio.lowlevel.checkpoint()
                    if number % 7 == 0:
                        await trio.sleep(0.001)
            async with hub.join("room", endpoint):
                await settled(hub, "room")
                await here.publish("room", "hello")
                assert await receive(peer, 1) == ["hello"]
            await subscribed(redis)
        assert not hub._rooms._subscriptions._channels  # type: ignore[union-attr]


async def test_more_rooms_than_fit_one_command_are_subscribed(redis: RedisServer) -> None:
    async with open_hub(redis.url) as hub, open_endpoint_pair() as (_, endpoint):
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for number in range(1100):
                    nursery.start_soon(stay, hub, str(number), endpoint)
                await wait_all_tasks_blocked(0.05)
                await settled(hub, "1099")
                assert len(await channels(redis)) == 1100
                await cut_off(hub)
                await until(lambda: hub.connected)
                await settled(hub, "1099")
                await settled(hub, "0")
                nursery.cancel_scope.cancel()
            await subscribed(redis)


async def stay(hub: Hub, room: str, endpoint: object) -> None:
    async with hub.join(room, endpoint):  # type: ignore[arg-type]
        await trio.sleep_forever()


@pytest.mark.parametrize("refused", ["SUBSCRIBE", "PUBLISH"])
async def test_a_redis_that_refuses_what_a_hub_needs_counts_as_away(
    redis: RedisServer, refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hub(redis.url) as hub, open_endpoint_pair() as (_, endpoint):
        await redis.ask("ACL", "SETUSER", "default", f"-{refused.lower()}")
        async with hub.join("room", endpoint):
            await hub.publish("room", "message")
            await until(lambda: "Redis has refused" in caplog.text)
    assert "NOPERM" in caplog.text


# -- publishing ---------------------------------------------------------------------------


async def test_local_members_come_first(redis: RedisServer) -> None:
    async with open_hub(redis.url) as hub, member(hub, "room") as peer:
        sent = redis_rooms(hub).unconfirmed
        await hub.publish("room", "hello")
        assert hub.statistics().delivered == 1
        assert redis_rooms(hub).unconfirmed == sent + 1
        assert await receive(peer, 1) == ["hello"]


async def test_while_redis_is_away_publish_raises_and_local_members_have_it(
    redis: RedisServer,
) -> None:
    async with open_hub(redis.url) as hub, member(hub, "room") as peer:
        await redis.kill()
        await until(lambda: not hub.connected)
        with pytest.raises(HubUnavailable, match=r"Redis at 127.0.0.1:\d+ is away"):
            await hub.publish("room", "hello")
        assert await receive(peer, 1) == ["hello"]


async def test_publish_can_wait_until_redis_is_back(redis: RedisServer) -> None:
    async with (
        open_hub(redis.url) as here,
        open_hub(redis.url) as there,
        member(here, "room") as near,
        member(there, "room") as far,
    ):
        await redis.kill()
        await until(lambda: not (here.connected or there.connected))

        async def publish(number: int) -> None:
            await here.publish("room", str(number), when_away="wait")

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(publish, number)
                await wait_all_tasks_blocked()
            expected = [str(number) for number in range(10)]
            assert await receive(near, 10) == expected
            assert len(nursery.child_tasks) == 10
            await redis.start()
            # A message is for those whom Redis knows when it gets it.
            await until(lambda: here.connected)
        await until(lambda: there.connected)
        await settled(there, "room")
        await here.publish("room", "again")
        assert (await receive(far, 1))[-1] in (*expected, "again")


async def test_publishers_that_wait_for_room_keep_their_order(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        open_hub(redis.url) as here,
        open_hub(redis.url) as there,
        member(there, "room") as peer,
        trio.open_nursery() as nursery,
    ):

        async def publish(number: int) -> None:
            await here.publish("room", f"{number}" + "x" * 40_000)

        for number in range(60):
            nursery.start_soon(publish, number)
            await trio.lowlevel.checkpoint()
        received = await receive(peer, 60)
        # They were started in no order, but each is whole and there once.
        assert sorted(int(str(each).rstrip("x")) for each in received) == list(range(60))


async def stop_redis_from_reading(hub: Hub) -> None:
    """Publish until nothing more goes out."""
    while True:
        with trio.move_on_after(0.3) as scope:
            await hub.publish("nowhere", "x" * 30_000)
        if scope.cancelled_caught and redis_rooms(hub).full:
            return


async def test_a_redis_that_reads_nothing_makes_publish_wait_and_nothing_grow(
    redis: RedisServer,
) -> None:
    async with open_hub(redis.url) as hub, member(hub, "room") as peer:
        redis.signal(signal.SIGSTOP)
        await stop_redis_from_reading(hub)
        with trio.move_on_after(0.1) as scope:
            await hub.publish("room", "hello")
        assert scope.cancelled_caught
        # Local members have had it.
        assert await receive(peer, 1) == ["hello"]
        commands = redis_rooms(hub)
        assert commands._size <= HIGH_WATER + 31_000
        outcomes: list[str] = []

        async def publish(when_away: str) -> None:
            try:
                await hub.publish("room", "late", when_away=when_away)  # type: ignore[arg-type]
                outcomes.append(f"{when_away}: published")
            except HubUnavailable:
                outcomes.append(f"{when_away}: unavailable")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, "raise")
            nursery.start_soon(publish, "wait")
            await wait_all_tasks_blocked(0.01)
            await redis_rooms(hub).aclose()
            await until(lambda: bool(outcomes))
            assert outcomes == ["raise: unavailable"]
            redis.signal(signal.SIGCONT)
        assert outcomes == ["raise: unavailable", "wait: published"]
        assert hub.statistics().unconfirmed > 0


async def test_what_waits_is_written_before_the_hub_is_left(redis: RedisServer) -> None:
    async with open_hub(redis.url) as there, member(there, "room") as peer:
        async with open_hub(redis.url) as here:
            for number in range(500):
                await here.publish("room", str(number))
        assert await receive(peer, 500) == [str(number) for number in range(500)]


async def test_a_hub_is_left_in_time_though_redis_is_silent(redis: RedisServer) -> None:
    began = trio.current_time()
    async with open_hub(redis.url):
        redis.signal(signal.SIGSTOP)
    assert trio.current_time() - began < 5


async def test_a_hub_is_left_at_once_while_redis_is_away(redis: RedisServer) -> None:
    async with open_hub(redis.url) as hub:
        await redis.kill()
        await until(lambda: not hub.connected)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"?nonsense\r\n", "this is not the protocol of Redis"),
        (b"+PONG\r\n" * 5, "to nothing"),
    ],
)
async def test_nonsense_on_an_open_connection_ends_it(
    words: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"+PONG\r\n")
        await stream.receive_some()
        await stream.send_all(words)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        async with open_hub(f"redis://127.0.0.1:{port}"):
            await until(lambda: reason in caplog.text)
        nursery.cancel_scope.cancel()


async def test_publishers_that_wait_for_redis_are_told_when_the_hub_is_closed(
    redis: RedisServer,
) -> None:
    async with trio.open_nursery() as nursery, open_hub(redis.url) as hub:
        await redis.kill()
        await until(lambda: not hub.connected)

        async def publish() -> None:
            with pytest.raises(trio.ClosedResourceError, match="the hub is closed"):
                await hub.publish("room", "message", when_away="wait")

        nursery.start_soon(publish)
        await wait_all_tasks_blocked(0.01)


async def test_a_return_that_waits_for_redis_is_refused_when_it_goes_away(
    redis: RedisServer,
) -> None:
    async with open_hub(redis.url, history=5) as hub, open_endpoint_pair() as (_, endpoint):
        redis.signal(signal.SIGSTOP)

        async def come_back() -> None:
            with pytest.raises(HubUnavailable):
                async with hub.join("room", endpoint, since="0-0"):
                    pytest.fail("not reached")

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(come_back)
                await wait_all_tasks_blocked(0.01)
                await redis.kill()


async def test_a_connection_that_has_lasted_begins_its_backoff_anew(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    backoff = Backoff(first=0.01, factor=1000, limit=30, healthy_after=0.1)
    async with open_hub(redis.url, backoff=backoff) as hub:
        for _ in range(3):
            await trio.sleep(0.2)
            await cut_off(hub)
            await until(lambda: hub.connected, seconds=2)


async def test_a_room_whose_history_redis_refuses_makes_it_count_as_away(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hub(redis.url, history=5) as hub, open_endpoint_pair() as (_, endpoint):
        await redis.ask("SET", "trio_wsendpoint:history:room", "a string")
        async with hub.join("room", endpoint):
            await until(lambda: "WRONGTYPE" in caplog.text)
        await until(lambda: hub.connected)


async def test_more_changes_than_redis_takes_at_once_wait_for_it(redis: RedisServer) -> None:
    async with open_hub(redis.url) as hub, member(hub, "room"):
        redis.signal(signal.SIGSTOP)
        await stop_redis_from_reading(hub)
        async with open_endpoint_pair() as (_, endpoint), trio.open_nursery() as nursery:
            nursery.start_soon(stay, hub, "new", endpoint)
            await wait_all_tasks_blocked(0.05)
            redis.signal(signal.SIGCONT)
            await settled(hub, "new")
            with trio.fail_after(20):
                while await hub.members("new") != 1:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
