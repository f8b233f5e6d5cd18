"""From a stream to an endpoint: `open_endpoint`, and the opening handshake of both sides."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Unpack

import attrs
import trio

from ..protocol import (
    Agreement,
    BytesLike,
    ClientHandshake,
    HandshakeError,
    HeadersLike,
    RequestReader,
    Response,
    ResponseReader,
    Role,
    ServerHandshake,
    encode_request,
    encode_response,
    refusal,
)
from .endpoint import Endpoint
from .errors import HandshakeTimeout
from .options import (
    EndpointKeywords,
    EndpointOptions,
    check_keywords,
    check_seconds,
    split_keywords,
)
from .scope import EndpointScope
from .tls import start_tls, transport_for
from .transport import READ_SIZE, STREAM_ERRORS, SocketTransport, StreamTransport

LINGER: Final = 1.0
"""Seconds that a client whose request is refused has to take the response and to leave."""

# The kind of TLS context that cannot play a role, and the purpose of those that can.
_OTHER_ROLE: Final = {
    Role.CLIENT: (ssl.PROTOCOL_TLS_SERVER, ssl.Purpose.SERVER_AUTH.name),
    Role.SERVER: (ssl.PROTOCOL_TLS_CLIENT, ssl.Purpose.CLIENT_AUTH.name),
}


class HandshakeKeywords(EndpointKeywords, total=False):
    """What `accept`, `connect` and `serve` take besides; see `HandshakeOptions`."""

    handshake_timeout: float
    subprotocols: Iterable[str]
    headers: HeadersLike


@attrs.frozen(kw_only=True)
class HandshakeOptions:
    """The options of an opening handshake.

    Attributes:
        handshake_timeout: Seconds that it may take, dialling and TLS included.
        subprotocols: Those that the application speaks; a client's most wanted first.
        headers: Headers of the application's own.
    """

    handshake_timeout: float = attrs.field(default=10.0, validator=check_seconds)
    subprotocols: Iterable[str] = ()
    headers: HeadersLike = ()


def parse_keywords(
    keywords: Mapping[str, Any], caller: str = "accept"
) -> tuple[EndpointOptions, HandshakeOptions]:
    """Check the keyword arguments of `accept`, `connect` or `serve`, whichever calls.

    Raises:
        TypeError, ValueError: one is wrong; the message names it.
    """
    check_keywords(caller, keywords, HandshakeKeywords.__annotations__)
    endpoint, handshake = split_keywords(keywords)
    return EndpointOptions(**endpoint), HandshakeOptions(**handshake)


@asynccontextmanager
async def open_endpoint(
    stream: trio.abc.Stream,
    role: Role,
    *,
    agreement: Agreement | None = None,
    initial_data: BytesLike = b"",
    **options: Unpack[EndpointKeywords],
) -> AsyncIterator[Endpoint]:
    """Run an endpoint over a stream whose opening handshake is done.

    Leaving the `async with` closes the connection: with 1000 if normally, 1011 if by an
    exception, 1001 if cancelled. The stream is closed with it. Exceptions of the application
    leave it as they are.

    Args:
        stream: Any Trio stream; the endpoint owns it from here on.
        role: Which end of the connection is ours.
        agreement: What the opening handshake ended in. Without it, the peer is taken to have
            the same `extensions`.
        initial_data: What was read of the stream behind the opening handshake.
        **options: See `EndpointOptions`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        HeartbeatTimeout: on leaving, if the peer was given up on.
    """
    if not isinstance(stream, trio.abc.Stream):
        raise TypeError(f"stream must be a trio.abc.Stream, not {type(stream).__name__}")
    if not isinstance(role, Role):
        raise TypeError(f"role must be a Role, not {role!r}")
    if not isinstance(agreement, Agreement | None):
        raise TypeError(f"agreement must be an Agreement, not {agreement!r}")
    if not isinstance(initial_data, bytes | bytearray | memoryview):
        raise TypeError(f"initial_data must be bytes-like, not {type(initial_data).__name__}")
    check_keywords("open_endpoint", options)
    parsed = EndpointOptions(**options)
    async with EndpointScope(stream, role, parsed, agreement, initial_data) as endpoint:
        yield endpoint


@asynccontextmanager
async def accept(
    stream: trio.abc.Stream, **options: Unpack[HandshakeKeywords]
) -> AsyncIterator[Endpoint]:
    """Perform the server's opening handshake on a stream, and run an endpoint over it.

    Args:
        stream: Any Trio stream; closed in the end, whatever happens.
        **options: See `EndpointOptions` and `HandshakeOptions`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        HandshakeError: the client's request was refused; the response has been sent.
        HandshakeTimeout: it was not complete within `handshake_timeout`.
        HeartbeatTimeout: on leaving, if the peer was given up on.
    """
    established = await Acceptor.create(options).establish(stream)
    async with EndpointScope(*established) as endpoint:
        yield endpoint


@attrs.frozen
class Acceptor:
    """All that a server needs to know to accept any number of connections."""

    options: EndpointOptions
    handshake: ServerHandshake
    timeout: float
    ssl_context: ssl.SSLContext | None = None

    @classmethod
    def create(
        cls,
        keywords: Mapping[str, Any],
        ssl_context: ssl.SSLContext | None = None,
        caller: str = "accept",
    ) -> Acceptor:
        """Check the keyword arguments of `accept` or `serve`, once."""
        check_ssl_context(ssl_context, Role.SERVER)
        options, handshake = parse_keywords(keywords, caller)
        return cls(
            options,
            ServerHandshake(
                subprotocols=handshake.subprotocols,
                headers=handshake.headers,
                extensions=options.extensions,
            ),
            handshake.handshake_timeout,
            ssl_context,
        )

    async def establish(
        self, stream: trio.abc.Stream
    ) -> tuple[trio.abc.Stream, Role, EndpointOptions, Agreement, bytes]:
        """Perform the opening handshake; what comes back makes an `EndpointScope`."""
        below = stream
        with trio.move_on_after(self.timeout):
            try:
                if self.ssl_context is not None:
                    stream = await start_tls(stream, self.ssl_context)
                agreement, rest = await self._shake_hands(stream)
                return stream, Role.SERVER, self.options, agreement, rest
            except BaseException as error:
                await trio.aclose_forcefully(below)
                if isinstance(error, STREAM_ERRORS):
                    raise HandshakeError(f"the stream broke: {error}") from error
                raise
        raise HandshakeTimeout(self.timeout)

    async def _shake_hands(self, stream: trio.abc.Stream) -> tuple[Agreement, bytes]:
        reader = RequestReader()
        transport = transport_for(stream)
        try:
            # Most requests have come with their connection.
            await trio.lowlevel.checkpoint_if_cancelled()
            data = _receive_at_once(transport)
            request = None
            while request is None:
                if data is None:
                    data = await stream.receive_some(READ_SIZE)
                request = reader.receive_data(data) if data else reader.receive_eof()
                data = None
        except HandshakeError as error:
            await _refuse(stream, refusal(error))
            raise
        response, agreement = self.handshake.respond(request)
        if agreement is None:
            await _refuse(stream, response)
            reason = response.body.decode().strip() or response.reason_phrase
            raise HandshakeError(reason, response.status_code)
        await _send(transport, encode_response(response))
        return agreement, reader.trailing_data


def _receive_at_once(transport: StreamTransport) -> BytesLike | None:
    """What a plain socket has already, as waiting for it would cost turns of the scheduler."""
    if not isinstance(transport, SocketTransport):
        return None
    try:
        return transport.read_nowait()
    except OSError as error:  # as the stream itself would say it
        raise trio.BrokenResourceError(f"socket connection broken: {error}") from error


async def _send(transport: StreamTransport, data: bytes) -> None:
    """Send all of the bytes: at once, if that goes."""
    if isinstance(transport, SocketTransport):
        with contextlib.suppress(OSError):  # the stream itself will say it
            data = data[transport.write_nowait((data,)) :]
    if data:
        await transport.stream.send_all(data)


async def _refuse(stream: trio.abc.Stream, response: Response) -> None:
    # STREAM_ERRORS: the client does not wait to be told.
    with trio.move_on_after(LINGER), contextlib.suppress(*STREAM_ERRORS):
        await stream.send_all(encode_response(response))
        # Unread bytes would make the close a reset, which may overtake the response.
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
            while await stream.receive_some(READ_SIZE):
                pass
        await stream.aclose()


async def request_endpoint(
    stream: trio.abc.Stream, handshake: ClientHandshake
) -> tuple[Agreement, bytes]:
    """Perform the client's opening handshake on a stream.

    Returns:
        What was agreed on, and what was read behind the response.

    Raises:
        HandshakeError: the server refused, or answered wrongly, or not at all.
    """
    reader = ResponseReader()
    try:
        await trio.lowlevel.checkpoint_if_cancelled()
        await _send(transport_for(stream), encode_request(handshake.request))
        response = None
        while response is None:
            data = await stream.receive_some(READ_SIZE)
            response = reader.receive_data(data) if data else reader.receive_eof()
    except STREAM_ERRORS as error:
        response = _rejection(reader)
        if response is None:
            raise HandshakeError("the stream broke before the response was complete") from error
    return handshake.complete(response), reader.trailing_data


def _rejection(reader: ResponseReader) -> Response | None:
    """What is known of a rejection that broke off."""
    try:
        return reader.receive_eof()
    except HandshakeError:
        return None


def check_ssl_context(ssl_context: ssl.SSLContext | None, role: Role) -> None:
    """Refuse an `ssl_context` that is none, or that can only play the other role.

    Raises:
        TypeError: `ssl_context` is neither an `ssl.SSLContext` nor None.
        ValueError: it is one for the other role.
    """
    if not isinstance(ssl_context, ssl.SSLContext | None):
        raise TypeError(
            f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}"
        )
    # Else each connection would fail, and on a server as quietly as a port scanner's.
    protocol, purpose = _OTHER_ROLE[role]
    if ssl_context is not None and ssl_context.protocol == protocol:
        raise ValueError(
            f"ssl_context must be one for a {role.value}, such as"
            f" ssl.create_default_context(ssl.Purpose.{purpose}) makes"
        )
