"""`open_server`: a server that the application holds, and can drain."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Unpack

import attrs
import trio

from ..endpoint import Endpoint, check_ssl_context
from ..protocol import Role
from .listening import check_address, open_listeners
from .options import ServerKeywords
from .running import Handler, RunningServer


@attrs.frozen
class ServerStatistics:
    """How a server stands.

    Attributes:
        connections: Those that are open, or closing.
        handshakes: Opening handshakes and plain requests that are under way.
        opened: Connections that were opened so far.
    """

    connections: int
    handshakes: int
    opened: int


class Server:
    """A server that runs: what `open_server` gives.

    Attributes:
        listeners: Where it listens.
    """

    __slots__ = ("_running", "listeners")

    def __init__(
        self, running: RunningServer, listeners: tuple[trio.SocketListener, ...]
    ) -> None:
        self._running = running
        self.listeners = listeners

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """Those that are open now, or closing."""
        return frozenset(self._running.endpoints)

    def statistics(self) -> ServerStatistics:
        """How many connections there are, and were."""
        limits = self._running.limits
        return ServerStatistics(limits.connections, limits.handshakes, self._running.opened)

    async def drain(self) -> None:
        """Take no more connections, let those there are come to their end, and wait for it.

        The server listens no longer, and answers opening handshakes that are under way with
        503. `Endpoint.draining` tells the handlers. An endpoint is closed with `drain_code` as
        soon as somebody waits to receive and nothing is ready; what is in the socket or has
        come in part counts as ready, and so does a message that is being sent in fragments:
        no answer under way is lost. `async for` ends then, and `receive` raises
        `trio.ClosedResourceError`. After `drain_timeout` what is left is cancelled, and closed
        with `drain_code` within `cancel_timeout`.

        Cancelled, it no longer waits; the server drains on.
        """
        await self._running.drain()


@asynccontextmanager
async def open_server(
    handler: Handler,
    port: int,
    *,
    host: str | bytes | None = None,
    ssl_context: ssl.SSLContext | None = None,
    backlog: int | None = None,
    reuse_port: bool = False,
    **options: Unpack[ServerKeywords],
) -> AsyncIterator[Server]:
    """Serve for as long as the `async with` lasts; give the `Server`.

    Leaving it cancels what is left: all endpoints are closed with 1001, side by side, within
    `cancel_timeout`. To let them come to their end, `await server.drain()` before.

    Args:
        handler: As for `serve`.
        port: As for `serve`.
        host: As for `serve`.
        ssl_context: As for `serve`.
        backlog: As for `serve`.
        reuse_port: As for `serve`.
        **options: As for `serve`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        OSError: the address cannot be listened on.
    """
    check_ssl_context(ssl_context, Role.SERVER)
    running = RunningServer("open_server", handler, options, ssl_context)
    check_address(port, host, reuse_port)
    listeners = await open_listeners(port, host, backlog, reuse_port)
    found: BaseException | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(running.run, listeners, None))
        try:
            yield Server(running, tuple(listeners))
        except trio.Cancelled:
            raise
        except BaseException as error:
            found = error  # kept out of the nursery, which would wrap it in a group
        nursery.cancel_scope.cancel()
    if found is not None:
        raise found
