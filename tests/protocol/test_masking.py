from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire import mask, twins
from trio_wsendpoint.protocol import BytesLike, masking
from trio_wsendpoint.protocol.masking import new_masking_key, rotate_key

ApplyMask: TypeAlias = Callable[[BytesLike, bytes], bytes]

each_apply_mask = twins("masking", "apply_mask")
keys = st.binary(min_size=4, max_size=4)


def draw_keys(count: int) -> list[bytes]:
    return [new_masking_key() for _ in range(count)]


@each_apply_mask
def test_the_example_of_section_5_7_is_masked_as_it_says(apply_mask: ApplyMask) -> None:
    masked = apply_mask(b"Hello", b"\x37\xfa\x21\x3d")
    assert masked == b"\x7f\x9f\x4d\x51\x58"


@each_apply_mask
@given(st.binary(max_size=70), keys)
def test_masking_is_what_section_5_3_says(
    apply_mask: ApplyMask, payload: bytes, key: bytes
) -> None:
    assert apply_mask(payload, key) == mask(payload, key)


@each_apply_mask
@given(st.binary(), keys)
def test_masking_twice_gives_the_payload_back(
    apply_mask: ApplyMask, payload: bytes, key: bytes
) -> None:
    assert apply_mask(apply_mask(payload, key), key) == payload


@each_apply_mask
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_payload_is_masked_to_bytes(
    apply_mask: ApplyMask, kind: type[BytesLike]
) -> None:
    masked = apply_mask(kind(b"\x00" * 5), b"abcd")
    assert masked == b"abcda"
    assert type(masked) is bytes


@each_apply_mask
@given(st.lists(st.binary(max_size=9)), keys)
def test_a_payload_masked_in_pieces_is_masked_as_a_whole(
    apply_mask: ApplyMask, pieces: list[bytes], key: bytes
) -> None:
    masked = b""
    for piece in pieces:
        masked += apply_mask(piece, rotate_key(key, len(masked)))
    assert masked == apply_mask(b"".join(pieces), key)


def test_a_key_is_four_bytes_and_fresh_each_time() -> None:
    drawn = draw_keys(5000)
    assert {len(key) for key in drawn} == {4}
    assert len(set(drawn)) > 4990  # two of 5000 are the same once in 344 runs


def test_keys_are_what_the_system_drew_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_pool", [])
    monkeypatch.setattr(os, "urandom", bytes(range(256)).__mul__)  # too many, all known
    drawn = draw_keys(64)
    assert set(drawn) == {bytes(range(i, i + 4)) for i in range(0, 256, 4)}


def test_keys_are_drawn_in_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    draw = os.urandom

    def urandom(size: int) -> bytes:
        calls.append(size)
        return draw(size)

    monkeypatch.setattr(masking, "_pool", [])
    monkeypatch.setattr(os, "urandom", urandom)
    draw_keys(1024)
    assert calls == [4096]
    draw_keys(1)
    assert calls == [4096, 4096]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_draws_other_keys_than_its_parent() -> None:
    draw_keys(1)  # now there is a pool that the child inherits
    read, write = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover - measured in no child
        try:
            os.write(write, b"".join(draw_keys(100)))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    theirs = os.read(read, 400)
    os.close(read)
    assert len(theirs) == 400
    assert not {theirs[i : i + 4] for i in range(0, 400, 4)} & set(draw_keys(100))
