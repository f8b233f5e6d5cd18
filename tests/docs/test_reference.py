"""The reference that is generated is complete; `make docs` checks the built one besides."""

from __future__ import annotations

import importlib
import inspect

import pytest

from tests.docs.names import PUBLIC, documented_names, public_names


# The rest of the core's names, those of the endpoint's floor, are added to its page by conf.py.
@pytest.mark.parametrize("module", PUBLIC[:2])
def test_every_public_name_is_in_the_generated_reference(module: str) -> None:
    assert public_names(module) - documented_names(module) == set()


@pytest.mark.parametrize("module", PUBLIC)
def test_the_generated_reference_has_no_name_that_there_is_not(module: str) -> None:
    assert documented_names(module) <= public_names(module)


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_class_and_function_has_a_docstring(module: str) -> None:
    for name in public_names(module):
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), name
