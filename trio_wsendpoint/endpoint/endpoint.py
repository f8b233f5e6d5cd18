"""The endpoint: what the application holds while a connection is open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, overload

import attrs
import trio
from trio.lowlevel import checkpoint_if_cancelled, wait_readable

from ..protocol import (
    PLAIN_TYPES,
    Agreement,
    BinaryFrame,
    CloseCode,
    CloseFrame,
    ControlFrame,
    DataFrame,
    Message,
    MessageKind,
    Piece,
    PingFrame,
    PongFrame,
    Request,
    Response,
    Role,
    TextFrame,
    TLSInfo,
    check_close_arguments,
    frame_type_of,
    to_sendable,
)
from .core import EndpointCore
from .outbox import Sendable
from .stream_setup import show_address, tls_info
from .streams import ReceiveStream, SendStream
from .transport import STREAM_ERRORS


@attrs.frozen
class Traffic:
    """What crossed an endpoint in one direction.

    Attributes:
        messages: Whole messages.
        size: Bytes, headers and control frames included.
        pings: Ping frames.
        pongs: Pong frames.
        waiting: Bytes of memory held, Python's overhead counted: what was read and not yet
            received, or frames not yet written.
    """

    messages: int
    size: int
    pings: int
    pongs: int
    waiting: int


@attrs.frozen
class Statistics:
    """What crossed an endpoint so far, both ways."""

    sent: Traffic
    received: Traffic


class Endpoint(trio.abc.Channel[str | bytes]):
    """One end of an open WebSocket connection: a Trio channel of `str` and `bytes`.

    It is made by `open_endpoint`, `accept`, `connect` and `serve`. Any number of tasks may
    send, and any number may receive: each message goes to one of them, in order.
    """

    __slots__ = (
        "_agreement",
        "_connection",
        "_core",
        "_outbox",
        "_reader",
        "_ready",
        "_receiver",
        "_receiving",
        "_sending",
    )

    def __init__(self, core: EndpointCore, agreement: Agreement | None) -> None:
        self._core = core
        self._agreement = agreement
        # What every message goes through is at hand.
        self._connection = core.connection
        self._outbox = core.outbox
        self._reader = core.reader
        self._receiver = core.receiver
        self._receiving = core.receiver.lock
        self._ready = core.receiver.ready
        self._sending = core.sending

    # -- receiving ------------------------------------------------------------------------

    @overload
    async def receive(self, *, decode: Literal[True] = True) -> str | bytes: ...
    @overload
    async def receive(self, *, decode: Literal[False]) -> bytes: ...
    @overload
    async def receive(self, *, decode: bool) -> str | bytes: ...

    async def receive(self, *, decode: bool = True) -> str | bytes:
        """Wait for the next message.

        Cancelled, it loses none: the next call gets it.

        Args:
            decode: False to get text as the UTF-8 that it is, which was checked all the same.

        Returns:
            `str` for a text message, `bytes` for a binary one or a data frame of one's own.

        Raises:
            ConnectionClosedOK: the peer closed cleanly; also a `trio.EndOfChannel`.
            ConnectionClosedError: the connection ended otherwise; also a
                `trio.BrokenResourceError`.
            trio.ClosedResourceError: the endpoint was closed on our side.
        """
        payload = await self._receive(iterating=False)
        return payload if decode or isinstance(payload, bytes) else payload.encode()

    async def _receive(self, iterating: bool = True) -> str | bytes:
        ready, lock = self._ready, self._receiving
        if lock.holder is None:
            if ready:
                await checkpoint_if_cancelled()
            elif (
                not (self._receiver.rest or self._receiver.pieces)
                and (descriptor := self._reader.begin_plain_read()) >= 0
            ):
                # What `next_message` would do, with no coroutine in between.
                reader = self._reader
                lock.holder = self
                try:
                    await wait_readable(descriptor)
                    batch = reader.read_nowait(reader.receive_at_rest)
                except STREAM_ERRORS as error:
                    batch = reader.note_failed_read(error)
                finally:
                    reader.finish_read()
                    lock.release()
                if len(batch) == 1:
                    message = batch[0]
                    plain = type(message) in PLAIN_TYPES
                    return message if plain else message.payload  # type: ignore[return-value, union-attr]
                self._receiver.start_batch(batch)
            if ready and type(ready[-1]) is not Piece:
                message = ready.pop()
                if not ready:
                    self._receiver.note_ready_empty()
                return message.payload if type(message) is Message else message  # type: ignore[return-value]
        entry = await self._receiver.next_message()
        if entry is None:
            await self._core.raise_end(iterating=iterating)
        return entry.payload if isinstance(entry, Message) else entry

    __anext__ = _receive  # not a call of it, which each message would have to pay for

    async def receive_message(self) -> Message:
        """Wait for the next message, like `receive`, and get it with its frames."""
        entry = await self._receiver.next_message()
        if entry is None:
            await self._core.raise_end()
        if isinstance(entry, Message):
            return entry
        return Message(entry, TextFrame if isinstance(entry, str) else BinaryFrame)

    @asynccontextmanager
    async def open_receive_stream(self) -> AsyncIterator[ReceiveStream]:
        """Receive the next message piece by piece, however large it is.

        Entering waits until the message begins; other receivers wait until it is left. Left
        early, for whatever reason, the rest of the message is skipped, and the next receiver
        gets the next message. `max_message_size` does not apply.

        Cancelled while it waits for the message, it loses nothing.

        Raises:
            ConnectionClosedOK, ConnectionClosedError, trio.ClosedResourceError: as `receive`.
        """
        await checkpoint_if_cancelled()
        receiver = self._receiver
        async with receiver.lock:
            first = await receiver.next_stream()
            if first is None:
                await self._core.raise_end()
            stream = ReceiveStream(first, receiver, self._core.raise_broken)
            try:
                yield stream
            finally:
                stream.close()
                while stream.busy:
                    await trio.lowlevel.cancel_shielded_checkpoint()

    # -- sending --------------------------------------------------------------------------

    async def send(self, message: Sendable, *, compress: bool = True) -> None:
        """Send a message.

        It waits while the outbox is full, adds the whole message, and waits again until the
        outbox has drained. Cancelled before the message was added, it raises, and nothing of
        the message will ever be sent; cancelled after that, it returns at once, and the
        message is sent whole.

        Args:
            message: `str` for a text message, bytes-like for a binary one, or a `Message`.
            compress: False to leave this message uncompressed, if compression is on at all.

        Raises:
            TypeError, ValueError: `message` cannot be sent; the connection is still good.
            ConnectionClosedError: the connection has ended.
            trio.ClosedResourceError: the endpoint was closed on our side.
        """
        if type(message) not in PLAIN_TYPES:
            message = to_sendable(message)
        connection, outbox = self._connection, self._outbox
        if connection.sent.messages >= outbox.yield_at:
            await outbox.checkpoint()
        else:
            await checkpoint_if_cancelled()
        if outbox.held or self._sending.holder is not None:
            await self._send_in_turn(message, compress)
        else:
            if not connection.is_open:
                self._core.check_open()
            outbox.send(message, compress)
        if outbox.held:
            await self._core.wait_sent()

    async def _send_in_turn(self, message: Sendable, compress: bool) -> None:
        if isinstance(message, Message) and issubclass(message.frame_type, ControlFrame):
            # "Control frames ... MAY be injected in the middle of a fragmented message"
            # (section 5.4), so it need not wait for one to end.
            await self._outbox.wait_for_room()
            self._send(message, compress)
            return
        try:
            async with self._sending:
                await self._outbox.wait_for_room()
                self._send(message, compress)
        finally:
            self._core.look_again()

    def _send(self, message: Sendable, compress: bool) -> None:
        self._core.check_open()
        self._connection.send_message(message, compress=compress)
        self._outbox.flush_soon()

    @asynccontextmanager
    async def open_send_stream(
        self, kind: MessageKind, *, compress: bool = True
    ) -> AsyncIterator[SendStream]:
        """Send one message in fragments, as they are made.

        Entering waits until other messages are sent; other senders wait until it is left.
        Pings, pongs and closes go between the fragments. Left normally, the final fragment
        is sent. Left by an exception or cancelled with a part of the message sent, the
        endpoint is closed with 1011: half a message is never passed off as a whole one.

        Args:
            kind: `"text"`, `"binary"`, or the class of a data frame of one's own.
            compress: As for `send`.

        Raises:
            TypeError, ValueError: `kind` is none of these.
            ConnectionClosedError, trio.ClosedResourceError: as `send`.
            trio.BusyResourceError: on leaving, another task is still sending on the stream,
                and the message cannot be finished.
        """
        frame_type = frame_type_of(kind, DataFrame)
        await checkpoint_if_cancelled()
        core = self._core
        try:
            async with self._sending:
                await core.outbox.wait_for_room()
                core.check_open()
                stream = SendStream(core, frame_type, compress)
                try:
                    yield stream
                    stream.send_final()
                except BaseException:
                    if core.connection.sending_fragments and core.is_open:
                        core.fail(CloseCode.INTERNAL_ERROR, "a message was left unfinished")
                    raise
                finally:
                    stream.close()
                await core.wait_sent()
        finally:
            core.look_again()

    async def ping(self, payload: bytes | None = None) -> float:
        """Send a ping and wait for its pong.

        It waits while the outbox is full; cancelled there, it has sent nothing. Cancelled
        after that, it stops waiting for the pong; the ping has been sent.

        Args:
            payload: At most 125 bytes, different from those of all pings under way; by
                default one of its own.

        Returns:
            The round trip in seconds.

        Raises:
            TypeError, ValueError: `payload` is not bytes-like, too long, or under way.
            ConnectionClosedError: the connection has ended, or ends before the pong comes.
            LookAheadFull: the pong lies behind messages of which none was received for 10
                seconds. Receive in another task while you wait here.
            trio.ClosedResourceError: the endpoint was closed on our side.
        """
        if payload is not None:
            payload = PingFrame(payload).payload
        await checkpoint_if_cancelled()
        await self._outbox.wait_for_room()
        self._core.check_open()
        latency = await self._core.heartbeat.ping(payload)
        if latency is None:
            await self._core.raise_broken()
        return latency

    async def pong(self, payload: bytes = b"") -> None:
        """Send a pong that answers no ping: a one-way sign of life (RFC 6455 section 5.5.3).

        Cancelled, it has sent nothing.

        Raises:
            TypeError, ValueError: `payload` is not bytes-like, or over 125 bytes.
            ConnectionClosedError, trio.ClosedResourceError: as `send`.
        """
        payload = PongFrame(payload).payload
        await checkpoint_if_cancelled()
        await self._outbox.wait_for_room()
        self._core.check_open()
        self._connection.send_pong(payload)
        self._outbox.flush()
        if self._outbox.ended:
            self._core.check_open()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def check_heartbeat(self) -> None:
        """Send a ping and count it; or, if `max_pings` are counted, give up on the peer.

        The heartbeat task calls it every `ping_interval`. Any byte from the peer sets the
        count back to 0. Giving up sends a close with 1002 and cancels the endpoint's scope.
        Cancelled, it has done nothing.
        """
        await self._core.heartbeat.check()

    # -- closing --------------------------------------------------------------------------

    async def aclose(
        self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = ""
    ) -> None:
        """Close the connection: the closing handshake, then the stream (section 7).

        Takes `close_timeout` at most. Messages not yet received are dropped. Cancelled, it
        takes at most `cancel_timeout` to say goodbye, and the stream is closed nevertheless.

        Args:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999; None to send no code.
            reason: At most 123 bytes of UTF-8.

        Raises:
            TypeError, ValueError: `code` or `reason` must not be sent; nothing was.
        """
        check_close_arguments(code, reason)
        await self._core.close(code, reason)

    async def wait_closed(self) -> None:
        """Wait until the connection has ended and its stream is closed, whoever closed it.

        It takes no messages from anybody. While as many of them wait as `max_look_ahead`
        allows, the endpoint does not read, and learns of a close only when some were received.

        Cancelled, it has done nothing.
        """
        await self._core.wait_closed()

    # -- looking at it --------------------------------------------------------------------

    @property
    def role(self) -> Role:
        """Which end of the connection is ours."""
        return self._connection.role

    @property
    def connection_id(self) -> int:
        """A number that no other connection of this process has; log records carry it."""
        return self._core.log.connection_id

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on, or None."""
        return self._agreement.subprotocol if self._agreement else None

    @property
    def request(self) -> Request:
        """The opening handshake's request; `AttributeError` if it was not ours to see."""
        return self._seen_handshake().request

    @property
    def response(self) -> Response:
        """The opening handshake's response; `AttributeError` if it was not ours to see."""
        return self._seen_handshake().response

    @property
    def context(self) -> Any:
        """On a server, what the application has noted of the client at its request.

        That of the `Accept` which `on_request` returned, or else `request.context`; None if
        the opening handshake was not ours to see.
        """
        return self._agreement.context if self._agreement else None

    @property
    def client_address(self) -> str | None:
        """On a server, the client's IP address, which a trusted proxy may have told."""
        return self._agreement.request.client_address if self._agreement else None

    @property
    def tls(self) -> TLSInfo | None:
        """What TLS agreed on; None without TLS."""
        return tls_info(self._core.stream)

    def _seen_handshake(self) -> Agreement:
        if self._agreement is None:
            raise AttributeError(
                "no opening handshake was seen: open_endpoint was given no agreement"
            )
        return self._agreement

    def __repr__(self) -> str:
        parts = [self.role.value]
        if self._agreement:
            parts.append(self._agreement.request.raw_path)
        if self.remote_address:
            parts.append(f"to {show_address(self.remote_address)}")
        closed = self.close_code
        parts.append("open" if closed is None else f"closed with {closed}")
        return f"<Endpoint {self.connection_id}: {', '.join(parts)}>"

    @property
    def local_address(self) -> Any:
        """Our address on the socket below, or None where there is none."""
        return self._core.addresses[0]

    @property
    def remote_address(self) -> Any:
        """The peer's address on the socket below, or None where there is none."""
        return self._core.addresses[1]

    @property
    def latency(self) -> float | None:
        """Seconds that the last answered ping took, a heartbeat's included, or None."""
        return self._core.heartbeat.latency

    @property
    def sent_close_frame(self) -> CloseFrame | None:
        """The close frame that we sent, or None."""
        return self._connection.sent_close_frame

    @property
    def received_close_frame(self) -> CloseFrame | None:
        """The close frame that the peer sent, or None."""
        return self._connection.received_close_frame

    @property
    def closed_first(self) -> Role | None:
        """Whose close frame came first, or None while there is none."""
        return self._connection.closed_first

    @property
    def draining(self) -> trio.Event:
        """Is set when the server that this endpoint belongs to begins to drain.

        From then on the endpoint is closed as soon as somebody waits to receive and there is
        nothing to receive. It is for those who send of their own accord: they may finish.
        """
        return self._core.draining

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be sent."""
        return not self._core.is_open

    @property
    def closed_cleanly(self) -> bool:
        """Whether the closing handshake was completed in time (section 7.1.4).

        That is, each side has sent its close frame, whatever its code; False while open.
        """
        return self._connection.closed_cleanly

    @property
    def close_code(self) -> int | None:
        """The code of the first close frame; 1006 at an end with none; None while open."""
        return self._core.close_code_and_reason()[0]

    @property
    def close_reason(self) -> str | None:
        """The reason that goes with `close_code`; None while open."""
        return self._core.close_code_and_reason()[1]

    def statistics(self) -> Statistics:
        """What crossed the endpoint so far, and what waits in its buffers."""
        connection = self._connection
        sent, received = connection.sent, connection.received
        return Statistics(
            Traffic(sent.messages, sent.size, sent.pings, sent.pongs, self._outbox.memory),
            Traffic(
                received.messages,
                received.size,
                received.pings,
                received.pongs,
                self._core.size_received,
            ),
        )
