"""What fuzzing started from, and what it found, once more."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

CASES = Path(__file__).parent / "cases"
FOUND = [(path.parent.name, path.name) for path in sorted(CASES.glob("*/*"))]


@pytest.mark.parametrize(("target", "name"), FOUND)
def test_what_fuzzing_found_stays_mended(target: str, name: str) -> None:
    TARGETS[target]((CASES / target / name).read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_well_formed_is_taken(target: str) -> None:
    for seed in seeds(target):
        TARGETS[target](seed)


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.binary(max_size=300))
def test_any_bytes_keep_the_promises(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_one_wrong_byte_keeps_the_promises(target: str, place: int, byte: int) -> None:
    for seed in seeds(target):
        wrong = bytearray(seed)
        wrong[place % len(wrong)] = byte
        TARGETS[target](bytes(wrong))
