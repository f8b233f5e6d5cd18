"""Which HTTP a server is spoken to in, over TLS: what is offered, and what it chose."""

from __future__ import annotations

import functools
import ssl
from typing import Final

import trio

from ..endpoint import tls_info
from ..protocol import HandshakeError
from .dialling import begin_tls
from .url import Url

HTTP2: Final = "h2"
HTTP11: Final = "http/1.1"


async def begin_tls_offering(
    stream: trio.abc.Stream,
    url: Url,
    ssl_context: ssl.SSLContext | None,
    *protocols: str,
) -> trio.abc.Stream:
    """Begin TLS on a stream, if the URL is for that, and offer protocols by ALPN.

    Args:
        stream: The stream; closed if this fails.
        url: Where it leads.
        ssl_context: How to do TLS; its ALPN protocols are set. None for the default.
        *protocols: What is offered, the most wanted first.

    Raises:
        HandshakeError: TLS failed, or HTTP/2 is all that is offered and was not chosen.
    """
    if not url.secure:
        return stream
    try:
        context = ssl_context or _default_context()
        context.set_alpn_protocols(list(protocols))
        tls = await begin_tls(stream, context, url.server_hostname)
        chosen = chosen_protocol(tls)
        if protocols == (HTTP2,) and chosen != HTTP2:
            raise HandshakeError(
                f"the server does not speak HTTP/2: ALPN has chosen {chosen or 'nothing'}"
            )
        return tls
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


@functools.cache
def _default_context() -> ssl.SSLContext:
    # Not that of all other connections, which offer nothing.
    return ssl.create_default_context()


def chosen_protocol(stream: trio.abc.Stream) -> str | None:
    """What ALPN has chosen on a stream, if there is TLS and it has."""
    info = tls_info(stream)
    return info.alpn_protocol if info else None


def web_scheme(url: Url) -> str:
    """What stands in `:scheme`."""
    return "https" if url.secure else "http"
