"""A terminal with what comes above, and a line below to type on."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from .console import Console
from .stopping import Stop

PROMPT: Final = "> "


class Screen(abc.ABC):
    """What a person types on, and reads: `async for line in screen`, until Ctrl-D.

    Attributes:
        edits: Whether a line that was typed is gone from it, and wants to be shown.
    """

    edits = False

    @abc.abstractmethod
    async def show(self, text: str) -> None:
        """Show some lines above the one that is typed on."""

    @abc.abstractmethod
    def __aiter__(self) -> AsyncIterator[str]:
        """The lines that are typed."""


class PlainScreen(Screen):
    """A terminal that edits lines by itself, as far as it can."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines = console.lines()
        self._writing = trio.Lock()

    async def show(self, text: str) -> None:
        """Show it in place of the prompt, and the prompt again below."""
        await self._write(f"\r\x1b[K{text}\n{PROMPT}")

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        await self._write(PROMPT)
        return (await anext(self._lines)).decode(errors="replace")

    async def _write(self, text: str) -> None:
        async with self._writing:
            await self._console.write(text.encode(errors="replace"))


@asynccontextmanager
async def open_screen(console: Console, stop: Stop) -> AsyncIterator[Screen]:
    """The best screen that can be had: with line editing, if the extra `cli` is installed."""
    try:
        from .editor import open_editor
    except ImportError:
        yield PlainScreen(console)
    else:
        async with open_editor(console, stop) as editor:
            yield editor
