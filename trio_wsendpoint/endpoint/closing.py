"""The end of an endpoint: the stream after the closing handshake, and how it is told."""

from __future__ import annotations

import trio

from ..protocol import CloseCode, Connection, Role
from .errors import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK
from .outbox import Outbox
from .transport import STREAM_ERRORS, StreamTransport

_CLEAN = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RECEIVED)


async def finish_stream(
    connection: Connection, transport: StreamTransport, outbox: Outbox
) -> None:
    """Close the stream now that no more messages will come.

    "the server MUST ... close the TCP connection first" and the client waits for it (RFC
    6455 section 7.1.1). The peer gets our close frame only if we do not close a socket with
    unread bytes in it, as that would reset the connection; so whoever goes first ends its own
    half, and reads the other to its end. It takes as long as the peer does: bound it.
    """
    try:
        await outbox.wait_flushed(0)
        await trio.lowlevel.checkpoint_if_cancelled()
        goes_first = connection.role is Role.SERVER or connection.failure is not None
        if not goes_first or await transport.send_eof():
            while await transport.read():
                pass
        await transport.aclose()
    except STREAM_ERRORS:
        pass  # the stream is as closed as it gets; the `async with` sees to the rest


def closed_error(connection: Connection, cause: BaseException | None) -> ConnectionClosed:
    """The exception that tells how a connection ended."""
    frame = connection.received_close_frame
    clean = connection.failure is None and frame is not None and frame.code in _CLEAN
    kind: type[ConnectionClosed]
    kind = ConnectionClosedOK if clean else ConnectionClosedError
    return describe_end(kind, connection, cause)


def describe_end(
    kind: type[ConnectionClosed], connection: Connection, cause: BaseException | None
) -> ConnectionClosed:
    """Fill an exception with what is known of a connection's end."""
    code, reason = close_code_and_reason(connection)
    error = kind(
        code,
        reason,
        sent_close_frame=connection.sent_close_frame,
        received_close_frame=connection.received_close_frame,
        closed_first=connection.closed_first,
    )
    error.__cause__ = cause
    return error


def close_code_and_reason(connection: Connection) -> tuple[int, str]:
    """The close code and reason of the close frame that came first, or what stands for them.

    Where there was none, the code is 1006 and the reason tells what happened.
    """
    if connection.closed_first is connection.role:
        frame = connection.sent_close_frame
    else:
        frame = connection.received_close_frame
    if frame is not None:
        return frame.code, frame.reason
    failure = connection.failure
    return CloseCode.ABNORMAL_CLOSURE, failure.reason if failure else ""
