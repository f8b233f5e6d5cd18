from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    KEY,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    frame,
    mask,
    twins,
)
from trio_wsendpoint.protocol import (
    BinaryFrame,
    BytesLike,
    CloseCode,
    CloseFrame,
    ContinuationFrame,
    ControlFrame,
    DataFrame,
    Frame,
    FrameParser,
    Opcode,
    PingFrame,
    PongFrame,
    ProtocolError,
    TextFrame,
    encode_frame,
)
from trio_wsendpoint.protocol import frames as python_frames
from trio_wsendpoint.protocol.frames import encode_header


class TickFrame(ControlFrame):
    __slots__ = ()
    opcode = 0xB


class CellFrame(DataFrame):
    __slots__ = ()
    opcode = 0x3


KINDS: list[tuple[type[Frame], int]] = [
    (ContinuationFrame, CONTINUATION),
    (TextFrame, TEXT),
    (BinaryFrame, BINARY),
    (CloseFrame, CLOSE),
    (PingFrame, PING),
    (PongFrame, PONG),
]
LENGTHS = [0, 1, 125, 126, 127, 65535, 65536, 70000]
LENGTH_BYTES = {
    0: "00",
    1: "01",
    125: "7d",
    126: "7e007e",
    127: "7e007f",
    65535: "7effff",
    65536: "7f0000000000010000",
    70000: "7f0000000000011170",
    2**63 - 1: "7f7fffffffffffffff",
}


# -- values -------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "opcode"), KINDS)
def test_each_kind_of_frame_has_its_opcode(kind: type[Frame], opcode: int) -> None:
    assert kind.opcode == opcode
    assert issubclass(kind, ControlFrame if opcode >= 8 else DataFrame)
    assert FrameParser().type_of(opcode) is kind
    assert Opcode(opcode) == opcode


@pytest.mark.parametrize("payload", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
def test_a_payload_may_be_anything_bytes_like(payload: Any) -> None:
    assert type(BinaryFrame(payload).payload) is bytes
    assert BinaryFrame(payload) == BinaryFrame(b"ab")


@pytest.mark.parametrize("payload", ["ab", None, 7, [1]])
def test_a_payload_that_is_not_bytes_like_is_refused(payload: Any) -> None:
    with pytest.raises(TypeError, match=r"^payload must be bytes-like, not "):
        BinaryFrame(payload)


def test_a_frame_cannot_be_changed() -> None:
    ping: Any = PingFrame(b"x")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ping.payload = b"y"


@pytest.mark.parametrize("kind", [CloseFrame, PingFrame, PongFrame, TickFrame])
def test_a_control_frame_is_at_most_125_bytes_and_never_a_fragment(
    kind: type[ControlFrame],
) -> None:
    assert kind(b"x" * 125).fin
    with pytest.raises(ValueError, match=r"^payload of a control frame must be .* not 126$"):
        kind(b"x" * 126)
    with pytest.raises(ValueError, match=r"^fin must be True"):
        kind(fin=False)


@pytest.mark.parametrize(
    ("made", "first_byte"),
    [
        (TextFrame(), FIN | TEXT),
        (TextFrame(fin=False), TEXT),
        (BinaryFrame(rsv1=True), FIN | RSV1 | BINARY),
        (BinaryFrame(rsv2=True), FIN | RSV2 | BINARY),
        (ContinuationFrame(rsv3=True, fin=False), RSV3),
        (CellFrame(rsv1=True, rsv2=True, rsv3=True), 0xF3),
    ],
)
def test_the_first_byte_holds_fin_reserved_bits_and_opcode(
    made: Frame, first_byte: int
) -> None:
    assert made.first_byte == first_byte


# -- close frames -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "code", "reason"),
    [
        (CloseFrame.create(), CloseCode.NO_STATUS_RECEIVED, ""),
        (CloseFrame.create(1000), CloseCode.NORMAL_CLOSURE, ""),
        (CloseFrame.create(1001, "bye"), CloseCode.GOING_AWAY, "bye"),
        (CloseFrame.create(4001, "é"), 4001, "é"),
    ],
)
def test_a_close_frame_tells_its_code_and_reason(
    made: CloseFrame, code: int, reason: str
) -> None:
    assert made.code == code
    assert type(made.code) is type(code)
    assert made.reason == reason
    made.check()


