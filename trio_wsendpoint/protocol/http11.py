"""HTTP/1.1 for the opening handshake, through h11: bytes in, bytes out, no I/O."""

from __future__ import annotations

import contextlib
import re
from typing import Final, NoReturn

import attrs
import h11

from .errors import HandshakeError, LocalProtocolError
from .http import CheckedHeaders, Headers, Request, Response
from .masking import BytesLike

MAX_HEAD_SIZE: Final = 16 * 1024
"""Bytes of a request's or response's head, start line and headers together."""
MAX_HEADERS: Final = 128
"""Header fields in a head."""
MAX_BODY_SIZE: Final = 64 * 1024
"""Bytes on the wire that are read of a rejecting response's body; the rest is cut off."""

_MAX_REASON_SIZE: Final = 100
_STEP: Final = 1024

_BLANK_LINE = re.compile(rb"\n\r?\n")
# All that a head may have: no other control characters (RFC 9110 section 5.5). h11 would take
# quadratic time to find one behind a long run of blanks.
_ALLOWED: Final = bytes({*b"\t\r\n", *range(0x20, 0x7F), *range(0x80, 0x100)})

# h11 wants to have seen what was asked for before it reads a 101, or a 2xx without a body.
_ASKED: Final = {
    "GET": h11.Request(method="GET", target="/", headers=[("Host", ""), ("Upgrade", "-")]),
    "CONNECT": h11.Request(method="CONNECT", target="-", headers=[("Host", "")]),
}

# How a body is framed is no reason not to see the status code in front of it. Where h11
# refuses a head for that, it gets to see these headers under a name that nobody has.
_FRAMING_NAME = re.compile(
    rb"(?<=\n)(content-length|transfer-encoding)(?=[ \t]*:)", re.IGNORECASE
)
_HIDDEN: Final = "!"

_TLS_RECORDS: Final = (b"\x15\x03", b"\x16\x03")  # an alert, or a handshake

_BODY: Final = frozenset({"content-length", "transfer-encoding"})
_FRAMING: Final = _BODY | {"connection"}
_HIDDEN_NAMES: Final = frozenset(name + _HIDDEN for name in _BODY)
# "A server MUST NOT send a Content-Length header field in any response with a status code of
# 1xx (Informational) or 204 (No Content)" (RFC 9110 section 8.6); in a 304 it would have to
# tell of the body that there would be.
_NO_LENGTH: Final = frozenset({204, 304})

# What stands in most requests, as one str for all connections instead of one for each.
_WORDS: Final = {
    word.encode(): word
    for word in (
        *("GET", "Host", "Connection", "Upgrade", "Origin", "User-Agent", "Cookie"),
        *("Authorization", "Accept", "Accept-Encoding", "Accept-Language", "Cache-Control"),
        *("Pragma", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Accept"),
        *("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"),
        *("Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site"),
        *("websocket", "13", "no-cache", "keep-alive, Upgrade", "*/*", "gzip, deflate"),
        *("same-origin", "gzip, deflate, br", "gzip, deflate, br, zstd"),
        *("permessage-deflate", "permessage-deflate; client_max_window_bits"),
    )
}


def _raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]


def encode_request(request: Request) -> bytes:
    """Build the bytes of a request."""
    return h11.Connection(h11.CLIENT).send(
        h11.Request(method=request.method, target=request.target, headers=_raw(request.headers))
    )


def encode_response(response: Response, method: str = "GET") -> bytes:
    """Build the bytes of a response.

    Any but a 101 says that the connection closes behind it, and how long its body is; the
    body is plain text in UTF-8 where the response has no `Content-Type`.

    Args:
        response: The response.
        method: That of the request: the answer to HEAD is the one to GET without its body.
    """
    if response.status_code == 101:
        # It has no body that would have to be framed, and all its parts are checked.
        lines = [f"{name}: {value}\r\n" for name, value in response.headers]
        status_line = f"HTTP/1.1 101 {response.reason_phrase}\r\n"
        return "".join((status_line, *lines, "\r\n")).encode("latin-1")
    head = h11.Connection(h11.SERVER).send(
        h11.Response(
            status_code=response.status_code,
            headers=_raw(_framed(response)),
            reason=response.reason_phrase.encode("latin-1"),
        )
    )
    # "the server MUST NOT send content in the response" to HEAD (RFC 9110 section 9.3.2)
    return head if method == "HEAD" else head + response.body


