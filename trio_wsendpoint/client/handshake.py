"""The client's opening handshake on a stream."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from typing import Final

import trio

from ..endpoint import READ_SIZE, STREAM_ERRORS, send_at_once, transport_for
from ..protocol import (
    Agreement,
    ClientHandshake,
    HandshakeError,
    HandshakeRejected,
    Response,
    ResponseReader,
    encode_request,
)
from .errors import tls_failure

# What nginx, Go and Apache write to those who speak no TLS to them.
_PLAIN_TO_TLS = re.compile(rb"HTTP request (was sent )?to (an )?HTTPS|plain HTTP to an SSL")

BODY_TIMEOUT: Final = 1.0
"""Seconds that the body of a response which is a refusal may take; the rest is cut off."""


async def request_endpoint(
    stream: trio.abc.Stream,
    handshake: ClientHandshake,
    scope: trio.CancelScope | None = None,
    *,
    secure: bool = True,
) -> tuple[Agreement, bytes]:
    """Perform the client's opening handshake on a stream.

    Args:
        stream: The stream.
        handshake: What is asked.
        scope: The one that bounds it all, around the caller: a refusal is told even if its
            time is over before the body of the response is complete.
        secure: Whether it is over TLS; if not, that may be what a silent server wants.

    Returns:
        What was agreed on, and what was read behind the response.

    Raises:
        HandshakeError: the server refused, or answered wrongly, or not at all.
    """
    reader = ResponseReader()
    try:
        await receive_head(stream, encode_request(handshake.request), reader)
    except HandshakeError as error:
        if secure or reader.trailing_data or not error.temporary:
            raise
        hint = "if it speaks TLS, the URL should begin with wss://"
        raise HandshakeError(f"{error}; {hint}", temporary=True) from error.__cause__
    if not reader.is_done:
        with _no_longer_than(BODY_TIMEOUT, scope), contextlib.suppress(*STREAM_ERRORS):
            while not reader.is_done and (data := await stream.receive_some(READ_SIZE)):
                reader.receive_data(data)
    response = reader.receive_eof()
    if response.status_code == 400 and _PLAIN_TO_TLS.search(response.body):
        raise HandshakeRejected(response, "should the URL begin with wss://?")
    return handshake.complete(response), reader.trailing_data


async def receive_head(
    stream: trio.abc.Stream, request: bytes, reader: ResponseReader
) -> Response:
    """Send a request, and receive the head of its response.

    Raises:
        HandshakeError: it is no HTTP, or there is none.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    # Whoever closes before it has read all may have said why.
    with contextlib.suppress(*STREAM_ERRORS):
        await send_at_once(transport_for(stream), request)
    try:
        while reader.head is None:
            data = await stream.receive_some(READ_SIZE)
            if data:
                reader.receive_data(data)
            else:
                reader.receive_eof()
    except STREAM_ERRORS as error:
        raise _broken(error) from error
    assert reader.head is not None
    return reader.head


def _broken(error: Exception) -> HandshakeError:
    words, temporary = tls_failure(error) or (str(error), True)
    return HandshakeError(
        f"the stream broke before the response was complete: {words}", temporary=temporary
    )


@contextlib.contextmanager
def _no_longer_than(seconds: float, outer: trio.CancelScope | None) -> Iterator[None]:
    """Go on after so many seconds, or when the time of the outer scope is over.

    If the outer scope itself ended it, what was found out by then would be lost.
    """
    latest = math.inf if outer is None else outer.deadline
    if outer is not None:
        outer.deadline = math.inf
    try:
        with trio.CancelScope(deadline=min(latest, trio.current_time() + seconds)):
            yield
    finally:
        if outer is not None:
            outer.deadline = latest
