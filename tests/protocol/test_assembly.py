"""What becomes of a message that arrives: kept whole, streamed, skipped, or too big."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    assert_failed,
    frame,
    frame_for,
    opened,
)
from trio_wsendpoint.protocol import (
    BinaryFrame,
    Connection,
    Message,
    Piece,
    Role,
    TextFrame,
)


def joined(pieces: list[Any]) -> Any:
    """The payload of one whole streamed message."""
    assert [piece.final for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    empty: Any = "" if pieces[0].frame_type is TextFrame else b""
    return empty.join(piece.payload for piece in pieces)


# -- whole messages -----------------------------------------------------------------------


def test_fragments_become_one_message() -> None:
    client = opened()
    assert client.receive_data(frame(TEXT, b"a", fin=False)) == []
    assert client.receive_data(frame(CONTINUATION, b"b", fin=False)) == []
    batch = client.receive_data(frame(CONTINUATION, b"c") + frame(BINARY, b"d"))
    assert batch == [Message("abc", TextFrame), b"d"]


def test_a_continuation_with_nothing_to_continue_is_refused() -> None:
    client = opened()
    client.receive_data(frame(CONTINUATION))
    assert_failed(client, 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_new_message_before_the_last_one_ended_is_refused(opcode: int) -> None:
    client = opened()
    client.receive_data(frame(TEXT, b"a", fin=False) + frame(opcode, b"b"))
    assert_failed(client, 1002)


def test_many_tiny_fragments_take_little_memory() -> None:
    client = opened()
    client.receive_data(frame(BINARY, fin=False))
    fragments = frame(CONTINUATION, b"x", fin=False) * 1000
    tracemalloc.start()
    try:
        for _ in range(100):
            client.receive_data(fragments)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 400_000
    assert 300_000 <= client.inbound_size < 310_000
    (message,) = client.receive_data(frame(CONTINUATION))
    assert isinstance(message, Message)
    assert message.payload == b"x" * 100_000
    assert len(message.frames) == 100_002


def test_a_large_message_in_small_pieces_is_copied_once() -> None:
    client = opened(max_message_size=None)
    data = frame(BINARY, bytes(10_000_000))
    tracemalloc.start()
    try:
        for start in range(0, len(data) - 1024, 1024):
            client.receive_data(data[start : start + 1024])
            _, peak = tracemalloc.get_traced_memory()
            # A buffer that was copied for each piece would double what is held.
            assert peak < client.inbound_size * 1.25 + 10_000, start
            tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    assert client.receive_data(data[start + 1024 :]) == [bytes(10_000_000)]


# -- limits -------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_may_be_as_large_as_the_limit(role: Role, opcode: int) -> None:
    connection = opened(role, max_message_size=200)
    batch = connection.receive_data(frame_for(connection, opcode, b"x" * 200))
    assert [len(message) for message in batch if isinstance(message, str | bytes)] == [200]


@pytest.mark.parametrize(
    "header", [b"\x82\x7e\x00\xc9", b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"]
)
def test_a_frame_that_is_too_big_is_refused_from_its_header_alone(header: bytes) -> None:
    client = opened(max_message_size=200)
    assert client.receive_data(header[:-1]) == []
    assert client.failure is None
    assert client.receive_data(header[-1:]) == []
    assert_failed(client, 1009)
    assert client.inbound_size == 0


def test_a_message_of_no_size_may_be_all_that_is_allowed() -> None:
    client = opened(max_message_size=0)
    assert client.receive_data(frame(TEXT) + frame(BINARY, b"x")) == [""]
    assert_failed(client, 1009)


def test_fragments_count_together_and_the_last_header_is_enough() -> None:
    client = opened(max_message_size=200)
    client.receive_data(frame(BINARY, bytes(150), fin=False))
    client.receive_data(frame(CONTINUATION, bytes(50), fin=False))
    assert client.failure is None
    client.receive_data(b"\x80\x01")
    assert_failed(client, 1009)


def test_the_limit_holds_for_each_message_anew() -> None:
    client = opened(max_message_size=200)
    data = frame(BINARY, bytes(100), fin=False) + frame(CONTINUATION, bytes(100))
    assert len(client.receive_data(data * 3)) == 3


def test_no_limit_is_no_limit() -> None:
    client = opened(max_message_size=None)
    client.receive_data(b"\x82\x7f" + (2**62).to_bytes(8, "big") + b"x")
    assert client.failure is None
    assert client.max_message_size == float("inf")


def test_a_message_that_was_arriving_is_forgotten_at_a_failure() -> None:
    client = opened()
    client.receive_data(frame(BINARY, bytes(1000), fin=False))
    assert client.inbound_size >= 1000
    client.receive_data(frame(BINARY))
    assert client.failure
    assert client.inbound_size == 0


def test_empty_fragments_do_not_go_on_for_ever() -> None:
    client = opened(max_message_size=1000)
    client.receive_data(frame(BINARY, fin=False))
    fragments = frame(CONTINUATION, fin=False) * 100
    sent = 0
    while client.failure is None:
        client.receive_data(fragments)
        sent += len(fragments)
        assert sent < 10_000
    assert sent > 3000
    assert_failed(client, 1009)


# -- a message too big that waits ---------------------------------------------------------


def test_a_message_too_big_waits_where_it_is_held() -> None:
    client = opened(max_message_size=4, hold_oversize=True)
    data = frame(TEXT, b"ok") + frame(TEXT, b"hello") + frame(TEXT, b"next")
    assert client.receive_data(data) == ["ok"]
    assert client.oversize
    assert not client.pending
    assert client.failure is None
    assert client.receive_data(frame(PING)) == []
    assert client.received.pings == 0


def test_a_message_that_is_held_can_be_refused() -> None:
    client = opened(max_message_size=4, hold_oversize=True)
    client.receive_data(frame(TEXT, b"hello"))
    client.refuse_oversize()
    assert not client.oversize
    assert_failed(client, 1009)


def test_nothing_is_refused_where_nothing_is_held() -> None:
    client = opened(max_message_size=4, hold_oversize=True)
    client.refuse_oversize()
    Connection(Role.CLIENT).refuse_oversize()
    assert client.receive_data(frame(TEXT, b"fine")) == ["fine"]


def test_a_message_that_is_held_can_be_streamed() -> None:
    client = opened(max_message_size=4, hold_oversize=True)
    client.receive_data(frame(TEXT, b"hello") + frame(TEXT, b"next"))
    pieces = client.stream_message()
    assert pieces == [Piece("", TextFrame, final=False)]
    assert not client.oversize
    assert client.pending
    *rest, following = client.receive_data(b"")
    assert joined(pieces + rest) == "hello"
    assert following == "next"
    assert not client.pending


def test_a_fragmented_message_that_is_held_is_streamed_from_its_start() -> None:
    client = opened(max_message_size=4, hold_oversize=True)
    client.receive_data(frame(TEXT, b"a\xc3", fin=False))
    client.receive_data(frame(CONTINUATION, b"\xa9b", fin=False) + frame(CONTINUATION, b"c"))
    assert client.oversize
    pieces = [*client.stream_message(), *client.receive_data(b"")]
    assert joined(pieces) == "aébc"


def test_a_message_that_is_held_can_be_skipped() -> None:
    client = opened(max_message_size=4, hold_oversize=True)
    client.receive_data(frame(BINARY, b"hello") + frame(BINARY, b"next"))
    client.stream_message()
    client.skip_message()
    assert client.receive_data(b"") == [b"next"]


def test_empty_fragments_can_be_streamed_however_many() -> None:
    client = opened(max_message_size=4, hold_oversize=True)
    client.receive_data(frame(BINARY, fin=False) + frame(CONTINUATION, fin=False) * 1000)
    assert client.oversize
    client.stream_message()
    assert client.receive_data(frame(CONTINUATION, fin=False) * 1000) == []
    assert client.inbound_size == 0
    assert client.receive_data(frame(CONTINUATION, b"x"))[-1] == Piece(
        b"", BinaryFrame, final=True
    )


# -- streaming ----------------------------------------------------------------------------


def test_the_next_message_is_streamed_and_the_one_after_it_is_whole() -> None:
    client = opened()
    assert client.stream_message() == []
    batch = client.receive_data(frame(BINARY, b"abc") + frame(BINARY, b"def"))
    assert batch == [
        Piece(b"abc", BinaryFrame, final=False),
        Piece(b"", BinaryFrame, final=True),
        b"def",
    ]


def test_pieces_come_as_the_bytes_do_also_inside_a_frame() -> None:
    client = opened()
    client.stream_message()
    assert client.receive_data(b"\x82\x05a") == [Piece(b"a", BinaryFrame, final=False)]
    assert client.receive_data(b"bc") == [Piece(b"bc", BinaryFrame, final=False)]
    assert client.receive_data(b"") == []
    assert client.receive_data(b"de") == [
        Piece(b"de", BinaryFrame, final=False),
        Piece(b"", BinaryFrame, final=True),
    ]


@pytest.mark.parametrize(
    ("data", "empty"), [(frame(TEXT), ""), (frame(BINARY), b"")], ids=["text", "binary"]
)
def test_an_empty_message_is_one_final_piece(data: bytes, empty: Any) -> None:
    client = opened()
    client.stream_message()
    (piece,) = client.receive_data(data)
    assert isinstance(piece, Piece)
    assert (piece.payload, piece.final) == (empty, True)


def test_a_message_partly_there_is_streamed_from_its_start() -> None:
    server = opened(Role.SERVER)
    data = frame_for(server, BINARY, b"abcdef")
    server.receive_data(data[:-3])
    pieces = server.stream_message()
    assert pieces == [Piece(b"abc", BinaryFrame, final=False)]
    assert server.inbound_size == 0
    assert joined(pieces + server.receive_data(data[-3:])) == b"abcdef"


def test_streaming_twice_is_streaming_once() -> None:
    client = opened()
    client.receive_data(b"\x82\x03a")
    pieces = client.stream_message()
    assert client.stream_message() == []
    assert joined(pieces + client.receive_data(b"bc")) == b"abc"


def test_text_pieces_are_never_cut_inside_a_character() -> None:
    client = opened()
    data = frame(TEXT, "aé".encode(), fin=False) + frame(CONTINUATION, "€😀".encode())
    client.stream_message()
    pieces = [piece for byte in data for piece in client.receive_data(bytes((byte,)))]
    payloads = [piece.payload for piece in pieces if isinstance(piece, Piece)]
    assert payloads == ["a", "é", "€", "😀", ""]


def test_a_character_may_be_cut_where_streaming_begins() -> None:
    client = opened()
    client.receive_data(frame(TEXT, b"a\xf0\x9f", fin=False))
    pieces = client.stream_message()
    assert pieces == [Piece("a", TextFrame, final=False)]
    assert joined(pieces + client.receive_data(frame(CONTINUATION, b"\x98\x80"))) == "a😀"


@pytest.mark.parametrize(
    "tail", [frame(CONTINUATION, b"\xff", fin=False), frame(CONTINUATION, b"\xc3")]
)
def test_text_that_is_streamed_is_checked_all_the_same(tail: bytes) -> None:
    client = opened()
    client.receive_data(frame(TEXT, b"good", fin=False))
    client.stream_message()
    client.receive_data(tail)
    assert_failed(client, 1007)


def test_no_limit_binds_a_stream() -> None:
    client = opened(max_message_size=4)
    client.stream_message()
    assert joined(client.receive_data(frame(BINARY, b"hello"))) == b"hello"


def test_a_huge_frame_is_streamed_in_constant_memory() -> None:
    client = opened()
    client.stream_message()
    client.receive_data(b"\x82\x7f" + (2**40).to_bytes(8, "big"))
    data = bytes(10_000)
    seen = 0
    tracemalloc.start()
    try:
        for _ in range(1000):
            (piece,) = client.receive_data(data)
            assert isinstance(piece, Piece)
            seen += len(piece.payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == 10_000_000
    assert peak < 50_000
    assert client.inbound_size == 0


def test_control_frames_are_answered_between_the_pieces() -> None:
    client = opened()
    client.stream_message()
    client.receive_data(frame(TEXT, b"a", fin=False) + frame(PING) + b"\x80\x02b")
    assert client.received.pings == 1


def test_only_whole_messages_are_counted() -> None:
    client = opened()
    client.stream_message()
    client.receive_data(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False))
    assert client.received.messages == 0
    client.receive_data(frame(CONTINUATION, b"c") + frame(TEXT, b"d"))
    assert client.received.messages == 2


# -- leaving a stream early ---------------------------------------------------------------


def test_the_rest_of_a_stream_can_be_skipped() -> None:
    client = opened()
    client.stream_message()
    client.receive_data(frame(BINARY, b"abc", fin=False) + b"\x80\x05de")
    client.skip_message()
    assert client.receive_data(b"fg") == []
    assert client.inbound_size == 0
    assert client.receive_data(b"h" + frame(BINARY, b"next")) == [b"next"]


def test_text_that_is_skipped_is_checked_all_the_same() -> None:
    client = opened()
    client.stream_message()
    client.receive_data(frame(TEXT, b"abc", fin=False))
    client.skip_message()
    client.receive_data(frame(CONTINUATION, b"\xff", fin=False))
    assert_failed(client, 1007)


def test_a_message_that_has_not_begun_is_not_skipped() -> None:
    client = opened()
    client.stream_message()
    client.skip_message()
    assert client.receive_data(frame(TEXT, b"next")) == ["next"]


def test_a_message_that_is_not_streamed_is_not_skipped() -> None:
    client = opened()
    client.receive_data(frame(TEXT, b"a", fin=False))
    client.skip_message()
    assert client.receive_data(frame(CONTINUATION, b"b")) == [Message("ab", TextFrame)]


def test_a_stream_asked_for_during_a_skip_is_of_the_next_message() -> None:
    client = opened()
    client.stream_message()
    client.receive_data(frame(BINARY, b"abc", fin=False))
    client.skip_message()
    assert client.stream_message() == []
    batch = client.receive_data(frame(CONTINUATION, b"def") + frame(TEXT, b"n") + b"\x81\x01x")
    assert joined(batch[:-1]) == "n"
    assert batch[-1] == "x"


@pytest.mark.parametrize("take_back", [Connection.skip_message, Connection.unstream])
def test_a_stream_asked_for_during_a_skip_can_be_taken_back(take_back: Any) -> None:
    client = opened()
    client.stream_message()
    client.receive_data(frame(BINARY, b"abc", fin=False))
    client.skip_message()
    client.stream_message()
    take_back(client)
    assert client.receive_data(frame(CONTINUATION, b"def") + frame(TEXT, b"n")) == ["n"]


def test_a_stream_that_has_not_begun_can_be_taken_back() -> None:
    client = opened()
    client.stream_message()
    client.unstream()
    assert client.receive_data(frame(TEXT, b"next")) == ["next"]


def test_a_stream_that_has_begun_cannot_be_taken_back() -> None:
    client = opened()
    client.stream_message()
    pieces = client.receive_data(frame(TEXT, b"a", fin=False))
    client.unstream()
    assert joined(pieces + client.receive_data(frame(CONTINUATION, b"b"))) == "ab"


@pytest.mark.parametrize(
    "act", [Connection.stream_message, Connection.skip_message, Connection.unstream]
)
def test_before_the_handshake_there_is_nothing_to_stream(act: Any) -> None:
    connection = Connection(Role.CLIENT)
    assert not act(connection)
    connection.open()
    assert connection.receive_data(frame(TEXT, b"whole")) == ["whole"]


@given(
    st.lists(st.binary(max_size=9), min_size=1),
    st.integers(0, 50),
    st.integers(0, 50),
    st.data(),
)
def test_a_stream_is_the_message_wherever_it_begins_and_is_cut(
    payloads: list[bytes], begin: int, limit: int, data: st.DataObject
) -> None:
    last = len(payloads) - 1
    wire = b"".join(
        frame(BINARY if i == 0 else CONTINUATION, payload, fin=i == last)
        for i, payload in enumerate(payloads)
    )
    begin = min(begin, len(wire) - 1)
    cut = data.draw(st.integers(begin, len(wire)))
    client = opened(max_message_size=limit, hold_oversize=True)
    client.receive_data(wire[:begin])
    pieces: list[Any] = list(client.stream_message())
    pieces += client.receive_data(wire[begin:cut])
    pieces += client.receive_data(wire[cut:])
    assert joined(pieces) == b"".join(payloads)
