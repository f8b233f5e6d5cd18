"""`accept`: the server's opening handshake on a stream, and the endpoint over it."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, Unpack

import attrs
import trio

from ..endpoint import (
    READ_SIZE,
    STREAM_ERRORS,
    Endpoint,
    EndpointScope,
    HandshakeTimeout,
    check_stream,
    receive_at_once,
    send_nowait,
    socket_addresses,
    start_tls,
    tell,
    tls_info,
    transport_for,
)
from ..protocol import (
    Agreement,
    BytesLike,
    HandshakeError,
    Request,
    RequestReader,
    Response,
    Role,
    encode_response,
)
from .limits import Seat
from .options import AcceptKeywords, Settings
from .requests import Decision

LINGER: Final = 1.0
"""Seconds that a client which got a plain response has to take it and to leave."""


@asynccontextmanager
async def accept(
    stream: trio.abc.Stream, **options: Unpack[AcceptKeywords]
) -> AsyncIterator[Endpoint]:
    """Perform the server's opening handshake on a stream, and run an endpoint over it.

    Args:
        stream: Any Trio stream; closed in the end, whatever happens.
        **options: See `EndpointOptions`, `HandshakeOptions` and `ServerOptions`; all but the
            limits on numbers.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        HandshakeError: the client's request was refused, or answered by `on_request`; the
            response has been sent.
        HandshakeTimeout: it was not complete within `handshake_timeout`.
        HeartbeatTimeout: on leaving, if the peer was given up on.
    """
    check_stream(stream)
    settings = Settings.parse("accept", options, AcceptKeywords)
    established = await Acceptor(settings).establish(stream)
    assert isinstance(established, Established)
    # What came behind the request is not to be held for as long as the connection.
    scope = established.open()
    del established
    async with scope as endpoint:
        yield endpoint


@attrs.frozen
class Established:
    """A connection whose opening handshake is done, and all that its endpoint needs."""

    stream: trio.abc.Stream
    settings: Settings
    agreement: Agreement
    initial_data: bytes
    addresses: tuple[Any, Any]
    seat: Seat

    def open(self) -> EndpointScope:
        """The endpoint, as an async context manager."""
        return EndpointScope(
            self.stream,
            Role.SERVER,
            self.settings.endpoint,
            self.agreement,
            self.initial_data,
            self.addresses,
        )


@attrs.frozen
class Http2Opening:
    """A connection that turned out to be one of HTTP/2, for any number of WebSockets.

    Attributes:
        stream: What it runs on.
        initial_data: What was read of it already.
        addresses: Ours and the client's.
    """

    stream: trio.abc.Stream
    initial_data: bytes
    addresses: tuple[Any, Any]


@attrs.frozen
class Acceptor:
    """Accepts any number of connections: HTTP/1.1 in front of a `Gate`."""

    settings: Settings
    ssl_context: ssl.SSLContext | None = None

    async def establish(self, stream: trio.abc.Stream) -> Established | Http2Opening:
        """Perform the opening handshake on a stream, or answer what is none, and close it.

        Only where the settings allow HTTP/2, what comes back may be that.

        Raises:
            HandshakeError: it ended without a connection.
        """
        addresses = socket_addresses(stream)
        deadline = trio.current_time() + self.settings.handshake_timeout
        below = stream
        limits = self.settings.gate.limits
        seat: Seat | None = None
        try:
            limits.reading += 1
            try:
                if self.ssl_context is not None:
                    with self._in_time(deadline):
                        stream = await start_tls(stream, self.ssl_context)
                first = b""
                if self.settings.max_streams is not None:
                    with self._in_time(deadline):
                        first, is_http2 = await _read_first(stream)
                    if is_http2:
                        return Http2Opening(stream, first, addresses)
                request, rest = await self._read_request(stream, deadline, first)
            finally:
                limits.reading -= 1
            request = request.received_from(
                self.settings.proxies.client_address(addresses[1], request), tls_info(stream)
            )
            decision = await self.settings.gate.decide(request, deadline)
            seat = decision.seat
            agreement = await self._answer(stream, request, decision, deadline)
            assert seat is not None
            return Established(stream, self.settings, agreement, rest, addresses, seat)
        except BaseException as error:
            if seat is not None:
                seat.leave()
            await trio.aclose_forcefully(below)
            if isinstance(error, STREAM_ERRORS):
                raise HandshakeError(f"the stream broke: {error}") from error
            raise

    @contextlib.contextmanager
    def _in_time(self, deadline: float) -> Iterator[None]:
        """Bound what waits for the client; not to be made where nothing has to wait."""
        with trio.move_on_at(deadline) as scope:
            yield
        if scope.cancelled_caught:
            raise HandshakeTimeout(self.settings.handshake_timeout)

    async def _read_request(
        self, stream: trio.abc.Stream, deadline: float, first: bytes
    ) -> tuple[Request, bytes]:
        reader = RequestReader()
        try:
            # Most requests have come with their connection.
            await trio.lowlevel.checkpoint_if_cancelled()
            data = first or receive_at_once(transport_for(stream))
            request = reader.receive_data(data) if data else None
            if request is None:
                with self._in_time(deadline):
                    request = await self._read_rest(stream, reader, data)
        except HandshakeError as error:
            if not isinstance(error, HandshakeTimeout):
                await self._send_plain(stream, self.settings.gate.refuse(error))
            raise
        return request, reader.trailing_data

    async def _read_rest(
        self, stream: trio.abc.Stream, reader: RequestReader, data: BytesLike | None
    ) -> Request:
        """Read until the request is complete; `data` was read last, if anything was."""
        request = None
        while request is None:
            if data is None or len(data):
                data = await stream.receive_some(READ_SIZE)
            request = reader.receive_data(data) if data else reader.receive_eof()
        return request

    async def _answer(
        self, stream: trio.abc.Stream, request: Request, decision: Decision, deadline: float
    ) -> Agreement:
        if decision.agreement is None:
            if request.is_websocket:
                details = request, decision.response.status_code, decision.reason
                tell(self.settings.endpoint.instrument, "handshake_refused", *details)
            await self._send_plain(stream, decision.response, request.method)
            raise HandshakeError(decision.reason, decision.response.status_code)
        left = send_nowait(transport_for(stream), encode_response(decision.response))
        if left:
            with self._in_time(deadline):
                await stream.send_all(left)
        return decision.agreement

    async def _send_plain(
        self, stream: trio.abc.Stream, response: Response, method: str = "GET"
    ) -> None:
        """Send a response that opens nothing, and let the client take it and leave."""
        # STREAM_ERRORS: the client does not wait to be told.
        with contextlib.suppress(*STREAM_ERRORS):
            with trio.move_on_after(self.settings.handshake_timeout) as sending:
                await stream.send_all(encode_response(response, method))
            if sending.cancelled_caught:
                return
            with trio.move_on_after(LINGER):
                # Unread bytes would make the close a reset, which may overtake the response.
                if isinstance(stream, trio.abc.HalfCloseableStream):
                    await stream.send_eof()
                    while await stream.receive_some(READ_SIZE):
                        pass
                await stream.aclose()


async def _read_first(stream: trio.abc.Stream) -> tuple[bytes, bool]:
    """Read until it can be told what a client speaks; says whether it is HTTP/2."""
    from ..http2 import PREFACE

    first = b""
    while len(first) < len(PREFACE) and PREFACE.startswith(first):
        data = await stream.receive_some(READ_SIZE)
        if not data:
            break
        first += data
    return first, first.startswith(PREFACE)
