"""`open_endpoint`: an endpoint over a stream whose opening handshake is done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

import trio

from ..protocol import Agreement, BytesLike, Role
from .endpoint import Endpoint
from .options import EndpointKeywords, EndpointOptions, check_keywords
from .scope import EndpointScope


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
