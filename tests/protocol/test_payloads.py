from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire import KEY, mask
from trio_wsendpoint.protocol import payloads


class Twin(NamedTuple):
    new_payload: Any
    fill_payload: Any
    payload_room: Any


def twins() -> dict[str, Twin]:
    names = Twin._fields
    found = {"python": Twin(*(getattr(payloads, name) for name in names))}
    try:
        from trio_wsendpoint.protocol import _speedups
    except ImportError:  # it is optional
        return found
    return found | {"c": Twin(*(getattr(_speedups, name) for name in names))}


each_twin = pytest.mark.parametrize("twin", twins().values(), ids=twins())


@each_twin
@pytest.mark.parametrize("key", [b"", KEY])
@given(data=st.binary(min_size=2, max_size=300), steps=st.lists(st.integers(1, 100)))
def test_a_payload_is_filled_part_by_part(
    twin: Twin, key: bytes, data: bytes, steps: list[int]
) -> None:
    wire = mask(data, key) if key else data
    payload, filled = twin.new_payload(len(data)), 0
    for number, step in enumerate((*steps, len(data))):
        part = wire[filled : filled + step]
        if number % 2:  # read straight into its place
            with twin.payload_room(payload, filled) as room:
                assert len(room) == len(data) - filled
                room[: len(part)] = part
                filled = twin.fill_payload(payload, filled, room[: len(part)], key)
        else:
            filled = twin.fill_payload(payload, filled, memoryview(part), key)
    assert filled == len(data)
    assert payload == data


@each_twin
def test_a_bytearray_is_filled_as_well(twin: Twin) -> None:
    payload = bytearray(4)
    twin.fill_payload(payload, 1, b"xyz", b"")
    with twin.payload_room(payload, 0) as room:
        assert room == b"\0xyz"


def test_in_c_the_payload_is_the_message() -> None:
    built = pytest.importorskip("trio_wsendpoint.protocol._speedups")
    assert type(built.new_payload(100)) is bytes


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("new_payload", (1,)),
        ("new_payload", (-5,)),
        ("fill_payload", (b"abc", 4, b"", b"")),
        ("fill_payload", (b"abc", 1, b"xyz", b"")),
        ("fill_payload", (bytearray(3), 1, b"xyz", b"")),
        ("fill_payload", (b"abc", -2, b"", b"")),
        ("fill_payload", (b"abc", 0, b"", b"key")),
        ("payload_room", (b"abc", 4)),
    ],
)
def test_c_never_writes_beside_a_payload(name: str, arguments: tuple[object, ...]) -> None:
    built = pytest.importorskip("trio_wsendpoint.protocol._speedups")
    with pytest.raises(ValueError, match=r"filled|data|size|key"):
        getattr(built, name)(*arguments)
