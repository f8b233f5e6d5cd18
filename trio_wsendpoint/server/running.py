"""A server that runs: its connections, from the moment they are accepted to their end."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from ..endpoint import (
    Endpoint,
    EndpointScope,
    begin_drain,
    is_closed_socket,
    socket_addresses,
    tell,
)
from ..protocol import HandshakeError
from .accept import LINGER, Acceptor, Http2Opening
from .functions import check_async
from .http2 import offer_http2, serve_http2
from .limits import Limits, Seat
from .log import log_end, log_handler_failure, log_no_connection, without_failures
from .options import Settings
from .routing import Router

if TYPE_CHECKING:
    from ..http2 import Http2Connection

Handler: TypeAlias = Callable[[Endpoint], Awaitable[object]]


class RunningServer:
    """Serves connections, and holds what is common to all of them.

    Args:
        caller: The function that the application has called, for error messages.
        handler: What is to run for each connection.
        keywords: The application's keyword arguments.
        ssl_context: With it, connections are TLS.

    Attributes:
        limits: How many connections there are, and may be.
        endpoints: Those that are open, or closing.
        opened: How many there were so far.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """

    def __init__(
        self,
        caller: str,
        handler: Handler,
        keywords: Mapping[str, Any],
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        check_async("handler", handler, "the endpoint")
        routes = handler.on_request if isinstance(handler, Router) else None
        settings = Settings.parse(caller, keywords, routes=routes)
        if settings.max_streams is not None and ssl_context is not None:
            offer_http2(ssl_context)
        self._handler = handler
        self._instrument = settings.endpoint.instrument
        self._acceptor = Acceptor(settings, ssl_context)
        self._draining = settings.draining
        told = settings.draining.event
        self._drain = trio.Event() if told is None else told
        self._accepting = trio.CancelScope()
        self._stopped = trio.Event()
        self.limits = settings.gate.limits
        self.endpoints: set[Endpoint] = set()
        self._http2: set[Http2Connection] = set()
        self.opened = 0

    async def run(
        self,
        listeners: Sequence[trio.abc.Listener[Any]],
        handler_nursery: trio.Nursery | None,
        task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept connections, and serve each in a task of its own, until drained.

        Args:
            listeners: Where connections come from; closed in the end.
            handler_nursery: Where the handlers run; None for a nursery inside.
            task_status: Is told when the listeners are listened to.
        """
        try:
            if handler_nursery is None:
                async with trio.open_nursery() as handlers:
                    await self._accept_and_drain(listeners, handlers, task_status)
            else:
                handlers = await handler_nursery.start(self._hold_handlers)
                await self._accept_and_drain(listeners, handlers, task_status)
        finally:
            self._stopped.set()

    async def _hold_handlers(self, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Hold a nursery of our own, to be cancelled alone, in one of the application's."""
        async with trio.open_nursery() as handlers:
            task_status.started(handlers)
            await self._stopped.wait()

    async def _accept_and_drain(
        self,
        listeners: Sequence[trio.abc.Listener[Any]],
        handlers: trio.Nursery,
        task_status: trio.TaskStatus[Any],
    ) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_for_drain)
            with self._accepting:
                await trio.serve_listeners(
                    self._serve,
                    [_CountingListener(listener, self.limits) for listener in listeners],
                    handler_nursery=handlers,
                    task_status=_Started(task_status, listeners),
                )
        with trio.move_on_after(self._draining.timeout):
            await self.limits.wait_answered()
            # Browsers open connections in advance, on which no request may ever come.
            with trio.move_on_after(LINGER):
                await self.limits.wait_idle()
        handlers.cancel_scope.cancel()  # what is left says goodbye with the code of draining
        with trio.CancelScope(shield=True):
            await self.limits.wait_idle()

    async def _wait_for_drain(self) -> None:
        await self._drain.wait()
        self.limits.draining = True
        self._accepting.cancel()
        # First, or a client that is told to leave would come back by the same connection.
        for connection in self._http2:
            connection.go_away()
        for endpoint in self.endpoints:
            begin_drain(endpoint, self._draining.code)

    async def drain(self) -> None:
        """Begin to drain, and wait until that is done."""
        self._drain.set()
        await self._stopped.wait()

    async def _serve(self, accepted: _Accepted) -> None:
        """Serve one connection. What goes wrong with it is logged, and harms nobody else."""
        stream = accepted.stream
        peer = socket_addresses(stream)[1]
        try:
            try:
                established = await self._acceptor.establish(stream)
            finally:
                self.limits.handshake_done()
        except HandshakeError as error:
            log_no_connection(error, peer)
            return
        if isinstance(established, Http2Opening):
            settings = self._acceptor.settings
            await serve_http2(established, settings, self._run, self._http2)
            return
        seat, scope = established.seat, established.open()
        # What came behind the request is not to be held for as long as the connection.
        del established, stream, peer
        await self._run(seat, scope)

    async def _run(self, seat: Seat, scope: EndpointScope) -> None:
        """Run the handler with an endpoint."""
        with seat:
            endpoint: Endpoint | None = None
            logged = False
            try:
                async with scope as endpoint:
                    self.endpoints.add(endpoint)
                    self.opened += 1
                    if self.limits.draining:  # its handshake was done just before
                        begin_drain(endpoint, self._draining.code)
                    try:
                        await self._handler(endpoint)
                    except BaseException as error:
                        logged = log_handler_failure(endpoint, error)
                        if logged:
                            tell(self._instrument, "handler_failed", endpoint, error)
                        raise
            except Exception as error:
                if not logged:
                    log_end(endpoint, error)
            except BaseExceptionGroup as group:
                # A handler that is cancelled and fails must not take the server with it.
                if not logged:
                    log_end(endpoint, group)
                raise without_failures(group) from None
            finally:
                self.endpoints.discard(endpoint)


class _CountingListener(trio.abc.Listener[Any]):
    """A listener that accepts no more than there may be opening handshakes under way."""

    def __init__(self, listener: trio.abc.Listener[Any], limits: Limits) -> None:
        self._listener = listener
        self._limits = limits

    async def accept(self) -> Any:
        await self._limits.wait_for_handshakes()
        stream = await self._listener.accept()
        # Another listener may have accepted the last one that there could be.
        try:
            await self._limits.wait_for_handshakes()
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            raise
        self._limits.handshakes += 1
        return _Accepted(stream)

    async def aclose(self) -> None:
        await self._listener.aclose()


class _Accepted(trio.abc.AsyncResource):
    """A stream that was accepted, which Trio closes by force behind its handler.

    It is closed already by then, and to close it once more would cost a cancelled checkpoint.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def aclose(self) -> None:
        if not is_closed_socket(self.stream):
            await self.stream.aclose()


class _Started(trio.TaskStatus[Any]):
    """Tells of the application's own listeners when those around them have started."""

    def __init__(self, task_status: trio.TaskStatus[Any], listeners: Sequence[Any]) -> None:
        self._task_status = task_status
        self._listeners = listeners

    def started(self, _: Any = None) -> None:
        self._task_status.started(self._listeners)
