"""A screen with line editing and history, by prompt_toolkit.

prompt_toolkit wants an asyncio loop, so it has one, in a thread of its own. Lines come from
there over a memory channel, and what is to be shown goes there, one after the other: so a peer
that sends faster than the terminal shows is held up, as everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Size
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_input
from prompt_toolkit.output import Output
from prompt_toolkit.output.vt100 import Vt100_Output

from .console import Console
from .screen import PROMPT, Screen
from .stopping import Stop

PATIENCE: Final = 1.0
"""Seconds that the thread has to end."""

HISTORY: Final = InMemoryHistory()
"""What was typed, also before a connection was lost; what is secret is kept nowhere else."""


class Editor(Screen):
    """A line that is edited, and what is above it."""

    edits = True

    def __init__(self, console: Console) -> None:
        self._console = console
        # Not bounded: a person types them, or pastes them at once.
        self._to_lines, self._lines = trio.open_memory_channel[str](math.inf)
        self._token = trio.lowlevel.current_trio_token()
        self.started = trio.Event()
        self.ended = trio.Event()
        self._patience = trio.CancelScope(shield=True)
        self._showing = trio.Lock()
        self._shown = trio.Event()
        self._leaving = False
        self._loop: asyncio.AbstractEventLoop | None = None
        # Copies, which the thread closes when nothing uses them any more.
        self._stdin = os.fdopen(os.dup(console.stdin), "r")
        self._stdout = os.fdopen(os.dup(console.stdout), "w")
        # Not every terminal answers where its cursor is, and nobody needs to know.
        self._output: Output = Vt100_Output(self._stdout, self._size, enable_cpr=False)
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            input=create_input(self._stdin),
            output=self._output,
            erase_when_done=True,
            history=HISTORY,
        )
        self._session.default_buffer.accept_handler = self._accept
        # Only then are Ctrl-C and Ctrl-D keys, and the terminal's no more.
        self._session.app.after_render += lambda _: self._call(self.started.set)

    # -- in Trio's thread -----------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[str]:
        return self._lines

    async def show(self, text: str) -> None:
        """Have the editor show it, and wait until it has."""
        async with self._showing:
            self._shown = trio.Event()
            with contextlib.suppress(RuntimeError):  # its loop has just ended
                if self._loop is not None and not self.ended.is_set():
                    self._loop.call_soon_threadsafe(self._show, text, self._shown)
                    await self._shown.wait()
                    return
            await self._console.write(f"{text}\n".encode(errors="replace"))

    async def run(self, stop: Stop) -> None:
        """Edit in a thread; there is no more to read when it has ended."""
        try:
            # A thread cannot be cancelled, but told to end; so `leave` comes first.
            with self._patience:
                if await trio.to_thread.run_sync(self._edit, abandon_on_cancel=True):
                    stop.ask()
        finally:
            self.ended.set()
            self._shown.set()
            self._to_lines.close()

    async def leave(self) -> None:
        """End the editing; what waits for a terminal that takes no more is abandoned."""
        self._leaving = True
        with contextlib.suppress(RuntimeError):  # as above
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._leave)
        with trio.move_on_after(PATIENCE, shield=True):
            await self.ended.wait()
        self._patience.cancel()

    # -- in the editor's thread -----------------------------------------------------------

    def _edit(self) -> bool:
        """Edit until Ctrl-D, Ctrl-C or `_leave`; says whether it was Ctrl-C."""

        def started() -> None:
            self._loop = asyncio.get_running_loop()
            if self._leaving:
                self._loop.call_soon(self._leave)

        interrupted = False
        try:
            with self._stdin, self._stdout:
                # It never returns, as `_accept` has it go on.
                self._session.prompt(
                    pre_run=started, handle_sigint=False, set_exception_handler=False
                )
        except (EOFError, KeyboardInterrupt) as key:
            interrupted = isinstance(key, KeyboardInterrupt)
        return interrupted

    def _size(self) -> Size:
        columns, rows = os.get_terminal_size(self._console.stdout)
        return Size(rows=rows or 24, columns=columns or 80)

    def _accept(self, buffer: Buffer) -> bool:
        self._call(self._to_lines.send_nowait, buffer.text)
        return False  # the text is not kept

    def _show(self, text: str, shown: trio.Event) -> None:
        # Not by prompt_toolkit's own `run_in_terminal`: that gives the terminal its Ctrl-C and
        # Ctrl-D back meanwhile, so that those of a user would be lost who types in that moment.
        with contextlib.suppress(OSError):  # the terminal is gone
            self._session.app.renderer.erase()
            self._output.write_raw(f"{text}\n")
            self._output.flush()
            self._session.app.invalidate()
        self._call(shown.set)

    def _leave(self) -> None:
        if self._session.app.is_running and not self._session.app.is_done:
            self._session.app.exit(exception=EOFError)

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function, *arguments)


@asynccontextmanager
async def open_editor(console: Console, stop: Stop) -> AsyncIterator[Screen]:
    """Edit lines for as long as the `async with` lasts."""
    editor = Editor(console)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(editor.run, stop)
        try:
            await editor.started.wait()
            yield editor
        finally:
            await editor.leave()
