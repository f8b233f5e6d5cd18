"""With a person: what is typed goes out, and what comes is shown above."""

from __future__ import annotations

import collections
from functools import partial
from typing import Final

import attrs
import trio

from ..endpoint import ConnectionClosed, Endpoint
from .console import Console
from .dialling import Dialling
from .encoding import Encoding
from .exits import CommandError, Exit, exit_for_code
from .screen import Screen, open_screen
from .show import Painter
from .stopping import Stop
from .tracing import logged_to

MAX_NOTES: Final = 1000
"""Frames that wait to be shown; of more, the oldest are left out."""


@attrs.define
class Dialogue:
    """A talk between a person and a server.

    Attributes:
        console: The terminal.
        encoding: What a line means.
        painter: How messages are shown.
        trace: Whether all frames are shown, not pings and pongs alone.
    """

    console: Console
    encoding: Encoding
    painter: Painter
    trace: bool
    _screen: Screen | None = None
    _notes: collections.deque[str] = attrs.field(
        factory=partial(collections.deque, maxlen=MAX_NOTES)
    )
    _showing: trio.Lock = attrs.field(factory=trio.Lock)
    _noted: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, dialling: Dialling, stop: Stop) -> Exit:
        """Talk until either has enough."""
        ended: list[Endpoint] = []

        async def talk(endpoint: Endpoint) -> None:
            await self._show(
                self.painter.note(f"connected to {dialling.place}{_agreed(endpoint)}")
            )
            ended[:] = [endpoint]
            with stop.scope() as scope:
                await self._talk(endpoint, scope, stop)

        with logged_to(self._note, None if self.trace else ("PING", "PONG")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._show_notes)
                code = await dialling.run(talk)
                nursery.cancel_scope.cancel()
        await self._show_waiting()
        await self._show(self.painter.note(_told(ended[0])))
        return exit_for_code(code)

    async def _talk(self, endpoint: Endpoint, scope: trio.CancelScope, stop: Stop) -> None:
        async with (
            open_screen(self.console, stop) as self._screen,
            trio.open_nursery() as nursery,
        ):
            try:
                nursery.start_soon(self._show_messages, endpoint, scope)
                await self._send_lines(endpoint, self._screen)
                nursery.cancel_scope.cancel()
            finally:
                self._screen = None

    # -- what is shown --------------------------------------------------------------------

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._noted.set()

    async def _show(self, text: str) -> None:
        async with self._showing:
            if self._screen is not None:
                await self._screen.show(text)
            else:
                await self.console.write(f"{text}\n".encode(errors="replace"))

    async def _show_notes(self) -> None:
        while True:
            await self._noted.wait()
            await self._show_waiting()
            self._noted = trio.Event()

    async def _show_waiting(self) -> None:
        while self._notes:
            await self._show(self.painter.note(self._notes.popleft()))

    async def _show_messages(self, endpoint: Endpoint, scope: trio.CancelScope) -> None:
        try:
            async for message in endpoint:
                await self._show_waiting()  # frames that came before it
                await self._show(self.painter.received(message))
        except ConnectionClosed:
            pass  # told at the end
        scope.cancel()

    # -- what is sent ---------------------------------------------------------------------

    async def _send_lines(self, endpoint: Endpoint, screen: Screen) -> None:
        number = 0
        async for line in screen:
            number += 1
            try:
                message = self.encoding.to_message(line.encode(errors="replace"), number)
            except CommandError as error:
                await self._show(self.painter.note(str(error)))
                continue
            try:
                await endpoint.send(message)
            except ConnectionClosed:
                await trio.sleep_forever()  # until who receives sees it, too
            if screen.edits:
                await self._show(self.painter.sent(message))


def _agreed(endpoint: Endpoint) -> str:
    """What the opening handshake has agreed on, if anything."""
    return f", subprotocol {endpoint.subprotocol}" if endpoint.subprotocol else ""


def _told(endpoint: Endpoint) -> str:
    reason = f": {endpoint.close_reason}" if endpoint.close_reason else ""
    who = f" by the {endpoint.closed_first.value}" if endpoint.closed_first else ""
    return f"closed{who} with {endpoint.close_code}{reason}"
