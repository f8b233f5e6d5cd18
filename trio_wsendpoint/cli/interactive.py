"""With a person: what is typed goes out, and what comes is shown above."""

from __future__ import annotations

import contextlib
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
"""Frames that wait to be shown; more are left out."""


@attrs.frozen
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

    async def run(self, dialling: Dialling, stop: Stop) -> Exit:
        """Talk until either has enough."""
        notes, waiting = trio.open_memory_channel[str](MAX_NOTES)

        def note(text: str) -> None:
            with contextlib.suppress(trio.WouldBlock):
                notes.send_nowait(text)

        with logged_to(note, None if self.trace else ("PING", "PONG")):
            async with dialling.open() as endpoint:
                await self._say(f"connected to {dialling.place}{_agreed(endpoint)}")
                with stop.scope() as scope:
                    async with (
                        open_screen(self.console, stop) as screen,
                        trio.open_nursery() as nursery,
                    ):
                        nursery.start_soon(self._show_notes, waiting, screen)
                        nursery.start_soon(
                            self._show_messages, endpoint, waiting, screen, scope
                        )
                        await self._send_lines(endpoint, screen)
                        nursery.cancel_scope.cancel()
        await self._say(_told(endpoint))
        return exit_for_code(endpoint.close_code)

    async def _say(self, text: str) -> None:
        await self.console.write(f"{self.painter.note(text)}\n".encode(errors="replace"))

    async def _show_notes(self, notes: trio.MemoryReceiveChannel[str], screen: Screen) -> None:
        async for text in notes:
            await screen.show(self.painter.note(text))

    async def _show_messages(
        self,
        endpoint: Endpoint,
        notes: trio.MemoryReceiveChannel[str],
        screen: Screen,
        scope: trio.CancelScope,
    ) -> None:
        try:
            async for message in endpoint:
                # Frames that came before it are shown before it.
                with contextlib.suppress(trio.WouldBlock):
                    while True:
                        await screen.show(self.painter.note(notes.receive_nowait()))
                await screen.show(self.painter.received(message))
        except ConnectionClosed:
            pass  # told at the end
        scope.cancel()

    async def _send_lines(self, endpoint: Endpoint, screen: Screen) -> None:
        number = 0
        async for line in screen:
            number += 1
            try:
                message = self.encoding.to_message(line.encode(errors="replace"), number)
            except CommandError as error:
                await screen.show(self.painter.note(str(error)))
                continue
            try:
                await endpoint.send(message)
            except ConnectionClosed:
                await trio.sleep_forever()  # until who receives sees it, too
            if screen.edits:
                await screen.show(self.painter.sent(message))


def _agreed(endpoint: Endpoint) -> str:
    """What the opening handshake has agreed on, if anything."""
    return f", subprotocol {endpoint.subprotocol}" if endpoint.subprotocol else ""


def _told(endpoint: Endpoint) -> str:
    reason = f": {endpoint.close_reason}" if endpoint.close_reason else ""
    who = f" by the {endpoint.closed_first.value}" if endpoint.closed_first else ""
    return f"closed{who} with {endpoint.close_code}{reason}"
