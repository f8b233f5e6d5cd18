"""SOCKS, through python-socks: imported only where a proxy speaks it."""

from __future__ import annotations

import math
import socket
from typing import Any, Final

import python_socks
import trio
from python_socks.async_.trio import Proxy as SocksProxy

from .errors import ConnectError, ProxyError
from .proxy import Proxy
from .url import Url, without_zone

_TYPES: Final = {
    "socks4": python_socks.ProxyType.SOCKS4,
    "socks5": python_socks.ProxyType.SOCKS5,
}

# General failure, and network, host, port or time to live, none of which has to stay so
# (RFC 1928 section 6); and the one code of SOCKS 4 for all of that.
_TEMPORARY: Final = frozenset({1, 3, 4, 5, 6, 0x5B})


class _Reached(SocksProxy):
    """A way to the proxy that has been gone already."""

    def __init__(self, stream: trio.SocketStream, proxy: Proxy) -> None:
        super().__init__(python_socks.ProxyType.SOCKS5, proxy.host, proxy.port)
        self._stream = stream

    async def connect(self, *_: Any, **__: Any) -> trio.socket.SocketType:
        return self._stream.socket


async def ask_socks(stream: trio.SocketStream, proxy: Proxy, url: Url) -> None:
    """Have the proxy at the other end of a stream lead to the server of a URL.

    Raises:
        ProxyError: it does not.
        ConnectError: the name of the server, which is to be looked up here, is not known.
    """
    looks_names_up = proxy.scheme[-1] in "ah"
    socks = SocksProxy(
        _TYPES[proxy.scheme[:6]],
        proxy.host,
        proxy.port,
        proxy.username,
        proxy.password or "",
        rdns=looks_names_up,
        forward=_Reached(stream, proxy),
    )
    try:
        # Somebody else watches the time.
        await socks.connect(without_zone(url.host), url.port, timeout=math.inf)
    except socket.gaierror as error:
        raise ConnectError(
            error.errno, f"found no host for {url.host}:{url.port}: {error.strerror}"
        ) from error
    except (OSError, python_socks.ProxyError) as error:
        # It does not tell a hang-up from nonsense but by an exception that it keeps to itself.
        hung_up = isinstance(error, OSError) or "closed" in str(error)
        raise ProxyError(
            getattr(error, "errno", None),
            f"the proxy {proxy} failed: {error}",
            proxy=str(proxy),
            temporary=hung_up or getattr(error, "error_code", None) in _TEMPORARY,
        ) from error