@pytest.mark.parametrize(("code", "reason"), [(1005, ""), (1000, "x" * 124), (None, "x")])
def test_a_close_frame_that_must_not_be_sent_is_not_made(code: int | None, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^(code|reason) "):
        CloseFrame.create(code, reason)


@pytest.mark.parametrize(
    ("payload", "code", "words"),
    [
        (b"\x03", 1002, "half a close code"),
        (b"\x03\xed", 1002, "close code 1005"),
        (b"\x00\x00", 1002, "close code 0"),
        (b"\x03\xe8\xff", 1007, "not UTF-8"),
        (b"\x03\xe8\xc3", 1007, "not UTF-8"),
    ],
)
def test_a_received_close_frame_is_checked(payload: bytes, code: int, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        CloseFrame(payload).check()
    assert caught.value.code == code


# -- frame types of one's own -------------------------------------------------------------


def test_a_parser_knows_frame_types_of_ones_own() -> None:
    parser = FrameParser(frame_types=[CellFrame, TickFrame])
    assert parser.frame_types == (CellFrame, TickFrame)
    assert parser.parse(frame(0x3, b"x")) == (CellFrame(b"x"), 3)
    assert parser.parse(frame(0xB, b"x")) == (TickFrame(b"x"), 3)
    assert parser.type_of(0xC) is None


def test_parsers_with_the_same_frame_types_are_equal() -> None:
    assert FrameParser([CellFrame]) == FrameParser([CellFrame]) != FrameParser()


@pytest.mark.parametrize("frame_types", [CellFrame, 7])
def test_frame_types_that_are_no_list_are_refused(frame_types: Any) -> None:
    with pytest.raises(TypeError, match=r"^frame_types must be a list of classes, not "):
        FrameParser(frame_types)


@pytest.mark.parametrize("kind", [int, Frame, CellFrame(), "CellFrame"])
def test_a_frame_type_that_is_no_class_of_frames_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"^frame_types must be subclasses of DataFrame or Con"):
        FrameParser([kind])


@pytest.mark.parametrize(
    ("base", "opcode", "allowed"),
    [
        *((DataFrame, opcode, "3 to 7") for opcode in (0, 1, 2, 8, 11, 16, -1, "3", None)),
        *((ControlFrame, opcode, "11 to 15") for opcode in (3, 8, 9, 10, 16)),
    ],
)
def test_an_opcode_that_is_out_of_range_or_taken_is_refused(
    base: type[Frame], opcode: Any, allowed: str
) -> None:
    kind = type("MyFrame", (base,), {"opcode": opcode})
    with pytest.raises(ValueError, match=rf"^frame_types: MyFrame\.opcode .* {allowed}, not"):
        FrameParser([kind])


def test_a_frame_type_without_an_opcode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^frame_types: DataFrame.opcode .* not None$"):
        FrameParser([DataFrame])


def test_two_frame_types_with_the_same_opcode_are_refused() -> None:
    class OtherFrame(DataFrame):
        opcode = CellFrame.opcode

    with pytest.raises(ValueError, match=r"^frame_types: OtherFrame.opcode must be an unused"):
        FrameParser([CellFrame, OtherFrame])


# -- headers ------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "expected"), LENGTH_BYTES.items())
def test_lengths_are_encoded_in_as_few_bytes_as_possible(length: int, expected: str) -> None:
    assert encode_header(0x82, length) == b"\x82" + bytes.fromhex(expected)
    masked = bytearray(b"\x82" + bytes.fromhex(expected) + KEY)
    masked[1] |= 0x80
    assert encode_header(0x82, length, KEY) == masked


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("length", LENGTH_BYTES)
def test_a_header_is_read_back_once_it_is_whole(length: int, key: bytes) -> None:
    parser = FrameParser()
    data = encode_header(FIN | BINARY, length, key)
    for end in range(len(data)):
        assert parser.read_header(data[:end]) is None
    header = parser.read_header(b"..." + data, 3)
    assert header is not None
    assert header == (FIN | BINARY, length, key, len(data))
    assert (header.opcode, header.fin, header.rsv) == (BINARY, True, 0)


BAD_HEADERS: list[tuple[str, str]] = [
    *((f"81 7e {length:04x}", "not minimally encoded") for length in (0, 1, 125)),
    *((f"81 7f {length:016x}", "not minimally encoded") for length in (0, 125, 126, 65535)),
    ("81 7f 8000000000000000", "most significant bit"),
    ("81 7f ffffffffffffffff", "most significant bit"),
    *((f"{FIN | TEXT | rsv:02x}", "reserved bit") for rsv in (RSV1, RSV2, RSV3)),
    *((f"{FIN | opcode:02x}", "unknown opcode") for opcode in (*range(3, 8), *range(11, 16))),
    *((f"{opcode:02x}", "fragmented control frame") for opcode in (CLOSE, PING, PONG)),
    *((f"{FIN | opcode:02x} 7e", "more than 125") for opcode in (CLOSE, PING, PONG)),
    *((f"{FIN | opcode:02x} ff", "more than 125") for opcode in (CLOSE, PING, PONG)),
]


@pytest.mark.parametrize(("header", "words"), BAD_HEADERS)
def test_a_bad_header_is_refused_at_its_first_bad_byte(header: str, words: str) -> None:
    data = bytes.fromhex(header)
    with pytest.raises(ProtocolError, match=words) as caught:
        FrameParser().read_header(data)
    assert caught.value.code == 1002
    if "length" not in words and len(data) == 2:
        assert FrameParser().read_header(data[:1]) is None


@pytest.mark.parametrize(
    ("masked", "second", "words"),
    [(True, "05", "a frame that is not masked"), (False, "85", "a masked frame")],
)
def test_a_frame_masked_wrongly_is_refused_before_its_length_is_read(
    masked: bool, second: str, words: str
) -> None:
    with pytest.raises(ProtocolError, match=f"^{words}$"):
        FrameParser().read_header(bytes.fromhex("81" + second), masked=masked)


@pytest.mark.parametrize(("rsv", "claimed"), [(RSV1, RSV1), (RSV3, RSV2 | RSV3)])
def test_a_reserved_bit_that_was_agreed_on_is_accepted(rsv: int, claimed: int) -> None:
    header = FrameParser().read_header(frame(TEXT, rsv=rsv), rsv=claimed)
    assert header is not None
    assert header.rsv == rsv


# -- whole frames -------------------------------------------------------------------------


@twins("frames", "build_frame")
@pytest.mark.parametrize("length", LENGTHS)
def test_a_frame_is_built_as_section_5_2_draws_it(
    length: int, build_frame: Callable[[int, BytesLike, bytes], bytes]
) -> None:
    payload = bytes(length)
    assert build_frame(BINARY, payload, b"") == frame(BINARY, payload, fin=False)
    assert build_frame(FIN | TEXT, payload, KEY) == frame(TEXT, payload, key=KEY)


@twins("frames", "build_frame")
def test_text_is_encoded_into_its_frame(
    build_frame: Callable[[int, str, bytes], bytes],
) -> None:
    for text in ("", "plain", "\xe9t\xe9", "\u20ac" * 100, "\U0001f600" * 30000):
        payload = text.encode()
        assert build_frame(FIN | TEXT, text, b"") == frame(TEXT, payload)
        assert build_frame(FIN | TEXT, text, KEY) == frame(TEXT, payload, key=KEY)
    with pytest.raises(UnicodeEncodeError):
        build_frame(FIN | TEXT, "\ud800", KEY)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_frame_is_encoded_with_a_key_or_without(length: int) -> None:
    payload = bytes(length)
    assert encode_frame(BinaryFrame(payload)) == frame(BINARY, payload)
    assert encode_frame(BinaryFrame(payload), KEY) == frame(BINARY, payload, key=KEY)


some_frames = st.builds(
    lambda kind, payload, fin, rsv: kind(
        payload, fin=fin, rsv1=rsv & 1 > 0, rsv2=rsv & 2 > 0, rsv3=rsv & 4 > 0
    ),
    st.sampled_from([ContinuationFrame, TextFrame, BinaryFrame]),
    st.binary(max_size=300),
    st.booleans(),
    st.integers(0, 7),
)


@given(some_frames, st.sampled_from([b"", KEY]), st.binary(max_size=5))
def test_a_frame_is_parsed_back_once_it_is_whole(
    made: Frame, key: bytes, behind: bytes
) -> None:
    parser = FrameParser()
    data = encode_frame(made, key)
    assert parser.parse(data[:-1]) is None
    assert parser.parse(b"." + data + behind, 1) == (made, 1 + len(data))


# -- many messages at once ----------------------------------------------------------------


Cut: TypeAlias = Callable[[BytesLike, int, bool, int, int, list[Any]], int]
each_cut_messages = twins("frames", "cut_messages")


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
    expected = cut(python_frames.cut_messages, data, masked=masked, max_size=max_size)
    assert cut(cut_messages, data, masked=masked, max_size=max_size) == expected
