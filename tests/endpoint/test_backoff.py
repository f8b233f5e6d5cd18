from __future__ import annotations

from typing import Any

import pytest

from trio_wsendpoint import Backoff


def test_the_bound_grows_to_its_limit() -> None:
    backoff = Backoff(first=1, factor=3, limit=20)
    assert [backoff.bound(failures) for failures in range(5)] == [1, 3, 9, 20, 20]
    assert backoff.bound(10**6) == 20


def test_the_wait_is_anything_up_to_the_bound() -> None:
    backoff = Backoff(first=1, factor=2, limit=60)
    delays = [backoff.delay(2) for _ in range(1000)]
    assert all(0 <= delay <= 4 for delay in delays)
    assert min(delays) < 1 < 3 < max(delays)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"first": "x"}, TypeError, "first must be seconds, not str"),
        ({"limit": float("inf")}, ValueError, "limit must not be infinite"),
        ({"healthy_after": -1}, ValueError, "healthy_after must be at least 0 seconds"),
        ({"factor": None}, TypeError, "factor must be a number, not NoneType"),
        ({"factor": 0.5}, ValueError, "factor must be at least 1 and not infinite"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(
    options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Backoff(**options)
