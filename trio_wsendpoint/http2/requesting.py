"""The client's side of an HTTP/2 connection: a WebSocket on a stream of it."""

from __future__ import annotations

import attrs
import trio
from h2.errors import ErrorCodes

from ..protocol import (
    MAX_BODY_SIZE,
    Agreement,
    ClientHandshake,
    HandshakeError,
    Response,
)
from .connection import Http2Connection
from .fields import MalformedMessage, connect_fields, read_response
from .stream import Http2Stream, StreamRefused


class NotOverHttp2(HandshakeError):
    """The server speaks HTTP/2, but takes no WebSockets over it."""


async def request_websocket(
    connection: Http2Connection, handshake: ClientHandshake, scheme: str
) -> tuple[Http2Stream, Agreement]:
    """Perform the client's opening handshake on a new stream (RFC 8441 section 5).

    Waits for the server's SETTINGS, and for a stream where all that it allows are open.

    Args:
        connection: What the stream is to be of.
        handshake: What is asked.
        scheme: `https` or `http`.

    Raises:
        NotOverHttp2: the server takes no WebSockets over HTTP/2.
        HandshakeRejected: it answered with a status code that is not of success.
        HandshakeError: it answered wrongly, or not at all.
    """
    stream = await _open_stream(connection, handshake, scheme)
    try:
        response = read_response(await stream.receive_fields(), handshake.request)
        if response.status_code != 101:
            response = await _read_body(stream, response)
        return stream, handshake.complete(response)
    except BaseException as error:
        stream.reset(ErrorCodes.CANCEL)
        if isinstance(error, StreamRefused):
            raise HandshakeError(
                f"the server refused the stream: {error}", 503, temporary=True
            ) from error
        if isinstance(error, trio.BrokenResourceError):
            raise HandshakeError(f"no response came: {error}", temporary=True) from error
        if isinstance(error, MalformedMessage):
            raise HandshakeError(f"the response is malformed: {error}") from error
        raise


async def _open_stream(
    connection: Http2Connection, handshake: ClientHandshake, scheme: str
) -> Http2Stream:
    await connection.wait_introduced()
    if not (connection.ended or connection.takes_websockets):
        raise NotOverHttp2(
            "the server takes no WebSockets over HTTP/2: its SETTINGS lack"
            " SETTINGS_ENABLE_CONNECT_PROTOCOL"
        )
    while not connection.has_free_stream:
        if connection.going_away:
            reason = connection.reason or "the server is going away"
            raise HandshakeError(f"no stream can be opened: {reason}", 503, temporary=True)
        await connection.wait_changed()
    return connection.open_stream(connect_fields(handshake.request, scheme))


async def _read_body(stream: Http2Stream, response: Response) -> Response:
    """Read what a rejection has to say, as far as it comes."""
    body = bytearray()
    try:
        while len(body) < MAX_BODY_SIZE:
            data = await stream.receive_some(MAX_BODY_SIZE - len(body))
            if not data:
                break
            body += data
        return attrs.evolve(response, body=bytes(body))
    except (trio.BrokenResourceError, ValueError):  # cut off, or where there must be none
        return response
