"""The ways to a socket, and TLS on it; what fails is told in one line."""

from __future__ import annotations

import functools
import os
import socket
import ssl

import trio

from ..endpoint import start_tls
from ..protocol import HandshakeError
from .errors import ConnectError, first_os_error, tls_failure
from .url import in_brackets


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """The TLS context of all connections that were given none.

    It trusts the authorities of the system. To read them takes tens of milliseconds, in which
    nothing else runs, so it is done once.
    """
    return ssl.create_default_context()


async def open_tcp(host: str, port: int, local_address: str | None) -> trio.SocketStream:
    """Dial a host, all its addresses side by side (RFC 8305).

    Raises:
        ConnectError: there is no such host, or nobody can be reached there.
    """
    try:
        return await trio.open_tcp_stream(host, port, local_address=local_address)
    except OSError as error:
        cause = first_os_error(error)
    # Outside of the handler, as Trio's group of all that failed would be its context.
    try:
        raise _connect_error(f"{in_brackets(host)}:{port}", cause) from cause
    finally:
        del cause  # its traceback may hold this frame


async def open_unix(path: str) -> trio.SocketStream:
    """Dial a Unix socket.

    Raises:
        ConnectError: it is none, or nobody listens there.
    """
    try:
        return await trio.open_unix_socket(path)
    except OSError as error:
        raise _connect_error(path, error) from error


def _connect_error(where: str, cause: OSError) -> ConnectError:
    if isinstance(cause, socket.gaierror):
        return ConnectError(cause.errno, f"found no host for {where}: {cause.strerror}")
    # Trio puts the address in front of what the system says; its own errors have no number.
    words = os.strerror(cause.errno) if cause.errno else str(cause)
    return ConnectError(cause.errno, f"could not connect to {where}: {words}")


async def begin_tls(
    stream: trio.abc.Stream,
    context: ssl.SSLContext | None,
    server_hostname: str,
    plain_scheme: str = "ws",
) -> trio.abc.Stream:
    """Begin TLS on a stream.

    Args:
        stream: The stream.
        context: How to do TLS; None for the default.
        server_hostname: The name that the server's certificate must have.
        plain_scheme: What the scheme of the URL would be without TLS.

    Raises:
        HandshakeError: it failed, such as for a certificate that is not valid.
    """
    try:
        return await start_tls(stream, context or default_ssl_context(), server_hostname)
    except HandshakeError as error:
        words, temporary = tls_failure(error, plain_scheme) or (str(error.__cause__), True)
        raise HandshakeError(
            f"the TLS handshake failed: {words}", temporary=temporary
        ) from error.__cause__
