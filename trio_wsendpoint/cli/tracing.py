"""What endpoints log, as lines for a person: frames, and what the peer does wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LOGGER: Final = logging.getLogger("trio_wsendpoint")

CLIENT_LOGGER: Final = "trio_wsendpoint.client"


class _LineHandler(logging.Handler):
    def __init__(self, say: Callable[[str], object], kinds: tuple[str, ...] | None) -> None:
        super().__init__(logging.DEBUG)
        self._say = say
        self._kinds = kinds

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, if it is of a kind that is wanted."""
        message = record.getMessage()
        if message.startswith(("< ", "> ")):
            wanted = self._kinds is None or message[2:].startswith(self._kinds)
        else:
            # The client's logger tells of dials that are tried again.
            wanted = self._kinds is None or (
                record.levelno > logging.INFO or record.name == CLIENT_LOGGER
            )
        if wanted:
            self._say(self.format(record))  # with the traceback, if it has one


@contextmanager
def logged_to(say: Callable[[str], object], kinds: tuple[str, ...] | None) -> Iterator[None]:
    """Have log records said.

    Args:
        say: Called with each line.
        kinds: The kinds of frames that are wanted, such as `("PING",)`, besides warnings; None
            for everything.
    """
    handler = _LineHandler(say, kinds)
    before = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
    # With DEBUG on, endpoints describe each frame, which costs.
    LOGGER.setLevel(logging.INFO if kinds == () else logging.DEBUG)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        level, LOGGER.propagate = before
        LOGGER.setLevel(level)
