from __future__ import annotations

import json
import os
from array import array
from functools import partial

import pytest
import trio
import websockets.trio.server

from tests.cli.shell import open_terminal, run_piped, serving, stay_silent
from trio_wsendpoint import Endpoint
from trio_wsendpoint.cli.arguments import parse_arguments
from trio_wsendpoint.cli.bench import Report
from trio_wsendpoint.cli.chart import draw_bar, draw_histogram
from trio_wsendpoint.cli.console import Console
from trio_wsendpoint.cli.exits import Exit
from trio_wsendpoint.cli.main import execute

SMALL = ("--connections", "3", "--messages", "5", "--size", "10")


async def test_what_was_measured_is_told_and_drawn() -> None:
    async with serving() as url:
        outcome = await run_piped("bench", url, *SMALL)
    text = outcome.out.decode()
    assert outcome.exit == Exit.OK
    assert text.startswith("15 messages of 10 bytes over 3 connections in ")
    assert "messages a second, there and back" in text
    assert "round trip in ms: 50% " in text
    assert "█" in text


async def test_what_was_measured_is_told_as_json() -> None:
    async with serving() as url:
        outcome = await run_piped("bench", url, *SMALL, "--json")
    told = json.loads(outcome.out)
    assert (told["connections"], told["messages"], told["size"]) == (3, 15, 10)
    times = told["round_trip"]
    assert 0 < times["min"] <= times["p50"] <= times["p90"] <= times["p99.9"] <= times["max"]


async def test_a_server_of_another_library_is_measured() -> None:
    async def echo(websocket: websockets.trio.server.ServerConnection) -> None:
        async for message in websocket:
            await websocket.send(message)

    start = partial(websockets.trio.server.serve, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start, echo, 0)
        port = server.listeners[0].socket.getsockname()[1]
        outcome = await run_piped("bench", f"ws://127.0.0.1:{port}", *SMALL, "--json")
        nursery.cancel_scope.cancel()
    assert json.loads(outcome.out)["messages"] == 15


async def test_a_rate_is_kept() -> None:
    async with serving() as url:
        outcome = await run_piped("bench", url, *SMALL, "--rate", "30", "--json")
    told = json.loads(outcome.out)
    # The last is due 14 / 30 seconds after the first.
    assert told["duration"] > 0.4
    assert told["messages_per_second"] < 40


async def test_a_stall_counts_for_all_that_would_have_been_sent_meanwhile() -> None:
    async def stall_once(endpoint: Endpoint) -> None:
        first = await endpoint.receive()
        await trio.sleep(0.5)
        await endpoint.send(first)
        async for message in endpoint:
            await endpoint.send(message)

    async with serving(stall_once) as url:
        options = ("--connections", "1", "--messages", "10", "--rate", "50", "--json")
        outcome = await run_piped("bench", url, *options)
    # Ten were due in the 0.2 seconds at its beginning.
    assert json.loads(outcome.out)["round_trip"]["min"] > 0.2


@pytest.mark.parametrize(
    ("handler", "exit_", "complaint"),
    [
        (stay_silent, Exit.TIMEOUT, "the server does not answer each message"),
        (Endpoint.aclose, Exit.OK, "closed by the server with 1000"),
    ],
)
async def test_a_server_that_does_not_echo_is_told(
    handler: object, exit_: Exit, complaint: str
) -> None:
    async with serving(handler) as url:
        options = ("--connections", "1", "--timeout", "0.2")
        outcome = await run_piped("bench", url, *options)
    assert (outcome.exit, outcome.out) == (exit_, b"")
    assert complaint in outcome.err


async def test_a_server_that_answers_something_else_is_told() -> None:
    async def shout(endpoint: Endpoint) -> None:
        async for message in endpoint:
            await endpoint.send(str(message).upper())

    async with serving(shout) as url:
        outcome = await run_piped("bench", url, "--connections", "1")
    assert outcome.exit == Exit.ENDED
    assert "the server does not echo" in outcome.err


async def test_progress_is_shown_at_a_terminal_and_the_report_fits_it() -> None:
    async with serving() as url, open_terminal() as (terminal, fd):
        command = parse_arguments(["bench", url, *SMALL, "--rate", "20"])
        assert await execute(command, Console(fd, fd, fd)) == Exit.OK
        await terminal.expect(r"\d+%  \d+ messages a second")
        await terminal.expect("15 messages of 10 bytes")
        os.write(fd, b"END")
        await terminal.expect("END")


async def test_it_is_stopped_with_what_was_measured_so_far() -> None:
    async with serving() as url:
        # The first of many; the rest never comes.
        command = parse_arguments(["bench", url, "--connections", "1", "--rate", "0.001"])
        reading, writing = os.pipe()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(execute, command, Console(0, writing, 2))
            await trio.sleep(0.5)
            os.kill(os.getpid(), 2)
            await trio.lowlevel.wait_readable(reading)
        assert os.read(reading, 1000).startswith(b"1 messages of 100 bytes")
        os.close(reading)
        os.close(writing)


async def test_nothing_measured_is_told() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, stay_silent, 0)
        port = listeners[0].socket.getsockname()[1]
        with open(os.devnull, "w") as nothing:  # noqa: ASYNC230, PTH123
            command = parse_arguments(["bench", f"ws://localhost:{port}"])
            console = Console(0, nothing.fileno(), nothing.fileno())
            async with trio.open_nursery() as running:

                async def run() -> None:
                    assert await execute(command, console) == Exit.ENDED

                running.start_soon(run)
                await trio.sleep(0.3)
                os.kill(os.getpid(), 2)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--rate=0", "must be more than 0"),
        ("--rate=inf", "more than 0"),
        ("--size=x", "at least 1"),
    ],
)
def test_what_cannot_be_measured_is_told(
    capsys: pytest.CaptureFixture[str], option: str, complaint: str
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["bench", "ws://localhost", option])
    assert complaint in capsys.readouterr().err


# -- what is made of it -----------------------------------------------------------------------


def test_percentiles_are_what_so_many_of_a_hundred_took_at_most() -> None:
    report = Report(1, 1, 2.0, array("d", range(1, 1001)))
    assert [report.percentile(p) for p in (50, 90, 99, 99.9)] == [500, 900, 990, 999]
    assert report.throughput == 500
    assert Report(1, 1, 0.0, array("d", [1.0])).throughput == 0


def test_a_histogram_has_a_row_for_each_part_of_the_scale() -> None:
    rows = draw_histogram([1.0, 1.0, 10.0, 4096.0], "ms", 80)
    assert len(rows) == 12
    assert rows[0].startswith("   1.000 - 2.000 ms")
    assert rows[0].endswith(" 2")
    assert [row.split()[-1] for row in rows] == list("200100000001")
    assert max(map(len, rows)) <= 80


def test_a_histogram_of_one_value_has_one_row() -> None:
    assert draw_histogram([2.0], "ms", 40) == ["   2.000 - 2.000 ms  " + "█" * 16 + " 1"]


@pytest.mark.parametrize(
    ("length", "bar"), [(0, ""), (0.01, "▏"), (0.5, "▌"), (1, "█"), (2.25, "██▎")]
)
def test_a_bar_is_as_long_as_it_should_be(length: float, bar: str) -> None:
    assert draw_bar(length) == bar
