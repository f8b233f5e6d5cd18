"""At a real pseudo-terminal, with line editing and without."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import trio

from tests.cli.shell import (
    TIMEOUT,
    WITHOUT_THE_EXTRA,
    at_a_terminal,
    open_terminal,
    process_at_a_terminal,
    serving,
    stay_silent,
)
from trio_wsendpoint import Endpoint, accept
from trio_wsendpoint.cli.arguments import parse_arguments
from trio_wsendpoint.cli.console import Console
from trio_wsendpoint.cli.exits import Exit
from trio_wsendpoint.cli.main import execute
from trio_wsendpoint.cli.screen import PlainScreen, open_screen
from trio_wsendpoint.cli.stopping import Stop
from trio_wsendpoint.testing import StallStream

CTRL_C, CTRL_D, ESCAPE = "\x03", "\x04", "\x1b"
UP = f"{ESCAPE}[A"

EITHER_WAY = pytest.mark.parametrize(
    "program", [None, WITHOUT_THE_EXTRA], ids=["edited", "plain"]
)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no line editing, as without the extra."""
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    monkeypatch.delitem(sys.modules, "trio_wsendpoint.cli.editor", raising=False)


@EITHER_WAY
async def test_what_is_typed_goes_out_and_what_comes_is_shown(program: str | None) -> None:
    async with (
        serving() as url,
        process_at_a_terminal("connect", url, program=program) as (terminal, process),
    ):
        await terminal.expect(rf"\d\d:\d\d:\d\d \* connected to {url}")
        await terminal.expect(">")
        await terminal.type("hello\n")
        await terminal.expect(r"\d\d:\d\d:\d\d < text    hello\n")
        await terminal.type(CTRL_D)
        await terminal.expect("closed by the client with 1000")
    assert process.returncode == Exit.OK


@EITHER_WAY
async def test_ctrl_c_closes_with_1000_and_no_traceback(program: str | None) -> None:
    codes = []

    async def note(endpoint: Endpoint) -> None:
        async for _ in endpoint:
            pass
        codes.append(endpoint.close_code)

    async with (
        serving(note) as url,
        process_at_a_terminal("connect", url, program=program) as (terminal, process),
    ):
        await terminal.expect("connected")
        await terminal.expect(">")
        await terminal.type(CTRL_C)
        await terminal.expect("closed by the client with 1000")
        rest = terminal.screen
    assert process.returncode == Exit.OK
    assert codes == [1000]
    assert "Traceback" not in rest


async def test_a_signal_closes_with_1000_too() -> None:
    async with (
        serving() as url,
        process_at_a_terminal("connect", url) as (terminal, process),
    ):
        await terminal.expect("connected")
        await terminal.expect(">")
        process.send_signal(signal.SIGTERM)
        await terminal.expect("closed by the client with 1000")
    assert process.returncode == Exit.OK


async def test_ctrl_c_again_does_not_wait_for_a_server_that_does_not_close() -> None:
    stalled = trio.Event()

    async def never_close(stream: trio.SocketStream) -> None:
        stall = StallStream(stream)
        async with accept(stall):
            stall.left_to_receive = 0
            stalled.set()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, never_close, 0)
        url = f"ws://localhost:{listeners[0].socket.getsockname()[1]}"
        began = trio.current_time()
        async with process_at_a_terminal("connect", url) as (terminal, process):
            await terminal.expect("connected")
            await terminal.expect(">")
            await stalled.wait()
            process.send_signal(signal.SIGINT)
            await trio.sleep(0.3)
            process.send_signal(signal.SIGINT)
        assert trio.current_time() - began < 10  # which is close_timeout
        nursery.cancel_scope.cancel()
    assert process.returncode == Exit.OK


async def test_ctrl_c_before_it_is_connected_ends_it() -> None:
    async with trio.open_nursery() as nursery:
        accepted = trio.Event()

        async def say_nothing(_: trio.SocketStream) -> None:
            accepted.set()
            await trio.sleep_forever()

        listeners = await nursery.start(trio.serve_tcp, say_nothing, 0)
        url = f"ws://localhost:{listeners[0].socket.getsockname()[1]}"
        async with process_at_a_terminal("connect", url) as (terminal, process):
            await accepted.wait()
            await terminal.type(CTRL_C)
        nursery.cancel_scope.cancel()
    assert process.returncode == Exit.OK


