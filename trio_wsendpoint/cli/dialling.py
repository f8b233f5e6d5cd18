"""From the options of a command to `connect`."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import attrs

from ..client import connect, open_http2_pool, parse_url, reconnecting
from ..endpoint import Endpoint
from ..protocol import PermessageDeflate
from .exits import CommandError

Talk: TypeAlias = Callable[[Endpoint], Awaitable[object]]


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
        proxy: The URL of a proxy; "" for none, and None for what the environment says.
        http2: Whether to speak HTTP/2 with a server that does.
        reconnect: Whether to connect again when the connection is lost.
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
    proxy: str | None = None
    http2: bool = False
    reconnect: bool = False
    compress: bool = False
    ping_interval: float = 20.0
    max_size: int | None = 2**20
    timeout: float = 10.0

    async def run(self, talk: Talk) -> int | None:
        """Connect and talk, again and again if that was asked for; returns the close code.

        What is raised is `connect`'s.

        Raises:
            CommandError: an option cannot be right.
        """
        if self.reconnect:
            code = None
            async with self._keywords() as keywords:
                async for attempt in reconnecting(self.url, **keywords):
                    async with attempt as endpoint:
                        await talk(endpoint)
                    code = endpoint.close_code
            return code
        async with self.open() as endpoint:
            await talk(endpoint)
        return endpoint.close_code

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Endpoint]:
        """Connect, once; what is raised is `connect`'s.

        Raises:
            CommandError: an option cannot be right.
        """
        async with self._keywords() as keywords, connect(self.url, **keywords) as endpoint:
            yield endpoint

    @asynccontextmanager
    async def _keywords(self) -> AsyncIterator[dict[str, Any]]:
        context, options = self._ssl_context(), self._options()
        if not self.http2:
            yield {**options, "ssl_context": context}
            return
        try:
            pool = open_http2_pool(ssl_context=context)
            async with pool as http2:
                yield {**options, "http2": http2}
        except ImportError as error:
            raise CommandError(str(error)) from error

    @property
    def place(self) -> str:
        """The URL as it may be shown: with no password."""
        return str(parse_url(self.url))

    def _options(self) -> dict[str, Any]:
        return {
            "headers": self._header_list(),
            "subprotocols": self.subprotocols,
            "extensions": [PermessageDeflate()] if self.compress else [],
            "ping_interval": self.ping_interval,
            "max_message_size": self.max_size,
            "handshake_timeout": self.timeout,
            "origin": self.origin,
            "unix_path": self.unix,
            **({} if self.proxy is None else {"proxy": self.proxy or None}),
        }

    def _header_list(self) -> list[tuple[str, str]]:
        headers = []
        for header in self.headers:
            name, colon, value = header.partition(":")
            if not colon:
                raise CommandError(f"--header must be like 'Name: value', not {header!r}")
            headers.append((name.strip(), value.strip()))
        if self.user is not None:
            headers.append(("Authorization", self._authorization(self.user)))
        return headers

    def _authorization(self, user: str) -> str:
        name, _, password = user.partition(":")
        if not name:
            raise CommandError(f"--user must be like 'name:password', not {user!r}")
        url = attrs.evolve(parse_url(self.url), username=name, password=password)
        return str(url.authorization)

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
