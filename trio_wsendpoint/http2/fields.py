"""Header fields of HTTP/2 to requests and responses of HTTP/1.1, and back (RFC 9113, 8441).

An opening handshake over HTTP/2 is the same one with a few parts left out. So an extended
CONNECT is told as the GET that it stands for, and one code checks and decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import attrs

from ..protocol import (
    MAX_HEAD_SIZE,
    MAX_HEADERS,
    Request,
    Response,
    accept_value,
)

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]

# "An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header
# fields" (RFC 9113 section 8.2.2), and the key is not used (RFC 8441 section 5).
_HOP_BY_HOP: Final = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
)
_LEFT_OUT: Final = _HOP_BY_HOP | {"host", "te", "sec-websocket-key", "sec-websocket-accept"}
_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-z]+")
_PSEUDO: Final = frozenset((":method", ":scheme", ":authority", ":path", ":protocol"))
_STATUS = re.compile(r"[2-9][0-9][0-9]")
_NO_LENGTH: Final = frozenset({204, 304})
_UPGRADE: Final = (("Upgrade", "websocket"), ("Connection", "Upgrade"))


class MalformedMessage(Exception):
    """A request or response breaks RFC 9113 section 8: a stream error."""


def _part(fields: Fields, known: Iterable[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Part the pseudo-header fields from the others, and check them all."""
    pseudo: dict[str, str] = {}
    others: list[tuple[str, str]] = []
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name.startswith(":"):
            if name not in known or name in pseudo or others:
                raise MalformedMessage(f"{name} is unknown, late or there twice")
            pseudo[name] = value
        elif not _NAME.fullmatch(raw_name):
            raise MalformedMessage("a field name is not a token in lower case")
        elif name in _HOP_BY_HOP or (name == "te" and value != "trailers"):
            raise MalformedMessage(f"{name} is only for HTTP/1.1")
        else:
            others.append((name, value))
    return pseudo, others


@attrs.frozen
class IncomingRequest:
    """A request as it came in.

    Attributes:
        request: The request; a GET, and its Host the authority, if it is an extended CONNECT.
        too_large: Whether its fields are more than is read of them.
    """

    request: Request
    too_large: bool = False

    @classmethod
    def read(cls, fields: Fields) -> IncomingRequest:
        """Read a request's header fields.

        Raises:
            MalformedMessage: they are none of a request.
        """
        pseudo, others = _part(fields, _PSEUDO)
        method = pseudo.get(":method")
        protocol = pseudo.get(":protocol")
        _check_pseudo(pseudo, method, protocol)
        authority = _authority(pseudo, others)
        headers = [("Host", authority)] if authority is not None else []
        if method == "CONNECT" and protocol is not None:
            method = "GET"
        headers += [pair for pair in _join_cookies(others) if pair[0] not in _LEFT_OUT]
        target = pseudo.get(":path", authority or "")
        try:
            request = Request(
                target, headers, method or "", http_version="2", protocol=protocol
            )
        except ValueError as error:
            raise MalformedMessage(str(error)) from None
        size = sum(len(name) + len(value) for name, value in fields)
        too_large = size > MAX_HEAD_SIZE or len(fields) > MAX_HEADERS
        return cls(request, too_large)


def _check_pseudo(pseudo: dict[str, str], method: str | None, protocol: str | None) -> None:
    """Hold the pseudo-header fields against RFC 9113 section 8.3.1 and RFC 8441 section 4."""
    if method is None or not _NAME.fullmatch(method.lower().encode("latin-1")):
        raise MalformedMessage(":method is missing or no token")
    needed: tuple[str, ...] = (":scheme", ":path")
    if method == "CONNECT":
        needed = (":authority",) if protocol is None else (*needed, ":authority")
    if any(not pseudo.get(name) for name in needed):
        raise MalformedMessage(f"{' or '.join(needed)} is missing or empty")
    if protocol is not None and (method != "CONNECT" or not protocol):
        raise MalformedMessage(":protocol is empty, or not of a CONNECT")
    if method == "CONNECT" and protocol is None and (":scheme" in pseudo or ":path" in pseudo):
        raise MalformedMessage("a CONNECT with :scheme or :path")
    path = pseudo.get(":path")
    is_asterisk = path == "*" and method == "OPTIONS"
    if path is not None and not (path.startswith("/") or is_asterisk):
        raise MalformedMessage(":path does not begin with a slash")


def _authority(pseudo: dict[str, str], others: list[tuple[str, str]]) -> str | None:
    hosts = {value for name, value in others if name == "host"}
    authority = pseudo.get(":authority")
    if authority is not None:
        hosts.add(authority)
    # "a server SHOULD treat a request as malformed if it contains a Host header field that
    # identifies an entity that differs from" it (RFC 9113 section 8.3.1)
    if len(hosts) > 1:
        raise MalformedMessage("host differs from :authority")
    return hosts.pop() if hosts else None


def _join_cookies(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Make one of several cookie fields (RFC 9113 section 8.2.3)."""
    cookies = [value for name, value in headers if name == "cookie"]
    if len(cookies) < 2:
        return headers
    joined = ("cookie", "; ".join(cookies))
    return [*(pair for pair in headers if pair[0] != "cookie"), joined]


def _raw(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers]


def response_fields(response: Response, *, opens: bool = False) -> list[tuple[bytes, bytes]]:
    """The header fields of a response.

    Args:
        response: The response.
        opens: Whether it opens a WebSocket, and has no body.
    """
    headers = [pair for pair in response.headers if pair[0].lower() not in _LEFT_OUT]
    if not opens and response.status_code not in _NO_LENGTH:
        headers = [pair for pair in headers if pair[0].lower() != "content-length"]
        headers.append(("content-length", str(len(response.body))))
        if response.body and response.header("Content-Type") is None:
            headers.append(("content-type", "text/plain; charset=utf-8"))
    return _raw([(":status", str(response.status_code)), *headers])


def connect_fields(request: Request, scheme: str) -> list[tuple[bytes, bytes]]:
    """The header fields of an extended CONNECT for what would be a GET in HTTP/1.1.

    Args:
        request: The client's opening handshake.
        scheme: `https` or `http`.
    """
    pseudo = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", scheme),
        (":authority", request.header("Host") or ""),
        (":path", request.target),
    ]
    others = [pair for pair in request.headers if pair[0].lower() not in _LEFT_OUT]
    return _raw([*pseudo, *others])


def read_response(fields: Fields, request: Request) -> Response:
    """What would be the response in HTTP/1.1: 101 for any success (RFC 8441 section 5).

    Args:
        fields: Its header fields.
        request: The client's opening handshake, which a 101 answers.

    Raises:
        MalformedMessage: they are none of a response.
    """
    pseudo, others = _part(fields, (":status",))
    status = pseudo.get(":status", "")
    if not _STATUS.fullmatch(status):
        raise MalformedMessage(":status is missing or none of a final response")
    try:
        if not status.startswith("2"):
            return Response(int(status), others)
        key = request.header("Sec-WebSocket-Key") or ""
        answer = ("Sec-WebSocket-Accept", accept_value(key))
        kept = (pair for pair in others if pair[0] != "sec-websocket-accept")
        return Response(101, (*_UPGRADE, answer, *kept))
    except ValueError as error:
        raise MalformedMessage(str(error)) from None
