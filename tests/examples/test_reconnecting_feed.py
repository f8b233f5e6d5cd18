from __future__ import annotations

import itertools
import logging

import pytest
import trio
from trio.testing import MockClock

from examples import reconnecting_feed
from tests.client.servers import (
    Answer,
    answers,
    moves,
    opens,
    scripted_server,
    switching,
)
from tests.examples.programs import run_program
from trio_wsendpoint import Endpoint


@pytest.fixture(autouse=True)
def new_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnecting_feed, "tokens", itertools.count(1))


async def tell_and_stay(stream: trio.abc.Stream, request: bytes) -> None:
    """Send one message; when it is cancelled, there is no close frame."""
    await stream.send_all(switching(request) + b"\x81\x03one")
    await trio.sleep_forever()


async def tell_the_rest(endpoint: Endpoint) -> None:
    await endpoint.send("two")
    await endpoint.send("three")


async def run_server(
    port: int, *script: Answer, task_status: trio.TaskStatus[trio.CancelScope]
) -> None:
    """Run a server until it is cancelled; then it is gone at once, without goodbye."""
    with trio.CancelScope() as scope:
        async with scripted_server(*script, port=port):
            task_status.started(scope)
            await trio.sleep_forever()


async def test_the_feed_is_followed_through_all_that_happens_to_its_server(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:
    caplog.set_level(logging.INFO, "trio_wsendpoint.client")
    async with (
        scripted_server(opens(tell_the_rest)) as elsewhere,
        trio.open_nursery() as nursery,
    ):
        async with scripted_server(opens()) as free:
            pass
        url = f"ws://127.0.0.1:{free.port}/feed"
        alive = await nursery.start(run_server, free.port, tell_and_stay)
        async with trio.open_nursery() as following:
            following.start_soon(reconnecting_feed.main, url)
            await trio.sleep(5)
            alive.cancel()
            await trio.sleep(100)
            there = f"http://127.0.0.1:{elsewhere.port}/feed"
            script = answers("503 Busy", "Retry-After: 300"), moves(there, "307 Moved")
            await nursery.start(run_server, free.port, *script)
        nursery.cancel_scope.cancel()
    lines = capsys.readouterr().out.splitlines()
    number = int(lines[3].split()[-1])
    assert lines == [
        "connected by dial 1",
        "one",
        "reconnecting ...",
        f"connected by dial {number}",
        "two",
        "three",
        "the feed has ended",
    ]
    assert trio.current_time() > 5 + 100 + 300
    logged = [record.getMessage() for record in caplog.records]
    assert any("Connection refused; next in" in line for line in logged)
    assert any("503 Busy" in line and "next in 300.0 s" in line for line in logged)
    assert elsewhere.headers("Authorization") == [None], "another origin"
    assert number > 3


async def test_a_feed_that_is_not_there_is_told_in_plain_words(
    capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    async with scripted_server(answers("404 Not Found")) as server:
        await reconnecting_feed.main(server.url)
    assert server.headers("Authorization") == ["Bearer token-1"]
    expected = "for good: the server answered 404 Not Found, not 101 Switching Protocols\n"
    assert capsys.readouterr().out == expected


async def test_it_runs_from_the_command_line() -> None:
    async with scripted_server(opens(tell_the_rest)) as server:
        output = await run_program("examples/reconnecting_feed.py", server.url)
    assert output == "connected by dial 1\ntwo\nthree\nthe feed has ended\n"
