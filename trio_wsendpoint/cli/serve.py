"""`serve`: a server for one purpose."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any

import attrs
import trio

from ..protocol import PermessageDeflate
from ..server import ANY_ORIGIN, serve, serve_unix
from .console import Console
from .exits import CommandError, Exit
from .handlers import Handler, open_broadcaster
from .processes import reserved, serve_in_processes
from .static import StaticFiles
from .stopping import draining_on_signals
from .tracing import logged_to


@attrs.frozen(kw_only=True)
class Serve:
    """What `serve` was asked for.

    Attributes:
        handler: What to do with a connection; None to send to all others what it sends.
        redis: The URL of the Redis through which these may be in other processes.
        port: The TCP port; 0 for any that is free.
        host: The address to listen on.
        unix: The path of a Unix socket to listen on instead.
        static: What answers requests for plain pages.
        processes: How many processes share the port.
        reuse_port: Whether others may listen on the port, too.
        arguments: The command line, for those processes.
        tls: A file with the server's certificate, and its key if `key` has it not.
        key: A file with its key.
        http2: Whether HTTP/2 is spoken, too.
        origins: Those whose pages may connect, "*" for all; by default that of the server.
        subprotocols: Those that it speaks.
        compress: Whether to take permessage-deflate, if a client offers it.
        ping_interval: Seconds between pings.
        max_size: Bytes that a message may have; None for no limit.
        trace: Whether each frame is shown.
        drain_timeout: Seconds that draining may take.
    """

    handler: Handler | None
    redis: str | None = None
    port: int = 8000
    host: str = "127.0.0.1"
    unix: str | None = None
    static: StaticFiles | None = None
    processes: int = 1
    reuse_port: bool = False
    arguments: tuple[str, ...] = ()
    tls: str | None = None
    key: str | None = None
    http2: bool = False
    origins: tuple[str, ...] = ()
    subprotocols: tuple[str, ...] = ()
    compress: bool = False
    ping_interval: float = 20.0
    max_size: int | None = 2**20
    trace: bool = False
    drain_timeout: float = 30.0

    async def run(self, console: Console) -> Exit:
        """Serve until Ctrl-C, or until drained after SIGTERM."""
        async with draining_on_signals(patient=self.reuse_port) as drain:
            with logged_to(console.remark, None if self.trace else ()):
                if self.processes > 1:
                    await self._supervise(console, drain)
                elif self.handler is None:
                    async with open_broadcaster(self.redis) as broadcaster:
                        await self._serve(broadcaster, console, drain)
                else:
                    await self._serve(self.handler, console, drain)
        return Exit.OK

    async def _supervise(self, console: Console, drain: trio.Event) -> None:
        with reserved(self.host, self.port) as port:
            await serve_in_processes(self.processes, self.arguments, port, drain, console)

    async def _serve(self, handler: Handler, console: Console, drain: trio.Event) -> None:
        if self.unix is None:
            reuse_port = self.reuse_port
            start = partial(serve, handler, self.port, host=self.host, reuse_port=reuse_port)
        else:
            start = partial(serve_unix, handler, self.unix)
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(start, drain=drain, **self._options()))
            for listener in listeners:
                await console.write(f"listening on {self._place(listener)}\n".encode())

    def _options(self) -> dict[str, Any]:
        return {
            "on_request": self.static,
            "http2": self.http2,
            "origins": ANY_ORIGIN if "*" in self.origins else self.origins or None,
            "ssl_context": self._ssl_context(),
            "subprotocols": self.subprotocols,
            "extensions": [PermessageDeflate()] if self.compress else [],
            "ping_interval": self.ping_interval,
            "max_message_size": self.max_size,
            "drain_timeout": self.drain_timeout,
        }

    def _ssl_context(self) -> ssl.SSLContext | None:
        if self.tls is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.tls, self.key)
        except (OSError, ssl.SSLError) as error:
            raise CommandError(f"--tls or --key: {error}") from error
        return context

    def _place(self, listener: trio.SocketListener) -> str:
        if self.unix is not None:
            return self.unix
        host, port, *_ = listener.socket.getsockname()
        host = f"[{host}]" if ":" in host else host
        return f"{'wss' if self.tls else 'ws'}://{host}:{port}"
