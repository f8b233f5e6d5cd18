"""The core of an endpoint: its parts, its tasks, and how they come to an end.

Each endpoint has two tasks in its nursery, from its beginning to its end:

- the **reader task** reads the stream, sends batches of messages through a memory channel, and
  at the end closes the stream;
- the **heartbeat task** pings the peer, and cancels the application's scope when `max_pings`
  stay unanswered.

Two more are started when they are needed: the **writer task**, once the stream has not taken
all that was sent, and the **handler task**, if there are handlers of custom control frames.

All that these tasks wait for is shielded from cancellation from outside, since a cancelled
endpoint still has to say goodbye. None of them raises. What goes wrong in one is kept, the
application's scope is cancelled, and the `async with` raises it as one plain exception.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from types import NoneType
from typing import Any, NoReturn

import trio

from ..protocol import OPEN, Agreement, BytesLike, CloseCode, Role
from .closing import (
    close_code_and_reason,
    close_stream,
    closed_error,
    describe_end,
    exit_code,
    is_clean,
)
from .control import ControlDispatcher
from .errors import ConnectionClosedError, HeartbeatTimeout, closed_by_us
from .heartbeat import Heartbeat
from .instrument import Probe
from .log import ConnectionLog
from .options import EndpointOptions
from .outbox import Outbox
from .reader import Reader
from .receiving import Receiver
from .stream_setup import socket_addresses, transport_for
from .waiting import Ending, FairLock


class EndpointCore:
    """What an endpoint is made of, and what ties its parts together.

    Args:
        stream: What it lives on.
        role: Which end is ours.
        options: How it behaves.
        agreement: What the opening handshake ended in, if it is known.
        addresses: Ours and the peer's, if they have been asked for already.

    Attributes:
        closed_by_us: Whether we have closed.
        drain_code: The close code to close with as soon as nothing can be received; None while
            that is not wanted.
        drain_event: Is set when that is wanted; None as long as nobody has asked for it.
        ended: Happens when the connection has ended and its stream is closed.
        probe: Tells the instrument of it, if there is one.
        sending: Held by the task that sends, if others have to wait for it.
        scope: The application's cancel scope: cancelled when the peer is given up on, or
            when code of the application's that we call has failed.
        fatal: The exception that the `async with` has to raise, or None.
        stream_error: What the stream raised when it broke, or None.
    """

    __slots__ = (
        "_closing_scope",
        "_failed_by_us",
        "_hurried",
        "_left",
        "_nursery",
        "_parting",
        "_scopes",
        "_transport",
        "addresses",
        "closed_by_us",
        "connection",
        "dispatcher",
        "drain_code",
        "drain_event",
        "ended",
        "fatal",
        "heartbeat",
        "log",
        "options",
        "outbox",
        "probe",
        "reader",
        "receiver",
        "scope",
        "sending",
        "stream_error",
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
        self.stream_error: Exception | None = None
        self.addresses = addresses or socket_addresses(stream)
        self.probe: Probe | None = None
        if options.instrument is None:
            self.connection = options.create_connection(role)
        else:
            self.connection = metered = options.create_metered_connection(role)
            self.probe = Probe(options.instrument, metered)
        self.log = ConnectionLog(self.connection, self.addresses[1])
        codecs = agreement.codecs if agreement else options.assumed_codecs(role)
        self.connection.open(codecs)
        self.log.opened(options.parser)
        self._transport = transport_for(stream)
        self._nursery: trio.Nursery | None = None
        self._scopes: list[trio.CancelScope] = []  # of the tasks that `start_task` has started
        self._closing_scope: trio.CancelScope | None = None
        self.closed_by_us = False
        self.drain_code: int | None = None
        self.drain_event: trio.Event | None = None
        self._left = False  # whether the `async with` was left
        self.sending = FairLock("sending")
        self._failed_by_us = False
        self._hurried = False
        self._parting = False  # whether it was cancelled, and its time is short
        self.ended = Ending()
        self.outbox = Outbox(self.connection, self._transport, self)
        self.reader = Reader(self.connection, self._transport, options.max_look_ahead, self)
        self.receiver = Receiver(self.connection, self.reader, self.outbox, self)
        self.heartbeat = Heartbeat(
            options.ping_interval,
            options.max_pings,
            self.connection,
            self.reader,
            self.outbox,
            self,
        )
        self.dispatcher: ControlDispatcher | None = None
        if options.control_handlers:
            self.dispatcher = ControlDispatcher(
                self.connection, options.control_handlers, self._on_control_room
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
        if self.probe is not None:
            self.outbox.write_by_connection()
            self.probe.opened(endpoint)
        if initial_data:
            self.reader.feed(initial_data)
        nursery.start_soon(self._run_reader, name="reader")
        if self.options.ping_interval != math.inf:
            nursery.start_soon(self.heartbeat.run, name="heartbeat")
        if self.dispatcher is not None:
            self.start_task(partial(self.dispatcher.run, endpoint), "handlers")

    def start_task(self, task: Callable[[], Awaitable[None]], name: str) -> None:
        """Run a task until it returns, or the endpoint ends; not once it has ended."""
        if self._nursery is not None:
            self._nursery.start_soon(self._run_task, task, name=name)

    async def _run_task(self, task: Callable[[], Awaitable[None]]) -> None:
        if self._nursery is None:  # the end was quicker than the task's start
            return
        scope = trio.CancelScope(shield=True)
        self._scopes.append(scope)
        try:
            with scope:
                await task()
        except BaseException as error:
            self.crash(error)
        finally:
            self._scopes.remove(scope)

    async def _run_reader(self) -> None:
        try:
            await self.reader.run()
            if self.connection.close_held:
                await self._in_time(self._wait_for_release)
                self.release_close()
            self._end_half()
            await self._in_time(
                partial(close_stream, self.connection, self._transport, self.outbox)
            )
        except BaseException as error:
            self.crash(error)
        try:
            await self._end()
        except BaseException as error:
            self.crash(error)
        finally:
            self.ended.set()

    async def _in_time(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step of the closing, which has `close_timeout`, or less if it is hurried."""
        if not self._hurried:
            due = trio.current_time() + self.options.close_timeout
            with trio.CancelScope(deadline=due, shield=True) as self._closing_scope:
                await step()
            self._closing_scope = None

    async def _wait_for_release(self) -> None:
        while self.connection.close_held:
            await self.reader.wake_up.wait()

    async def _end(self) -> None:
        """The connection is over: leave nothing waiting."""
        connection = self.connection
        connection.receive_eof()
        if self.outbox.size:
            connection.send_failed()
        else:
            connection.send_eof()
            self._end_half()
        self.outbox.end()
        self.reader.end()
        self.heartbeat.end()
        self.log.ended(self._failed_by_us, self.stream_error)
        if self.probe is not None:
            self.probe.ended(self.stream_error)
        await self._transport.aclose_forcefully()

    def end_tasks(self) -> None:
        """Have all tasks return: the connection has ended, or could not be started."""
        self._nursery = None
        self.hurry()
        self.heartbeat.end()
        for scope in self._scopes:
            scope.cancel()

    def dissolve(self) -> None:
        """Let go of the parts' references to this, which only the collector would find."""
        for part in (self.outbox, self.reader, self.receiver, self.heartbeat):
            del part._core
        self.dispatcher = None

    # -- what the parts report ------------------------------------------------------------

    def handle_control(self) -> None:
        """See to what a read has brought besides messages."""
        connection = self.connection
        connection.control_arrived = False
        if connection.answered_pings:
            self.heartbeat.take_pongs()
        if self.dispatcher is None:
            connection.control_frames.clear()
        elif connection.control_frames:
            self.dispatcher.take(closing=self.closed_by_us)
            self.reader.held_up = self.dispatcher.full
        self.outbox.flush_soon()
        if connection.peer_state is not OPEN:
            self.heartbeat.end()

    def _on_control_room(self) -> None:
        self.reader.held_up = False
        self.reader.wake()
        self.look_again()

    def note_stream_error(self, error: Exception) -> None:
        """Keep what the stream raised first: it tells why the connection was lost."""
        # That it is closed, and nothing else, is what a stream says which broke before.
        if self.stream_error is None or isinstance(self.stream_error, trio.ClosedResourceError):
            self.stream_error = _detached(error)

    def on_write_failed(self, error: Exception) -> None:
        """Nothing can be written any more; what the peer sent before may still be read."""
        self.note_stream_error(error)
        self.connection.send_failed()
        self.reader.end_by(trio.current_time() + self.options.cancel_timeout)

    def release_close(self) -> None:
        """Send the close frame that was held until the messages before it were handed out."""
        if self.connection.close_held:
            self.connection.release_close()
            self.outbox.flush()
            self.reader.wake_up.wake()

    # -- failing --------------------------------------------------------------------------

    def give_up(self, reason: str) -> None:
        """Fail the connection because the peer is silent."""
        # Cancelled first: whoever receives must not be told of a mere end of the connection.
        self.scope.cancel()
        self.fail(CloseCode.PROTOCOL_ERROR, reason)
        self.fatal = self.fatal or describe_end(HeartbeatTimeout, self.connection, None)

    def give_up_slow(self) -> None:
        """Fail the connection because the peer does not keep up; what waits is dropped."""
        self.outbox.clear()
        self.fail(CloseCode.TRY_AGAIN_LATER, "too slow to receive")

    def crash(self, error: BaseException) -> None:
        """Fail the connection because code of the application's has failed, or our own."""
        if self.fatal is None:
            self.fatal = error
        elif isinstance(self.fatal, Exception) and not isinstance(error, Exception):
            self.log.dropped(self.fatal)
            self.fatal = error  # an interrupt goes first
        del error  # the traceback of a `trio.Cancelled` made by this call holds this frame
        self.scope.cancel()
        self.fail(CloseCode.INTERNAL_ERROR, "internal error")

    def fail(self, code: CloseCode, reason: str) -> None:
        """Fail the connection for a reason of ours, without waiting (section 7.1.7)."""
        self._failed_by_us = True
        self.connection.fail(code, reason)
        self.outbox.flush()
        self.heartbeat.end()
        self.reader.end()

    # -- closing --------------------------------------------------------------------------

    async def close(self, code: int | None, reason: str) -> None:
        """Perform the closing handshake and close the stream."""
        self._begin_close(code, reason)
        try:
            if self.reader.ended:  # from here on, the reader task keeps to the time itself
                await self.ended.wait()
                return
            with trio.move_on_after(self.options.close_timeout):
                await self.ended.wait()
                return
        except BaseException:  # cancelled, or interrupted from the keyboard
            await self._part()
            raise
        await self._wait_ended(0)

    async def close_on_exit(self, error: BaseException | None) -> None:
        """Close because the `async with` is left: normally, or by an exception."""
        self._left = True
        code = exit_code(error)
        in_a_hurry = code is CloseCode.GOING_AWAY or isinstance(self.fatal, HeartbeatTimeout)
        if in_a_hurry or not isinstance(error, (Exception, NoneType)):
            if code is CloseCode.GOING_AWAY and self.drain_code is not None:
                self._begin_close(self.drain_code, "")
            else:
                self._begin_close(code, "")
            await self._part()
        else:
            await self.close(code, "")

    def _begin_close(self, code: int | None, reason: str) -> None:
        self.closed_by_us = True
        self.receiver.discard()
        self.reader.discard()
        self.release_close()
        if self.is_open:
            self.connection.send_close(code, reason)
            self.outbox.flush()
        self.reader.take_back()

    async def _part(self) -> None:
        """Give the peer `cancel_timeout` to end, then force it; not to be cancelled."""
        self._parting = True
        if self.reader.ended:
            self._end_half()
        await self._wait_ended(self.options.cancel_timeout)

    def _end_half(self) -> None:
        """End our half of a cancelled endpoint's stream, which cannot wait for the peer's."""
        if self._parting and not self.outbox.size:
            self._transport.send_eof_nowait()

    async def _wait_ended(self, timeout: float) -> None:
        """Wait for the end for so long, then force it; not to be cancelled."""
        try:
            with trio.move_on_after(timeout, shield=True):
                await self.ended.wait()
        finally:
            self.hurry()
            with trio.CancelScope(shield=True):
                await self.ended.wait()

    def hurry(self) -> None:
        """Close the stream now, whatever the peer does: it has had its time."""
        self._hurried = True
        self.reader.end()
        if self._closing_scope is not None:
            self._closing_scope.cancel()

    async def wait_closed(self) -> None:
        """Wait until the connection has ended and the stream is closed."""
        await self.ended.wait()

    # -- draining -------------------------------------------------------------------------

    def drain(self, code: int) -> None:
        """Close as soon as somebody waits for a message and none is ready."""
        if self.drain_code is None:
            self.drain_code = code
            if self.drain_event is not None:
                self.drain_event.set()
            self.reader.take_back()

    @property
    def draining(self) -> trio.Event:
        """Set once `drain` was called."""
        if self.drain_event is None:
            self.drain_event = trio.Event()
            if self.drain_code is not None:
                self.drain_event.set()
        return self.drain_event

    def close_drained(self) -> bool:
        """Close as `drain` wants it, unless a message is under way; says whether it did."""
        assert self.drain_code is not None
        if (
            self.connection.message_begun
            or self._transport.holds_part
            or self.reader.held_up
            or self.sending.holder is not None
        ):
            return False
        self._begin_close(self.drain_code, "")
        return True

    def look_again(self) -> None:
        """Have whoever waits for a message see whether the endpoint may be closed now."""
        if self.drain_code is not None:
            self.reader.take_back()

    # -- how it stands --------------------------------------------------------------------

    @property
    def stream(self) -> trio.abc.Stream:
        """What the endpoint lives on."""
        return self._transport.stream

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
        self._check_not_closed_by_us()
        if not self.is_open:
            raise describe_end(ConnectionClosedError, self.connection, self.stream_error)

    def _check_not_closed_by_us(self) -> None:
        if self.closed_by_us:
            raise closed_by_us(self.connection.connection_id)

    async def wait_sent(self) -> None:
        """Wait until what was sent has left the outbox, or most of it; silent if cancelled.

        Raises:
            trio.ClosedResourceError, ConnectionClosedError: it never will.
        """
        await self.outbox.wait_flushed()
        if self.outbox.ended or self.outbox.cleared:
            self.check_open()

    async def raise_end(self, *, iterating: bool = False) -> NoReturn:
        """Raise what tells a receiver that there are no more messages."""
        await trio.lowlevel.checkpoint_if_cancelled()  # by what ended it, perhaps
        if iterating and self.closed_by_us and not (self._left or self.options.raise_on_close):
            raise StopAsyncIteration
        self._check_not_closed_by_us()
        if iterating and not self.options.raise_on_close and is_clean(self.connection):
            raise StopAsyncIteration
        raise closed_error(self.connection, self.stream_error)

    async def raise_broken(self) -> NoReturn:
        """Raise what tells whoever waits for more than a message: never a clean end."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_not_closed_by_us()
        raise describe_end(ConnectionClosedError, self.connection, self.stream_error)

    @property
    def size_received(self) -> int:
        """Bytes of memory of all that was read and not received."""
        return self.receiver.size + (self.dispatcher.size if self.dispatcher else 0)

    def close_code_and_reason(self) -> tuple[int, str] | tuple[None, None]:
        """The close code and reason; None and None while the connection is open."""
        if self.is_open:
            return None, None
        return close_code_and_reason(self.connection, self.stream_error)


def _detached(error: Exception) -> Exception:
    """An exception without all that holds the frames of whoever reads or writes."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each.__context__ = each.__cause__  # not what was being handled besides
        each = each.__cause__
    return error
