"""The exit statuses, and what ends in which."""

from __future__ import annotations

import enum
from typing import Final

from ..endpoint import ConnectionClosed, HandshakeTimeout
from ..hub import HubUnavailable
from ..protocol import CloseCode, HandshakeRejected, WebSocketError


class Exit(enum.IntEnum):
    """What the program tells the shell."""

    OK = 0
    """Closed with 1000, 1001 or no code, or by Ctrl-C."""
    REFUSED = 1
    """The connection could not be opened."""
    USAGE = 2
    """What was asked for, or came in, cannot be right."""
    ENDED = 3
    """Any other end of an open connection."""
    TIMEOUT = 4
    """The opening, or with `--once` the answer, took too long."""


_CLEAN: Final = frozenset(
    {CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RECEIVED}
)


class CommandError(Exception):
    """Why a command cannot go on, in words for its user.

    Attributes:
        exit: What to tell the shell.
    """

    def __init__(self, message: str, exit_: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.exit = exit_


def exit_for_code(code: int | None) -> Exit:
    """How a connection with this close code has ended."""
    return Exit.OK if code in _CLEAN else Exit.ENDED


def explain(error: Exception) -> tuple[Exit, str] | None:
    """What an exception that ended a command means to its user; None if it is a bug."""
    match error:
        case CommandError():
            return error.exit, str(error)
        case HandshakeTimeout():
            return Exit.TIMEOUT, str(error)
        case HandshakeRejected():
            body = error.body.decode(errors="replace").strip()
            return Exit.REFUSED, f"{error}: {body}" if body else str(error)
        case ConnectionClosed():
            return exit_for_code(error.code), str(error)
        case WebSocketError() | HubUnavailable() | OSError():
            return Exit.REFUSED, str(error)
        case ValueError():  # an option that the library checks
            return Exit.USAGE, str(error)
    return None
