"""Which pages may connect: the `Origin` that a browser tells (RFC 6455 section 10.2).

Browsers let any page open a WebSocket to any server, and send the user's cookies with it. Only
the server can tell that the page is not its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

import attrs

from ..protocol import HandshakeError, Request

_ORIGIN = re.compile(
    r"""
    (?P<scheme> [a-z][-+.0-9a-z]* ) ://
    (?P<host> \[ [0-9a-f:.]+ \] | [-._~!$&'()*+,;=%0-9a-z]* )
    (?: : (?P<port> [0-9]{1,5} ) )?
    """,
    re.VERBOSE,
)
_HOST = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]*))?")
_DEFAULT_PORTS: Final = {"http": "80", "ws": "80", "https": "443", "wss": "443"}
_SHOWN: Final = 100


class AnyOrigin:
    """The type of `ANY_ORIGIN`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ANY_ORIGIN"


ANY_ORIGIN: Final = AnyOrigin()
"""Pages of any origin may connect: for services that know users by no cookie or address."""


@attrs.frozen
class Origin:
    """An origin (RFC 6454): what a page is known by.

    Attributes:
        scheme: In lower case.
        host: In lower case; in a pattern, a label may be `*`.
        port: None for the scheme's own.
    """

    scheme: str
    host: str
    port: str | None

    def covers(self, other: Origin) -> bool:
        """Whether this one, which may be a pattern, stands for another one."""
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        ours, theirs = self.host.split("."), other.host.split(".")
        return len(ours) == len(theirs) and all(
            (label == "*" and each) or label == each
            for label, each in zip(ours, theirs, strict=True)
        )


Origins: TypeAlias = tuple[Origin, ...] | AnyOrigin | None
"""Those whose pages may connect; None for that of the host asked for."""


def _parse(text: str) -> Origin | None:
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match["scheme"], match["host"], match["port"]
    return Origin(scheme, host, None if port == _DEFAULT_PORTS.get(scheme) else port)


def _to_pattern(text: object) -> Origin:
    if not isinstance(text, str):
        raise TypeError(f"origins must be str values, not {type(text).__name__}")
    pattern = _parse(text)
    if pattern is None:
        raise ValueError(
            "origins must be of the form scheme://host[:port], with nothing behind, and a host"
            f" name in its ASCII form (xn--...): {text!r} is not"
        )
    if any("*" in label and label != "*" for label in pattern.host.split(".")):
        raise ValueError(f"origins may have a * for one whole label only, unlike {text!r}")
    return pattern


def to_origins(origins: Iterable[str] | AnyOrigin | None) -> Origins:
    """Check what the application gave for `origins`.

    Raises:
        TypeError: it is neither an iterable of str, nor `ANY_ORIGIN`, nor None.
        ValueError: one of them is no origin.
    """
    if origins is None or isinstance(origins, AnyOrigin):
        return origins
    if isinstance(origins, str) or not isinstance(origins, Iterable):
        raise TypeError(
            f"origins must be an iterable of str, ANY_ORIGIN or None, not {origins!r}"
        )
    return tuple(map(_to_pattern, origins))


class ForeignOrigin(HandshakeError):
    """A page that may not connect has tried to."""

    def __init__(self, values: list[str]) -> None:
        self.shown = " and ".join(values)[:_SHOWN]
        super().__init__("a page of this origin may not connect", 403)


def check_origin(request: Request, allowed: Origins) -> None:
    """Refuse a page that may not connect.

    Args:
        request: One that asks for a WebSocket, and that rightly.
        allowed: The origins that may; None for the request's own host.

    Raises:
        ForeignOrigin: it may not.
    """
    values = request.header_values("Origin")
    # Only browsers send it, and only from them it can be believed; others have no cookies
    # of the user's to send along.
    if not values or isinstance(allowed, AnyOrigin):
        return
    origin = _parse(values[0]) if len(values) == 1 else None
    if origin is None:
        raise ForeignOrigin(values)
    if allowed is None:
        own = _is_own_host(origin, request.host or "")
    else:
        own = any(pattern.covers(origin) for pattern in allowed)
    if not own:
        raise ForeignOrigin(values)


def _is_own_host(origin: Origin, host: str) -> bool:
    match = _HOST.fullmatch(host.lower())
    if match is None or not match["host"]:
        return False
    # The scheme is not compared: TLS may end in front of us. So either default port is one.
    port = None if match["port"] in (None, "", "80", "443") else match["port"]
    return (origin.host, origin.port) == (match["host"], port)
