"""HTTP/2 connections that are shared: one for each server, as long as it takes streams."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import trio

from ..endpoint import check_ssl_context
from ..protocol import Agreement, ClientHandshake, HandshakeError, Role
from .alpn import HTTP2, HTTP11, begin_tls_offering, chosen_protocol, web_scheme
from .handshake import request_endpoint
from .url import Url

if TYPE_CHECKING:
    from ..http2 import Http2Connection

Key: TypeAlias = tuple[Hashable, Hashable]
"""What tells servers apart, and ways to them."""

Dial: TypeAlias = Callable[[], Awaitable[trio.abc.Stream]]


@asynccontextmanager
async def open_http2_pool(
    *, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[Http2Pool]:
    """Share HTTP/2 connections among all `connect(url, http2=pool)` to the same server.

    Needs the extra `http2`. A server that does not speak it, or takes no WebSockets over it,
    is asked by HTTP/1.1, and remembered as such. Where a connection has been silent for a
    while, its server is asked for a sign of life, and dialled anew if none comes soon. Leaving
    the `async with` closes all connections; endpoints that are still open on them are broken
    off.

    Args:
        ssl_context: For `wss`, one of its own, as its ALPN protocols are set here.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        ImportError: the extra is not installed.
    """
    from ..http2 import open_connection  # noqa: F401 - to say at once that it is missing

    check_ssl_context(ssl_context, Role.CLIENT)
    pool = Http2Pool(ssl_context)
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.run)
        # Kept out of the nursery, which would wrap it in a group.
        try:
            yield pool
        except BaseException as problem:
            error = problem
        pool.close()
    try:
        if error is not None:
            raise error
    finally:
        del error, pool  # or the traceback would hold them in a cycle


class Http2Pool:
    """HTTP/2 connections, shared among those who `connect`; see `open_http2_pool`."""

    def __init__(self, ssl_context: ssl.SSLContext | None) -> None:
        self._ssl_context = ssl_context
        self._connections: dict[Key, list[Http2Connection]] = {}
        self._without_http2: set[Key] = set()
        self._locks: dict[Key, trio.Lock] = {}
        # Endpoints that are cancelled still have a goodbye to say over them.
        self._scope = trio.CancelScope(shield=True)
        self._nursery: trio.Nursery | None = None
        self._started = trio.Event()
        self._closed = False

    async def run(self) -> None:
        """Run the connections, until the pool is closed."""
        with self._scope:
            async with trio.open_nursery() as self._nursery:
                self._started.set()
                await trio.sleep_forever()

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self._scope.cancel()

    async def establish(
        self, url: Url, handshake: ClientHandshake, dial: Dial, way: Hashable
    ) -> tuple[trio.abc.Stream, Agreement, bytes]:
        """Perform an opening handshake, over HTTP/2 if the server takes it.

        Args:
            url: Where the server is.
            handshake: What is asked of it.
            dial: Opens a socket to it, where there has to be a new one.
            way: What tells this way of dialling from others.

        Returns:
            The stream, what was agreed on, and what was read behind the response.

        Raises:
            trio.ClosedResourceError: the pool was closed.
            WebSocketError: the server cannot be reached, or refused, or answered wrongly.
        """
        from ..http2 import request_websocket

        if self._closed:
            raise trio.ClosedResourceError("this pool was closed")
        key = (url.origin, way)
        carrier: Http2Connection | trio.abc.Stream | None = None
        if key not in self._without_http2:
            async with self._locks.setdefault(key, trio.Lock()):
                carrier = await self._find(key) or await self._open(url, key, dial)
        if carrier is None:
            carrier = await begin_tls_offering(await dial(), url, self._ssl_context, HTTP11)
        if isinstance(carrier, trio.abc.Stream):
            try:
                agreed = await request_endpoint(carrier, handshake, secure=url.secure)
                return carrier, *agreed
            except BaseException:
                await trio.aclose_forcefully(carrier)
                raise
        stream, agreement = await request_websocket(carrier, handshake, web_scheme(url))
        return stream, agreement, b""

    async def _find(self, key: Key) -> Http2Connection | None:
        """A connection that takes one more stream, and whose server is still there."""
        while True:
            usable = [each for each in self._connections.get(key, ()) if not each.going_away]
            self._connections[key] = usable
            found = next((each for each in usable if each.has_free_stream), None)
            if found is None or await found.answers():
                return found
            found.abandon()

    async def _open(
        self, url: Url, key: Key, dial: Dial
    ) -> Http2Connection | trio.abc.Stream | None:
        """Dial: a connection by HTTP/2, or a stream for HTTP/1.1, or None to dial for it."""
        if key in self._without_http2:  # found out while we waited for our turn
            return None
        stream = await begin_tls_offering(await dial(), url, self._ssl_context, HTTP2, HTTP11)
        if url.secure and chosen_protocol(stream) != HTTP2:
            self._without_http2.add(key)
            return stream
        connection = await self._adopt(stream)
        try:
            await connection.wait_introduced()
            if connection.ended and url.secure:
                raise HandshakeError(f"the server does not speak HTTP/2: {connection.reason}")
        except BaseException:
            connection.abandon()
            raise
        if connection.ended or not connection.takes_websockets:
            self._without_http2.add(key)
            connection.abandon()
            return None
        self._connections[key].append(connection)
        return connection

    async def _adopt(self, stream: trio.abc.Stream) -> Http2Connection:
        """Run a connection on a stream, in a task of the pool's."""
        try:
            await self._started.wait()
            assert self._nursery is not None
            connection: Http2Connection = await self._nursery.start(self._keep, stream)
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            raise
        return connection

    async def _keep(
        self, stream: trio.abc.Stream, task_status: trio.TaskStatus[Http2Connection]
    ) -> None:
        """Run a connection, until it has ended or is of no more use."""
        from ..http2 import open_connection

        async with open_connection(stream, Role.CLIENT) as connection:
            task_status.started(connection)
            while not connection.is_spent:
                await connection.wait_changed()
