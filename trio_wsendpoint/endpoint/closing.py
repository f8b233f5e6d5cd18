"""The end of an endpoint: closing its stream, and telling how it ended."""

from __future__ import annotations

import math

import trio

from ..protocol import CloseCode, Connection, Role, State
from .errors import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK
from .outbox import Outbox
from .transport import STREAM_ERRORS, StreamTransport

_CLEAN = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RECEIVED)


async def close_stream(
    connection: Connection, transport: StreamTransport, outbox: Outbox
) -> None:
    """Close the stream now that no more messages will come.

    "the server MUST ... close the TCP connection first" and the client waits for it (RFC
    6455 section 7.1.1). So the server ends its half of the stream and reads the other half to
    its end. A socket that is closed with unread bytes in it would be reset, and the reset could
    overtake our close frame; so whoever has found the peer at fault does the same. All others
    read first, and end their own half then, as a socket that another process holds too would
    not tell the peer that it was closed.

    It takes as long as the peer does: bound it.
    """
    try:
        await outbox.wait_empty()
        await trio.lowlevel.checkpoint_if_cancelled()
        goes_first = connection.role is Role.SERVER or connection.peer_state is State.FAILED
        has_halves = goes_first and await transport.send_eof()
        if has_halves or not goes_first:
            while await transport.read():
                pass
        if not goes_first:
            await transport.send_eof()
        await transport.aclose()
    except STREAM_ERRORS:
        pass  # it is as closed as it gets; whoever calls this closes it by force besides


def exit_code(error: BaseException | None) -> CloseCode:
    """The close code when the `async with` is left normally (None), or by an exception."""
    if error is None:
        return CloseCode.NORMAL_CLOSURE
    cancelled = trio.current_effective_deadline() == -math.inf
    return CloseCode.GOING_AWAY if cancelled else CloseCode.INTERNAL_ERROR


def is_clean(connection: Connection) -> bool:
    """Whether the peer has closed, and with a code that means no harm."""
    frame = connection.received_close_frame
    failed = connection.peer_state is State.FAILED
    return not failed and frame is not None and frame.code in _CLEAN


def closed_error(connection: Connection, stream_error: Exception | None) -> ConnectionClosed:
    """The exception that tells how a connection ended."""
    kind: type[ConnectionClosed]
    kind = ConnectionClosedOK if is_clean(connection) else ConnectionClosedError
    return describe_end(kind, connection, stream_error)


def describe_end(
    kind: type[ConnectionClosed], connection: Connection, stream_error: Exception | None
) -> ConnectionClosed:
    """Fill an exception with what is known of a connection's end.

    Args:
        kind: Its class.
        connection: The connection.
        stream_error: What the stream raised when it broke, or None.
    """
    code, reason = close_code_and_reason(connection, stream_error)
    error = kind(
        code,
        reason,
        sent_close_frame=connection.sent_close_frame,
        received_close_frame=connection.received_close_frame,
        closed_first=connection.closed_first,
        connection_id=connection.connection_id,
    )
    error.__cause__ = stream_error
    return error


def close_code_and_reason(
    connection: Connection, stream_error: Exception | None
) -> tuple[int, str]:
    """The code and reason of the close frame that came first.

    Where there was none, the code is 1006 and the reason tells what happened.
    """
    if connection.closed_first is connection.role:
        frame = connection.sent_close_frame
    else:
        frame = connection.received_close_frame
    if frame is not None:
        return frame.code, frame.reason
    if stream_error is not None:
        return CloseCode.ABNORMAL_CLOSURE, f"the stream broke: {stream_error}"
    failure = connection.failure
    return CloseCode.ABNORMAL_CLOSURE, failure.reason if failure else ""