def _framed(response: Response) -> Headers:
    headers = [pair for pair in response.headers if pair[0].lower() not in _FRAMING]
    # "A sender of Upgrade MUST also send an 'Upgrade' connection option in the Connection
    # header field" (RFC 9110 section 7.8)
    upgrades = response.header("Upgrade") is not None
    headers.append(("Connection", "Upgrade, close" if upgrades else "close"))
    if response.status_code not in _NO_LENGTH:
        headers.append(("Content-Length", str(len(response.body))))
    if response.body and response.header("Content-Type") is None:
        headers.append(("Content-Type", "text/plain; charset=utf-8"))
    return tuple(headers)


def _decoded(event: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    headers = event.headers.raw_items()
    if len(headers) > MAX_HEADERS:
        raise HandshakeError(f"more than {MAX_HEADERS} headers", 431)
    # h11, and the look at all of the head before, have checked what `to_headers` would.
    known = _WORDS.get
    return CheckedHeaders(
        [
            (known(name) or name.decode("ascii"), known(value) or value.decode("latin-1"))
            for name, value in headers
        ]
    )


def _has_forbidden(head: bytes) -> bool:
    """Whether there are control characters in a head, a CR without its LF among them."""
    return bool(head.translate(None, _ALLOWED)) or head.count(b"\r") != head.count(b"\r\n")


class _Reader:
    """Cuts heads off what arrives, within the limits, and has h11 read each in one go."""

    __slots__ = ("_buffer", "_connection", "_done", "_room", "_searched")

    def __init__(self, connection: h11.Connection) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self._searched = 0
        self._room = MAX_HEAD_SIZE
        self._done = False

    @property
    def trailing_data(self) -> bytes:
        """What arrived behind the head: with a 101, the beginning of the first frame."""
        return bytes(self._buffer)

    def _add(self, data: BytesLike) -> None:
        if self._done:
            raise LocalProtocolError("the reader has read what it is for")
        self._buffer += data

    def _next_head(self) -> h11.Event | None:
        # Neither a method nor "HTTP" begins so, but TLS does: no need to wait for more.
        if self._buffer and self._buffer[0] <= 0x20:
            raise HandshakeError("what arrives is not HTTP")
        match = _BLANK_LINE.search(self._buffer, self._searched)
        size = match.end() if match else len(self._buffer) + 1
        if size > self._room:
            raise HandshakeError(f"a head of more than {MAX_HEAD_SIZE} bytes", 431)
        if match is None:
            self._searched = max(0, len(self._buffer) - 2)
            return None
        head = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        self._room -= size
        if _has_forbidden(head):
            raise HandshakeError("a control character in the head")
        return self._read(head)

    def _read(self, head: bytes) -> h11.Event:
        """Have h11 read a whole head."""
        self._connection.receive_data(head)
        event = self._next_event()
        assert isinstance(event, h11.Event)
        return event

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._connection.next_event()
        except h11.RemoteProtocolError as error:
            # h11 quotes whole lines of the peer's.
            reason = str(error)[:_MAX_REASON_SIZE]
            raise HandshakeError(reason, error.error_status_hint) from None


class RequestReader(_Reader):
    """Reads the request of an opening handshake."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(h11.Connection(h11.SERVER))

    def receive_data(self, data: BytesLike) -> Request | None:
        """Take in what arrived.

        Returns:
            The request once its head is complete, None before.

        Raises:
            HandshakeError: it is not HTTP/1, or breaks a limit.
            LocalProtocolError: the request was read already.
        """
        self._add(data)
        if not self._skip_empty_lines():
            return None
        event = self._next_head()
        if event is None:
            return None
        self._done = True
        assert isinstance(event, h11.Request)
        # HTTP/1.0 will do for what is no WebSocket.
        if event.http_version[:1] != b"1":
            _check_version(event.http_version)
        return Request(
            event.target.decode("ascii"),
            _decoded(event),
            _WORDS.get(event.method) or event.method.decode("ascii"),
            http_version="1.1" if event.http_version == b"1.1" else event.http_version.decode(),
        )

    def _skip_empty_lines(self) -> bool:
        """Drop what may stand in front of a request; says whether anything else has come."""
        # "a server that is expecting to receive and parse a request-line SHOULD ignore at
        # least one empty line (CRLF) received prior to the request-line" (RFC 9112 2.2)
        while self._buffer.startswith(b"\r\n") and self._room >= 0:
            del self._buffer[:2]
            self._room -= 2
        return bool(self._buffer) and self._buffer != b"\r"

    def receive_eof(self) -> NoReturn:
        """Take in that the client sends no more, before the request was complete.

        Raises:
            HandshakeError: always.
        """
        raise HandshakeError("the client closed the connection before its request was complete")


def _to_response(event: h11.InformationalResponse | h11.Response) -> Response:
    headers = CheckedHeaders(
        [
            (name.removesuffix(_HIDDEN) if name.lower() in _HIDDEN_NAMES else name, value)
            for name, value in _decoded(event)
        ]
    )
    return Response(event.status_code, headers, reason_phrase=event.reason.decode("latin-1"))


def _check_version(version: bytes) -> None:
    # "An HTTP/1.1 or higher GET request" (RFC 6455 section 4.2.1). 505 is about "the major
    # version of HTTP that was used" (RFC 9110 section 15.6.6).
    if version < b"1.1" or version[:1] != b"1":
        status_code = 400 if version[:1] == b"1" else 505
        raise HandshakeError(f"HTTP/{version.decode('ascii')} instead of HTTP/1.1", status_code)


class ResponseReader(_Reader):
    """Reads the response of an opening handshake, and its body if it is a rejection.

    Args:
        method: Of the request: GET, or CONNECT for that of a proxy, whose 2xx has no body.

    Attributes:
        head: The response as far as its headers go, once these are complete.
    """

    __slots__ = ("_body", "_method", "head")

    def __init__(self, method: str = "GET") -> None:
        self._method = method
        super().__init__(self._connect())
        self.head: Response | None = None
        self._body = bytearray()

    def _connect(self) -> h11.Connection:
        # With lines of a chunked body this short, no pattern of h11's takes long to fail.
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_STEP)
        connection.send(_ASKED[self._method])
        connection.send(h11.EndOfMessage())
        return connection

    @property
    def is_done(self) -> bool:
        """Whether the response is complete, or as complete as it is kept."""
        return self._done

    def receive_data(self, data: BytesLike) -> Response | None:
        """Take in what arrived.

        Returns:
            The response once it is complete, None before. The body of a rejection may have
            been cut off, at the limit or where it is malformed.

        Raises:
            HandshakeError: it is not HTTP/1.1, or breaks a limit.
            LocalProtocolError: the response was read already.
        """
        self._add(data)
        if self.head is None:
            self.head = self._read_head()
            if self.head is None or self._done:
                return self.head
            self._room = MAX_BODY_SIZE
        # That the server rejected us matters more than how badly it words it.
        with contextlib.suppress(HandshakeError):
            if not self._read_body():
                return None
        self._done = True
        return self.receive_eof()

    def receive_eof(self) -> Response:
        """Take in that the server sends no more.

        Returns:
            A rejection, with as much of its body as there is.

        Raises:
            HandshakeError: not even the head of the response is complete.
        """
        if self.head is None:
            raise HandshakeError(
                "the server closed the connection before its response was complete",
                temporary=True,
            )
        return attrs.evolve(self.head, body=bytes(self._body))

    def _read_head(self) -> Response | None:
        if self._buffer.startswith(_TLS_RECORDS):
            scheme = "https" if self._method == "CONNECT" else "wss"
            raise HandshakeError(
                f"what arrives is TLS, not HTTP; should the URL begin with {scheme}://?"
            )
        while (event := self._next_head()) is not None:
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                _check_version(event.http_version)
                self._done = True
                return _to_response(event)
            if isinstance(event, h11.Response):
                self._done = self._method == "CONNECT" and event.status_code < 300
                return _to_response(event)
        return None

    def _read(self, head: bytes) -> h11.Event:
        try:
            return super()._read(head)
        except HandshakeError:
            hidden = _FRAMING_NAME.sub(rb"\1" + _HIDDEN.encode(), head)
            if hidden == head:
                raise
        self._connection = self._connect()
        return super()._read(hidden)

    def _read_body(self) -> bool:
        while True:
            event = self._next_event()
            if isinstance(event, h11.Data):
                self._body += event.data
            elif event is not h11.NEED_DATA or not self._room:
                return True
            elif not self._buffer:
                return False
            else:
                piece = bytes(self._buffer[: min(_STEP, self._room)])
                del self._buffer[: len(piece)]
                self._room -= len(piece)
                self._connection.receive_data(piece)
