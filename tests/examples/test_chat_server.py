from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from examples import chat_server
from tests.examples.programs import running_server
from trio_wsendpoint import Endpoint, accept, connect
from trio_wsendpoint.testing import StallStream


async def chat_over(stream: trio.abc.Stream) -> None:
    async with accept(stream) as endpoint:
        await chat_server.chat(endpoint)


@asynccontextmanager
async def member(
    nursery: trio.Nursery, name: str, room: str = "/kitchen", after_sent: float = float("inf")
) -> AsyncIterator[Endpoint]:
    near, far = memory_stream_pair()
    nursery.start_soon(chat_over, StallStream(far, after_sent=after_sent))
    async with connect(f"ws://chat{room}", stream=near) as endpoint:
        await endpoint.send(name)
        yield endpoint


@pytest.fixture(autouse=True)
def no_room_is_left_over() -> Iterator[None]:
    yield
    assert not chat_server.rooms


async def test_what_a_member_says_is_heard_in_its_room_only(
    nursery: trio.Nursery,
) -> None:
    async with (
        member(nursery, "ada") as ada,
        member(nursery, "eve", "/cellar") as eve,
        member(nursery, "bob") as bob,
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
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with member(nursery, "ada") as ada, member(nursery, "slow", after_sent=500) as slow:
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
