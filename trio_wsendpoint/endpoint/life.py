"""The life of an endpoint: its parts, its tasks, and how they come to an end.

The tasks run in the endpoint's nursery, each in a scope of its own that is shielded from
cancellation from outside: only so can a cancelled endpoint still say goodbye. None of them
raises; what goes wrong in one is kept, the application's scope is cancelled, and the `async
with` raises it, as one plain exception.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Awaitable, Callable
from types import NoneType
from typing import Any

import trio

from ..protocol import Agreement, BytesLike, CloseCode, Role, State
from .closing import close_code_and_reason, closed_error, describe_end, finish_stream
from .control import ControlDispatcher
from .errors import ConnectionClosedError, HeartbeatTimeout
from .heartbeat import Heartbeat
from .log import ConnectionLog
from .options import EndpointOptions
from .outbox import Outbox
from .reader import Reader
from .receiving import Receiver
from .stream_setup import socket_addresses, transport_for
from .timer import Alarm, current_timer
from .transport import STREAM_ERRORS


class Life:
    """What an endpoint is made of, and what ties its parts together.

    Args:
        stream: What it lives on.
        role: Which end is ours.
        options: How it behaves.
        agreement: What the opening handshake ended in, if it is known.
        addresses: Ours and the peer's, if they have been asked for already.

    Attributes:
        scope: The application's cancel scope: cancelled when the peer is given up on, or
            when code of the application's that we call has failed.
        fatal: The exception that the `async with` has to raise, or None.
    """

    __slots__ = (
        "_closed_by_us",
        "_context",
        "_finished",
        "_gave_up",
        "_nursery",
        "_out_of_time",
        "_reader_deadline",
        "_reader_scope",
        "_scopes",
        "_stream",
        "_timer",
        "_transport",
        "addresses",
        "connection",
        "dispatcher",
        "fatal",
        "heartbeat",
        "log",
        "options",
        "outbox",
        "reader",
        "receiver",
        "scope",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        role: Role,
        options: EndpointOptions,
        agreement: Agreement | None,
        addresses: tuple[Any, Any] | None,
    ) -> None:
        self.options = options
        self.scope = trio.CancelScope()
        self.fatal: BaseException | None = None
        self.addresses = addresses or socket_addresses(stream)
        self.connection = options.create_connection(role)
        self.log = ConnectionLog(self.connection, self.addresses[1])
        codecs = agreement.codecs if agreement else options.assumed_codecs(role)
        self.connection.open(codecs)
        self.log.opened(options.parser)
        self._stream = stream
        self._transport = transport_for(stream)
        self._nursery: trio.Nursery | None = None
        self._context = contextvars.copy_context()
        self._timer = current_timer()
        self._finished = trio.Event()
        self._reader_scope: trio.CancelScope | None = None
        self._reader_deadline: Alarm | None = None
        self._scopes: list[trio.CancelScope] = []
        self._closed_by_us = False
        self._gave_up = False
        self._out_of_time = False
        self.outbox = Outbox(self.connection.outbound, self._transport, self)
        self.reader = Reader(self.connection, self._transport, self.outbox, self)
        self.receiver = Receiver(self.connection, self.reader, self)
        self.dispatcher: ControlDispatcher | None = None
        if options.control_handlers:
            self.dispatcher = ControlDispatcher(
                self.connection, options.control_handlers, self._on_control_room
            )
        self.heartbeat = Heartbeat(
            options.ping_interval,
            options.max_pings,
            self.connection,
            self.reader,
            self.outbox,
            self,
        )

    # -- its tasks ------------------------------------------------------------------------

    def start(self, nursery: trio.Nursery, endpoint: Any, initial_data: BytesLike) -> None:
        """Start the tasks.

        Args:
            nursery: Where they run.
            endpoint: What handlers of control frames get.
            initial_data: What was already read of the stream.
        """
        self._nursery = nursery
        self._timer.join(self)
        if initial_data:
            self.reader.feed(initial_data)
        self.reader.start()
        self.heartbeat.start()
        if self.dispatcher is not None:
            self.start_task(self.dispatcher.run, endpoint)

    def start_task(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task until it returns, or the endpoint ends; not once it has ended."""
        if self._nursery is not None:
            # Whoever starts it, such as the timer, may be a task of another endpoint.
            start_soon: Callable[..., None] = self._nursery.start_soon
            self._context.run(start_soon, self._run, task, args, name=task)

    async def _run(
        self, task: Callable[..., Awaitable[None]], args: tuple[object, ...]
    ) -> None:
        if self._nursery is None:  # the end was quicker than the task's start
            return
        scope = trio.CancelScope(shield=True)
        self._scopes.append(scope)
        try:
            with scope:
                await task(*args)
        except BaseException as error:
            self.crash(error)
        finally:
            self._scopes.remove(scope)

    async def run_reader(self) -> None:
        """The reader task: it reads while it is its turn, and at the end closes the stream."""
        over = True
        try:
            with trio.CancelScope() as self._reader_scope:
                if self._out_of_time:
                    self._reader_scope.cancel()
                over = await self.reader.run()
                if over:
                    with trio.move_on_after(self.options.close_timeout):
                        await finish_stream(self.connection, self._transport, self.outbox)
        except BaseException as error:
            self.crash(error)
        self._reader_scope = None
        if not over:
            return
        try:
            await self._end()
        except BaseException as error:
            self.crash(error)
        finally:
            self._finished.set()

    async def _end(self) -> None:
        """The reader task is over, and the connection with it: leave nothing waiting."""
        self.connection.receive_eof()
        self.outbox.give_up()
        assert self._reader_deadline is not None
        self._timer.cancel(self._reader_deadline)
        self.reader.end()
        self.heartbeat.end()
        self.log.ended(blamed=self._is_peer_to_blame)
        with trio.CancelScope(shield=True), contextlib.suppress(*STREAM_ERRORS):
            await trio.aclose_forcefully(self._stream)

    @property
    def _is_peer_to_blame(self) -> bool:
        failure = self.connection.failure
        lost = failure is None or failure.code == CloseCode.ABNORMAL_CLOSURE
        return not (lost or self._gave_up)

    # -- what the parts report ------------------------------------------------------------

    def on_news(self) -> None:
        """The reader has brought more than messages."""
        connection = self.connection
        connection.has_news = False
        if connection.answered_pings:
            self.heartbeat.take_pongs()
        if self.dispatcher is None:
            connection.control_frames.clear()
        elif connection.control_frames:
            self.dispatcher.take(closing=self._closed_by_us)
            self.reader.held_up = self.dispatcher.full
        self.outbox.flush_soon()
        if connection.peer_state is not State.OPEN:
            self.heartbeat.end()

    def _on_control_room(self) -> None:
        self.reader.held_up = False
        self.reader.wake()

    def on_broken(self) -> None:
        """Nothing can be written any more; what the peer sent before may still be read."""
        self.connection.send_eof()
        self._reader_deadline = self._timer.set(self.options.cancel_timeout, self._stop_reader)

    def _stop_reader(self) -> None:
        """The peer has had its time: what is not read by now is not waited for."""
        self._out_of_time = True
        if self._reader_scope is not None:
            self._reader_scope.cancel()
        else:
            self.reader.end()

    def on_silence(self, reason: str) -> None:
        """The peer is given up on."""
        # Cancelled first: whoever receives must not be told of a mere end of the connection.
        self.scope.cancel()
        self.fail(CloseCode.PROTOCOL_ERROR, reason)
        self.fatal = self.fatal or describe_end(HeartbeatTimeout, self.connection, None)

    def crash(self, error: BaseException) -> None:
        """Code of the application's that we called has failed, or our own."""
        self.fatal = self.fatal or error
        self.scope.cancel()
        self.fail(CloseCode.INTERNAL_ERROR, "internal error")

    def fail(self, code: CloseCode, reason: str) -> None:
        """Close the connection for a reason of ours, without waiting."""
        self._gave_up = True
        self.connection.fail(code, reason)
        self.outbox.flush()
        self.reader.end()

    # -- closing --------------------------------------------------------------------------

    async def close(self, code: int | None, reason: str) -> None:
        """Perform the closing handshake and close the stream."""
        self._begin_close(code, reason)
        try:
            with trio.move_on_after(self.options.close_timeout):
                await self._finished.wait()
        except BaseException:  # cancelled, or interrupted from the keyboard
            await self._wait_finished(self.options.cancel_timeout)
            raise
        await self._wait_finished(0)

    async def leave(self, error: BaseException | None) -> None:
        """The `async with` is being left: normally, or by an exception."""
        code = _code_for(error)
        hurries = code is CloseCode.GOING_AWAY or not isinstance(error, (Exception, NoneType))
        if not hurries and not isinstance(self.fatal, HeartbeatTimeout):
            await self.close(code, "")
        else:  # cancelled, interrupted, or of no use to wait for: there is no time to lose
            self._begin_close(code, "")
            await self._wait_finished(self.options.cancel_timeout)

    def stop(self) -> None:
        """Stop all tasks; the connection has ended."""
        self._timer.leave(self)
        self._nursery = None
        for scope in self._scopes:
            scope.cancel()

    def _begin_close(self, code: int | None, reason: str) -> None:
        self._closed_by_us = True
        self.receiver.drop()
        self.reader.drain()
        if self.is_open:
            self.connection.send_close(code, reason)
            self.outbox.flush()

    async def _wait_finished(self, timeout: float) -> None:
        """Wait for the end for so long, then force it; not to be cancelled."""
        try:
            with trio.move_on_after(timeout, shield=True):
                await self._finished.wait()
        finally:
            self._stop_reader()
            with trio.CancelScope(shield=True):
                await self._finished.wait()

    # -- how it ended ---------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether more can be sent: not once either side has closed or failed."""
        return self.connection.is_open

    def check_open(self) -> None:
        """Refuse to send when nothing more can be sent.

        Raises:
            trio.ClosedResourceError: we have closed.
            ConnectionClosedError: the connection has ended otherwise.
        """
        if self._closed_by_us:
            raise trio.ClosedResourceError("this endpoint was closed")
        if not self.is_open:
            raise describe_end(ConnectionClosedError, self.connection, self.reader.stream_error)

    @property
    def size_received(self) -> int:
        """Bytes of memory that all takes which was read and not received."""
        return self.receiver.size + (self.dispatcher.size if self.dispatcher else 0)

    async def end_of_receiving(self) -> Exception:
        """What `receive` raises now that there are no more messages."""
        await trio.lowlevel.checkpoint_if_cancelled()  # by what ended it, perhaps
        if self._closed_by_us:
            return trio.ClosedResourceError("this endpoint was closed")
        return closed_error(self.connection, self.reader.stream_error)

    async def end_of_stream(self) -> Exception:
        """What breaks off whatever waits for more than a message: never a clean end."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed_by_us:
            return trio.ClosedResourceError("this endpoint was closed")
        return describe_end(ConnectionClosedError, self.connection, self.reader.stream_error)

    def close_code_and_reason(self) -> tuple[int, str] | tuple[None, None]:
        """The close code and reason; None and None while the connection is open."""
        connection = self.connection
        if connection.state is State.OPEN and connection.peer_state is State.OPEN:
            return None, None
        return close_code_and_reason(connection)


def _code_for(error: BaseException | None) -> CloseCode:
    """What the close frame says when the `async with` is left so."""
    if error is None:
        return CloseCode.NORMAL_CLOSURE
    cancelled = trio.current_effective_deadline() == -math.inf
    return CloseCode.GOING_AWAY if cancelled else CloseCode.INTERNAL_ERROR
