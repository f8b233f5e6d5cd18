"""What the parts of an endpoint report to: its `Life`.

One object that all of them know costs an endpoint less than a function of it for each purpose.
"""

from __future__ import annotations

from typing import Protocol

from .timer import Host


class Owner(Host, Protocol):
    """Starts the tasks of the parts, and is told what concerns them all."""

    async def run_reader(self) -> None:
        """The reader task: `Reader.run`, and what follows when it is over."""

    def on_news(self) -> None:
        """A read has brought more than messages, or a message was refused."""

    def on_broken(self) -> None:
        """The stream can no longer be written."""

    def on_silence(self, reason: str) -> None:
        """The peer is given up on."""

    def crash(self, error: BaseException) -> None:
        """Code of the application's that we called has failed."""
