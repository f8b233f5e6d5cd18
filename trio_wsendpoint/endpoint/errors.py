"""How an endpoint tells its application that the connection has ended."""

from __future__ import annotations

from typing import Final

import trio

from ..protocol import CloseCode, CloseFrame, HandshakeError, Role, WebSocketError

_TEMPORARY: Final = frozenset(
    {
        CloseCode.GOING_AWAY,
        CloseCode.ABNORMAL_CLOSURE,
        CloseCode.INTERNAL_ERROR,
        CloseCode.SERVICE_RESTART,
        CloseCode.TRY_AGAIN_LATER,
        CloseCode.BAD_GATEWAY,
    }
)


class ConnectionClosed(WebSocketError):
    """The connection has ended.

    Attributes:
        code: The close code of the first close frame that was sent either way; 1006 if there
            was none.
        reason: Its reason, or in words what happened instead.
        sent_close_frame: The close frame that we sent, or None.
        received_close_frame: The close frame that the peer sent, or None.
        closed_first: Whose close frame came first, or None if there was none.
        connection_id: That of the endpoint which it is about, or None.
    """

    def __init__(
        self,
        code: int = CloseCode.ABNORMAL_CLOSURE,
        reason: str = "",
        *,
        sent_close_frame: CloseFrame | None = None,
        received_close_frame: CloseFrame | None = None,
        closed_first: Role | None = None,
        connection_id: int | None = None,
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.sent_close_frame = sent_close_frame
        self.received_close_frame = received_close_frame
        self.closed_first = closed_first
        self.connection_id = connection_id

    @property
    def temporary(self) -> bool:
        """Whether the close code says no more than that this connection is over."""
        return self.code in _TEMPORARY

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

    @property
    def temporary(self) -> bool:
        """It is: the peer may be back, or the way to it."""
        return True


class LookAheadFull(WebSocketError):
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
        super().__init__(
            f"the opening handshake took more than {seconds} seconds", 408, temporary=True
        )


def closed_by_us(connection_id: int | None) -> trio.ClosedResourceError:
    """What an endpoint raises once it was closed on our side; it tells which one it was."""
    error = trio.ClosedResourceError("this endpoint was closed")
    error.connection_id = connection_id  # type: ignore[attr-defined]
    return error
