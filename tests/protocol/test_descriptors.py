from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from tests.protocol.wire import BINARY, FIN, KEY, PING, TEXT, frame, twins
from trio_wsendpoint.protocol import BytesLike

pytestmark = pytest.mark.skipif(not hasattr(os, "readv"), reason="needs readv")

Read: TypeAlias = Callable[[int, bytearray, bool, int, int, list[Any]], tuple[int, int] | None]
Write: TypeAlias = Callable[[int, int, str | BytesLike, bytes], int | tuple[int, bytes]]
each_read = twins("descriptors", "read_messages")
each_write = twins("descriptors", "write_frame")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


Pair: TypeAlias = tuple[socket.socket, socket.socket]


def read(
    read_messages: Read, pair: Pair, scratch: bytearray, max_count: int = 100
) -> tuple[tuple[int, int] | None, list[Any]]:
    out: list[Any] = []
    return read_messages(pair[0].fileno(), scratch, True, 2**20, max_count, out), out


@each_read
def test_messages_are_read_off_a_socket(read_messages: Read, pair: Pair) -> None:
    data = frame(TEXT, b"text", key=KEY) + frame(BINARY, bytes(5000), key=KEY)
    pair[1].sendall(data)
    got, messages = read(read_messages, pair, bytearray(10_000))
    assert got == (len(data), len(data))
    assert messages == ["text", bytes(5000)]


@each_read
def test_what_is_no_whole_message_is_left_in_the_scratch(
    read_messages: Read, pair: Pair
) -> None:
    good, ping = frame(TEXT, b"good", key=KEY), frame(PING, b"ping", key=KEY)
    pair[1].sendall(good + ping)
    scratch = bytearray(100)
    got, messages = read(read_messages, pair, scratch)
    assert got == (len(good + ping), len(good))
    assert messages == ["good"]
    assert scratch[len(good) :].startswith(ping)


@each_read
def test_a_read_brings_what_the_scratch_holds_and_so_many_messages(
    read_messages: Read, pair: Pair
) -> None:
    one = frame(TEXT, b"x", key=KEY)
    pair[1].sendall(one * 5)
    scratch = bytearray(4 * len(one))
    assert read(read_messages, pair, scratch, 3) == ((4 * len(one), 3 * len(one)), ["x"] * 3)
    assert read(read_messages, pair, scratch) == ((len(one), len(one)), ["x"])


@each_read
def test_a_socket_with_nothing_to_read_would_block(read_messages: Read, pair: Pair) -> None:
    assert read(read_messages, pair, bytearray(10)) == (None, [])


@each_read
def test_the_end_of_a_stream_is_no_bytes(read_messages: Read, pair: Pair) -> None:
    pair[1].shutdown(socket.SHUT_WR)
    assert read(read_messages, pair, bytearray(10)) == ((0, 0), [])


@each_read
def test_reading_a_descriptor_that_is_none_is_an_os_error(
    read_messages: Read, pair: Pair
) -> None:
    pair[0].close()
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        read(read_messages, pair, bytearray(10))


@each_write
@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("size", [0, 100, 5000, 70_000])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_frame_is_written_to_a_socket(
    write_frame: Write, pair: Pair, key: bytes, size: int, kind: Any
) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    expected = frame(BINARY, payload, key=key)
    assert write_frame(pair[0].fileno(), FIN | BINARY, kind(payload), key) == len(expected)
    assert pair[1].recv(100_000) == expected


@each_write
def test_text_is_encoded_and_written(write_frame: Write, pair: Pair) -> None:
    for text in ("plain", "\u20ac" * 3000):
        expected = frame(TEXT, text.encode())
        assert write_frame(pair[0].fileno(), FIN | TEXT, text, b"") == len(expected)
        assert pair[1].recv(100_000) == expected
    with pytest.raises(UnicodeEncodeError):
        write_frame(pair[0].fileno(), FIN | TEXT, "\ud800", b"")


@each_write
@pytest.mark.parametrize("key", [b"", KEY])
def test_what_the_socket_does_not_take_comes_back(
    write_frame: Write, pair: Pair, key: bytes
) -> None:
    payload = bytes(range(256)) * 256
    expected = frame(BINARY, payload, key=key)
    descriptor = pair[0].fileno()
    sent, left = 0, b""
    while not left:
        written = write_frame(descriptor, FIN | BINARY, payload, key)
        if isinstance(written, tuple):
            written, left = written
        sent += written
    assert expected.endswith(left)
    small = frame(BINARY, b"small", key=key)
    assert write_frame(descriptor, FIN | BINARY, b"small", key) == (0, small)
    received = bytearray()
    while len(received) < sent:
        received += pair[1].recv(2**20)
    assert (received + left).startswith(expected)


@each_write
def test_writing_to_a_socket_whose_peer_is_gone_is_an_os_error(
    write_frame: Write, pair: Pair
) -> None:
    pair[1].close()
    for size in (0, 5000):
        with pytest.raises(BrokenPipeError):
            write_frame(pair[0].fileno(), FIN | BINARY, bytes(size), b"")
        with pytest.raises(BrokenPipeError):
            write_frame(pair[0].fileno(), FIN | BINARY, bytes(size), KEY)
    pair[0].close()
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        write_frame(pair[0].fileno(), FIN | BINARY, b"", b"")
