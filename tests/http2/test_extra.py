"""Without h2, the error says what is missing."""

from __future__ import annotations

import importlib.util
import sys

import pytest

import trio_wsendpoint.http2


def test_without_h2_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)
    spec = importlib.util.spec_from_file_location("other", trio_wsendpoint.http2.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"the extra http2, as in trio-wsendpoint\[http2\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