async def test_lines_are_edited_and_remembered() -> None:
    async with (
        serving() as url,
        at_a_terminal("connect", url) as (terminal, result),
    ):
        await terminal.expect(">")
        await terminal.type("hexlo\x1b[D\x1b[D\x7fl\n")  # two to the left, and one deleted
        await terminal.expect("> text    hello\n")
        await terminal.expect("< text    hello\n")
        # The history is read in the background, and gives nothing before.
        with trio.move_on_after(TIMEOUT) as remembering:
            while not remembering.cancelled_caught:
                await terminal.type(UP)
                with trio.move_on_after(0.5):
                    await terminal.expect("hello")
                    break
        await terminal.type("\n")
        await terminal.expect("< text    hello\n")
        await terminal.type(CTRL_D)
    assert result.exit == Exit.OK


@pytest.mark.usefixtures("plain")
async def test_without_the_extra_the_terminal_edits() -> None:
    async with (
        serving() as url,
        at_a_terminal("connect", url) as (terminal, result),
    ):
        await terminal.expect(">")
        await terminal.type("hexlo\x7f\x7f\x7fllo\n")
        await terminal.expect("< text    hello\n>")
        await terminal.type(CTRL_D)
    assert result.exit == Exit.OK


async def test_the_end_that_the_server_makes_is_told() -> None:
    async def close(endpoint: Endpoint) -> None:
        await endpoint.receive()
        await endpoint.aclose(4001, "that was all")

    async with (
        serving(close) as url,
        at_a_terminal("connect", url) as (terminal, result),
    ):
        await terminal.expect(">")
        await terminal.type("hello\n")
        await terminal.expect("closed by the server with 4001: that was all")
    assert result.exit == Exit.ENDED


async def test_binary_json_and_pings_are_shown_as_what_they_are() -> None:
    async def talk(endpoint: Endpoint) -> None:
        await endpoint.ping(b"abc")
        await endpoint.send(bytes(range(100)))
        await endpoint.send('{"a": [1, true]}')
        await endpoint.send("\x1b[2Jcleared\x07")
        await endpoint.receive()

    async with (
        serving(talk, subprotocols=["chat"]) as url,
        at_a_terminal("connect", url, "--json", "--subprotocol", "chat") as (terminal, result),
    ):
        await terminal.expect("connected to .*, subprotocol chat")
        await terminal.expect(r"\* < PING 61 62 63 \[3 bytes\]")
        await terminal.expect(r"< binary  100 bytes  00 01 02 [^.]* 3f \.\.\.\n")
        await terminal.expect(r'< text    \{\n  "a": \[\n    1,\n    true\n  \]\n\}\n')
        await terminal.expect(r"< text    \\x1b\[2Jcleared\\x07\n")
        await terminal.type("bye\n")
        await terminal.expect("closed by the server with 1000")
    assert result.exit == Exit.OK


async def test_all_frames_are_traced_above_the_prompt() -> None:
    async with (
        serving() as url,
        at_a_terminal("connect", url, "--trace") as (terminal, _),
    ):
        await terminal.expect(">")
        await terminal.type("hello\n")
        await terminal.expect(r"\* < TEXT 'hello' \[5 bytes\]")
        await terminal.type(CTRL_D)
        await terminal.expect("closed")


async def test_a_line_that_is_no_message_is_told_and_the_talk_goes_on() -> None:
    async with (
        serving() as url,
        at_a_terminal("connect", url, "--base64") as (terminal, result),
    ):
        await terminal.expect(">")
        await terminal.type("a\n")
        await terminal.expect(r"\* line 1 is not Base64")
        await terminal.type("AAE=\n")
        await terminal.expect("< binary  2 bytes  00 01\n")
        await terminal.type(CTRL_D)
    assert result.exit == Exit.OK


async def test_a_password_is_not_shown() -> None:
    async with serving() as url:
        with_password = url.replace("ws://", "ws://ada:secret@")
        async with at_a_terminal("connect", with_password) as (terminal, _):
            await terminal.expect(f"connected to {url}/")
            await terminal.expect(">")
            await terminal.type(CTRL_D)
            await terminal.expect("closed")
            assert "secret" not in terminal.screen


