"""How an endpoint tells its application that the connection has ended."""

from __future__ import annotations

import trio

from ..protocol import CloseCode, CloseFrame, HandshakeError, Role


class ConnectionClosed(Exception):
    """The connection has ended.

    Attributes:
        code: The close code of the first close frame that was sent either way; 1006 if there
            was none.
        reason: Its reason, or in words what happened instead.
        sent_close_frame: The close frame that we sent, or None.
        received_close_frame: The close frame that the peer sent, or None.
        closed_first: Whose close frame came first, or None if there was none.
    """

    def __init__(
        self,
        code: int = CloseCode.ABNORMAL_CLOSURE,
        reason: str = "",
        *,
        sent_close_frame: CloseFrame | None = None,
        received_close_frame: CloseFrame | None = None,
        closed_first: Role | None = None,
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.sent_close_frame = sent_close_frame
        self.received_close_frame = received_close_frame
        self.closed_first = closed_first

    def __str__(self) -> str:
        who = f" by the {self.closed_first.value}" if self.closed_first else ""
        why = f": {self.reason}" if self.reason else ""
        return f"closed{who} with {int(self.code)}{why}"


class ConnectionClosedOK(ConnectionClosed, trio.EndOfChannel):
    """The peer has closed cleanly: with 1000, 1001 or no code."""


class ConnectionClosedError(ConnectionClosed, trio.BrokenResourceError):
    """The connection has ended in any other way, or cannot be sent on any more."""


class HeartbeatTimeout(ConnectionClosedError):
    """The peer was given up on: it left `max_pings` pings unanswered and sent nothing else."""


class LookAheadFull(Exception):
    """A pong cannot be read: it lies behind messages that nobody receives.

    Receive them in another task while `ping` waits, or allow a larger `max_look_ahead`.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            "the pong lies behind messages of which none was received for"
            f" {self.seconds:g} seconds: receive them in another task"
        )


class HandshakeTimeout(HandshakeError, trio.TooSlowError):
    """The opening handshake was not complete within `handshake_timeout`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the opening handshake took more than {seconds} seconds", 408)
