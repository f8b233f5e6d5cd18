"""`serve` and `serve_listeners`: nursery services that run a handler for each connection."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeAlias, TypeVar, Unpack

import trio

from ..endpoint import (
    ConnectionClosed,
    Endpoint,
    EndpointScope,
    HandshakeKeywords,
    socket_addresses,
)
from ..protocol import HandshakeError
from .accept import Acceptor

logger = logging.getLogger("trio_wsendpoint.server")

Handler: TypeAlias = Callable[[Endpoint], Awaitable[object]]
ListenerT = TypeVar("ListenerT", bound=trio.abc.Listener[Any])


async def serve(
    handler: Handler,
    port: int,
    *,
    host: str | bytes | None = None,
    ssl_context: ssl.SSLContext | None = None,
    backlog: int | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[HandshakeKeywords],
) -> NoReturn:
    """Listen for WebSocket connections over TCP, and run a handler for each.

    Shaped like `trio.serve_tcp`: `nursery.start` returns its listeners. It runs until it is
    cancelled; then it accepts no more and closes all endpoints with 1001, side by side,
    within `cancel_timeout`. A connection that fails never ends it.

    Args:
        handler: An async function that is called with each endpoint, in a task of its own.
            When it returns, the connection is closed: with 1000, or 1011 if it raises.
        port: The port to listen on; 0 for any that is free.
        host: The address to listen on; None for all.
        ssl_context: With it, connections are TLS.
        backlog: As for `trio.open_tcp_listeners`.
        task_status: For `nursery.start`.
        **options: See `EndpointOptions` and `HandshakeOptions`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        OSError: the address cannot be listened on.
    """
    serve_stream = _serve_stream("serve", handler, options, ssl_context)
    _check_address(port, host)
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=backlog)
    await trio.serve_listeners(serve_stream, listeners, task_status=task_status)


async def serve_listeners(
    handler: Handler,
    listeners: Sequence[ListenerT],
    *,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[ListenerT]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[HandshakeKeywords],
) -> NoReturn:
    """Accept WebSocket connections from listeners, and run a handler for each.

    Shaped like `trio.serve_listeners`, and otherwise like `serve`.

    Args:
        handler: An async function that is called with each endpoint, in a task of its own.
        listeners: Such as those of `trio.open_tcp_listeners`; closed in the end.
        handler_nursery: Where the handlers run; by default in a nursery inside.
        task_status: For `nursery.start`.
        **options: See `EndpointOptions` and `HandshakeOptions`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """
    serve_stream = _serve_stream("serve_listeners", handler, options)
    await trio.serve_listeners(
        serve_stream,
        _check_listeners(listeners, handler_nursery),
        handler_nursery=handler_nursery,
        task_status=task_status,
    )


def _serve_stream(
    caller: str,
    handler: Handler,
    options: HandshakeKeywords,
    ssl_context: ssl.SSLContext | None = None,
) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """What to do with each stream; the arguments are checked before the first one comes."""
    if not callable(handler):
        raise TypeError(f"handler must be an async function, not {handler!r}")
    acceptor = Acceptor.create(options, ssl_context, caller)

    async def serve_stream(stream: trio.abc.Stream) -> None:
        addresses = socket_addresses(stream)
        connection_id: int | None = None
        try:
            established = await acceptor.establish(stream)
            async with EndpointScope(*established, addresses) as endpoint:
                connection_id = endpoint.connection_id
                await handler(endpoint)
        except BaseExceptionGroup as group:
            # A handler that is cancelled and fails at once must not take the server with it.
            failures, others = group.split(Exception)
            if failures is not None:
                _log_failure(failures, connection_id, addresses[1])
            if others is not None:
                raise others from None
        except Exception as error:
            _log_failure(error, connection_id, addresses[1])

    return serve_stream


def _check_address(port: int, host: str | bytes | None) -> None:
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    # The system would take it modulo 65536.
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be 0 to 65535, not {port}")
    if not isinstance(host, str | bytes | None):
        raise TypeError(f"host must be a str, bytes or None, not {type(host).__name__}")


def _check_listeners(
    listeners: Sequence[ListenerT], handler_nursery: trio.Nursery | None
) -> list[ListenerT]:
    if not isinstance(listeners, Iterable):
        raise TypeError(f"listeners must be a sequence, not {type(listeners).__name__}")
    checked = list(listeners)
    for listener in checked:
        if not isinstance(listener, trio.abc.Listener):
            raise TypeError(
                f"listeners must be trio.abc.Listeners, not {type(listener).__name__}"
            )
    if not checked:
        raise ValueError("listeners must not be empty")
    if not isinstance(handler_nursery, trio.Nursery | None):
        raise TypeError(
            f"handler_nursery must be a trio.Nursery, not {type(handler_nursery).__name__}"
        )
    return checked


def _log_failure(error: Exception, connection_id: int | None, peer: Any) -> None:
    """Log why a connection ended, as loudly as somebody has to see to it."""
    extra = {"connection_id": connection_id, "peer": peer}
    # A handler may well raise a HandshakeError, of a connection of its own.
    if isinstance(error, HandshakeError) and connection_id is None:
        logger.debug("an opening handshake failed: %s", error, extra=extra)
    elif _is_disconnect(error):
        logger.info("a connection ended before its handler: %s", error, extra=extra)
    else:
        logger.error("a handler failed", exc_info=error, extra=extra)


def _is_disconnect(error: Exception) -> bool:
    """Whether all that a handler did not catch is that the connection has ended."""
    if isinstance(error, ExceptionGroup):
        return all(map(_is_disconnect, error.exceptions))
    return isinstance(error, ConnectionClosed)