async def test_a_connection_that_is_lost_is_made_again_before_ones_eyes() -> None:
    async def close_at_bye(endpoint: Endpoint) -> None:
        async for message in endpoint:
            await endpoint.send(message)
            if message == "bye":
                await endpoint.aclose(1012, "soon back")
                return

    async with (
        serving(close_at_bye) as url,
        at_a_terminal("connect", url, "--reconnect") as (terminal, result),
    ):
        await terminal.expect("connected")
        await terminal.expect(">")
        await terminal.type("bye\n")
        await terminal.expect("< text    bye\n")
        await terminal.expect(r"\* dial 1 .*1012: soon back; next in")
        await terminal.expect("connected")
        await terminal.expect(">")
        await terminal.type("hello\n")
        await terminal.expect("< text    hello\n")
        await terminal.type(CTRL_D)
        await terminal.expect("closed by the client with 1000")
    assert result.exit == Exit.OK


async def test_a_flood_is_shown_no_faster_than_the_terminal_takes_it() -> None:
    sent = 0

    async def talk(endpoint: Endpoint) -> None:
        nonlocal sent
        while True:
            await endpoint.send("x" * 1000)
            sent += 1000

    async with (
        serving(talk) as url,
        process_at_a_terminal("connect", url) as (terminal, process),
    ):
        await terminal.expect("x{200}")
        before = -1
        while before != sent:  # nobody reads the terminal meanwhile
            before = sent
            await trio.sleep(0.5)
        process.send_signal(signal.SIGINT)
        await terminal.expect("closed by the client with 1000")
    assert process.returncode == Exit.OK


async def test_a_terminal_that_takes_no_more_keeps_nobody_from_leaving() -> None:
    async with open_terminal() as (terminal, fd):
        with trio.move_on_after(1.0) as scope:
            async with open_screen(Console(fd, fd, fd), Stop()) as screen:
                await screen.show("x" * 1_000_000)
        assert scope.cancelled_caught
        terminal.hang_up()  # which ends the thread that waits for it


async def test_colours_are_left_out_where_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_terminal() as (_, fd):
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert Console(fd, fd, fd).colour
        monkeypatch.setenv("NO_COLOR", "1")
        assert not Console(fd, fd, fd).colour


async def test_a_pipe_that_ends_at_a_terminal_shows_messages_there() -> None:
    async def talk(endpoint: Endpoint) -> None:
        await endpoint.send("\x1b[2J")
        await endpoint.send(b"\x00")

    reading, writing = os.pipe()
    async with serving(talk) as url, open_terminal() as (terminal, fd):
        exit_ = await execute(parse_arguments(["connect", url]), Console(reading, fd, fd))
        await terminal.expect(r"\\x1b\[2J\n1 byte  00\n")
    os.close(reading)
    os.close(writing)
    assert exit_ == Exit.OK


# -- the editor by itself ---------------------------------------------------------------------


async def test_an_editor_that_is_cancelled_leaves_the_terminal() -> None:
    async with open_terminal() as (_, fd):
        with trio.move_on_after(0.2) as scope:
            async with open_screen(Console(fd, fd, fd), Stop()) as screen:
                async for _ in screen:
                    pass
        assert scope.cancelled_caught


async def test_an_editor_that_is_cancelled_before_it_begins_leaves_at_once() -> None:
    async with open_terminal() as (_, fd):
        with trio.CancelScope() as scope:
            scope.cancel()
            async with open_screen(Console(fd, fd, fd), Stop()):
                pytest.fail("it cannot have begun")
        assert scope.cancelled_caught


async def test_what_is_shown_after_the_editor_has_ended_is_shown_nevertheless() -> None:
    async with open_terminal() as (terminal, fd):
        async with open_screen(Console(fd, fd, fd), Stop()) as screen:
            await terminal.type(CTRL_D)
            with trio.fail_after(TIMEOUT):
                async for _ in screen:
                    pytest.fail("nothing was typed")
            await screen.show("late")
        await terminal.expect("late\n")


@pytest.mark.usefixtures("plain")
async def test_the_best_screen_without_the_extra_is_a_plain_one() -> None:
    async with open_terminal() as (terminal, fd):
        async with open_screen(Console(fd, fd, fd), Stop()) as screen:
            assert isinstance(screen, PlainScreen)
            await screen.show("above")
        await terminal.expect("above\n>")


async def test_a_terminal_that_is_gone_is_the_end_of_input() -> None:
    async with serving(stay_silent), open_terminal() as (terminal, fd):
        lines = Console(fd, fd, fd).lines()
        terminal.hang_up()
        with pytest.raises(StopAsyncIteration):
            await anext(lines)
