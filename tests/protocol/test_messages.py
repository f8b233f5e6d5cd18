from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire import FIN, RSV1, TEXT
from trio_wsendpoint.protocol import (
    BinaryFrame,
    CloseFrame,
    ContinuationFrame,
    ControlFrame,
    DataFrame,
    Frame,
    FrameParser,
    Message,
    Piece,
    PingFrame,
    PongFrame,
    ProtocolError,
    TextFrame,
    create_message,
    memory_of,
    to_sendable,
)
from trio_wsendpoint.protocol.messages import MessageBuilder, Utf8Decoder


class CellFrame(DataFrame):
    opcode = 0x3


class TickFrame(ControlFrame):
    opcode = 0xB


# -- messages from the application --------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("text", "é", Message("é", TextFrame)),
        (TextFrame, "é", Message("é", TextFrame)),
        ("text", "é".encode(), Message("é", TextFrame)),
        (TextFrame, bytearray("é".encode()), Message("é", TextFrame)),
        ("binary", b"\xff", Message(b"\xff", BinaryFrame)),
        ("binary", "é", Message("é".encode(), BinaryFrame)),
        (CellFrame, "é", Message("é".encode(), CellFrame)),
        (BinaryFrame, bytearray(b"\xff"), Message(b"\xff", BinaryFrame)),
        ("binary", memoryview(b"\xff"), Message(b"\xff", BinaryFrame)),
        (CellFrame, b"\xff", Message(b"\xff", CellFrame)),
        (TickFrame, b"\xff", Message(b"\xff", TickFrame)),
    ],
)
def test_a_message_is_created_of_any_kind(kind: Any, payload: Any, expected: Message) -> None:
    message = create_message(kind, payload)
    assert message == expected
    assert type(message.payload) is type(expected.payload)


@pytest.mark.parametrize("kind", ["ping", b"text", None, 1, int, TextFrame(), "", Frame])
def test_a_kind_that_is_no_frame_class_is_refused(kind: Any) -> None:
    words = re.escape(f"kind must be 'text', 'binary' or a frame class, not {kind!r}")
    with pytest.raises(TypeError, match=f"^{words}$"):
        create_message(kind, b"")


@pytest.mark.parametrize("kind", [DataFrame, ControlFrame])
def test_a_frame_class_without_an_opcode_is_refused(kind: type[Frame]) -> None:
    with pytest.raises(TypeError, match=r"^kind must be "):
        create_message(kind, b"")


@pytest.mark.parametrize("kind", [ContinuationFrame, PingFrame, PongFrame, CloseFrame])
def test_a_frame_that_carries_no_message_is_refused(kind: type[Frame]) -> None:
    with pytest.raises(
        ValueError, match=r"^kind must be a frame that (carries|begins) a message, not "
    ):
        create_message(kind, b"")


@pytest.mark.parametrize(
    ("kind", "payload", "words"),
    [
        ("text", None, "payload must be bytes-like, not NoneType"),
        ("binary", 7, "payload must be bytes-like, not int"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused(kind: Any, payload: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"^{words}$"):
        create_message(kind, payload)


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (Message("é".encode(), TextFrame), create_message("text", "é")),
        (Message("é", BinaryFrame), create_message("binary", "é".encode())),
    ],
)
def test_a_message_made_by_hand_is_sent_as_its_kind_has_it(
    message: Message, sent: Message
) -> None:
    assert to_sendable(message) == sent


def test_text_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^payload must be encodable as UTF-8: surrogates"):
        create_message("text", "\udfff")


def test_text_in_bytes_that_are_no_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^payload must be UTF-8: invalid start .* byte 2$"):
        create_message("text", b"ab\xff")


def test_a_control_message_of_more_than_125_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^payload of a control frame .* not 126$"):
        create_message(TickFrame, bytes(126))


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (create_message("text", "é"), TextFrame(b"\xc3\xa9")),
        (create_message("binary", b"x"), BinaryFrame(b"x")),
        (create_message(CellFrame, b"x"), CellFrame(b"x")),
    ],
)
def test_a_created_message_is_one_frame(message: Message, frame: Frame) -> None:
    assert message.frames == (frame,)
    assert message.data == frame.payload


# -- messages put together from frames ----------------------------------------------------


def build(
    frame_type: type[Frame], *payloads: bytes, keep_wire: bool = False, rsv: int = 0
) -> Any:
    builder = MessageBuilder(frame_type, keep_wire)
    for i, payload in enumerate(payloads):
        fin = FIN if i == len(payloads) - 1 else 0
        opcode = 0 if i else frame_type.opcode
        builder.note_frame(fin | rsv | opcode, len(payload))
        builder.add_wire(payload)
        builder.add(payload)
    assert builder.size == builder.wire_size == len(b"".join(payloads))
    return builder.finish(FrameParser([CellFrame]))


