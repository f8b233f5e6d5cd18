"""From the options of a command to `connect`."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import trio

from ..client import connect, parse_uri
from ..endpoint import Endpoint, HandshakeTimeout
from ..protocol import PermessageDeflate
from .exits import CommandError


@attrs.frozen(kw_only=True)
class Dialling:
    """How to reach a server.

    Attributes:
        url: Such as `wss://example.org/feed`.
        headers: As `Name: value`.
        subprotocols: The most wanted first.
        origin: The value of an `Origin` header.
        user: `name:password`, for an `Authorization` header.
        insecure: Whether a certificate need not be valid.
        cacert: A file with the certificate authorities to trust.
        cert: A file with a certificate to show, and its key if `key` has it not.
        key: A file with its key.
        unix: The path of a Unix socket to dial, instead of the URL's host.
        compress: Whether to offer permessage-deflate.
        ping_interval: Seconds between pings.
        max_size: Bytes that a message may have; None for no limit.
        timeout: Seconds that the opening may take.
    """

    url: str
    headers: tuple[str, ...] = ()
    subprotocols: tuple[str, ...] = ()
    origin: str | None = None
    user: str | None = None
    insecure: bool = False
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    unix: str | None = None
    compress: bool = False
    ping_interval: float = 20.0
    max_size: int | None = 2**20
    timeout: float = 10.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Endpoint]:
        """Connect; what is raised is `connect`'s.

        Raises:
            CommandError: an option cannot be right.
        """
        options = self._options()
        async with AsyncExitStack() as stack:
            if self.unix is not None:
                dialled = await self._dial_unix(self.unix)
                options["stream"] = await stack.enter_async_context(dialled)
            yield await stack.enter_async_context(connect(self.url, **options))

    @property
    def place(self) -> str:
        """The URL as it may be shown: with no password."""
        uri = parse_uri(self.url)
        return f"{'wss' if uri.secure else 'ws'}://{uri.host_header}{uri.target}"

    def _options(self) -> dict[str, Any]:
        return {
            "ssl_context": self._ssl_context(),
            "headers": self._header_list(),
            "subprotocols": self.subprotocols,
            "extensions": [PermessageDeflate()] if self.compress else [],
            "ping_interval": self.ping_interval,
            "max_message_size": self.max_size,
            "handshake_timeout": self.timeout,
        }

    def _header_list(self) -> list[tuple[str, str]]:
        headers = []
        for header in self.headers:
            name, colon, value = header.partition(":")
            if not colon:
                raise CommandError(f"--header must be like 'Name: value', not {header!r}")
            headers.append((name.strip(), value.strip()))
        if self.origin is not None:
            headers.append(("Origin", self.origin))
        if self.user is not None:
            headers.append(("Authorization", self._authorization(self.user)))
        return headers

    def _authorization(self, user: str) -> str:
        name, _, password = user.partition(":")
        if not name:
            raise CommandError(f"--user must be like 'name:password', not {user!r}")
        uri = attrs.evolve(parse_uri(self.url), username=name, password=password)
        return str(uri.authorization)

    def _ssl_context(self) -> ssl.SSLContext | None:
        if not (self.insecure or self.cacert or self.cert):
            return None
        try:
            context = ssl.create_default_context(cafile=self.cacert)
            if self.cert:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise CommandError(f"--cacert, --cert or --key: {error}") from error
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def _dial_unix(self, path: str) -> trio.SocketStream:
        with trio.move_on_after(self.timeout):
            return await trio.open_unix_socket(path)
        raise HandshakeTimeout(self.timeout)
