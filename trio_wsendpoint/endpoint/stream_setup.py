"""A stream before it has an endpoint: TLS on it, its first bytes, and the way to drive it."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeGuard

import trio

from ..protocol import BytesLike, HandshakeError, Role, TLSInfo
from .tls import TLSStream, TLSTransport
from .transport import SocketTransport, StreamTransport

# The kind of TLS context that cannot play a role, and the purpose of those that can.
_OTHER_ROLE: Final = {
    Role.CLIENT: (ssl.PROTOCOL_TLS_SERVER, ssl.Purpose.SERVER_AUTH.name),
    Role.SERVER: (ssl.PROTOCOL_TLS_CLIENT, ssl.Purpose.CLIENT_AUTH.name),
}


def check_stream(stream: object) -> None:
    """Refuse a stream that is not Trio's.

    Raises:
        TypeError: it is not a `trio.abc.Stream`.
    """
    if isinstance(stream, trio.abc.Stream):
        return
    kind = type(stream)
    # Its home is told by its name, so that nobody needs anyio for this.
    of_anyio = any(base.__module__.startswith("anyio.") for base in kind.__mro__)
    hint = "; from_anyio_stream makes one of it" if of_anyio else ""
    raise TypeError(f"stream must be a trio.abc.Stream, not {kind.__name__}{hint}")


def check_ssl_context(
    ssl_context: ssl.SSLContext | None, role: Role, argument: str = "ssl_context"
) -> None:
    """Refuse an `ssl_context` that is none, or that can only play the other role.

    Raises:
        TypeError: `ssl_context` is neither an `ssl.SSLContext` nor None; the message says
            `argument`.
        ValueError: it is one for the other role.
    """
    if not isinstance(ssl_context, ssl.SSLContext | None):
        raise TypeError(
            f"{argument} must be an ssl.SSLContext, not {type(ssl_context).__name__}"
        )
    # Else each connection would fail, and on a server as quietly as a port scanner's.
    protocol, purpose = _OTHER_ROLE[role]
    if ssl_context is not None and ssl_context.protocol == protocol:
        raise ValueError(
            f"{argument} must be one for a {role.value}, such as"
            f" ssl.create_default_context(ssl.Purpose.{purpose}) makes"
        )


async def start_tls(
    stream: trio.abc.Stream, context: ssl.SSLContext, server_hostname: str | None = None
) -> trio.abc.Stream:
    """Begin TLS on a stream: our own on a plain socket, Trio's on any other.

    Args:
        stream: What TLS is to run on.
        context: How to do TLS.
        server_hostname: The name that the server's certificate must have; None on a server.

    Raises:
        HandshakeError: the TLS handshake failed, such as for a certificate that is not valid.
    """
    tls: TLSStream | trio.SSLStream[trio.abc.Stream]
    if _is_plain_socket(stream):
        tls = TLSStream(stream, context, server_hostname)
    else:
        tls = trio.SSLStream(
            stream,
            context,
            server_hostname=server_hostname,
            server_side=server_hostname is None,
        )
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        reason = error.__cause__ or error
        raise HandshakeError(f"the TLS handshake failed: {reason}") from error
    return tls


def transport_for(stream: trio.abc.Stream) -> StreamTransport:
    """The best way to drive a stream."""
    if _is_plain_socket(stream):
        return SocketTransport(stream)
    if type(stream) is TLSStream:
        return TLSTransport(stream)
    make: Callable[[], StreamTransport] | None = getattr(stream, "make_transport", None)
    return make() if make is not None else StreamTransport(stream)


def _is_plain_socket(stream: trio.abc.Stream) -> TypeGuard[trio.SocketStream]:
    # A subclass may have changed how it reads and writes, so the exact class it must be.
    return type(stream) is trio.SocketStream and hasattr(os, "readv")


def receive_at_once(transport: StreamTransport) -> BytesLike | None:
    """What a plain socket has already, as waiting for it would cost turns of the scheduler."""
    if not isinstance(transport, SocketTransport):
        return None
    try:
        return transport.read_nowait()
    except OSError as error:  # as the stream itself would say it
        raise trio.BrokenResourceError(f"socket connection broken: {error}") from error


def send_nowait(transport: StreamTransport, data: bytes) -> bytes:
    """Send of the bytes what a plain socket takes at once; what is left comes back."""
    if isinstance(transport, SocketTransport):
        with contextlib.suppress(OSError):  # the stream itself will say it
            return data[transport.write_nowait((data,)) :]
    return data


async def send_at_once(transport: StreamTransport, data: bytes) -> None:
    """Send all of the bytes: at once, if that goes."""
    left = send_nowait(transport, data)
    if left:
        await transport.stream.send_all(left)


def is_closed_socket(stream: trio.abc.AsyncResource) -> bool:
    """Whether a stream is a plain socket that is closed, so that nothing is left to close."""
    return isinstance(stream, trio.SocketStream) and stream.socket.fileno() < 0


def socket_addresses(stream: trio.abc.Stream) -> tuple[Any, Any]:
    """The addresses of the socket below a stream, as far as there is one."""
    while isinstance(stream, trio.SSLStream | TLSStream):
        stream = stream.transport_stream
    if not isinstance(stream, trio.SocketStream):
        # One that shares it with others knows them itself.
        addresses: tuple[Any, Any] = getattr(stream, "addresses", (None, None))
        return addresses
    try:
        return stream.socket.getsockname(), stream.socket.getpeername()
    except OSError:
        return None, None


def tls_info(stream: trio.abc.Stream) -> TLSInfo | None:
    """What TLS agreed on, once its handshake is done; None for a stream without TLS."""
    if isinstance(stream, TLSStream):
        tls: Any = stream.ssl_object
    elif isinstance(stream, trio.SSLStream):
        tls = stream
    else:
        # One that shares it with others knows it itself, as it does its addresses.
        info: TLSInfo | None = getattr(stream, "tls", None)
        return info
    try:
        cipher = tls.cipher()
    except trio.NeedHandshakeError:
        return None
    return TLSInfo(tls.version(), cipher[0], tls.selected_alpn_protocol(), tls.getpeercert())


def show_address(address: Any) -> str:
    """A socket's address as people write it."""
    if isinstance(address, tuple):
        host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
        return f"{host}:{address[1]}"
    return "a Unix socket" if isinstance(address, str | bytes) else str(address)
