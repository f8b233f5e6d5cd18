"""Header fields of HTTP/2 to requests and responses, and back."""

from __future__ import annotations

import pytest

from trio_wsendpoint.http2 import (
    IncomingRequest,
    MalformedMessage,
    connect_fields,
    read_response,
    response_fields,
)
from trio_wsendpoint.protocol import (
    ClientHandshake,
    HandshakeError,
    HandshakeRejected,
    PermessageDeflate,
    Response,
    ServerHandshake,
)

Pairs = list[tuple[str, str]]

CONNECT: Pairs = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":authority", "example.org"),
    (":path", "/chat?room=1"),
]
GET: Pairs = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "example.org"),
    (":path", "/"),
]


def raw(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


def read(pairs: Pairs) -> IncomingRequest:
    return IncomingRequest.read(raw(pairs))


def test_an_extended_connect_is_a_get_with_a_host() -> None:
    incoming = read([*CONNECT, ("origin", "https://example.org"), ("sec-websocket-key", "k")])
    request = incoming.request
    assert (request.http_version, request.protocol) == ("2", "websocket")
    assert request.is_websocket
    assert (request.method, request.target) == ("GET", "/chat?room=1")
    assert request.header_values("Host") == ["example.org"]
    assert request.header("Origin") == "https://example.org"


def test_a_plain_request_keeps_its_method() -> None:
    incoming = read([(":method", "POST"), *GET[1:], ("content-type", "text/plain")])
    assert (incoming.request.http_version, incoming.request.protocol) == ("2", None)
    assert (incoming.request.method, incoming.request.target) == ("POST", "/")
    assert incoming.request.headers == (("Host", "example.org"), ("content-type", "text/plain"))


def test_host_takes_the_place_of_a_missing_authority() -> None:
    fields = [pair for pair in GET if pair[0] != ":authority"]
    assert read([*fields, ("host", "old.example")]).request.header("Host") == "old.example"
    assert read(fields).request.header("Host") is None


def test_cookies_that_were_split_are_one_again() -> None:
    request = read([*GET, ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]).request
    assert request.header_values("Cookie") == ["a=1; b=2"]


def test_an_asterisk_is_for_options_only() -> None:
    fields = [pair for pair in GET if pair[0] not in (":method", ":path")]
    assert read([(":method", "OPTIONS"), (":path", "*"), *fields]).request.target == "*"
    with pytest.raises(MalformedMessage, match="slash"):
        read([(":method", "GET"), (":path", "*"), *fields])


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        (GET[1:], ":method is missing"),
        ([(":method", "G T"), *GET[1:]], ":method is missing or no token"),
        ([pair for pair in GET if pair[0] != ":path"], "missing or empty"),
        ([pair for pair in GET if pair[0] != ":scheme"], "missing or empty"),
        ([*GET[:3], (":path", "")], "missing or empty"),
        ([*GET[:3], (":path", "chat")], "slash"),
        ([*GET, (":path", "/")], "unknown, late or there twice"),
        ([*GET, (":status", "200")], "unknown, late or there twice"),
        ([GET[0], ("x", "y"), *GET[1:]], "unknown, late or there twice"),
        ([*GET, (":protocol", "websocket")], "not of a CONNECT"),
        ([pair for pair in CONNECT if pair[0] != ":authority"], "missing or empty"),
        ([pair for pair in CONNECT if pair[0] != ":path"], "missing or empty"),
        ([(":method", "CONNECT"), (":protocol", ""), *CONNECT[2:]], ":protocol is empty"),
        ([(":method", "CONNECT"), *CONNECT[2:]], "a CONNECT with :scheme or :path"),
        ([*GET, ("X-Upper", "y")], "lower case"),
        ([*GET, ("x y", "z")], "lower case"),
        ([*GET, ("", "z")], "lower case"),
        ([*GET, ("connection", "close")], "only for HTTP/1.1"),
        ([*GET, ("upgrade", "websocket")], "only for HTTP/1.1"),
        ([*GET, ("te", "gzip")], "only for HTTP/1.1"),
        ([*GET, ("x", "a\nb")], "control characters"),
        ([*GET, ("host", "other.example")], "host differs"),
    ],
)
def test_a_malformed_request_is_found(pairs: Pairs, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        read(pairs)


def test_a_plain_connect_is_no_malformed_request() -> None:
    request = read([(":method", "CONNECT"), (":authority", "example.org:443")]).request
    assert (request.method, request.target) == ("CONNECT", "example.org:443")


def test_both_sides_of_a_handshake_agree() -> None:
    client = ClientHandshake(
        "example.org",
        "/chat",
        subprotocols=["b", "a"],
        headers=[("X-Token", "t"), ("TE", "gzip")],
        extensions=[PermessageDeflate()],
    )
    fields = connect_fields(client.request, "https")
    names = [name for name, _ in fields]
    assert names[:5] == [b":method", b":protocol", b":scheme", b":authority", b":path"]
    assert not {b"host", b"upgrade", b"connection", b"te", b"sec-websocket-key"} & set(names)
    assert (b"x-token", b"t") in fields
    request = IncomingRequest.read(fields).request
    server = ServerHandshake(
        subprotocols=["a"], headers=[("X", "y")], extensions=[PermessageDeflate()]
    )
    response, agreement = server.respond(request)
    answer = response_fields(response, opens=True)
    assert answer[0] == (b":status", b"200")
    assert not {b"upgrade", b"connection", b"sec-websocket-accept"} & {n for n, _ in answer}
    agreed = client.complete(read_response(answer, client.request))
    assert agreement is not None
    assert (agreed.subprotocol, len(agreed.codecs)) == ("a", 1)
    assert (agreement.subprotocol, len(agreement.codecs)) == ("a", 1)
    assert agreed.response.header("X") == "y"


def test_a_wrong_version_is_refused_as_over_http11() -> None:
    request = read([*CONNECT, ("sec-websocket-version", "8")]).request
    response, agreement = ServerHandshake().respond(request)
    assert agreement is None
    fields = dict(response_fields(response))
    assert (fields[b":status"], fields[b"sec-websocket-version"]) == (b"426", b"13")
    assert b"upgrade" not in fields


def test_a_refusal_says_how_long_its_body_is() -> None:
    fields = dict(response_fields(Response(403, [("Content-Length", "7")], b"no\n")))
    assert fields[b"content-length"] == b"3"
    assert fields[b"content-type"] == b"text/plain; charset=utf-8"
    html = Response(200, [("Content-Type", "text/html")], b"<p>")
    assert dict(response_fields(html))[b"content-type"] == b"text/html"
    assert response_fields(Response(204)) == [(b":status", b"204")]
    assert dict(response_fields(Response(404)))[b"content-length"] == b"0"


def test_a_rejection_is_read_as_it_is() -> None:
    client = ClientHandshake("example.org")
    response = read_response(raw([(":status", "403"), ("x", "y")]), client.request)
    with pytest.raises(HandshakeRejected) as caught:
        client.complete(response)
    assert caught.value.status_code == 403
    assert caught.value.headers == (("x", "y"),)


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(":status", "20")],
        [(":status", "101")],
        [(":status", "200"), ("x", "a\nb")],
        [(":status", "404"), ("x", "a\nb")],
        [(":status", "200"), (":path", "/")],
        [(":status", "200"), ("connection", "close")],
    ],
)
def test_a_malformed_response_is_found(pairs: Pairs) -> None:
    with pytest.raises(MalformedMessage):
        read_response(raw(pairs), ClientHandshake("example.org").request)


def test_what_a_response_agrees_on_is_checked() -> None:
    client = ClientHandshake("example.org")
    fields = raw([(":status", "200"), ("sec-websocket-protocol", "unasked")])
    with pytest.raises(HandshakeError, match="none that was asked for"):
        client.complete(read_response(fields, client.request))
