"""HTTP requests and responses as values, for the opening handshake (RFC 9110)."""

from __future__ import annotations

import http
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from .errors import HandshakeError
from .fields import TOKEN, Parameters, parse_extensions, parse_list

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Header fields in their order on the wire; a name may come more than once."""

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

Fields: TypeAlias = Mapping[str, Sequence[str]]
"""The values of all headers of a message, by their names in lower case."""

_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_NO_BODY: Final = frozenset({101, 204, 304})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LOCATION = re.compile(r"[\x21-\x7e]+")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_HANDSHAKE = re.compile(r"host|upgrade|connection|sec-websocket-.*", re.IGNORECASE)
_OWNED = re.compile(
    r"upgrade|connection|content-length|transfer-encoding|sec-websocket-.*", re.IGNORECASE
)
_PHRASES: Final[dict[int, str]] = {status: status.phrase for status in http.HTTPStatus}


class CheckedHeaders(tuple[tuple[str, str], ...]):
    """Headers that are known to be in their one form, and are not looked at again."""

    __slots__ = ()


def to_headers(headers: HeadersLike) -> Headers:
    """Bring headers into their one form, and refuse those that must not go over the wire.

    Raises:
        TypeError: `headers` is neither a mapping nor an iterable of pairs of str.
        ValueError: a name is not a token, or a value has control characters or is not
            Latin-1 (RFC 9110 section 5.5).
    """
    if isinstance(headers, CheckedHeaders):
        return headers
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    try:
        result = CheckedHeaders([(name, value.strip(" \t")) for name, value in pairs])
        wrong = [
            name
            for name, value in result
            if not (TOKEN.fullmatch(name) and _FIELD_VALUE.fullmatch(value))
        ]
    except (TypeError, ValueError, AttributeError):
        raise TypeError(
            "headers must be a mapping or an iterable of (name, value) pairs of str"
        ) from None
    if wrong:
        # The value may be a secret, and stays out of the message.
        raise ValueError(
            "headers must have tokens for names, and for values Latin-1 without control"
            f" characters; {wrong[0]!r} has not"
        )
    return result


def to_extra_headers(headers: HeadersLike) -> Headers:
    """Bring headers of the application's own into their one form.

    Raises:
        TypeError, ValueError: as `to_headers`; and one is for the handshake to set.
    """
    result = to_headers(headers)
    for name, _ in result:
        if _OWNED.fullmatch(name):
            raise ValueError(f"headers must not have {name}: the handshake sets it itself")
    return result


class _HeaderLookup:
    """What requests and responses share: their headers, found by name in any case."""

    __slots__ = ()
    headers: Headers
    _index: dict[str, Sequence[str]]

    def index(self) -> Fields:
        """All values by their names in lower case, for whoever looks for many.

        It is made once, and kept until `forget_index`.
        """
        index = self._index
        if not index:
            index.update({name.lower(): (value,) for name, value in self.headers})
            if len(index) < len(self.headers):
                index.clear()
                for name, value in self.headers:
                    index[name.lower()] = (*index.get(name.lower(), ()), value)
        return index

    def forget_index(self) -> None:
        """Let go of the index: the memory is not needed for as long as a connection lasts."""
        self._index.clear()

    def header_values(self, name: str) -> list[str]:
        """The values of all header fields of this name, in order."""
        wanted = name.lower()
        if self._index:
            return list(self._index.get(wanted, ()))
        return [value for name, value in self.headers if name.lower() == wanted]

    def header(self, name: str) -> str | None:
        """The value of a header; of several, joined by commas (RFC 9110 section 5.3)."""
        values = self.header_values(name)
        return ", ".join(values) if values else None


@attrs.frozen
class TLSInfo:
    """What TLS agreed on.

    Attributes:
        version: Such as `"TLSv1.3"`.
        cipher: The name of the cipher suite.
        alpn_protocol: What ALPN chose, such as `"http/1.1"`, or None.
        peer_certificate: The peer's certificate as `ssl.SSLSocket.getpeercert` gives it; empty
            if it was not checked, and None if the peer showed none.
    """

    version: str
    cipher: str
    alpn_protocol: str | None = None
    peer_certificate: Mapping[str, Any] | None = attrs.field(default=None, hash=False)


@attrs.frozen
class Request(_HeaderLookup):
    """An HTTP request; its body, if it has one, is not read.

    Attributes:
        target: The request target: path and query, as they are on the wire.
        headers: The header fields.
        method: The HTTP method.
        http_version: `"1.1"`, `"1.0"` or `"2"`.
        protocol: What an extended CONNECT of HTTP/2 asks for (RFC 8441 section 4), or None.
        client_address: On a server, the client's IP address, which a trusted proxy may have
            told; None where there is none, as on a Unix socket.
        tls: On a server, what TLS agreed on; None without TLS.
        context: What whoever looks at the request notes for those who come after.
    """

    target: str
    headers: Headers = attrs.field(default=(), converter=to_headers)
    method: str = "GET"
    http_version: str = attrs.field(default="1.1", kw_only=True)
    protocol: str | None = attrs.field(default=None, kw_only=True)
    client_address: str | None = attrs.field(default=None, kw_only=True)
    tls: TLSInfo | None = attrs.field(default=None, kw_only=True)
    context: dict[str, Any] = attrs.field(factory=dict, kw_only=True, eq=False, repr=False)
    _index: dict[str, Sequence[str]] = attrs.field(
        factory=dict, init=False, eq=False, repr=False
    )

    def received_from(self, client_address: str | None, tls: TLSInfo | None) -> Request:
        """The same request, with what a server knows of whom it came from."""
        # What `attrs.evolve` does, at a third of its cost for each connection.
        return Request(
            self.target,
            self.headers,
            self.method,
            http_version=self.http_version,
            protocol=self.protocol,
            client_address=client_address,
            tls=tls,
            context=self.context,
        )

    @property
    def path(self) -> str:
        """The path, percent-decoded as UTF-8, and without the query."""
        return urllib.parse.unquote(self.raw_path, errors="replace")

    @property
    def raw_path(self) -> str:
        """The path as it is on the wire, without the query."""
        path = self.target.partition("?")[0]
        absolute = _ABSOLUTE.match(path)
        return path[absolute.end() :] or "/" if absolute else path

    @property
    def query(self) -> str:
        """What stands behind the `?` of the target, as it is; empty if there is none."""
        return self.target.partition("?")[2]

    @property
    def host(self) -> str | None:
        """The host and port that were asked for: of the target, or else the Host header."""
        absolute = _ABSOLUTE.match(self.target)
        # "When an origin server receives a request with an absolute-form of request-target,
        # the origin server MUST ignore the received Host header field" (RFC 9112 3.2.2)
        return absolute[1] if absolute else self.header("Host")

    @property
    def is_websocket(self) -> bool:
        """Whether it asks for a WebSocket, be it well or badly."""
        if self.protocol is not None:
            return self.protocol == "websocket"
        asked_for = parse_list(self.index().get("upgrade", ()))
        return any(element.lower() == "websocket" for element in asked_for)

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The subprotocols that the client offers, the most wanted first."""
        return tuple(parse_list(self.header_values("Sec-WebSocket-Protocol")))

    @property
    def extensions(self) -> tuple[tuple[str, Parameters], ...]:
        """The extensions that the client offers, with their parameters; empty if malformed."""
        values = self.header_values("Sec-WebSocket-Extensions")
        try:
            return tuple(parse_extensions(",".join(values))) if values else ()
        except HandshakeError:
            return ()

    @property
    def extra_headers(self) -> Headers:
        """The headers but for those of the opening handshake itself, Host included."""
        return tuple(pair for pair in self.headers if not _HANDSHAKE.fullmatch(pair[0]))


