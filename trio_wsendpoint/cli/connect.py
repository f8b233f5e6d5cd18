"""`connect`: talk to a server, as a person or in a pipe."""

from __future__ import annotations

import attrs

from .console import Console
from .dialling import Dialling
from .encoding import Encoding
from .exits import Exit
from .interactive import Dialogue
from .piping import Pipe
from .show import Painter
from .stopping import Stop, stopping_on_signals
from .tracing import logged_to


@attrs.frozen(kw_only=True)
class Connect:
    """What `connect` was asked for.

    Attributes:
        dialling: How to reach the server.
        encoding: What a line means.
        json: Whether text that is JSON is shown as such.
        trace: Whether each frame is shown.
        once: Whether to send one message, wait for its answer, and leave.
        linger: Seconds with nothing from the server, after the end of a pipe, until the
            connection is closed.
    """

    dialling: Dialling
    encoding: Encoding = attrs.field(factory=Encoding)
    json: bool = False
    trace: bool = False
    once: bool = False
    linger: float = 1.0

    async def run(self, console: Console) -> Exit:
        """Do it."""
        exit_ = Exit.OK  # if it is stopped before it is open
        async with stopping_on_signals() as stop:
            exit_ = await self._talk(console, stop)
        return exit_  # noqa: RET504 - a scope in there swallows its cancellation

    async def _talk(self, console: Console, stop: Stop) -> Exit:
        painter = Painter(console.colour, self.json)
        if console.interactive and not self.once:
            dialogue = Dialogue(console, self.encoding, painter, self.trace)
            return await dialogue.run(self.dialling, stop)
        pipe = Pipe(console, self.encoding, painter)
        with logged_to(console.remark, None if self.trace else ()):
            if self.once:
                return await pipe.run_once(self.dialling, stop)
            return await pipe.run(self.dialling, stop, self.linger)
