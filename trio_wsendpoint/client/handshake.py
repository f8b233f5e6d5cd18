"""The client's opening handshake on a stream."""

from __future__ import annotations

import trio

from ..endpoint import READ_SIZE, STREAM_ERRORS, send_at_once, transport_for
from ..protocol import (
    Agreement,
    ClientHandshake,
    HandshakeError,
    Response,
    ResponseReader,
    encode_request,
)


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
        await send_at_once(transport_for(stream), encode_request(handshake.request))
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
