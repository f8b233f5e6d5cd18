"""Tests of HTTP requests and responses as values."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import pytest

from trio_wsendpoint.protocol.http import Request, Response, TLSInfo, to_headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "null", "X-A": "b"},
        MappingProxyType({"Origin": "null", "X-A": "b"}),
        [("Origin", "null"), ("X-A", "b")],
        iter([("Origin", " null\t"), ("X-A", "b ")]),
    ],
)
def test_headers_of_any_shape_become_a_tuple_of_pairs(headers: object) -> None:
    assert to_headers(headers) == (("Origin", "null"), ("X-A", "b"))  # type: ignore[arg-type]


def test_headers_that_were_checked_are_not_checked_again() -> None:
    headers = Request("/", [("X-A", "b")]).headers
    assert to_headers(headers) is headers
    assert Response(101, headers).headers is headers


@pytest.mark.parametrize(
    "headers",
    [None, 1, "Origin: null", ["Origin: null"], [("a", "b", "c")], [("a", b"b")], [(b"a", "b")],
     [("a", None)], [(1, "b")], {"a": 1}],
)  # fmt: skip
def test_headers_of_the_wrong_type_are_a_type_error(headers: object) -> None:
    with pytest.raises(TypeError, match="headers must be"):
        to_headers(headers)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", " ", "a b", "a:", "a\n", "ä", "(a)", "a\x00"])
def test_a_header_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="tokens for names"):
        to_headers([(name, "value")])


@pytest.mark.parametrize("character", ["\r", "\n", "\r\n", "\0", "\x01", "\x7f", "\u20ac"])
def test_a_header_value_that_must_not_be_sent_is_refused_and_not_shown(character: str) -> None:
    with pytest.raises(ValueError, match="'X-Token' has not") as caught:
        to_headers({"X-Token": f"secret{character}x"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("message", [Request("/", ()), Response(200, ())])
def test_a_header_that_is_not_there_is_none(message: Request | Response) -> None:
    assert message.header("Origin") is None
    assert message.header_values("Origin") == []


def test_headers_are_found_in_any_case_and_joined_by_commas() -> None:
    request = Request("/", [("X-a", "1"), ("Other", "2"), ("x-A", "3")])
    assert request.header_values("X-A") == ["1", "3"]
    assert request.header("x-a") == "1, 3"


@pytest.mark.parametrize(("status_code", "phrase"), [(404, "Not Found"), (499, "")])
def test_a_response_has_the_reason_phrase_of_its_status_code(
    status_code: int, phrase: str
) -> None:
    assert Response(status_code).reason_phrase == phrase


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"status_code": "200"}, TypeError, "status_code must be an int"),
        ({"status_code": 100}, ValueError, "status_code must be 101 or"),
        ({"status_code": 1000}, ValueError, "status_code must be 101 or"),
        ({"status_code": 200, "body": "text"}, TypeError, "body must be bytes"),
        ({"status_code": 101, "body": b"x"}, ValueError, "body must be empty"),
        ({"status_code": 204, "body": b"x"}, ValueError, "body must be empty"),
        ({"status_code": 200, "headers": {"a": "\n"}}, ValueError, "headers must have"),
        (
            {"status_code": 200, "reason_phrase": b"OK"},
            TypeError,
            "reason_phrase must be a str",
        ),
        ({"status_code": 200, "reason_phrase": "O\nK"}, ValueError, "reason_phrase must be"),
    ],
)
def test_a_response_that_must_not_be_sent_is_refused(
    arguments: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Response(**arguments)  # type: ignore[arg-type]


# -- what a request asks for --------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/", "/", "/", ""),
        ("/a%20b/%C3%A9?key=%201?2", "/a b/é", "/a%20b/%C3%A9", "key=%201?2"),
        ("/%ff", "/\ufffd", "/%ff", ""),
        ("http://example.org/a?b", "/a", "/a", "b"),
        ("HTTPS://example.org", "/", "/", ""),
        ("http://example.org?b", "/", "/", "b"),
        ("*", "*", "*", ""),
        ("example.org:443", "example.org:443", "example.org:443", ""),
    ],
)
def test_a_target_is_a_path_and_a_query(
    target: str, path: str, raw_path: str, query: str
) -> None:
    request = Request(target)
    assert (request.path, request.raw_path, request.query) == (path, raw_path, query)


@pytest.mark.parametrize(
    ("target", "headers", "host"),
    [
        ("/", {"Host": "example.org:81"}, "example.org:81"),
        ("http://other:82/", {"Host": "example.org"}, "other:82"),
        ("/", {}, None),
    ],
)
def test_the_host_of_a_request_is_that_of_its_target_or_its_header(
    target: str, headers: dict[str, str], host: str | None
) -> None:
    assert Request(target, headers).host == host


@pytest.mark.parametrize(
    ("request_", "asks"),
    [
        (Request("/", {"Upgrade": "WebSocket"}), True),
        (Request("/", {"Upgrade": "h2c, websocket"}), True),
        (Request("/", [("Upgrade", "h2c"), ("Upgrade", "websocket")], "PUT"), True),
        (Request("/", {"Upgrade": "h2c"}), False),
        (Request("/"), False),
        (Request("/", (), "CONNECT", http_version="2", protocol="websocket"), True),
        (Request("/", {"Upgrade": "websocket"}, "CONNECT", protocol="other"), False),
    ],
)
def test_a_request_tells_whether_it_asks_for_a_websocket(request_: Request, asks: bool) -> None:
    assert request_.is_websocket is asks


def test_what_a_request_offers_is_parsed() -> None:
    request = Request(
        "/",
        [
            ("Sec-WebSocket-Protocol", "chat.v2, chat.v1"),
            ("Sec-WebSocket-Protocol", ",mqtt"),
            ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, foo"),
            ("Sec-WebSocket-Extensions", "bar; x=1"),
        ],
    )
    assert request.subprotocols == ("chat.v2", "chat.v1", "mqtt")
    assert request.extensions == (
        ("permessage-deflate", [("client_max_window_bits", None)]),
        ("foo", []),
        ("bar", [("x", "1")]),
    )


@pytest.mark.parametrize("headers", [{}, {"Sec-WebSocket-Extensions": "=;"}])
def test_a_request_that_offers_nothing_of_sense_offers_nothing(
    headers: dict[str, str],
) -> None:
    assert Request("/", headers).extensions == ()
    assert Request("/", headers).subprotocols == ()


def test_the_headers_of_the_application_are_those_that_are_not_the_handshakes() -> None:
    request = Request(
        "/",
        [
            ("Host", "example.org"),
            ("UPGRADE", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "x"),
            ("Cookie", "a=b"),
            ("Origin", "https://example.org"),
            ("Cookie", "c=d"),
        ],
    )
    assert request.extra_headers == (
        ("Cookie", "a=b"),
        ("Origin", "https://example.org"),
        ("Cookie", "c=d"),
    )


def test_what_is_noted_of_a_request_makes_no_difference_to_what_it_is() -> None:
    tls = TLSInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256", None, {"subject": ()})
    request, same = Request("/", tls=tls), Request("/", tls=tls)
    request.context["user"] = "ada"
    assert request == same
    assert hash(request) == hash(same)
    assert same.context == {}


# -- responses that an application makes --------------------------------------------------


@pytest.mark.parametrize(
    ("response", "content_type", "body"),
    [
        (Response.text("é"), "text/plain; charset=utf-8", "é".encode()),
        (Response.html("<p>é"), "text/html; charset=utf-8", "<p>é".encode()),
        (Response.json({"a": [1, None]}), "application/json", b'{"a": [1, null]}'),
        (Response.text("a,b", headers={"content-type": "text/csv"}), "text/csv", b"a,b"),
    ],
)
def test_a_response_tells_what_its_body_is(
    response: Response, content_type: str, body: bytes
) -> None:
    assert response.status_code == 200
    assert response.header_values("Content-Type") == [content_type]
    assert response.body == body


def test_a_response_has_the_status_code_and_headers_that_are_given() -> None:
    response = Response.html("no", 404, {"X-A": "b"})
    assert (response.status_code, response.header("X-A")) == (404, "b")


def test_a_redirect_says_where_to() -> None:
    response = Response.redirect("/login?next=%2F", headers=[("Set-Cookie", "a=b")])
    assert (response.status_code, response.header("Location")) == (303, "/login?next=%2F")
    assert response.header("Set-Cookie") == "a=b"
    assert Response.redirect("https://example.org/", 308).status_code == 308


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Response.text(b"x"), TypeError, "the body must be a str, not bytes"),  # type: ignore[arg-type]
        (lambda: Response.html(None), TypeError, "the body must be a str, not NoneType"),  # type: ignore[arg-type]
        (lambda: Response.json({1, 2}), TypeError, "not JSON serializable"),
        (lambda: Response.redirect(b"/"), TypeError, "location must be a str, not bytes"),  # type: ignore[arg-type]
        (lambda: Response.redirect("/a b"), ValueError, "location must be a URL"),
        (lambda: Response.redirect("/\r\nX: y"), ValueError, "location must be a URL"),
        (lambda: Response.redirect("/", 304), ValueError, "status_code must be 301, "),
        (lambda: Response.text("x", headers={"a": "\n"}), ValueError, "headers must have"),
    ],
)  # fmt: skip
def test_a_response_that_an_application_makes_wrongly_is_refused(
    make: Callable[[], Response], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        make()


def test_headers_are_found_in_the_index_as_without_it() -> None:
    request = Request("/", [("X-A", "1"), ("X-B", "2"), ("x-a", "3")])
    assert request.index() == {"x-a": ("1", "3"), "x-b": ("2",)}
    assert request.header_values("X-A") == ["1", "3"]
    assert request.header_values("X-C") == []
    request.forget_index()
    assert request.header_values("X-A") == ["1", "3"]
    assert Request("/").index() == {}
