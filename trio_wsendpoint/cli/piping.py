"""In a pipe: lines in, messages out, and nothing lost at the end."""

from __future__ import annotations

import attrs
import trio

from ..endpoint import ConnectionClosed, Endpoint
from .console import Console
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
        async with dialling.open() as endpoint:
            with stop.scope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_all, endpoint, scope)
                    problem = await self._send_all(endpoint)
                    if problem is None:
                        await wait_for_silence(endpoint, linger)
                    nursery.cancel_scope.cancel()
                if problem is not None:
                    await endpoint.aclose()
                    raise problem
        return exit_for_code(endpoint.close_code)

    async def run_once(self, dialling: Dialling, stop: Stop) -> Exit:
        """Send the first line, write its answer, and leave."""
        try:
            message = self.encoding.to_message(await anext(self.console.lines()), 1)
        except StopAsyncIteration:
            raise CommandError("--once needs a line to send") from None
        async with dialling.open() as endpoint:
            with stop.scope():
                await endpoint.send(message)
                with trio.move_on_after(dialling.timeout) as waiting:
                    await self._write(await endpoint.receive())
                if waiting.cancelled_caught:
                    await endpoint.aclose()
                    raise CommandError("no answer came in time", Exit.TIMEOUT)
        return exit_for_code(endpoint.close_code)

    async def _send_all(self, endpoint: Endpoint) -> CommandError | None:
        number = 0
        try:
            async for line in self.console.lines():
                number += 1
                await endpoint.send(self.encoding.to_message(line, number))
        except CommandError as error:
            return error
        except ConnectionClosed:
            pass  # which who receives sees, too
        return None

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


async def wait_for_silence(endpoint: Endpoint, seconds: float) -> None:
    """Wait until nothing has come for so long, not even a part of a message."""
    seen = -1
    while seen != (seen := _size_of_messages(endpoint)):  # noqa: ASYNC110 - nobody tells
        await trio.sleep(seconds)


def _size_of_messages(endpoint: Endpoint) -> int:
    received = endpoint.statistics().received
    # Pongs tell of no answer to come; each is counted as if it had come as small as can be.
    return received.size - 2 * received.pongs
