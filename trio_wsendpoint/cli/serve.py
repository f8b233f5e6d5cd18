"""`serve`: a server for one purpose."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any

import attrs
import trio

from ..protocol import PermessageDeflate
from ..server import serve
from .console import Console
from .exits import CommandError, Exit
from .handlers import Handler
from .stopping import stopping_on_signals
from .tracing import logged_to


@attrs.frozen(kw_only=True)
class Serve:
    """What `serve` was asked for.

    Attributes:
        handler: What to do with a connection.
        port: The TCP port; 0 for any that is free.
        host: The address to listen on.
        tls: A file with the server's certificate, and its key if `key` has it not.
        key: A file with its key.
        subprotocols: Those that it speaks.
        compress: Whether to take permessage-deflate, if a client offers it.
        ping_interval: Seconds between pings.
        max_size: Bytes that a message may have; None for no limit.
        trace: Whether each frame is shown.
    """

    handler: Handler
    port: int = 8000
    host: str = "127.0.0.1"
    tls: str | None = None
    key: str | None = None
    subprotocols: tuple[str, ...] = ()
    compress: bool = False
    ping_interval: float = 20.0
    max_size: int | None = 2**20
    trace: bool = False

    async def run(self, console: Console) -> Exit:
        """Serve until Ctrl-C or SIGTERM."""
        start = partial(serve, **self._options())
        async with stopping_on_signals():
            with logged_to(console.remark, None if self.trace else ()):
                async with trio.open_nursery() as nursery:
                    listeners = await nursery.start(start, self.handler, self.port)
                    for listener in listeners:
                        await console.write(f"listening on {self._url(listener)}\n".encode())
        return Exit.OK

    def _options(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "ssl_context": self._ssl_context(),
            "subprotocols": self.subprotocols,
            "extensions": [PermessageDeflate()] if self.compress else [],
            "ping_interval": self.ping_interval,
            "max_message_size": self.max_size,
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

    def _url(self, listener: trio.SocketListener) -> str:
        host, port, *_ = listener.socket.getsockname()
        host = f"[{host}]" if ":" in host else host
        return f"{'wss' if self.tls else 'ws'}://{host}:{port}"
