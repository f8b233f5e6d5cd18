"""The opening handshake (RFC 6455 section 4): what both sides ask, check and agree on.

Header lists in, header lists out: any HTTP parser will do, and `http11` is the one at hand.
"""

from __future__ import annotations

import base64
import hashlib
import http
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import attrs

from .errors import HandshakeError, HandshakeRejected
from .extensions import Codec, Extension, confirm, format_offers, negotiate
from .fields import TOKEN, parse_list
from .http import (
    CheckedHeaders,
    Fields,
    Headers,
    HeadersLike,
    Request,
    Response,
    to_extra_headers,
    to_headers,
)

__all__ = [
    "Agreement",
    "ClientHandshake",
    "Headers",
    "HeadersLike",
    "Request",
    "Response",
    "ServerHandshake",
    "accept_value",
    "refusal",
]

VERSION: Final = "13"
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_TARGET = re.compile(r"/[\x21-\x7e]*")
_ABSOLUTE_TARGET = re.compile(r"https?://[\x21-\x7e]+", re.IGNORECASE)
_HOST = re.compile(r"(\[[-0-9A-Za-z:._~%!$&'()*+;=]+\]|[-0-9A-Za-z._~%!$&'()*+;=]+)(:[0-9]*)?")
# 16 bytes in base64, whatever the spare bits of the last character are.
_KEY = re.compile(r"[0-9A-Za-z+/]{22}==")
# Those of every 101, made once.
_UPGRADE_HEADERS: Final = (("Upgrade", "websocket"), ("Connection", "Upgrade"))

