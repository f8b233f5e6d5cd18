from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire import (
    BINARY,
    CONTINUATION,
    FIN,
    KEY,
    PING,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    frame,
    mask,
    twins,
)
from trio_wsendpoint.protocol import BytesLike, cutting

LENGTHS = [0, 1, 125, 126, 127, 65535, 65536]


@twins("cutting", "build_frame")
@pytest.mark.parametrize("length", LENGTHS)
def test_a_frame_is_built_as_section_5_2_draws_it(
    length: int, build_frame: Callable[[int, BytesLike, bytes], bytes]
) -> None:
    payload = bytes(length)
    assert build_frame(BINARY, payload, b"") == frame(BINARY, payload, fin=False)
    assert build_frame(FIN | TEXT, payload, KEY) == frame(TEXT, payload, key=KEY)


@twins("cutting", "build_frame")
def test_text_is_encoded_into_its_frame(
    build_frame: Callable[[int, str, bytes], bytes],
) -> None:
    for text in ("", "plain", "\xe9t\xe9", "\u20ac" * 100, "\U0001f600" * 30000):
        payload = text.encode()
        assert build_frame(FIN | TEXT, text, b"") == frame(TEXT, payload)
        assert build_frame(FIN | TEXT, text, KEY) == frame(TEXT, payload, key=KEY)
    with pytest.raises(UnicodeEncodeError):
        build_frame(FIN | TEXT, "\ud800", KEY)


# -- many messages at once ----------------------------------------------------------------


Cut: TypeAlias = Callable[[BytesLike, int, bool, int, int, list[Any]], int]
each_cut_messages = twins("cutting", "cut_messages")


def cut(
    cut_messages: Cut,
    data: BytesLike,
    *,
    masked: bool = False,
    max_size: int = 2**20,
    max_count: int = 2**10,
) -> tuple[list[Any], int]:
    out: list[Any] = []
    return out, cut_messages(data, 0, masked, max_size, max_count, out)


@each_cut_messages
@pytest.mark.parametrize("key", [b"", KEY])
def test_whole_messages_are_cut_off_together(key: bytes, cut_messages: Cut) -> None:
    messages: list[str | bytes] = [
        "",
        "é",
        b"",
        b"\xff",
        *(bytes(length) for length in LENGTHS),
    ]
    data = b"".join(
        frame(TEXT, message.encode(), key=key)
        if isinstance(message, str)
        else frame(BINARY, message, key=key)
        for message in messages
    )
    assert cut(cut_messages, data, masked=bool(key)) == (messages, len(data))


