from __future__ import annotations

from typing import Any

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
)
from trio_wsendpoint.protocol import (
    BinaryFrame,
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
