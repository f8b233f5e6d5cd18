from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_wsendpoint.protocol import CloseCode
from trio_wsendpoint.protocol.close import (
    check_close_arguments,
    encode_close,
    may_be_sent,
    truncate_reason,
)


def test_only_registered_and_private_codes_may_be_sent() -> None:
    allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    assert {code for code in range(2**16) if may_be_sent(code)} == allowed


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, -1])
def test_a_code_that_must_not_be_sent_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=rf"^code must be 1000 to 1003, .* not {code}$"):
        check_close_arguments(code, "")


@pytest.mark.parametrize("code", [True, "1000", 1000.0, b""])
def test_a_code_that_is_no_int_is_refused(code: Any) -> None:
    with pytest.raises(TypeError, match=r"^code must be an int or None, not "):
        check_close_arguments(code, "")


@pytest.mark.parametrize("reason", [None, b"bye", 7])
def test_a_reason_that_is_no_str_is_refused(reason: Any) -> None:
    with pytest.raises(TypeError, match=r"^reason must be a str, not "):
        check_close_arguments(1000, reason)
    with pytest.raises(TypeError, match=r"^reason must be a str, not "):
        truncate_reason(reason)


@pytest.mark.parametrize("reason", ["x" * 124, "é" * 62])
def test_a_reason_of_more_than_123_bytes_is_refused(reason: str) -> None:
    with pytest.raises(ValueError, match=r"^reason must be at most 123 bytes .* not 124$"):
        check_close_arguments(1000, reason)


def test_a_reason_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^reason must be encodable as UTF-8: surrogates"):
        check_close_arguments(1000, "\ud800")


def test_a_reason_without_a_code_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^reason needs a code"):
        check_close_arguments(None, "bye")


@pytest.mark.parametrize(
    ("code", "reason", "payload"),
    [
        (None, "", b""),
        (1000, "", b"\x03\xe8"),
        (CloseCode.GOING_AWAY, "é", b"\x03\xe9\xc3\xa9"),
        (4999, "x" * 123, b"\x13\x87" + b"x" * 123),
    ],
)
def test_what_may_be_sent_becomes_the_payload(
    code: int | None, reason: str, payload: bytes
) -> None:
    check_close_arguments(code, reason)
    assert encode_close(code, reason) == payload


@pytest.mark.parametrize(
    ("reason", "cut"),
    [
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("x" * 122 + "é", "x" * 122),
        ("x" * 121 + "é", "x" * 121 + "é"),
        ("😀" * 31, "😀" * 30),
        ("\ud800", "?"),
    ],
)
def test_a_reason_of_ours_is_cut_at_a_character_boundary(reason: str, cut: str) -> None:
    assert truncate_reason(reason) == cut


@given(st.text())
def test_a_reason_that_was_cut_can_be_sent(reason: str) -> None:
    check_close_arguments(1000, truncate_reason(reason))
