"""`accept`: the server's opening handshake on a stream, and the endpoint over it."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Unpack

import attrs
import trio

from ..endpoint import (
    READ_SIZE,
    STREAM_ERRORS,
    Endpoint,
    EndpointOptions,
    EndpointScope,
    HandshakeKeywords,
    HandshakeTimeout,
    check_ssl_context,
    parse_keywords,
    receive_at_once,
    send_at_once,
    start_tls,
    transport_for,
)
from ..protocol import (
    Agreement,
    HandshakeError,
    RequestReader,
    Response,
    Role,
    ServerHandshake,
    encode_response,
    refusal,
)

LINGER: Final = 1.0
"""Seconds that a client whose request is refused has to take the response and to leave."""


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
            data = receive_at_once(transport)
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
        await send_at_once(transport, encode_response(response))
        return agreement, reader.trailing_data


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
