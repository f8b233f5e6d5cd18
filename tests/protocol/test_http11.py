"""Tests of the opening handshake's HTTP/1.1."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_wsendpoint.protocol.errors import HandshakeError, LocalProtocolError
from trio_wsendpoint.protocol.http import Request, Response, to_headers
from trio_wsendpoint.protocol.http11 import (
    MAX_BODY_SIZE,
    MAX_HEAD_SIZE,
    MAX_HEADERS,
    RequestReader,
    ResponseReader,
    encode_request,
    encode_response,
)

Reader: TypeAlias = RequestReader | ResponseReader

REQUEST = (
    b"GET /chat?a=b HTTP/1.1\r\n"
    b"Host: server.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"X-Name:  J\xfcrgen \r\n"
    b"\r\n"
)
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-A: b\r\n\r\n"
FRAME = b"\x81\x05hello"

both = pytest.mark.parametrize(
    ("reader_type", "head"), [(RequestReader, REQUEST), (ResponseReader, SWITCHING)]
)


def read_request(data: bytes) -> Request | None:
    return RequestReader().receive_data(data)


def read_response(data: bytes) -> Response | None:
    return ResponseReader().receive_data(data)


# Writing


def test_a_request_is_written_as_it_is_with_its_host_first() -> None:
    request = Request(
        "/chat?a=b", [("X-Name", "Jürgen"), ("Host", "h"), ("Upgrade", "websocket")]
    )
    assert encode_request(request) == (
        b"GET /chat?a=b HTTP/1.1\r\nHost: h\r\nX-Name: J\xfcrgen\r\nUpgrade: websocket\r\n\r\n"
    )


def test_a_101_is_written_as_it_is() -> None:
    response = Response(101, [("Upgrade", "websocket"), ("Connection", "Upgrade")])
    assert encode_response(response) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )


def test_a_101_is_written_in_latin_1() -> None:
    response = Response(101, [("X-Name", "Jürgen")], reason_phrase="Élan")
    assert encode_response(response) == b"HTTP/1.1 101 \xc9lan\r\nX-Name: J\xfcrgen\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (
            Response(400, (), b"why\n"),
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 4\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n\r\nwhy\n",
        ),
        (
            Response(200, {"content-type": "text/html"}, b"<p>"),
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nConnection: close\r\n"
            b"Content-Length: 3\r\n\r\n<p>",
        ),
        (
            Response(499, {"Content-Length": "7", "Connection": "keep-alive"}),
            b"HTTP/1.1 499 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            Response(426, {"Upgrade": "websocket"}, reason_phrase="Élan"),
            b"HTTP/1.1 426 \xc9lan\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
            b"Content-Length: 0\r\n\r\n",
        ),
        (
            Response(204, {"Transfer-Encoding": "chunked"}),
            b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        ),
    ],
)
def test_a_refusal_is_framed_and_closes_the_connection(
    response: Response, expected: bytes
) -> None:
    assert encode_response(response) == expected


@pytest.mark.parametrize("status_code", [101, 200, 204, 304, 404, 999])
def test_what_is_written_is_read_back(status_code: int) -> None:
    body = b"" if status_code in (101, 204, 304) else b"\x00\xff" * 1000
    response = read_response(encode_response(Response(status_code, {"X-A": "b"}, body)))
    assert response is not None
    assert (response.status_code, response.header("x-a"), response.body) == (
        status_code,
        "b",
        body,
    )


# Reading


def test_a_request_is_read() -> None:
    assert read_request(REQUEST) == Request(
        "/chat?a=b",
        [
            ("Host", "server.example.com"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("X-Name", "Jürgen"),
        ],
    )


def test_a_101_is_read() -> None:
    expected = Response(101, [("Upgrade", "websocket"), ("X-A", "b")])
    assert read_response(SWITCHING) == expected


@both
def test_nothing_comes_before_the_last_byte_of_the_head(
    reader_type: type[Reader], head: bytes
) -> None:
    reader = reader_type()
    for offset in range(len(head) - 1):
        assert reader.receive_data(head[offset : offset + 1]) is None
    assert reader.receive_data(b"") is None
    assert reader.receive_data(head[-1:]) is not None
    assert reader.trailing_data == b""


@both
@pytest.mark.parametrize("size", [1, 1000, MAX_HEAD_SIZE, 3 * MAX_HEAD_SIZE])
def test_what_follows_in_the_same_segment_is_the_first_frames(
    reader_type: type[Reader], head: bytes, size: int
) -> None:
    frames = (FRAME * size)[:size]
    reader = reader_type()
    assert reader.receive_data(bytearray(head + frames)) is not None
    assert reader.trailing_data == frames


@both
def test_a_reader_that_is_done_takes_no_more(reader_type: type[Reader], head: bytes) -> None:
    reader = reader_type()
    reader.receive_data(head)
    with pytest.raises(LocalProtocolError):
        reader.receive_data(FRAME)


@pytest.mark.parametrize("data", [b"", b"GET", REQUEST[:-1]])
def test_the_end_of_the_stream_before_the_request_is_an_error(data: bytes) -> None:
    reader = RequestReader()
    reader.receive_data(data)
    with pytest.raises(HandshakeError, match="before its request was complete"):
        reader.receive_eof()


@pytest.mark.parametrize("data", [b"", b"HTTP", SWITCHING[:-1]])
def test_the_end_of_the_stream_before_the_response_is_an_error(data: bytes) -> None:
    reader = ResponseReader()
    reader.receive_data(data)
    with pytest.raises(HandshakeError, match="before its response was complete"):
        reader.receive_eof()


@pytest.mark.parametrize(
    ("data", "status_code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),  # TLS
        (b" GET / HTTP/1.1\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
        (b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * MAX_HEADERS + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * MAX_HEAD_SIZE + b"\r\n\r\n", 431),
        (b"G" * MAX_HEAD_SIZE, 431),
    ],
)
def test_a_bad_request_is_refused_with_a_status_code(data: bytes, status_code: int) -> None:
    with pytest.raises(HandshakeError) as caught:
        read_request(data)
    assert caught.value.status_code == status_code
    assert 0 < len(str(caught.value)) <= 100


@both
@pytest.mark.parametrize("character", [b"\0", b"\x0b", b"\x0c", b"\r", b"\x7f"])
def test_a_control_character_behind_many_blanks_is_found_before_h11_sees_it(
    reader_type: type[Reader], head: bytes, character: bytes
) -> None:
    value = b"X: " + b"\t" * (MAX_HEAD_SIZE - 1000) + character + b"y\r\n\r\n"
    with pytest.raises(HandshakeError, match="a control character in the head"):
        reader_type().receive_data(head[:-2] + value)


@both
@pytest.mark.parametrize("code", range(256))
def test_no_other_control_character_than_a_tab_may_stand_in_a_head(
    reader_type: type[Reader], head: bytes, code: int
) -> None:
    value = b"X: a" + bytes((code,)) + b"b: c\r\n\r\n"
    refuses: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if code == 0x7F or (code < 0x20 and code not in b"\t\n"):
        refuses = pytest.raises(HandshakeError, match="a control character in the head")
    with refuses:
        assert reader_type().receive_data(head[:-2] + value) is not None


@pytest.mark.parametrize(
    "head",
    [
        REQUEST.replace(b"\r\n", b"\n"),
        REQUEST.replace(b"1.1", b"1.2"),
        REQUEST.replace(b"X-Name", b"Content-Length: 0\r\nX-Name"),
        REQUEST.replace(b"X-Name", b"Content-Length: 00\r\nX-Name"),
        REQUEST.replace(b"X-Name", b"Expect: 100-continue\r\nX-Name"),
        REQUEST.replace(b"X-Name:", b"X-Name:\r\n "),
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (MAX_HEADERS - 1) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: ".ljust(MAX_HEAD_SIZE - 4, b"y") + b"\r\n\r\n",
        b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_a_request_within_the_limits_is_read(head: bytes) -> None:
    assert read_request(head) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"\x15\x03\x01\x00\x02\x02\x0a",  # a TLS alert
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 000 x\r\n\r\n",
        b"HTTP/1.0 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nX: a\x01b\r\n\r\n",
        b"HTTP/1.1 101 Switching\x1bProtocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_HEAD_SIZE // 28 + 1),
        b"H" * MAX_HEAD_SIZE,
    ],
)
def test_a_bad_response_is_refused(data: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        read_response(data)
    assert 0 < len(str(caught.value)) <= 100


def test_informational_responses_in_front_of_the_101_are_skipped() -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"
    reader = ResponseReader()
    assert reader.receive_data(hints) is None
    response = reader.receive_data(SWITCHING + FRAME)
    assert response is not None
    assert response.status_code == 101
    assert reader.trailing_data == FRAME


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Content-Length: 1\r\ncontent-length: 2",
        b"Content-Length: many",
    ],
)
def test_how_a_body_is_framed_is_no_matter_where_there_is_none(framing: bytes) -> None:
    name = framing.partition(b":")[0].decode()
    for method, head in (("GET", SWITCHING[:-2]), ("CONNECT", b"HTTP/1.0 200 OK\r\n")):
        reader = ResponseReader(method)
        response = reader.receive_data(head + framing + b"\r\n\r\n" + FRAME)
        assert response is not None
        assert response is reader.head
        assert reader.is_done
        assert response.header_values(name)[0].encode() in framing
        assert reader.trailing_data == FRAME


def test_a_proxy_that_refuses_has_a_body() -> None:
    reader = ResponseReader("CONNECT")
    assert reader.receive_data(b"HTTP/1.1 407 Who\r\nContent-Length: 3\r\n\r\nyo") is None
    assert reader.head is not None
    assert not reader.is_done
    response = reader.receive_data(b"u")
    assert response is not None
    assert (response.status_code, response.body) == (407, b"you")


@pytest.mark.parametrize(
    ("headers", "wire", "body"),
    [
        (b"Content-Length: 5", b"hello", b"hello"),
        (b"Content-Length: 5", b"hello, and more", b"hello"),
        (b"Content-Length: 0", b"", b""),
        (b"Transfer-Encoding: chunked", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
        (b"Transfer-Encoding: chunked", b"3\r\nhel\r\nnonsense\r\n", b"hel"),
        (b"Transfer-Encoding: chunked", b"1\r\nh\r\n1;" + b"\t" * 30_000, b"h"),
        (b"Transfer-Encoding: chunked", b"1\r\nh\r\n0\r\nX:" + b"\t" * 30_000, b"h"),
        (b"Content-Length: 100000", b"x" * 100_000, b"x" * MAX_BODY_SIZE),
        (b"X: y", b"x" * MAX_BODY_SIZE, b"x" * MAX_BODY_SIZE),
    ],
)
@pytest.mark.parametrize("step", [13, 1_000_000])
def test_a_rejection_comes_with_its_body_up_to_the_limit(
    headers: bytes, wire: bytes, body: bytes, step: int
) -> None:
    data = b"HTTP/1.1 403 Forbidden\r\n" + headers + b"\r\n\r\n" + wire
    reader = ResponseReader()
    response = None
    for offset in range(0, len(data), step):
        response = reader.receive_data(data[offset : offset + step])
        if response is not None:
            break
    assert response is not None
    assert (response.status_code, response.reason_phrase) == (403, "Forbidden")
    assert response.body == body


@pytest.mark.parametrize(
    ("headers", "wire"),
    [(b"X: y", b"hello"), (b"Content-Length: 9", b"hello"), (b"X: y", b"")],
)
def test_the_end_of_the_stream_ends_the_body(headers: bytes, wire: bytes) -> None:
    reader = ResponseReader()
    assert reader.receive_data(b"HTTP/1.0 403 No\r\n" + headers + b"\r\n\r\n" + wire) is None
    assert reader.receive_eof().body == wire


def test_chunks_that_hardly_carry_anything_come_to_an_end() -> None:
    reader = ResponseReader()
    reader.receive_data(b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"1;" + b"x" * 1000 + b"\r\ny\r\n"
    sent = 0
    while (response := reader.receive_data(chunk)) is None:
        sent += len(chunk)
        assert sent < MAX_BODY_SIZE
    assert 0 < len(response.body) < 100


@pytest.mark.parametrize("read", [read_request, read_response])
@given(data=st.binary(max_size=200))
@example(data=b"GET / HTTP/1.1\r\nHost: \r\n\r\n")
@example(data=b"HTTP/1.1 600 \xff\t\r\n\xff: \r\n\r\n")
@example(data=b"HTTP/9.9 101\r\n\r\n")
def test_any_bytes_are_read_or_refused(
    read: Callable[[bytes], Request | Response | None], data: bytes
) -> None:
    with contextlib.suppress(HandshakeError):
        read(data)


@given(
    line=st.sampled_from([b"GET / HTTP/1.1", b"HTTP/1.1 101 x", b"HTTP/1.1 200 x"]),
    name=st.binary(min_size=1, max_size=5),
    value=st.binary(max_size=20),
)
@example(line=b"GET / HTTP/1.1", name=b"X", value=b"\xa0 \x85 a \t\xa0")
@example(line=b"GET / HTTP/1.1", name=b"X", value=b"\r\n \t a\r\n\t\r\n b \t")
def test_any_header_is_read_in_its_one_form_or_refused(
    line: bytes, name: bytes, value: bytes
) -> None:
    head = line + b"\r\nHost: a\r\n" + name + b":" + value + b"\r\n\r\n"
    reader: Reader = RequestReader() if line.startswith(b"GET") else ResponseReader()
    with contextlib.suppress(HandshakeError):
        message = reader.receive_data(head)
        assert message is None or message.headers == to_headers(list(message.headers))


@given(cuts=st.lists(st.integers(0, len(REQUEST + FRAME)), max_size=5).map(sorted))
def test_a_request_may_be_cut_anywhere(cuts: list[int]) -> None:
    data = REQUEST + FRAME
    reader = RequestReader()
    request = None
    offset = 0
    for cut in [*cuts, len(data)]:
        request = reader.receive_data(data[offset:cut])
        offset = cut
        if request is not None:
            break
    assert request == read_request(REQUEST)
    assert reader.trailing_data + data[offset:] == FRAME


# -- requests that ask for no WebSocket ---------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [b"Content-Length: 5\r\n", b"content-length: 05\r\n", b"Transfer-Encoding: chunked\r\n"],
)
def test_a_request_with_a_body_is_read_up_to_its_head(headers: bytes) -> None:
    reader = RequestReader()
    request = reader.receive_data(b"POST /a HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n12345")
    assert request is not None
    assert (request.method, request.target, request.http_version) == ("POST", "/a", "1.1")
    assert reader.trailing_data == b"12345"


def test_a_request_of_http_1_0_is_read() -> None:
    request = RequestReader().receive_data(b"HEAD /health HTTP/1.0\r\n\r\n")
    assert request == Request("/health", (), "HEAD", http_version="1.0")


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize("lines", [0, 1, 5])
def test_empty_lines_in_front_of_a_request_are_ignored(lines: int, step: int) -> None:
    reader = RequestReader()
    data = b"\r\n" * lines + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for start in range(0, len(data), step):
        request = reader.receive_data(data[start : start + step])
    assert request == Request("/", {"Host": "a"})


def feed(reader: RequestReader, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        assert reader.receive_data(data[start : start + step]) is None


@pytest.mark.parametrize("step", [2, 1001, 10**6])
def test_empty_lines_are_not_ignored_for_ever(step: int) -> None:
    reader = RequestReader()
    data = b"\r\n" * MAX_HEAD_SIZE
    with pytest.raises(HandshakeError, match="not HTTP"):
        feed(reader, data, step)


@pytest.mark.parametrize("data", [b"\n", b"\r\r", b"\r\n\n", b"\r\n GET"])
def test_what_is_no_empty_line_is_not_ignored(data: bytes) -> None:
    with pytest.raises(HandshakeError, match="not HTTP"):
        RequestReader().receive_data(data)


# -- plain responses ----------------------------------------------------------------------


def test_the_answer_to_head_is_the_one_to_get_without_its_body() -> None:
    response = Response.text("hello")
    get, head = (encode_response(response, method) for method in ("GET", "HEAD"))
    assert get == head + b"hello"
    assert b"\r\nContent-Length: 5\r\n" in head


@pytest.mark.parametrize("status_code", [204, 304])
def test_a_response_that_can_have_no_body_tells_no_length(status_code: int) -> None:
    assert b"content-length" not in encode_response(Response(status_code)).lower()
