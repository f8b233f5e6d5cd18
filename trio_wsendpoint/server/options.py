"""The options of a server: their types, defaults and checks, stated once for all."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import trio

from ..endpoint import (
    EndpointOptions,
    HandshakeKeywords,
    HandshakeOptions,
    check_count,
    check_keywords,
    check_limit,
    check_seconds,
    split_keywords,
)
from ..protocol import (
    VERSION,
    CloseCode,
    ServerHandshake,
    check_close_arguments,
    to_headers,
)
from .functions import check_callable
from .limits import Limits
from .origins import AnyOrigin, Origins, to_origins
from .proxied import X_FORWARDED_FOR, Proxies
from .requests import Gate, OnRequest, SelectSubprotocol, to_hooks


class AcceptKeywords(HandshakeKeywords, total=False):
    """What `accept` and all servers take besides; see `ServerOptions`."""

    on_request: OnRequest | Iterable[OnRequest] | None
    origins: Iterable[str] | AnyOrigin | None
    select_subprotocol: SelectSubprotocol | None
    require_subprotocol: bool
    trusted_proxies: Iterable[str | ipaddress.IPv4Network | ipaddress.IPv6Network]
    forwarded_header: str
    server_header: str | None


class ServerKeywords(AcceptKeywords, total=False):
    """What a server takes that has many connections; see `ServerOptions`."""

    max_connections: int | None
    max_connections_per_host: int | None
    max_handshakes: int | None
    http2: bool
    max_streams: int
    drain: trio.Event | None
    drain_timeout: float
    drain_code: int


_OWN_NAME: Final = f"trio_wsendpoint/{VERSION}"


def _check_select(_: object, __: object, value: Any) -> None:
    if value is not None:
        check_callable("select_subprotocol", value, "the request", "the subprotocols offered")


def _check_server_header(_: object, __: object, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"server_header must be a str or None, not {type(value).__name__}")
    to_headers([("server_header", value)])


def _check_event(_: object, __: object, value: Any) -> None:
    if not isinstance(value, trio.Event | None):
        raise TypeError(f"drain must be a trio.Event or None, not {type(value).__name__}")


def _check_code(_: object, __: object, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"drain_code must be an int, not {type(value).__name__}")
    try:
        check_close_arguments(value, "")
    except ValueError as error:
        raise ValueError(f"drain_code: {error}") from None


@attrs.frozen(kw_only=True)
class ServerOptions:
    """What a server says to requests, and how many it takes.

    Attributes:
        on_request: An async function of each request, WebSocket or not, or a list of them; the
            first answer that is not None counts: a `Response` or an `Accept`.
        origins: The origins whose pages may connect, such as `"https://*.example.org"`; None
            for that of the host asked for, `ANY_ORIGIN` for all.
        select_subprotocol: A function of the request and the subprotocols offered, which
            returns the one to speak, or None; by default the first that we speak.
        require_subprotocol: Whether a client that speaks none of ours is refused.
        trusted_proxies: The networks of proxies that are believed who the client is; `"unix"`
            for those that connect by a Unix socket.
        forwarded_header: Where they tell it: `"X-Forwarded-For"` or `"Forwarded"`.
        server_header: The value of the `Server` header; None for no such header.
        max_connections: Connections that may be open at a time; None for no limit.
        max_connections_per_host: The same with one client address.
        max_handshakes: Opening handshakes, plain requests among them, that may be under way.
        http2: Whether HTTP/2 is spoken too, which needs the extra `http2`: it is offered by
            ALPN, for which that of `ssl_context` is set, and without TLS taken from clients
            that know of it.
        max_streams: WebSockets and requests that one connection of HTTP/2 may have open.
        drain: When it is set, the server begins to drain.
        drain_timeout: Seconds that draining may take before what is left is cancelled.
        drain_code: The close code of the endpoints that are closed by it.
    """

    on_request: tuple[OnRequest, ...] = attrs.field(default=None, converter=to_hooks)
    origins: Origins = attrs.field(default=None, converter=to_origins)
    select_subprotocol: SelectSubprotocol | None = attrs.field(
        default=None, validator=_check_select
    )
    require_subprotocol: bool = attrs.field(
        default=False, validator=attrs.validators.instance_of(bool)
    )
    trusted_proxies: Iterable[Any] = ()
    forwarded_header: str = X_FORWARDED_FOR
    server_header: str | None = attrs.field(default=_OWN_NAME, validator=_check_server_header)
    max_connections: int | None = attrs.field(default=None, validator=check_limit)
    max_connections_per_host: int | None = attrs.field(default=None, validator=check_limit)
    max_handshakes: int | None = attrs.field(default=None, validator=check_limit)
    http2: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    max_streams: int = attrs.field(default=100, validator=check_count)
    drain: trio.Event | None = attrs.field(default=None, validator=_check_event)
    drain_timeout: float = attrs.field(default=30.0, validator=check_seconds)
    drain_code: int = attrs.field(default=CloseCode.SERVICE_RESTART, validator=_check_code)
    proxies: Proxies = attrs.field(init=False)

    @proxies.default
    def _make_proxies(self) -> Proxies:
        return Proxies(self.trusted_proxies, self.forwarded_header)


_SERVER_NAMES: Final = frozenset(
    ServerKeywords.__annotations__.keys() - HandshakeKeywords.__annotations__.keys()
)


@attrs.frozen
class Draining:
    """When and how a server drains: see `ServerOptions`."""

    event: trio.Event | None
    timeout: float
    code: int


@attrs.frozen
class Settings:
    """All that is known of a server before its first connection.

    Attributes:
        endpoint: How its endpoints behave.
        gate: What it says to requests.
        proxies: Who may tell who the client is.
        handshake_timeout: Seconds that an opening handshake may take.
        max_streams: How many a connection of HTTP/2 may have; None where it is not spoken.
        draining: When and how it drains.
    """

    endpoint: EndpointOptions
    gate: Gate
    proxies: Proxies
    handshake_timeout: float
    max_streams: int | None
    draining: Draining

    @classmethod
    def parse(
        cls,
        caller: str,
        keywords: Mapping[str, Any],
        known: type[AcceptKeywords] = ServerKeywords,
        routes: OnRequest | None = None,
    ) -> Settings:
        """Check the keyword arguments of `caller`, once.

        Raises:
            TypeError, ValueError: one is wrong; the message names it.
        """
        check_keywords(caller, keywords, known.__annotations__)
        for_endpoint, others = split_keywords(keywords)
        for_server = {name: others.pop(name) for name in _SERVER_NAMES & others.keys()}
        endpoint = EndpointOptions(**for_endpoint)
        handshake = HandshakeOptions(**others)
        server = ServerOptions(**for_server)
        gate = Gate(
            handshake=ServerHandshake(
                subprotocols=handshake.subprotocols,
                headers=handshake.headers,
                extensions=endpoint.extensions,
            ),
            hooks=server.on_request,
            routes=routes,
            origins=server.origins,
            select_subprotocol=server.select_subprotocol,
            require_subprotocol=server.require_subprotocol,
            server_header=server.server_header,
            limits=Limits(
                server.max_connections,
                server.max_connections_per_host,
                server.max_handshakes,
            ),
        )
        if server.http2:
            from ..http2 import PREFACE  # noqa: F401 - to say at once that the extra is missing
        max_streams = server.max_streams if server.http2 else None
        draining = Draining(server.drain, server.drain_timeout, server.drain_code)
        return cls(
            endpoint, gate, server.proxies, handshake.handshake_timeout, max_streams, draining
        )
