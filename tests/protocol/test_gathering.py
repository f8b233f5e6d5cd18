from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire import BINARY, TEXT, frame, frame_for, opened
from trio_wsendpoint.protocol import BinaryFrame, Connection, Piece, Role
from trio_wsendpoint.protocol.gathering import MIN_GATHERED

SIZE = 5 * MIN_GATHERED
PAYLOAD = bytes(range(251)) * (SIZE // 251) + b"end"


def read(connection: Connection, data: bytes, size: int) -> tuple[list[object], bytes]:
    """Give it as many bytes of the data as a read that has room for more would bring."""
    room, filled = connection.room, 0
    if room is not None:
        with room:
            filled = min(len(room), size, len(data))
            room[:filled] = data[:filled]
    rest = data[filled:size]
    return list(connection.receive_data(rest, filled)), data[filled + len(rest) :]


each_role = pytest.mark.parametrize("role", Role)


@each_role
@given(sizes=st.lists(st.integers(1, 2 * SIZE), max_size=20))
def test_what_is_read_into_its_place_is_the_same_message(role: Role, sizes: list[int]) -> None:
    connection = opened(role)
    parts = (TEXT, b"before"), (BINARY, PAYLOAD), (BINARY, PAYLOAD), (TEXT, b"behind")
    data = b"".join(frame_for(connection, *part) for part in parts)
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
    header_size = len(data) - 2**22
    connection.receive_data(data[:1000])
    assert connection.room is not None
    assert len(connection.room) <= 2**13
    connection.receive_data(data[1000 : header_size + 2**21])
    assert connection.room is not None
    assert 0 < len(connection.room) <= 2**18
    assert connection.inbound_size == 2**21
    assert connection.receive_data(data[header_size + 2**21 :]) == [bytes(2**22)]


def test_what_is_reserved_is_a_few_times_what_has_come() -> None:
    connection = opened()
    data = frame(BINARY, bytes(2**20))
    connection.receive_data(data[:1000])
    for end in range(11_000, 2**20, 10_000):
        room = connection.room
        assert room is not None
        assert 0 < len(room) <= max(2**13, 8 * end)
        room.release()
        assert not connection.receive_data(data[end - 10_000 : end])
    assert connection.receive_data(data[end:]) == [bytes(2**20)]


def test_no_more_than_the_frame_is_reserved() -> None:
    connection = opened()
    connection.receive_data(frame(BINARY, bytes(MIN_GATHERED))[:100])
    assert connection.room is not None
    assert len(connection.room) < MIN_GATHERED


@each_role
def test_a_message_that_is_streamed_begins_with_what_was_gathered(role: Role) -> None:
    connection = opened(role)
    data = frame_for(connection, BINARY, PAYLOAD)
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
