"""A proxy of TCP that may stop forwarding, as a network does that is cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Proxy:
    """Forwards connections to a port, or holds back all that comes.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._open = trio.Event()
        self._open.set()

    def stall(self) -> None:
        """From now on nothing gets through, and nobody is told."""
        self._open = trio.Event()

    def resume(self) -> None:
        """All gets through again, what was held back first."""
        self._open.set()

    async def forward(self, near: trio.SocketStream) -> None:
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self._target)
            async with near, far, trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, near, far, nursery.cancel_scope)
                nursery.start_soon(self._copy, far, near, nursery.cancel_scope)
        except* OSError:
            pass

    async def _copy(
        self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in source:
                await self._open.wait()
                await target.send_all(data)
        except trio.BrokenResourceError:
            pass
        scope.cancel()


@asynccontextmanager
async def open_proxy(target: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy.forward, listeners)
        yield proxy
        nursery.cancel_scope.cancel()
