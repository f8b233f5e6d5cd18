from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from examples import chat_server
from tests.examples.programs import running_server
from tests.hub.redis_server import needs_redis, redis_server
from trio_wsendpoint import ConnectionClosed, Endpoint, accept, connect
from trio_wsendpoint.hub import Hub, open_hub
from trio_wsendpoint.testing import StallStream


async def chat_over(hub: Hub, stream: trio.abc.Stream) -> None:
    with contextlib.suppress(ConnectionClosed):  # as a server does
        async with accept(stream) as endpoint:
            await chat_server.chat(hub, endpoint)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with open_hub(on_slow="close", max_waiting=50_000) as hub:
        yield hub
        assert hub.statistics().rooms == 0


@pytest.fixture
async def handlers(hub: Hub) -> AsyncIterator[trio.Nursery]:
    """Where the server's side runs; in the end its members are gone."""
    async with trio.open_nursery() as nursery:
        yield nursery


@asynccontextmanager
async def member(
    hub: Hub,
    nursery: trio.Nursery,
    name: str,
    room: str = "/kitchen",
    after_sent: float = float("inf"),
) -> AsyncIterator[Endpoint]:
    near, far = memory_stream_pair()
    nursery.start_soon(chat_over, hub, StallStream(far, after_sent=after_sent))
    async with connect(f"ws://chat{room}", stream=near) as endpoint:
        await endpoint.send(name)
        yield endpoint


async def test_what_a_member_says_is_heard_in_its_room_only(
    hub: Hub, handlers: trio.Nursery
) -> None:
    async with (
        member(hub, handlers, "ada") as ada,
        member(hub, handlers, "eve", "/cellar") as eve,
        member(hub, handlers, "bob") as bob,
    ):
        await wait_all_tasks_blocked()
        await bob.send("hello")
        await bob.send(b"\0\1")
        assert [await ada.receive() for _ in range(4)] == [
            "* ada came in",
            "* bob came in",
            "bob: hello",
            "bob: (2 bytes)",
        ]
        await eve.send("is anybody here?")
        assert [await eve.receive() for _ in range(2)] == [
            "* eve came in",
            "eve: is anybody here?",
        ]


async def test_a_slow_member_holds_up_nobody_and_is_shown_out(
    hub: Hub, handlers: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        member(hub, handlers, "ada") as ada,
        member(hub, handlers, "slow", after_sent=500) as slow,
    ):
        await wait_all_tasks_blocked()
        assert await ada.receive() == "* ada came in"
        assert await ada.receive() == "* slow came in"
        for number in range(150):
            text = f"{number:01000}"
            await ada.send(text)
            heard = await ada.receive()
            if heard == "* slow left":
                break
            assert heard == f"ada: {text}"
        else:
            pytest.fail("the slow member is still there")
        assert not slow.is_closed
        await ada.send("good")
    assert slow.is_closed


async def test_the_chat_server_runs_from_the_command_line() -> None:
    async with (
        running_server("examples/chat_server.py", "0") as port,
        connect(f"ws://localhost:{port}/kitchen") as endpoint,
    ):
        await endpoint.send("ada")
        assert await endpoint.receive() == "* ada came in"


CHANNEL = b"trio_wsendpoint:0:room:/kitchen"


@needs_redis
async def test_two_chat_servers_with_one_redis_are_one() -> None:
    async with (
        redis_server() as redis,
        running_server("examples/chat_server.py", "0", "--redis", redis.url) as first,
        running_server("examples/chat_server.py", "0", "--redis", redis.url) as second,
        connect(f"ws://localhost:{first}/kitchen") as ada,
    ):
        await ada.send("ada")
        assert await ada.receive() == "* ada came in"
        async with connect(f"ws://localhost:{second}/kitchen") as bob:
            await bob.send("bob")
            assert await ada.receive() == "* bob came in"
            assert await bob.receive() == "* bob came in"
            while await redis.ask("PUBSUB", "NUMSUB", CHANNEL) != [CHANNEL, 2]:  # noqa: ASYNC110
                await trio.sleep(0.01)
            await ada.send("hello")
            assert await bob.receive() == "ada: hello"
            await redis.kill()
            await bob.send("is anybody there?")
            assert await bob.receive() == "bob: is anybody there?"
        await ada.send("not here")
        with trio.fail_after(10):
            while await ada.receive() != "ada: not here":
                pass
