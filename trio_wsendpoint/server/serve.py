"""`serve` and its like: nursery services that run a handler for each connection."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, Unpack

import trio

from ..endpoint import check_ssl_context
from ..protocol import Role
from .listening import check_address, check_mode, open_listeners, open_unix_listener
from .options import ServerKeywords
from .running import Handler, RunningServer

ListenerT = TypeVar("ListenerT", bound=trio.abc.Listener[Any])


async def serve(
    handler: Handler,
    port: int,
    *,
    host: str | bytes | None = None,
    ssl_context: ssl.SSLContext | None = None,
    backlog: int | None = None,
    reuse_port: bool = False,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServerKeywords],
) -> None:
    """Listen for WebSocket connections over TCP, and run a handler for each.

    Shaped like `trio.serve_tcp`: `nursery.start` returns its listeners. It runs until it is
    cancelled; then it accepts no more and closes all endpoints with 1001, side by side,
    within `cancel_timeout`. A connection that fails never ends it. When the event `drain` is
    set, it drains, and returns; see `open_server` for how that goes.

    Args:
        handler: An async function that is called with each endpoint, in a task of its own, or
            a `Router`. When it returns, the connection is closed: with 1000, or 1011 if it
            raises.
        port: The port to listen on; 0 for any that is free.
        host: The address to listen on; None for all interfaces, IPv4 and IPv6.
        ssl_context: With it, connections are TLS.
        backlog: As for `trio.open_tcp_listeners`.
        reuse_port: Whether several processes may listen on the port; the system shares out
            the connections.
        task_status: For `nursery.start`.
        **options: See `EndpointOptions`, `HandshakeOptions` and `ServerOptions`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        OSError: the address cannot be listened on.
    """
    check_ssl_context(ssl_context, Role.SERVER)
    server = RunningServer("serve", handler, options, ssl_context)
    check_address(port, host, reuse_port)
    listeners = await open_listeners(port, host, backlog, reuse_port)
    await server.run(listeners, None, task_status)


async def serve_unix(
    handler: Handler,
    path: str | os.PathLike[str],
    *,
    mode: int = 0o600,
    ssl_context: ssl.SSLContext | None = None,
    backlog: int | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServerKeywords],
) -> None:
    """Listen for WebSocket connections on a Unix socket, and otherwise be like `serve`.

    A socket that a server left behind which is no more is replaced; in the end the socket is
    removed, if it is still the one that was made.

    Args:
        handler: As for `serve`.
        path: The file system path of the socket.
        mode: Its permissions: who may connect.
        ssl_context: With it, connections are TLS.
        backlog: As for `trio.open_tcp_listeners`.
        task_status: For `nursery.start`.
        **options: As for `serve`; `max_connections_per_host` counts nobody here, unless a
            trusted proxy tells addresses.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        OSError: another server listens there, or there is a file of another kind, or the
            socket cannot be made.
    """
    check_ssl_context(ssl_context, Role.SERVER)
    server = RunningServer("serve_unix", handler, options, ssl_context)
    check_mode(mode)
    async with open_unix_listener(path, mode, backlog) as listener:
        await server.run([listener], None, task_status)


async def serve_listeners(
    handler: Handler,
    listeners: Sequence[ListenerT],
    *,
    ssl_context: ssl.SSLContext | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[ListenerT]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServerKeywords],
) -> None:
    """Accept WebSocket connections from listeners, and run a handler for each.

    Shaped like `trio.serve_listeners`, and otherwise like `serve`.

    Args:
        handler: As for `serve`.
        listeners: Such as those of `trio.open_tcp_listeners`; closed in the end.
        ssl_context: With it, connections are TLS; not for a `trio.SSLListener`, which does
            TLS by itself.
        handler_nursery: Where the handlers run; by default in a nursery inside.
        task_status: For `nursery.start`.
        **options: As for `serve`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """
    check_ssl_context(ssl_context, Role.SERVER)
    server = RunningServer("serve_listeners", handler, options, ssl_context)
    checked = _check_listeners(listeners, handler_nursery, ssl_context)
    await server.run(checked, handler_nursery, task_status)


def _check_listeners(
    listeners: Sequence[ListenerT],
    handler_nursery: trio.Nursery | None,
    ssl_context: ssl.SSLContext | None,
) -> list[ListenerT]:
    if not isinstance(listeners, Iterable):
        raise TypeError(f"listeners must be a sequence, not {type(listeners).__name__}")
    checked = list(listeners)
    for listener in checked:
        if not isinstance(listener, trio.abc.Listener):
            raise TypeError(
                f"listeners must be trio.abc.Listeners, not {type(listener).__name__}"
            )
        if ssl_context is not None and isinstance(listener, trio.SSLListener):
            raise ValueError("ssl_context must be None over a trio.SSLListener: it does TLS")
    if not checked:
        raise ValueError("listeners must not be empty")
    if not isinstance(handler_nursery, trio.Nursery | None):
        raise TypeError(
            f"handler_nursery must be a trio.Nursery, not {type(handler_nursery).__name__}"
        )
    return checked