@pytest.mark.parametrize(("frame_type", "expected"), [(TextFrame, "ab"), (BinaryFrame, b"ab")])
def test_a_message_in_one_frame_is_its_payload(frame_type: type[Frame], expected: Any) -> None:
    message = build(frame_type, b"ab")
    assert message == expected
    assert type(message) is type(expected)


def test_a_fragmented_message_knows_its_frames() -> None:
    message = build(TextFrame, b"a\xc3", b"", b"\xa9")
    assert message == Message("aé", TextFrame)
    assert message.frames == (
        TextFrame(b"a\xc3", fin=False),
        ContinuationFrame(fin=False),
        ContinuationFrame(b"\xa9"),
    )


def test_a_message_of_a_type_of_ones_own_is_told_by_its_class() -> None:
    message = build(CellFrame, b"ab")
    assert message == Message(b"ab", CellFrame)
    assert message.frames == (CellFrame(b"ab"),)


def test_a_message_whose_wire_differs_keeps_it() -> None:
    builder = MessageBuilder(TextFrame, keep_wire=True)
    builder.note_frame(FIN | RSV1 | TEXT, 3)
    builder.add_wire(b"\x01\x02")
    builder.add_wire(b"\x03")
    builder.add(b"decoded")
    message: Any = builder.finish(FrameParser())
    assert message.payload == "decoded"
    assert message.frames == (TextFrame(b"\x01\x02\x03", rsv1=True),)


@pytest.mark.parametrize("size", [125, 126, 65535, 65536])
def test_frames_of_any_length_are_found_again(size: int) -> None:
    message = build(BinaryFrame, bytes(size), b"x" * size)
    assert [len(frame.payload) for frame in message.frames] == [size, size]
    assert message.frames[1].payload == b"x" * size


def test_equal_messages_in_other_fragments_are_equal() -> None:
    assert build(TextFrame, b"a", b"b") == build(TextFrame, b"", b"ab")


def test_text_that_ends_inside_a_character_is_refused() -> None:
    with pytest.raises(ProtocolError) as caught:
        build(TextFrame, b"\xc3")
    assert caught.value.code == 1007


@pytest.mark.parametrize("entry", ["text", "é" * 100, b"binary"])
def test_the_memory_of_a_payload_is_its_size_and_a_place_in_a_batch(entry: str | bytes) -> None:
    assert memory_of(entry) == sys.getsizeof(entry) + 8


def test_the_memory_of_a_message_counts_all_that_it_holds() -> None:
    plain = create_message("binary", bytes(1000))
    received = build(BinaryFrame, bytes(500), bytes(500))
    encoded = build(BinaryFrame, bytes(500), bytes(500), keep_wire=True)
    assert 1000 < memory_of(plain) < 1200
    assert memory_of(plain) + 1000 < memory_of(received) == memory_of(encoded)
    assert 1000 < memory_of(Piece(bytes(1000), BinaryFrame, final=False)) < 1200


# -- text, byte by byte -------------------------------------------------------------------

# RFC 3629 section 4: what may follow a first byte.
TAIL = range(0x80, 0xC0)
SECOND_BYTES = {
    **dict.fromkeys(range(0xC2, 0xE0), TAIL),
    0xE0: range(0xA0, 0xC0),
    **dict.fromkeys(range(0xE1, 0xF0), TAIL),
    0xED: range(0x80, 0xA0),
    0xF0: range(0x90, 0xC0),
    **dict.fromkeys(range(0xF1, 0xF4), TAIL),
    0xF4: range(0x80, 0x90),
}


def is_refused(decoder: Utf8Decoder, byte: int) -> bool:
    try:
        decoder.decode(bytes((byte,)))
    except ProtocolError as error:
        return error.code == 1007
    return False


def test_a_byte_that_begins_no_character_is_refused() -> None:
    refused = {byte for byte in range(256) if is_refused(Utf8Decoder(), byte)}
    assert refused == set(range(256)) - set(range(0x80)) - set(SECOND_BYTES)


@pytest.mark.parametrize("first", SECOND_BYTES)
def test_a_second_byte_that_does_not_fit_is_refused(first: int) -> None:
    for second in range(256):
        decoder = Utf8Decoder()
        assert not is_refused(decoder, first)
        assert is_refused(decoder, second) == (second not in SECOND_BYTES[first])


@pytest.mark.parametrize("start", [b"\xe2\x82", b"\xf0\x9f", b"\xf0\x9f\x98"])
def test_a_later_byte_that_does_not_fit_is_refused(start: bytes) -> None:
    for byte in range(256):
        decoder = Utf8Decoder()
        assert decoder.decode(start) == ""
        assert is_refused(decoder, byte) == (byte not in TAIL)


@given(st.lists(st.text(), min_size=1), st.data())
def test_text_decoded_in_pieces_is_the_text(texts: list[str], data: st.DataObject) -> None:
    text = "".join(texts)
    encoded = text.encode()
    cut = data.draw(st.integers(0, len(encoded)))
    decoder = Utf8Decoder()
    assert decoder.decode(encoded[:cut]) + decoder.decode(encoded[cut:], final=True) == text