@each_cut_messages
def test_no_more_messages_are_cut_off_than_wanted(cut_messages: Cut) -> None:
    data = frame(TEXT, b"x") * 5
    assert cut(cut_messages, data, max_count=3) == (["x"] * 3, 3 * len(data) // 5)
    assert cut(cut_messages, data, max_count=5) == (["x"] * 5, len(data))
    assert cut(cut_messages, data, max_count=0) == ([], 0)


@each_cut_messages
def test_messages_that_are_there_already_count_too(cut_messages: Cut) -> None:
    out: list[Any] = ["there", "already"]
    data = frame(TEXT, b"x") * 5
    assert cut_messages(data, 0, False, 2**20, 3, out) == len(data) // 5
    assert out == ["there", "already", "x"]


NOT_FOR_CUTTING = {
    "nothing": b"",
    "one byte": b"\x81",
    "half a length": b"\x82\x7e\x01",
    "half a long length": b"\x82\x7f\x00",
    "half a payload": b"\x82\x05abcd",
    "a fragment": frame(TEXT, b"x", fin=False),
    "a continuation": frame(CONTINUATION, b"x"),
    "a control frame": frame(PING, b"x"),
    "an opcode of one's own": frame(3, b"x"),
    "a reserved bit": frame(TEXT, b"x", rsv=RSV1),
    "a masked frame": frame(TEXT, b"x", key=KEY),
    "too large a message": frame(BINARY, bytes(201)),
    "a wasteful length": b"\x82\x7e\x00\x01x",
    "a wasteful long length": b"\x82\x7f" + (126).to_bytes(8, "big") + bytes(126),
    "a length with the top bit": b"\x82\x7f" + b"\xff" * 8,
    "bad text": frame(TEXT, b"\xff"),
    "text that ends in a character": frame(TEXT, b"\xc3"),
}


@each_cut_messages
@pytest.mark.parametrize("name", NOT_FOR_CUTTING)
def test_cutting_stops_in_front_of_anything_else(name: str, cut_messages: Cut) -> None:
    good = frame(TEXT, b"good")
    data = good + NOT_FOR_CUTTING[name]
    assert cut(cut_messages, data, max_size=200) == (["good"], len(good))


@each_cut_messages
@pytest.mark.parametrize(
    "tail", [frame(TEXT, b"x"), frame(TEXT, b"xyz", key=KEY)[:-1], b"\x81\xfe\x00\x7e" + KEY]
)
def test_cutting_masked_messages_stops_likewise(tail: bytes, cut_messages: Cut) -> None:
    good = frame(TEXT, b"good", key=KEY)
    assert cut(cut_messages, good + tail, masked=True) == (["good"], len(good))


@each_cut_messages
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_messages_are_cut_off_any_buffer(kind: Any, cut_messages: Cut) -> None:
    data = frame(TEXT, b"text", key=KEY) + frame(BINARY, b"binary", key=KEY)
    messages, _ = cut(cut_messages, kind(data), masked=True)
    assert messages == ["text", b"binary"]
    assert type(messages[1]) is bytes
    unmasked, _ = cut(cut_messages, kind(frame(BINARY, b"binary")))
    assert type(unmasked[0]) is bytes


@each_cut_messages
def test_a_masked_payload_is_unmasked_with_its_own_key(cut_messages: Cut) -> None:
    keys = (b"abcd", b"efgh")
    data = b"".join(b"\x82\x83" + key + mask(b"xyz", key) for key in keys)
    assert cut(cut_messages, data, masked=True)[0] == [b"xyz", b"xyz"]


almost_frames = st.builds(
    lambda opcode, payload, key, flaw: flaw[0] + frame(opcode, payload, key=key)[flaw[1] :],
    st.sampled_from([TEXT, TEXT, BINARY, PING]),
    st.binary(max_size=140) | st.text(max_size=70).map(str.encode),
    st.sampled_from([b"", KEY]),
    st.sampled_from([(b"", 0)] * 5 + [(b"\x81", 1), (b"\x82\x7e", 2), (b"", 1)]),
)


@each_cut_messages
@given(st.lists(almost_frames).map(b"".join), st.integers(0, 150), st.booleans())
def test_both_twins_cut_alike(
    cut_messages: Cut, data: bytes, max_size: int, masked: bool
) -> None:
    expected = cut(cutting.cut_messages, data, masked=masked, max_size=max_size)
    assert cut(cut_messages, data, masked=masked, max_size=max_size) == expected


# -- one frame, encoded still -------------------------------------------------------------


CutFrame: TypeAlias = Callable[[BytesLike, int, bool, int, int], tuple[int, bytes, int] | None]
each_cut_frame = twins("cutting", "cut_frame")


@each_cut_frame
@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_frame_is_cut_off_with_its_reserved_bits(
    length: int, key: bytes, cut_frame: CutFrame
) -> None:
    payload = bytes(range(256)) * (length // 256) + bytes(length % 256)
    data = frame(BINARY, payload, rsv=RSV1, key=key)
    buffer = b"." + data + b"behind"
    assert cut_frame(buffer, 1, bool(key), RSV1, 2**20) == (
        FIN | RSV1 | BINARY,
        payload,
        1 + len(data),
    )


@each_cut_frame
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_payload_of_a_frame_is_bytes_of_any_buffer(kind: Any, cut_frame: CutFrame) -> None:
    found = cut_frame(kind(frame(TEXT, b"text")), 0, False, 0, 100)
    assert found == (FIN | TEXT, b"text", 6)
    assert type(found[1]) is bytes


@each_cut_frame
@pytest.mark.parametrize(
    "data",
    [
        b"",
        frame(TEXT, b"text", rsv=RSV2),
        frame(TEXT, b"text", rsv=RSV1 | RSV3),
        frame(TEXT, b"text", fin=False),
        frame(CONTINUATION, b"text"),
        frame(PING, b"ping"),
        frame(TEXT, b"text", key=KEY),
        frame(TEXT, bytes(101)),
        frame(TEXT, b"text")[:-1],
        b"\x81\x7e\x00\x04text",
    ],
)
def test_no_frame_is_cut_off_that_is_not_whole_and_plain(
    data: bytes, cut_frame: CutFrame
) -> None:
    assert cut_frame(data, 0, False, RSV1, 100) is None


@each_cut_frame
@given(
    st.lists(almost_frames).map(b"".join),
    st.integers(0, 200),
    st.booleans(),
    st.sampled_from([0, RSV1, RSV2 | RSV3, 0xFF]),
    st.integers(0, 150),
)
def test_both_twins_cut_a_frame_alike(
    cut_frame: CutFrame, data: bytes, offset: int, masked: bool, rsv: int, max_size: int
) -> None:
    arguments = data, offset, masked, rsv, max_size
    assert cut_frame(*arguments) == cutting.cut_frame(*arguments)
