"""A short soak, as part of every test run."""

from __future__ import annotations

import pytest

from tests.soak.run import run


@pytest.mark.slow
def test_a_hundred_connections_lose_nothing_and_leave_nothing() -> None:
    tally, checks = run(seconds=3, connections=100, seed=6455)
    assert tally.violations == []
    assert [name for name, holds in checks.items() if not holds] == []
