"""Tests of HTTP requests and responses as values."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from trio_wsendpoint.protocol.http import Request, Response, to_headers


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
