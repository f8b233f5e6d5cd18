"""The parts of the command line, where a whole command would meet a moment only by chance."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import memory_stream_pair

from tests.cli.shell import open_terminal
from trio_wsendpoint import Endpoint, accept, connect
from trio_wsendpoint.cli import handlers, programs
from trio_wsendpoint.cli.arguments import parse_arguments
from trio_wsendpoint.cli.connect import Connect
from trio_wsendpoint.cli.console import Console, Lines, read_some
from trio_wsendpoint.cli.editor import Editor
from trio_wsendpoint.cli.encoding import Encoding
from trio_wsendpoint.cli.interactive import Dialogue
from trio_wsendpoint.cli.piping import _Source
from trio_wsendpoint.cli.screen import Screen
from trio_wsendpoint.cli.show import Painter
from trio_wsendpoint.cli.stopping import Stop
from trio_wsendpoint.testing import open_endpoint_pair


def lines_of(data: bytes) -> Lines:
    pieces = [data]

    async def read() -> bytes:
        return pieces.pop() if pieces else b""

    return Lines(read)


# -- lines ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"a\r\nb\r", [b"a", b"b\r"]),
    ],
)
async def test_lines_are_without_their_ends(data: bytes, lines: list[bytes]) -> None:
    assert [line async for line in lines_of(data)] == lines


async def test_lines_may_come_in_any_pieces() -> None:
    pieces = [b"", b"d\n", b"c", b"", b"b\nc"[:2], b"a"]
    pieces.pop(3)

    async def read() -> bytes:
        return pieces.pop()

    assert [line async for line in Lines(read)] == [b"ab", b"cd"]


@pytest.mark.parametrize(("number", "ends"), [(errno.EIO, True), (errno.EISDIR, False)])
async def test_only_a_terminal_that_is_gone_ends_like_a_file(
    monkeypatch: pytest.MonkeyPatch, number: int, ends: bool
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(number, "cannot be read")

    monkeypatch.setattr(os, "read", fail)
    async with open_terminal() as (terminal, fd):
        await terminal.type("\n")
        if ends:
            assert await read_some(fd) == b""
        else:
            with pytest.raises(OSError, match="cannot be read"):
                await read_some(fd)


# -- a connection that ends while something is sent -------------------------------------------


async def test_a_line_that_could_not_be_sent_is_sent_on_the_next_connection() -> None:
    source = _Source(lines_of(b"one\ntwo\n"), Encoding())
    async with open_endpoint_pair() as (client, server):
        await server.aclose()
        with trio.move_on_after(0.05) as scope:
            await source.send_to(client)
        assert scope.cancelled_caught
    async with open_endpoint_pair() as (client, server):
        await source.send_to(client)
        assert [await server.receive(), await server.receive()] == ["one", "two"]
    assert source.problem is None


async def test_a_talk_waits_for_its_end_when_nothing_can_be_sent() -> None:
    class OneLine(Screen):
        async def show(self, text: str) -> None:
            raise AssertionError(text)

        def __aiter__(self) -> AsyncIterator[str]:
            return self

        async def __anext__(self) -> str:
            return "hello"

    dialogue = Dialogue(Console(), Encoding(), Painter(), trace=False)
    async with open_endpoint_pair() as (client, server):
        await server.aclose()
        with trio.move_on_after(0.05) as scope:
            await dialogue._send_lines(client, OneLine())
        assert scope.cancelled_caught


# -- the rest ---------------------------------------------------------------------------------


def test_stopping_what_has_ended_is_remembered_at_least() -> None:
    stop = Stop()
    stop.ask()
    assert stop.asked


async def test_an_editor_that_has_not_begun_need_not_be_left() -> None:
    async with open_terminal() as (_, fd):
        editor = Editor(Console(fd, fd, fd))
        editor._leave()
        editor._stdin.close()
        editor._stdout.close()


def test_no_limit_is_a_limit_of_none() -> None:
    command = parse_arguments(["connect", "ws://localhost", "--max-size", "inf"])
    assert isinstance(command, Connect)
    assert command.dialling.max_size is None


def test_the_folder_of_handlers_is_searched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "handlers_of_this_test.py").write_text("def handler(endpoint): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for _ in range(2):
        handlers.import_handler("handlers_of_this_test:handler")
    assert sys.path.count(str(tmp_path)) == 1
    del sys.modules["handlers_of_this_test"]


# -- programs ---------------------------------------------------------------------------------


async def test_a_program_outlives_no_connection_that_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "GRACE", 0.05)
    near, far = memory_stream_pair()
    told: list[dict[str, str]] = []

    async def serve_one() -> None:
        async with accept(far) as endpoint:
            told.append(programs.describe_request(endpoint))
            await programs.Program.parse("cat")(endpoint)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_one)
        with trio.move_on_after(10) as scope:
            async with connect("ws://localhost/", stream=near) as endpoint:
                await endpoint.send("hello")
                assert await endpoint.receive() == "hello"
                await trio.aclose_forcefully(near)
        assert not scope.cancelled_caught
    assert "REMOTE_ADDR" not in told[0]  # as there is no socket


async def test_what_a_program_says_to_nobody_is_dropped() -> None:
    async with open_endpoint_pair() as (client, server):
        await client.aclose()
        near, far = memory_stream_pair()
        await near.send_all(b"hello\n")
        await programs._relay(far, server)


async def test_a_message_to_a_connection_of_ours_that_is_closed_is_no_error() -> None:
    async def handler(endpoint: Endpoint) -> None:
        await endpoint.aclose()
        near, far = memory_stream_pair()
        await near.send_all(b"hello\n")
        await programs._relay(far, endpoint)

    async with open_endpoint_pair() as (client, server):
        await handler(server)
        assert [message async for message in client] == []
