from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire import BINARY, TEXT, frame, opened
from trio_wsendpoint.protocol import BinaryFrame, Connection, Piece, gathering
from trio_wsendpoint.protocol.gathering import MAX_SPARE, MIN_GATHERED, Gathering

SIZE = 5 * MIN_GATHERED
PAYLOAD = bytes(range(251)) * (SIZE // 251) + b"end"


@pytest.fixture(autouse=True)
def no_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering._spare, "buffer", bytearray())


def read(connection: Connection, data: bytes, size: int) -> tuple[list[object], bytes]:
    """Give it as many bytes of the data as a read that has room for more would bring."""
    room, filled = connection.room, 0
    if room is not None:
        with room:
            filled = min(len(room), size, len(data))
            room[:filled] = data[:filled]
    rest = data[filled:size]
    return list(connection.receive_data(rest, filled)), data[filled + len(rest) :]


@given(st.lists(st.integers(1, 2 * SIZE), max_size=20))
def test_what_is_read_into_its_place_is_the_same_message(sizes: list[int]) -> None:
    connection = opened()
    data = frame(TEXT, b"before") + frame(BINARY, PAYLOAD) * 2 + frame(TEXT, b"behind")
    size, messages = len(data), []
    for step in (*sizes, *[size] * 3):
        batch, data = read(connection, data, step)
        messages += batch
    assert messages == ["before", PAYLOAD, PAYLOAD, "behind"]
    assert connection.received.size == size
    assert connection.room is None


def test_there_is_room_for_the_rest_of_a_large_binary_frame_alone() -> None:
    for data in (frame(BINARY, bytes(MIN_GATHERED - 1)), frame(TEXT, bytes(MIN_GATHERED))):
        connection = opened()
        connection.receive_data(data[:100])
        assert connection.room is None
    connection = opened()
    connection.receive_data(frame(BINARY, bytes(MIN_GATHERED))[:100])
    assert connection.room is not None


def test_room_grows_with_what_has_come() -> None:
    connection = opened(max_message_size=None)
    data = frame(BINARY, bytes(2**22))
    connection.receive_data(data[:1000])
    assert connection.room is not None
    assert len(connection.room) <= 2**13
    connection.receive_data(data[1000 : 2**20])
    assert connection.room is not None
    assert 2**15 < len(connection.room) <= 2**18
    assert connection.inbound_size == 2**20


def test_a_message_that_is_streamed_begins_with_what_was_gathered() -> None:
    connection = opened()
    data = frame(BINARY, PAYLOAD)
    connection.receive_data(data[:MIN_GATHERED])
    (piece,) = connection.stream_message()
    assert isinstance(piece.payload, bytes)
    assert not piece.final
    assert connection.room is None
    rest = connection.receive_data(data[MIN_GATHERED:])
    assert all(isinstance(each, Piece) and each.frame_type is BinaryFrame for each in rest)
    parts = [each.payload for each in (piece, *rest) if isinstance(each, Piece)]
    assert b"".join(part for part in parts if isinstance(part, bytes)) == PAYLOAD
    assert connection.received.messages == 1


def test_a_buffer_is_used_for_the_next_frame() -> None:
    first = Gathering(bytes(100), SIZE)
    first.add(bytes(SIZE))
    buffer = first.data.obj
    first.recycle()
    with Gathering(b"", SIZE).room as room:
        assert room.obj is buffer
        assert len(room) == SIZE


@pytest.mark.parametrize(("size", "kept"), [(MAX_SPARE, True), (MAX_SPARE + 1, False)])
def test_no_buffer_is_kept_that_is_too_large(size: int, kept: bool) -> None:
    gathered = Gathering(bytes(size), size)
    assert gathered.complete
    gathered.recycle()
    assert (len(gathering._spare.buffer) == size) is kept


def test_a_buffer_that_is_too_small_is_left_for_a_smaller_frame() -> None:
    gathering._spare.buffer = bytearray(100)
    assert len(Gathering(b"x", 101).data) == 1
    assert len(gathering._spare.buffer) == 100
