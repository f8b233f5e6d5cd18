"""In a pipe: lines in, messages out, and nothing lost at the end."""

from __future__ import annotations

import attrs
import trio

from ..endpoint import ConnectionClosed, Endpoint
from .console import Console, Lines
from .dialling import Dialling
from .encoding import Encoding
from .exits import CommandError, Exit, exit_for_code
from .show import Painter
from .stopping import Stop


@attrs.frozen
class Pipe:
    """The way of messages through a pipe.

    Attributes:
        console: Where lines come from, and messages go.
        encoding: What a line means.
        painter: How messages are shown if the output is a terminal.
    """

    console: Console
    encoding: Encoding
    painter: Painter

    async def run(self, dialling: Dialling, stop: Stop, linger: float) -> Exit:
        """Send what comes in and write what is received, until either ends."""
        source = _Source(self.console.lines(), self.encoding)

        async def talk(endpoint: Endpoint) -> None:
            with stop.scope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_all, endpoint, scope)
                    await source.send_to(endpoint)
                    if source.problem is None:
                        await wait_for_silence(endpoint, linger)
                    nursery.cancel_scope.cancel()

        code = await dialling.run(talk)
        if source.problem is not None:
            raise source.problem
        return exit_for_code(code)

    async def run_once(self, dialling: Dialling, stop: Stop) -> Exit:
        """Send the first line, write its answer, and leave."""
        try:
            message = self.encoding.to_message(await anext(self.console.lines()), 1)
        except StopAsyncIteration:
            raise CommandError("--once needs a line to send") from None
        answered = True
        async with dialling.open() as endpoint:
            with stop.scope():
                await endpoint.send(message)
                with trio.move_on_after(dialling.timeout) as waiting:
                    await self._write(await endpoint.receive())
                answered = not waiting.cancelled_caught
        if not answered:
            raise CommandError("no answer came in time", Exit.TIMEOUT)
        return exit_for_code(endpoint.close_code)

    async def _write_all(self, endpoint: Endpoint, scope: trio.CancelScope) -> None:
        """Write messages until the connection ends, or nobody reads them any more."""
        try:
            async for message in endpoint:
                await self._write(message)
        except (ConnectionClosed, BrokenPipeError):
            pass
        scope.cancel()

    async def _write(self, message: str | bytes) -> None:
        if self.console.shows and not (self.encoding.base64 and isinstance(message, bytes)):
            await self.console.write(f"{self.painter.bare(message)}\n".encode())
        else:
            await self.console.write(self.encoding.from_message(message))


@attrs.define
class _Source:
    """The messages that come in, and where they are.

    Attributes:
        problem: What was wrong with one, which ends it.
    """

    lines: Lines
    encoding: Encoding
    problem: CommandError | None = None
    _number: int = 0
    _unsent: str | bytes | None = None

    async def send_to(self, endpoint: Endpoint) -> None:
        """Send until there are no more, one cannot be sent, or the connection ends."""
        try:
            while (message := await self._next()) is not None:
                self._unsent = message
                await endpoint.send(message)
                self._unsent = None
        except CommandError as error:
            self.problem = error
        except ConnectionClosed:
            await trio.sleep_forever()  # until who receives sees it, too

    async def _next(self) -> str | bytes | None:
        """The next; or again the last one, if it could not be sent."""
        if self._unsent is not None:
            return self._unsent
        async for line in self.lines:
            self._number += 1
            return self.encoding.to_message(line, self._number)
        return None


async def wait_for_silence(endpoint: Endpoint, seconds: float) -> None:
    """Wait until nothing has come for so long, not even a part of a message."""
    seen = -1
    while seen != (seen := _size_of_messages(endpoint)):  # noqa: ASYNC110 - nobody tells
        await trio.sleep(seconds)


def _size_of_messages(endpoint: Endpoint) -> int:
    received = endpoint.statistics().received
    # Pongs tell of no answer to come; each is counted as if it had come as small as can be.
    return received.size - 2 * received.pongs
