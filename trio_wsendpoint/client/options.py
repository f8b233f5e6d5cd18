"""What `connect` and `reconnecting` take: types, defaults and checks, stated once for both."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs
import trio

from ..endpoint import (
    EndpointKeywords,
    EndpointOptions,
    check_ssl_context,
    check_stream,
    parse_keywords,
)
from ..protocol import VERSION, ClientHandshake, Headers, HeadersLike, Role
from .http2_pool import Http2Pool
from .proxy import Proxy, parse_proxy
from .url import Url, to_host, without_zone

ENVIRONMENT: Final = "environment"
ProxyChoice: TypeAlias = Proxy | Literal["environment"] | None

# The serialization of an origin (RFC 6454 section 6.2), which has no path: not even "/".
_ORIGIN = re.compile(
    r"null|[a-z][-+.a-z0-9]*://[\x21\x24-\x2e\x30-\x3e\x40-\x7e]+", re.IGNORECASE
)
_FIELD_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]*")
_SENSITIVE: Final = frozenset({"authorization", "cookie", "proxy-authorization", "host"})
"""Headers, in lower case, that are meant for the origin which they were given for."""


def default_user_agent() -> str:
    """The `User-Agent` of a client that names none."""
    python = ".".join(map(str, sys.version_info[:2]))
    return f"trio_wsendpoint/{VERSION} Python/{python}"


class DialKeywords(EndpointKeywords, total=False):
    """The keyword arguments that `connect` and `reconnecting` share; see `ConnectOptions`."""

    handshake_timeout: float
    subprotocols: Iterable[str]
    stream: trio.abc.Stream | None
    user_agent: str | None
    origin: str | None
    max_redirects: int
    sensitive_headers: Iterable[str]
    proxy: str | None
    proxy_ssl_context: ssl.SSLContext | None
    unix_path: str | os.PathLike[str] | None
    server_hostname: str | None
    local_address: str | None
    http2: Http2Pool | None


def _once(values: Any) -> Any:
    """Values that may be looked at more than once; whatever has none is left alone."""
    values = values.items() if isinstance(values, Mapping) else values
    has_many = isinstance(values, Iterable) and not isinstance(values, str)
    return tuple(values) if has_many else values


def _header_names(headers: Any) -> set[str]:
    try:
        return {name.lower() for name, _ in headers}
    except (TypeError, ValueError, AttributeError):
        return set()  # `ClientHandshake` will refuse them, and say why


def _check_context(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    check_ssl_context(value, Role.CLIENT, attribute.name)


def _check_stream(_: object, __: object, value: Any) -> None:
    if value is not None:
        check_stream(value)


# Converters, not validators: these would run only after the handshake was made.
def _to_user_agent(value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise TypeError(f"user_agent must be a str or None, not {type(value).__name__}")
    if value is not None and not _FIELD_VALUE.fullmatch(value):
        raise ValueError("user_agent must be Latin-1 without control characters")
    return value


def _to_origin(value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise TypeError(f"origin must be a str or None, not {type(value).__name__}")
    if value is not None and not _ORIGIN.fullmatch(value):
        raise ValueError(
            f"origin must be of the form scheme://host[:port], or null, not {value!r}"
        )
    return value


def _check_max_redirects(_: object, __: object, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_redirects must be an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"max_redirects must be at least 0, not {value}")


def _to_names(names: Any) -> frozenset[str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"sensitive_headers must be an iterable of str, not {names!r}")
    result = tuple(names)
    if not all(isinstance(name, str) for name in result):
        raise TypeError(f"sensitive_headers must be an iterable of str, not {names!r}")
    return _SENSITIVE | {name.lower() for name in result}


def _to_proxy(proxy: Any) -> ProxyChoice:
    # One that is taken to pieces already is that of options which others are made from.
    is_ready = proxy is None or proxy == ENVIRONMENT or isinstance(proxy, Proxy)
    return proxy if is_ready else parse_proxy(proxy)


def _to_path(path: Any) -> str | None:
    if not isinstance(path, str | os.PathLike | None):
        raise TypeError(f"unix_path must be a str or a path, not {type(path).__name__}")
    return None if path is None else os.fspath(path)


def _to_server_hostname(name: Any) -> str | None:
    if not isinstance(name, str | None):
        raise TypeError(f"server_hostname must be a str, not {type(name).__name__}")
    if name is None or _is_address(name):
        return name and without_zone(name)
    return to_host(name, "server_hostname").removesuffix(".")


def _check_local_address(_: object, __: object, value: Any) -> None:
    if not isinstance(value, str | None):
        raise TypeError(f"local_address must be a str, not {type(value).__name__}")
    if value is not None and not _is_address(value):
        raise ValueError(
            f"local_address must be an IP address of this machine, with no port, not {value!r}"
        )


def _check_pool(_: object, __: object, value: Any) -> None:
    if not isinstance(value, Http2Pool | None):
        raise TypeError(f"http2 must be a pool of open_http2_pool, not {type(value).__name__}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_NOT_SHARED: Final = ("stream", "unix_path", "local_address")


@attrs.frozen(kw_only=True)
class ConnectOptions:
    """What a client has to know besides the URL.

    Attributes:
        endpoint: The options of the endpoint.
        handshake_timeout: Seconds for all that comes before the connection is open.
        subprotocols: Those that the application speaks, the most wanted first.
        headers: Headers of the application's own.
        ssl_context: For `wss`; by default one that all connections of the process share.
        stream: One that is already connected, instead of dialling.
        user_agent: The `User-Agent`, unless there is one in `headers`; None for none.
        origin: The `Origin`, as a browser would send it.
        max_redirects: How many redirects are followed, one after the other.
        sensitive_headers: Names of headers that must not go to another origin than they were
            given for, besides `Authorization`, `Cookie` and those that name that origin.
        proxy: Which proxy leads to the server; "environment" for what the environment says.
        proxy_ssl_context: For a proxy that is spoken to over TLS.
        unix_path: The path of a Unix socket, instead of the URL's host and port.
        server_hostname: The name for TLS to ask for and to verify, instead of the URL's host.
        local_address: The IP address to dial from.
        http2: A pool of `open_http2_pool`, whose connections are shared.
        handshake: The handshake that all are made from, whatever their URL.
    """

    endpoint: EndpointOptions
    handshake_timeout: float
    subprotocols: Iterable[str] = attrs.field(default=(), converter=_once)
    headers: HeadersLike = attrs.field(default=(), converter=_once)
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, validator=_check_context)
    stream: trio.abc.Stream | None = attrs.field(default=None, validator=_check_stream)
    user_agent: str | None = attrs.field(factory=default_user_agent, converter=_to_user_agent)
    origin: str | None = attrs.field(default=None, converter=_to_origin)
    max_redirects: int = attrs.field(default=5, validator=_check_max_redirects)
    sensitive_headers: frozenset[str] = attrs.field(default=(), converter=_to_names)
    proxy: ProxyChoice = attrs.field(default=ENVIRONMENT, converter=_to_proxy)
    proxy_ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, validator=_check_context
    )
    unix_path: str | None = attrs.field(default=None, converter=_to_path)
    server_hostname: str | None = attrs.field(default=None, converter=_to_server_hostname)
    local_address: str | None = attrs.field(default=None, validator=_check_local_address)
    http2: Http2Pool | None = attrs.field(default=None, validator=_check_pool)
    handshake: ClientHandshake = attrs.field(init=False, repr=False)

    @handshake.default
    def _make_handshake(self) -> ClientHandshake:
        headers = self.headers
        names = _header_names(headers)
        if self.origin is not None and "origin" in names:
            raise ValueError("headers must not have Origin where origin is given")
        extra = {"Origin": self.origin, "User-Agent": self.user_agent}
        wanted = [
            (name, value)
            for name, value in extra.items()
            if value is not None and name.lower() not in names
        ]
        return ClientHandshake(
            "-",
            subprotocols=self.subprotocols,
            headers=(*wanted, *headers) if isinstance(headers, tuple) else headers,
            extensions=self.endpoint.extensions,
        )

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot go together.

        Raises:
            ValueError: an argument would have no effect; the message names it.
        """
        ways = {
            "stream": self.stream is not None,
            "unix_path": self.unix_path is not None,
            "proxy": isinstance(self.proxy, Proxy),
            "local_address": self.local_address is not None,
        }
        for way in ("stream", "unix_path"):
            others = [name for name, given in ways.items() if given and name != way]
            if ways[way] and others:
                raise ValueError(f"{others[0]} must be None where {way} is given")
        if self.http2 is not None:
            # Its connections are shared with those who were given something else.
            for name in (*_NOT_SHARED, "ssl_context", "server_hostname"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} must be None where http2 is given")
        if isinstance(self.stream, trio.SSLStream):
            # Its checks would silently not be made.
            for name in ("ssl_context", "server_hostname"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} must be None where stream is a trio.SSLStream already"
                    )

    @property
    def may_redirect(self) -> bool:
        """Whether redirects are followed: not on a stream, of which there is only one."""
        return self.max_redirects > 0 and self.stream is None

    def check_url(self, url: Url) -> None:
        """Refuse what can have no effect with this URL.

        Raises:
            ValueError: `ssl_context` is for nothing.
        """
        if self.ssl_context is not None and not (url.secure or self.may_redirect):
            raise ValueError("ssl_context needs a url that begins with wss://")

    def handshake_for(self, url: Url, headers: Headers) -> ClientHandshake:
        """The opening handshake with the server of a URL."""
        return attrs.evolve(
            self.handshake, host=url.host_header, target=url.target, headers=headers
        )


_NAMES: Final = frozenset(
    field.name
    for field in attrs.fields(ConnectOptions)
    if field.init and field.name not in {"endpoint", "handshake_timeout"}
)


def parse_options(keywords: Mapping[str, Any], caller: str) -> ConnectOptions:
    """Check the keyword arguments of `connect` or `reconnecting`, whichever calls.

    Raises:
        TypeError, ValueError: one is wrong; the message names it.
    """
    own = {name: value for name, value in keywords.items() if name in _NAMES}
    rest = {name: value for name, value in keywords.items() if name not in _NAMES}
    endpoint, handshake = parse_keywords(rest, caller)
    return ConnectOptions(
        endpoint=endpoint, handshake_timeout=handshake.handshake_timeout, **own
    )
