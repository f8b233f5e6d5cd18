"""One HTTP/2 connection on a Trio stream: a reader, one writer, and its streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import trio
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)

from ..endpoint import READ_SIZE, STREAM_ERRORS, socket_addresses, tls_info
from ..protocol import BytesLike, Role
from .engine import MAX_STREAMS, Engine
from .fields import Fields
from .stream import Half, Http2Stream
from .writer import Writer

MAX_REPLIES: Final = 2**16
"""Bytes that answer the peer and wait to be written, at which nothing more is read."""
MAX_INTERIM_RESPONSES: Final = 10
"""Interim responses that a server may send in front of one response."""
GOODBYE_TIMEOUT: Final = 1.0
"""Seconds that the end of a connection may take."""
SILENCE: Final = 10.0
"""Seconds after which a peer that has said nothing is asked whether it is still there."""
PING_TIMEOUT: Final = 2.0
"""Seconds that it may take to answer."""

OnRequest = Callable[[Http2Stream, Fields], None]


@asynccontextmanager
async def open_connection(
    stream: trio.abc.Stream,
    role: Role,
    *,
    initial_data: BytesLike = b"",
    max_streams: int = MAX_STREAMS,
) -> AsyncIterator[Http2Connection]:
    """Run an HTTP/2 connection over a stream, which is closed with it.

    Leaving it says goodbye with a GOAWAY, writes what waits, and breaks what streams are left;
    it takes `GOODBYE_TIMEOUT` at most, also when cancelled.

    Args:
        stream: What it runs on.
        role: Which end is ours.
        initial_data: What was read of the stream already.
        max_streams: How many the peer may have open at a time; see `on_request`.
    """
    connection = Http2Connection(stream, role, max_streams)
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run, initial_data)
        # Kept out of the nursery, which would wrap it in a group.
        try:
            yield connection
        except BaseException as problem:
            error = problem
        connection.finish()
    try:
        error = error or connection.crash
        if error is not None:
            raise error
    finally:
        del error, connection  # or the traceback would hold them in a cycle


class Http2Connection:
    """One HTTP/2 connection; see `open_connection`.

    Attributes:
        addresses: Ours and the peer's, of the socket below, as far as there is one.
        crash: What went wrong in code of ours, or None.
        ended: Whether nothing more comes or goes.
        on_request: Called with each stream that the peer opens, and its header fields; None
            to refuse them all.
        going_away: Whether the peer takes no more streams.
        reason: Why it has ended.
    """

    def __init__(self, stream: trio.abc.Stream, role: Role, max_streams: int) -> None:
        self._stream = stream
        self._role = role
        self._engine = Engine(role, max_streams)
        self.on_request: OnRequest | None = None
        self._streams: dict[int, Http2Stream] = {}
        self._writer = Writer(stream, self._engine, self._lose)
        self._change = trio.lowlevel.ParkingLot()
        self._lost = False
        self._introduced = False
        self._said_goodbye = False
        self._heard = trio.current_time()
        self.addresses = socket_addresses(stream)
        self._tls = tls_info(stream)
        self.crash: BaseException | None = None
        self.ended = False
        self.going_away = False
        self.reason = ""

    # -- its life -------------------------------------------------------------------------

    async def run(self, initial_data: BytesLike) -> None:
        """Read and write, and close the stream when that is over or `finish` is called."""
        try:
            # No cancellation from outside reaches it: it must say goodbye first.
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._writer.run)
                    nursery.start_soon(self._read, initial_data)
                    await self._close()
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            self.crash = group.exceptions[0]
        finally:
            self._lose()
            with trio.CancelScope(shield=True), suppress(*STREAM_ERRORS):
                await trio.aclose_forcefully(self._stream)

    def finish(self) -> None:
        """Say goodbye, and close the stream, soon."""
        self.go_away()
        self._end("this connection was closed")

    async def _close(self) -> None:
        """Close the stream, once nothing more comes or goes."""
        await self.wait_ended()
        with trio.move_on_after(GOODBYE_TIMEOUT), suppress(*STREAM_ERRORS):
            await self._writer.wait_written()
            await self._part()
            await self._stream.aclose()

    async def _part(self) -> None:
        """End our half of the stream, and wait for the peer to end its own.

        A socket that is closed with unread bytes in it is reset, which may overtake what was
        written last.
        """
        goes_first = self._role is Role.SERVER or self._engine.failure is not None
        stream = self._stream
        if goes_first and not self._lost and isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
            while not self._lost:
                await self._writer.progress.park()

    def _lose(self) -> None:
        """The stream below is broken or at its end."""
        self._lost = True
        self._end("the connection was lost")
        self._writer.give_up()

    def _end(self, reason: str) -> None:
        """Nothing more comes or goes, but for what is to be written already."""
        if not self.ended:
            self.ended = self.going_away = True
            self.reason = reason
            for stream in list(self._streams.values()):
                stream.on_broken(reason)
            self._streams.clear()
        self._writer.drop()
        self._change.unpark_all()

    # -- for those who use it -------------------------------------------------------------

    @property
    def takes_websockets(self) -> bool:
        """Whether the server said that it takes WebSockets."""
        return self._engine.takes_websockets

    @property
    def stream_count(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    @property
    def has_free_stream(self) -> bool:
        """Whether one more stream could be opened now."""
        return not self.going_away and self._engine.has_free_stream

    @property
    def is_spent(self) -> bool:
        """Whether it is of no more use: nothing is open, and nothing can be opened."""
        leaving = self.going_away or self._said_goodbye
        return self.ended or (leaving and not self._streams)

    def abandon(self) -> None:
        """Open no more streams: it is spent once those that are open have ended."""
        self.going_away = True
        self._change.unpark_all()

    async def wait_introduced(self) -> None:
        """Wait for the peer's SETTINGS, or the end."""
        while not (self._introduced or self.ended):
            await self._change.park()

    async def wait_changed(self) -> None:
        """Wait until a stream or the connection ends, or the peer goes away."""
        await self._change.park()

    async def wait_ended(self) -> None:
        """Wait until nothing more comes or goes."""
        while not self.ended:
            await self._change.park()

    async def answers(self) -> bool:
        """Whether the peer is still there: asks it, unless something came of late.

        It takes `PING_TIMEOUT` at most.
        """
        asked = trio.current_time()
        if asked - self._heard >= SILENCE:
            self._engine.ping()
            self._writer.wake()
            with trio.move_on_after(PING_TIMEOUT):
                while self._heard < asked and not self.ended:
                    await self._change.park()
            if self._heard < asked:
                return False
        return not self.going_away

    def open_stream(self, fields: Fields) -> Http2Stream:
        """Open a stream with a request; look at `has_free_stream` first."""
        stream = Http2Stream(self, self._engine.next_stream_id, self.addresses, self._tls)
        self._streams[stream.stream_id] = stream
        self._engine.send_fields(stream.stream_id, fields)
        self._writer.wake()
        return stream

    def go_away(self) -> None:
        """Say that no more streams are taken; those under way go on."""
        if not (self._said_goodbye or self.ended):
            self._said_goodbye = True
            self.on_request = None
            self._engine.go_away()
            self._writer.wake()
            self._change.unpark_all()

    # -- for its streams ------------------------------------------------------------------

    def offer(self, stream: Http2Stream, *, wait: bool = True) -> None:
        """Send what a stream has: now, or as soon as its turn comes, if it may wait."""
        self._writer.offer(stream, wait=wait)

    def send_fields(self, stream: Http2Stream, fields: Fields, *, end: bool) -> None:
        """Send header fields."""
        self._engine.send_fields(stream.stream_id, fields, end=end)
        self._have_ended(stream)
        self._writer.wake()

    def end(self, stream: Http2Stream) -> None:
        """End our half of a stream."""
        self._engine.end_stream(stream.stream_id)
        self._have_ended(stream)
        self._writer.wake()

    def reset(self, stream: Http2Stream, code: ErrorCodes) -> None:
        """End both halves of a stream."""
        self._forget(stream)
        self._engine.reset_stream(stream.stream_id, code)
        self._writer.wake()

    def refuse(self, stream: Http2Stream, code: ErrorCodes) -> None:
        """Reset a stream for what the peer did, which it may do only so often."""
        stream.reset(code)
        violation = self._engine.count_reset(trio.current_time())
        if violation is not None and not self.ended:
            self._engine.fail(violation)
            self._end(violation.reason)

    def give_back(self, stream: Http2Stream, count: int) -> None:
        """Let the peer send so many bytes more of a stream."""
        self._engine.give_back(stream.stream_id, count)
        self._writer.wake()

    def _have_ended(self, stream: Http2Stream) -> None:
        if stream.sending is not Half.OPEN and stream.receiving is not Half.OPEN:
            self._forget(stream)

    def _forget(self, stream: Http2Stream) -> None:
        self._streams.pop(stream.stream_id, None)
        self._change.unpark_all()

    # -- reading --------------------------------------------------------------------------

    async def _read(self, data: BytesLike) -> None:
        """The reader task."""
        while not self._lost:
            # Behind a failure it reads only so that the peer gets to know of it.
            if data and not self.ended:
                self._take_in(data)
            # It answers whatever comes; one that does not take the answers gets to send
            # no more of it.
            while self._engine.replies > MAX_REPLIES and not self.ended:
                await self._writer.progress.park()
            try:
                data = await self._stream.receive_some(READ_SIZE)
            except STREAM_ERRORS:
                data = b""
            if not data:
                self._lose()

    def _take_in(self, data: BytesLike) -> None:
        self._heard = trio.current_time()
        for event in self._engine.receive_data(data, self._heard):
            handle = _HANDLERS.get(type(event))
            if handle is not None:
                handle(self, event)
        if self._engine.failure is not None:
            self._end(self._engine.failure)
        self._writer.wake()

    def _on_settings(self, _: Event) -> None:
        self._introduced = True
        self._writer.retry(self._streams.values())
        self._change.unpark_all()

    def _on_pong(self, _: Event) -> None:
        self._change.unpark_all()

    def _on_request_fields(self, event: Any) -> None:
        stream = Http2Stream(self, event.stream_id, self.addresses, self._tls)
        self._streams[event.stream_id] = stream
        if self.on_request is None:
            self.refuse(stream, ErrorCodes.REFUSED_STREAM)
        else:
            self._change.unpark_all()
            self.on_request(stream, event.headers)

    def _on_response(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.on_fields(event.headers)

    def _on_interim(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.interim += 1
            if stream.interim > MAX_INTERIM_RESPONSES:
                stream.reset(ErrorCodes.ENHANCE_YOUR_CALM)

    def _on_data(self, event: Any) -> None:
        self._engine.give_back_connection(event.flow_controlled_length)
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.on_data(event.data, event.flow_controlled_length)

    def _on_stream_ended(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.on_end()
            self._have_ended(stream)

    def _on_stream_reset(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            self._forget(stream)
            stream.on_reset(event.error_code, by_peer=event.remote_reset)

    def _on_window(self, event: Any) -> None:
        if not event.stream_id:
            self._writer.retry(self._streams.values())
        elif event.stream_id in self._streams:
            self._writer.retry((self._streams[event.stream_id],))

    def _on_goaway(self, event: Any) -> None:
        self.going_away = True
        ours = self._role is Role.CLIENT
        for stream in list(self._streams.values()):
            if stream.stream_id > event.last_stream_id and stream.stream_id % 2 == ours:
                self._forget(stream)
                stream.on_broken("the peer is going away", refused=True)
        self._change.unpark_all()


_HANDLERS: Final[dict[type[Event], Callable[[Http2Connection, Any], None]]] = {
    ConnectionTerminated: Http2Connection._on_goaway,
    DataReceived: Http2Connection._on_data,
    InformationalResponseReceived: Http2Connection._on_interim,
    PingAckReceived: Http2Connection._on_pong,
    RemoteSettingsChanged: Http2Connection._on_settings,
    RequestReceived: Http2Connection._on_request_fields,
    ResponseReceived: Http2Connection._on_response,
    StreamEnded: Http2Connection._on_stream_ended,
    StreamReset: Http2Connection._on_stream_reset,
    WindowUpdated: Http2Connection._on_window,
}