def _check_status_code(_: object, __: object, value: int) -> None:
    if not isinstance(value, int):
        raise TypeError(f"status_code must be an int, not {type(value).__name__}")
    if value != 101 and not 200 <= value <= 999:
        raise ValueError(f"status_code must be 101 or a final one from 200 on, not {value}")


def _check_body(response: Response, _: object, value: bytes) -> None:
    if not isinstance(value, bytes):
        raise TypeError(f"body must be bytes, not {type(value).__name__}")
    if value and response.status_code in _NO_BODY:
        raise ValueError(f"body must be empty with status code {response.status_code}")


def _check_reason_phrase(_: object, __: object, value: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"reason_phrase must be a str, not {type(value).__name__}")
    if not _FIELD_VALUE.fullmatch(value):
        raise ValueError("reason_phrase must be Latin-1 without control characters")


@attrs.frozen
class Response(_HeaderLookup):
    """An HTTP response: the 101 that completes the handshake, or any other that refuses it.

    Args:
        status_code: 101, or 200 and more.
        headers: A mapping or an iterable of (name, value) pairs.
        body: What a refusal has to say; empty with 101, 204 and 304.
        reason_phrase: By default the one that belongs to the status code.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument must not go over the wire.
    """

    status_code: int = attrs.field(validator=_check_status_code)
    headers: Headers = attrs.field(default=(), converter=to_headers)
    body: bytes = attrs.field(default=b"", validator=_check_body)
    reason_phrase: str = attrs.field(validator=_check_reason_phrase)
    _index: dict[str, Sequence[str]] = attrs.field(
        factory=dict, init=False, eq=False, repr=False
    )

    @reason_phrase.default
    def _standard_phrase(self) -> str:
        return _PHRASES.get(self.status_code, "")

    @classmethod
    def text(cls, text: str, status_code: int = 200, headers: HeadersLike = ()) -> Response:
        """A response of plain text."""
        return cls._of("text/plain; charset=utf-8", text, status_code, headers)

    @classmethod
    def html(cls, html: str, status_code: int = 200, headers: HeadersLike = ()) -> Response:
        """A response that is a page of HTML."""
        return cls._of("text/html; charset=utf-8", html, status_code, headers)

    @classmethod
    def json(cls, value: object, status_code: int = 200, headers: HeadersLike = ()) -> Response:
        """A response of a value as JSON."""
        return cls._of("application/json", json.dumps(value), status_code, headers)

    @classmethod
    def redirect(
        cls, location: str, status_code: int = 303, headers: HeadersLike = ()
    ) -> Response:
        """A response that sends the client elsewhere.

        Args:
            location: A URL or a path, in visible ASCII.
            status_code: 301, 302, 303, 307 or 308.
            headers: Further headers.
        """
        if not isinstance(location, str):
            raise TypeError(f"location must be a str, not {type(location).__name__}")
        if not _LOCATION.fullmatch(location):
            raise ValueError(f"location must be a URL in visible ASCII, not {location!r}")
        if status_code not in _REDIRECTS:
            raise ValueError(
                f"status_code must be 301, 302, 303, 307 or 308, not {status_code!r}"
            )
        return cls(status_code, (("Location", location), *to_headers(headers)))

    @classmethod
    def _of(
        cls, content_type: str, body: str, status_code: int, headers: HeadersLike
    ) -> Response:
        if not isinstance(body, str):
            raise TypeError(f"the body must be a str, not {type(body).__name__}")
        given = to_headers(headers)
        if not any(name.lower() == "content-type" for name, _ in given):
            given = (("Content-Type", content_type), *given)
        return cls(status_code, given, body.encode())
