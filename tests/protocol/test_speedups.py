from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from trio_wsendpoint.protocol import cutting, descriptors, masking, payloads, speedups

NAMES = [name for name in speedups.__all__ if name != "in_c"]
MODULES = (masking, cutting, descriptors, payloads)
IN_PYTHON = tuple(
    next(getattr(module, name) for module in MODULES if name in vars(module)) for name in NAMES
)


@pytest.fixture
def left_as_it_was() -> Iterator[None]:
    yield
    importlib.reload(speedups)


def loaded() -> tuple[Any, ...]:
    importlib.reload(speedups)
    return tuple(getattr(speedups, name) for name in NAMES)


def test_python_is_chosen_where_the_environment_asks_for_it(
    left_as_it_was: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIO_WSENDPOINT_PURE", "1")
    assert loaded() == IN_PYTHON
    assert not speedups.in_c


def test_python_does_the_work_where_c_was_not_built(
    left_as_it_was: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIO_WSENDPOINT_PURE", raising=False)
    monkeypatch.setitem(sys.modules, "trio_wsendpoint.protocol._speedups", None)
    assert loaded() == IN_PYTHON
    assert not speedups.in_c


def test_c_does_the_work_where_it_was_built(
    left_as_it_was: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: Any = pytest.importorskip("trio_wsendpoint.protocol._speedups")
    monkeypatch.delenv("TRIO_WSENDPOINT_PURE", raising=False)
    assert loaded() == tuple(getattr(built, name) for name in NAMES)
    assert speedups.in_c
