"""Tests of how long to wait before a dial."""

from __future__ import annotations

import datetime
import email.utils
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_wsendpoint import Backoff, Response
from trio_wsendpoint.client.retrying import MAX_RETRY_AFTER, retry_after


def test_a_backoff_has_defaults_and_cannot_be_changed() -> None:
    backoff = Backoff()
    assert (backoff.first, backoff.factor, backoff.limit, backoff.healthy_after) == (
        0.5,
        2,
        60,
        10,
    )
    with pytest.raises(AttributeError):
        backoff.first = 1  # type: ignore[misc]


@given(st.integers(0, 10_000), st.floats(0, 1e6), st.floats(1, 1e6), st.floats(0, 1e6))
def test_a_wait_is_anything_up_to_its_bound(
    failures: int, first: float, factor: float, limit: float
) -> None:
    backoff = Backoff(first=first, factor=factor, limit=limit)
    bound = backoff.bound(failures)
    assert 0 <= backoff.delay(failures) <= bound <= limit
    assert bound <= backoff.bound(failures + 1)


def test_waits_differ() -> None:
    assert len({Backoff().delay(5) for _ in range(100)}) > 90


@pytest.mark.parametrize("name", ["first", "factor", "limit", "healthy_after"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1", TypeError),
        (None, TypeError),
        (True, TypeError),
        (-1, ValueError),
        (math.inf, ValueError),
        (math.nan, ValueError),
    ],
)
def test_a_bad_backoff_is_refused(name: str, value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"^{name} must be"):
        Backoff(**{name: value})


def test_waits_do_not_shrink() -> None:
    with pytest.raises(ValueError, match="factor must be at least 1"):
        Backoff(factor=0.5)


def from_now(seconds: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("0", 0),
        ("9" * 20, MAX_RETRY_AFTER),
        ("9" * 5000, 0),
        ("-1", 0),
        ("1.5", 0),
        ("soon", 0),
        ("", 0),
        ("\xb2", 0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("Fri, 99 Dec 9999 23:59:59 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nonsense_is_ignored(
    value: str, seconds: float
) -> None:
    assert retry_after(Response(503, {"Retry-After": value})) == seconds


@pytest.mark.parametrize("zone", [datetime.UTC, datetime.timezone(datetime.timedelta(hours=5))])
def test_a_date_is_as_far_as_it_is_from_now(zone: datetime.timezone) -> None:
    date = email.utils.format_datetime(from_now(100).astimezone(zone))
    assert 90 < retry_after(Response(503, {"Retry-After": date})) <= 100


def test_without_the_header_there_is_nothing_to_wait_for() -> None:
    assert retry_after(Response(503)) == 0
    assert retry_after(None) == 0
