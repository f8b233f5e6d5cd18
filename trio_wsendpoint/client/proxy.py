"""Proxies: which one leads to a server, and how it is asked to."""

from __future__ import annotations

import re
import ssl
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from ..protocol import HandshakeError, Request, Response, ResponseReader, encode_request
from .dialling import begin_tls, open_tcp
from .errors import ConnectError, ProxyError
from .handshake import receive_head
from .url import (
    AUTHORITY,
    Url,
    basic,
    check_text,
    in_brackets,
    parse_authority,
    without_zone,
)

_DEFAULT_PORTS: Final = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}
_PROXY = re.compile(
    rf"(?P<scheme> [-+.a-z0-9]+ ) :// {AUTHORITY} /?", re.VERBOSE | re.IGNORECASE
)
_FORM: Final = "scheme://[user[:password]@]host[:port]"
_MAX_SOCKS_CREDENTIAL: Final = 255  # bytes (RFC 1929 section 2)


@attrs.frozen
class Proxy:
    """A proxy.

    Attributes:
        scheme: How it is spoken to: http or https, by CONNECT; or socks4, socks4a, socks5,
            socks5h, where the last letter has the proxy look names up.
        host: As in `Url`.
        port: Likewise.
        username: Likewise.
        password: Likewise.
    """

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        """Its URL without user name and password."""
        return f"{self.scheme}://{in_brackets(self.host)}:{self.port}"


def parse_proxy(url: str, argument: str = "proxy") -> Proxy:
    """Take the URL of a proxy to pieces.

    Raises:
        TypeError: `url` is not a str; the message says `argument`.
        ValueError: it is no URL of a proxy.
    """
    check_text(url, argument)
    match = _PROXY.fullmatch(url)
    if match is None:  # it may have a password in it, and stays out of the message
        raise ValueError(f"{argument} must be of the form {_FORM}")
    scheme = match["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        known = ", ".join(_DEFAULT_PORTS)
        raise ValueError(f"{argument} must begin with one of {known}, not {scheme}")
    found = parse_authority(match, argument)
    credentials = (found.username or "", found.password or "")
    if scheme.startswith("socks") and not all(map(_is_socks_credential, credentials)):
        raise ValueError(
            f"{argument} must have an ASCII user name and password for SOCKS,"
            f" {_MAX_SOCKS_CREDENTIAL} characters each at most"
        )
    return Proxy(
        scheme,
        found.host,
        found.port or _DEFAULT_PORTS[scheme],
        found.username,
        found.password,
    )


def _is_socks_credential(text: str) -> bool:
    return text.isascii() and "\0" not in text and len(text) <= _MAX_SOCKS_CREDENTIAL


def proxy_of_environment(url: Url) -> Proxy | None:
    """The proxy that the environment names for a URL, as the standard library reads it.

    Raises:
        ValueError: what it names is no URL of a proxy.
    """
    named = urllib.request.getproxies_environment()
    proxy = named.get("https" if url.secure else "http") or named.get("all")
    host = url.server_hostname
    ways_to_write_it = (host, f"{in_brackets(host)}:{url.port}")
    if proxy is None or any(map(urllib.request.proxy_bypass, ways_to_write_it)):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    return parse_proxy(proxy, "the proxy that the environment names")


async def open_through(
    proxy: Proxy,
    url: Url,
    *,
    local_address: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    user_agent: str | None = None,
) -> trio.abc.Stream:
    """Dial a proxy, and have it lead to the server of a URL.

    Raises:
        ProxyError: the proxy cannot be reached, or does not.
        ConnectError: the name of the server, which is to be looked up here, is not known.
        ImportError: the proxy needs a package that is not installed.
    """
    ask_socks = _import_socks() if proxy.scheme.startswith("socks") else None
    stream = await _open(proxy, local_address)
    try:
        if ask_socks is None:
            return await _ask_http(stream, proxy, url, ssl_context, user_agent)
        await ask_socks(stream, proxy, url)
        return stream
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
        raise


def _import_socks() -> Callable[[trio.SocketStream, Proxy, Url], Awaitable[None]]:
    try:
        from .socks import ask_socks
    except ImportError:
        raise ImportError(
            "a SOCKS proxy needs the package python-socks: pip install 'trio-wsendpoint[proxy]'"
        ) from None
    return ask_socks


async def _open(proxy: Proxy, local_address: str | None) -> trio.SocketStream:
    try:
        return await open_tcp(proxy.host, proxy.port, local_address)
    except ConnectError as error:
        raise ProxyError(
            error.errno,
            f"the proxy {proxy} cannot be reached: {error}",
            proxy=str(proxy),
            temporary=True,
        ) from error.__cause__


async def _ask_http(
    stream: trio.abc.Stream,
    proxy: Proxy,
    url: Url,
    ssl_context: ssl.SSLContext | None,
    user_agent: str | None,
) -> trio.abc.Stream:
    """Have an HTTP proxy lead to the server; the stream that does comes back."""
    try:
        if proxy.scheme == "https":
            host = without_zone(proxy.host).removesuffix(".")
            stream = await begin_tls(stream, ssl_context, host, "http")
        response = await _request_tunnel(stream, proxy, url, user_agent)
    except HandshakeError as error:
        raise ProxyError(
            None,
            f"the proxy {proxy} failed: {error}",
            proxy=str(proxy),
            temporary=error.temporary,
        ) from error.__cause__
    if not 200 <= response.status_code < 300:
        raise _refused(proxy, response)
    return stream


async def _request_tunnel(
    stream: trio.abc.Stream, proxy: Proxy, url: Url, user_agent: str | None
) -> Response:
    """Ask for a way to the server by CONNECT (RFC 9110 section 9.3.6)."""
    target = f"{in_brackets(without_zone(url.host))}:{url.port}"
    headers = [("Host", target)]
    if user_agent is not None:
        headers.append(("User-Agent", user_agent))
    if proxy.username is not None:
        headers.append(("Proxy-Authorization", basic(proxy.username, proxy.password)))
    reader = ResponseReader("CONNECT")
    request = encode_request(Request(target, headers, "CONNECT"))
    response = await receive_head(stream, request, reader)
    # Nobody who is behind it could have spoken first.
    if reader.is_done and reader.trailing_data:
        raise HandshakeError("it sent more than its answer")
    return response


def _refused(proxy: Proxy, response: Response) -> ProxyError:
    status_code = response.status_code
    answer = f"{status_code} {response.reason_phrase[:100]}".rstrip()
    return ProxyError(
        None,
        f"the proxy {proxy} answered {answer}",
        proxy=str(proxy),
        response=response,
        temporary=status_code == 429 or 500 <= status_code <= 599,
    )