_REFUSAL_HEADERS: Final[dict[int, Headers]] = {
    405: (("Allow", "GET"),),
    426: (("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)),
    503: (("Retry-After", "10"),),
}

T = TypeVar("T")


@attrs.frozen
class Agreement:
    """What a completed opening handshake agreed on.

    Attributes:
        subprotocol: The subprotocol in use, or None.
        codecs: The extensions at work, in the order of the server's answer.
        request: What the client asked.
        response: What the server answered.
        context: What the server's application has noted of the client.
    """

    subprotocol: str | None
    codecs: tuple[Codec, ...]
    request: Request
    response: Response
    context: Any = None


def _to_tuple(name: str, values: Iterable[T], kind: type[T]) -> tuple[T, ...]:
    # A str is an iterable of str, but never what was meant.
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be an iterable of {kind.__name__}, not {values!r}")
    result = tuple(values)
    for value in result:
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be {kind.__name__} values, not {value!r}")
    return result


def _to_subprotocols(values: Iterable[str]) -> tuple[str, ...]:
    subprotocols = _to_tuple("subprotocols", values, str)
    for subprotocol in subprotocols:
        if not TOKEN.fullmatch(subprotocol):
            raise ValueError(f"subprotocols must be tokens, not {subprotocol!r}")
    if len(set(subprotocols)) < len(subprotocols):
        raise ValueError("subprotocols must be unique")
    return subprotocols


def _to_extensions(values: Iterable[Extension]) -> tuple[Extension, ...]:
    # mypy takes an abstract class for no type[T].
    return _to_tuple("extensions", values, Extension)  # type: ignore[type-abstract]


def _values(fields: Fields, name: str) -> Sequence[str]:
    return fields.get(name.lower(), ())


def _options(fields: Fields, name: str) -> list[str]:
    """The elements of a header that is matched without regard to case."""
    return [element.lower() for element in parse_list(_values(fields, name))]


def _only(fields: Fields, name: str) -> str:
    values = _values(fields, name)
    if len(values) != 1:
        raise HandshakeError(f"{name} is {'there more than once' if values else 'missing'}")
    return values[0]


def accept_value(key: str) -> str:
    """The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()


# Converters, not validators: these would run only after the request was made.
def _to_host(host: str) -> str:
    if not isinstance(host, str):
        raise TypeError(f"host must be a str, not {type(host).__name__}")
    if not _HOST.fullmatch(host):
        raise ValueError(
            f"host must be a host name or address, with or without a port: {host!r}"
        )
    return host


def _to_target(target: str) -> str:
    if not isinstance(target, str):
        raise TypeError(f"target must be a str, not {type(target).__name__}")
    if not _TARGET.fullmatch(target):
        raise ValueError(f"target must be a path and query in visible ASCII, not {target!r}")
    return target


def _to_request_headers(headers: HeadersLike) -> Headers:
    result = to_extra_headers(headers)
    hosts = [value for name, value in result if name.lower() == "host"]
    if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
        raise ValueError("headers must have no more than one Host, and that a valid one")
    return result


@attrs.frozen
class ClientHandshake:
    """The client's side of one opening handshake (RFC 6455 section 4.1).

    Args:
        host: The value of the Host header: the host, and the port unless it is the default.
        target: Path and query.
        subprotocols: Those that the application speaks, the most wanted first.
        headers: Headers of the application's own; a Host among them replaces `host`.
        extensions: Those to offer, the most wanted first.

    Attributes:
        request: What to send, with a fresh `Sec-WebSocket-Key`.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument must not go over the wire, or `headers` has one that the
            handshake sets itself.
    """

    host: str = attrs.field(converter=_to_host)
    target: str = attrs.field(default="/", converter=_to_target)
    subprotocols: tuple[str, ...] = attrs.field(
        default=(), converter=_to_subprotocols, kw_only=True
    )
    headers: Headers = attrs.field(default=(), converter=_to_request_headers, kw_only=True)
    extensions: tuple[Extension, ...] = attrs.field(
        default=(), converter=_to_extensions, kw_only=True
    )
    request: Request = attrs.field(init=False)

    @request.default
    def _make_request(self) -> Request:
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            # "a nonce consisting of a randomly selected 16-byte value that has been
            # base64-encoded" (section 4.1)
            ("Sec-WebSocket-Key", base64.b64encode(os.urandom(16)).decode()),
            ("Sec-WebSocket-Version", VERSION),
        ]
        if not any(name.lower() == "host" for name, _ in self.headers):
            headers.insert(0, ("Host", self.host))
        if self.subprotocols:
            headers.append(("Sec-WebSocket-Protocol", ", ".join(self.subprotocols)))
        offers = format_offers(self.extensions)
        if offers is not None:
            headers.append(("Sec-WebSocket-Extensions", offers))
        return Request(self.target, (*headers, *self.headers))

    def complete(self, response: Response) -> Agreement:
        """Check the server's answer.

        Raises:
            HandshakeRejected: its status code is not 101.
            HandshakeError: it breaks section 4.1.
        """
        # "If the status code received from the server is not 101, the client handles the
        # response per HTTP procedures."
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            raise HandshakeRejected(response)
        fields = response.index()
        if _options(fields, "Upgrade") != ["websocket"]:
            raise HandshakeError("Upgrade is not websocket")
        if "upgrade" not in _options(fields, "Connection"):
            raise HandshakeError("Connection lacks Upgrade")
        key = self.request.header_values("Sec-WebSocket-Key")[0]
        if _only(fields, "Sec-WebSocket-Accept") != accept_value(key):
            raise HandshakeError("Sec-WebSocket-Accept does not answer our Sec-WebSocket-Key")
        subprotocol = None
        if _values(fields, "Sec-WebSocket-Protocol"):
            subprotocol = _only(fields, "Sec-WebSocket-Protocol")
            # "indicates the use of a subprotocol that was not present in the client's
            # handshake ..., the client MUST _Fail the WebSocket Connection_"
            if subprotocol not in self.subprotocols:
                raise HandshakeError("Sec-WebSocket-Protocol is none that was asked for")
        codecs = confirm(_values(fields, "Sec-WebSocket-Extensions"), self.extensions)
        response.forget_index()
        return Agreement(subprotocol, codecs, self.request, response)


def _check_request(request: Request, fields: Fields) -> None:
    """Hold a request against section 4.2.1, or in HTTP/2 against RFC 8441 section 5."""
    if request.http_version.startswith("1"):
        _check_upgrade(request, fields)
    elif not request.is_websocket:
        raise HandshakeError(
            "this is a WebSocket endpoint: it takes a CONNECT with :protocol websocket", 404
        )
    # "If this version does not match a version understood by the server, the server MUST
    # abort the WebSocket handshake ... and instead send an appropriate HTTP error code (such
    # as 426 Upgrade Required) and a |Sec-WebSocket-Version| header field" (section 4.2.2)
    if _only(fields, "Sec-WebSocket-Version") != VERSION:
        raise HandshakeError(f"Sec-WebSocket-Version is not {VERSION}", 426)


def _check_upgrade(request: Request, fields: Fields) -> None:
    if request.method != "GET":
        raise HandshakeError("the method must be GET", 405)
    # "An HTTP/1.1 or higher GET request" (section 4.2.1)
    if request.http_version < "1.1":
        raise HandshakeError(f"HTTP/{request.http_version} instead of HTTP/1.1")
    if not (_TARGET.fullmatch(request.target) or _ABSOLUTE_TARGET.fullmatch(request.target)):
        raise HandshakeError("the request target is neither a path nor an http(s) URI")
    if not _HOST.fullmatch(_only(fields, "Host")):
        raise HandshakeError("Host is not valid")
    # What is in it would be taken for the first frame.
    if _has_body(fields):
        raise HandshakeError("a request with a body")
    # A plain request is no error: "the server refuses to perform the request using the
    # current protocol but might be willing to do so after the client upgrades"
    # (RFC 9110 section 15.5.22).
    if "websocket" not in _options(fields, "Upgrade"):
        raise HandshakeError("this is a WebSocket endpoint: Upgrade lacks websocket", 426)
    if "upgrade" not in _options(fields, "Connection"):
        raise HandshakeError("Connection lacks Upgrade")


def _has_body(fields: Fields) -> bool:
    lengths = _values(fields, "Content-Length")
    return bool(_values(fields, "Transfer-Encoding")) or any(
        length.strip("0") for length in lengths
    )


def _to_key(fields: Fields) -> str:
    key = _only(fields, "Sec-WebSocket-Key")
    if not _KEY.fullmatch(key):
        raise HandshakeError("Sec-WebSocket-Key is not 16 bytes in base64")
    return key


def _check_offered(fields: Fields) -> None:
    values = _values(fields, "Sec-WebSocket-Protocol")
    offered = parse_list(values)
    if values and not (offered and all(map(TOKEN.fullmatch, offered))):
        raise HandshakeError("Sec-WebSocket-Protocol is not a list of tokens")


def refusal(error: HandshakeError) -> Response:
    """The response that tells a client, in plain text, why its handshake failed."""
    headers = _REFUSAL_HEADERS.get(error.status_code, ())
    return Response(error.status_code, headers, f"{error}\n".encode())


@attrs.frozen(kw_only=True)
class ServerHandshake:
    """The server's side of opening handshakes (RFC 6455 section 4.2).

    It holds no state of a connection, so one may serve any number of them.

    Args:
        subprotocols: Those that the application speaks. Their order means nothing: of these,
            the one that the client wants most is taken.
        headers: Headers of the application's own for the 101.
        extensions: Those to accept where the client offers them.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument must not go over the wire, or `headers` has one that the
            handshake sets itself.
    """

    subprotocols: tuple[str, ...] = attrs.field(default=(), converter=_to_subprotocols)
    headers: Headers = attrs.field(default=(), converter=to_extra_headers)
    extensions: tuple[Extension, ...] = attrs.field(default=(), converter=_to_extensions)

    def respond(self, request: Request) -> tuple[Response, Agreement | None]:
        """Answer a request, whatever it is.

        Returns:
            The response to send, and what it agrees on: None where it refuses.
        """
        try:
            self.check(request)
            agreement = self.agree(request, self.choose(request.subprotocols))
        except HandshakeError as error:
            response = refusal(error)
            # "the server MUST NOT send content in the response" to HEAD (RFC 9110 9.3.2)
            return attrs.evolve(
                response, body=b""
            ) if request.method == "HEAD" else response, None
        return agreement.response, agreement

    def check(self, request: Request) -> None:
        """Hold a request against RFC 6455 section 4.2.1, or RFC 8441 section 5 for HTTP/2.

        Raises:
            HandshakeError: it asks for no WebSocket, or for one in the wrong way.
        """
        fields = request.index()
        _check_request(request, fields)
        if request.http_version.startswith("1"):
            _to_key(fields)
        _check_offered(fields)

    def choose(self, offered: Sequence[str]) -> str | None:
        """Of the subprotocols that we speak, the one that the client wants most, or None."""
        return next((each for each in offered if each in self.subprotocols), None)

    def agree(
        self,
        request: Request,
        subprotocol: str | None = None,
        headers: HeadersLike = (),
        context: Any = None,
    ) -> Agreement:
        """Accept a request that `check` has found good.

        Args:
            request: What the client asked.
            subprotocol: The one to speak, which the client must have offered, or None.
            headers: Further headers for this one response.
            context: What the application wants to find in the agreement.

        Raises:
            HandshakeError: the client's extensions are malformed.
        """
        fields = request.index()
        answer, codecs = negotiate(_values(fields, "Sec-WebSocket-Extensions"), self.extensions)
        upgrades = request.http_version.startswith("1")
        ours = []
        if upgrades:
            ours += [*_UPGRADE_HEADERS, ("Sec-WebSocket-Accept", accept_value(_to_key(fields)))]
        if subprotocol is not None:
            ours.append(("Sec-WebSocket-Protocol", subprotocol))
        if answer is not None:
            ours.append(("Sec-WebSocket-Extensions", answer))
        # The accept value is base64, and what else there is was checked when it was made.
        all_headers = CheckedHeaders((*ours, *self.headers, *to_headers(headers)))
        # "If the server accepts ..., it sends a 2xx status" (RFC 8441 section 5)
        response = Response(101 if upgrades else 200, all_headers)
        request.forget_index()
        return Agreement(subprotocol, codecs, request, response, context)
