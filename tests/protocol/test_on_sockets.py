"""A connection that reads and writes a socket itself does as one that is fed and emptied."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.protocol.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    RSV2,
    TEXT,
    assert_failed,
    frame,
    frames_of,
    opened,
    taken,
)
from trio_wsendpoint.protocol import (
    BinaryFrame,
    Codec,
    Connection,
    LocalProtocolError,
    Message,
    PermessageDeflate,
    PingFrame,
    PongFrame,
    Role,
    State,
    TextFrame,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "readv"), reason="needs readv")

LARGE = bytes(range(256)) * 2**12


class Wire:
    """A connection at one end of a socket, and raw bytes at the other."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._ours, self.peer = socket.socketpair()
        self._ours.setblocking(False)
        self.peer.settimeout(5)
        self._scratch = memoryview(bytearray(2**16))

    def close(self) -> None:
        self._ours.close()
        self.peer.close()

    def read(self) -> list[Any] | None:
        return self.connection.receive_from(self._ours.fileno(), self._scratch)

    def receive(self, data: bytes) -> list[Any] | None:
        self.peer.sendall(data)
        return self.read()

    def write(self, message: str | bytes, compress: bool = True) -> bytes | None:
        return self.connection.write_message(message, self._ours.fileno(), compress)


@pytest.fixture
def server() -> Iterator[Wire]:
    wire = Wire(opened(Role.SERVER))
    yield wire
    wire.close()


def deflated(role: Role) -> tuple[Codec, ...]:
    extension = PermessageDeflate()
    accepted = extension.accept(extension.offers()[0])
    assert accepted is not None
    answer, codec = accepted
    return (codec if role is Role.SERVER else extension.confirm(answer),)


# -- reading ------------------------------------------------------------------------------


def test_messages_are_read_and_counted(server: Wire) -> None:
    data = frame(TEXT, b"text", key=KEY) + frame(BINARY, b"binary", key=KEY)
    assert server.receive(data) == ["text", b"binary"]
    received = server.connection.received
    assert (received.messages, received.size) == (2, len(data))
    assert server.connection.at_rest()
    assert server.read() is None


def test_what_is_no_whole_message_is_taken_as_well(server: Wire) -> None:
    ping, half = frame(PING, b"?", key=KEY), frame(TEXT, b"later", key=KEY)
    assert server.receive(frame(TEXT, b"now", key=KEY) + ping + half[:7]) == ["now"]
    assert server.connection.received.pings == 1
    assert frames_of(server.connection) == [PongFrame(b"?")]
    assert not server.connection.at_rest()
    assert server.receive(half[7:]) == ["later"]
    assert server.connection.received.messages == 2
    assert server.connection.at_rest()


def test_fragments_that_are_read_become_a_message(server: Wire) -> None:
    data = frame(TEXT, b"a", fin=False, key=KEY) + frame(CONTINUATION, b"b", key=KEY)
    (message,) = server.receive(data) or [None]
    assert isinstance(message, Message)
    assert message.payload == "ab"


def test_the_end_of_the_stream_is_noted(server: Wire) -> None:
    server.peer.close()
    assert server.read() == []
    assert server.connection.peer_state is State.FAILED


def test_a_failure_keeps_the_messages_before_it(server: Wire) -> None:
    data = frame(TEXT, b"good", key=KEY) + frame(TEXT, b"bad", rsv=RSV2, key=KEY)
    assert server.receive(data + frame(TEXT, b"more", key=KEY)) == ["good"]
    assert_failed(server.connection, 1002)
    assert not server.connection.at_rest()
    assert server.receive(frame(TEXT, b"more", key=KEY)) == []


def test_nothing_that_is_read_behind_a_close_counts(server: Wire) -> None:
    assert server.receive(frame(CLOSE, key=KEY) + frame(TEXT, b"x", key=KEY)) == []
    assert not server.connection.at_rest()
    assert server.receive(frame(TEXT, b"x", key=KEY)) == []


def test_a_message_that_is_too_big_is_held_for_a_decision() -> None:
    wire = Wire(opened(Role.SERVER, max_message_size=10, hold_oversize=True))
    assert wire.receive(frame(TEXT, b"x" * 11, key=KEY)) == []
    assert wire.connection.oversize
    assert wire.connection.control_arrived
    assert not wire.connection.at_rest()
    wire.close()


def test_what_is_traced_is_read_frame_by_frame(server: Wire) -> None:
    traced: list[int] = []
    server.connection.trace(lambda first_byte, *_: traced.append(first_byte), None)
    data = frame(TEXT, b"a", key=KEY) + frame(BINARY, b"b", key=KEY)
    assert server.receive(data) == ["a", b"b"]
    assert traced == [0x81, 0x82]
    server.connection.trace(None, None)
    assert server.receive(data) == ["a", b"b"]
    assert traced == [0x81, 0x82]


def test_what_is_compressed_is_decoded() -> None:
    wire = Wire(opened(Role.SERVER, codecs=deflated(Role.SERVER)))
    client = opened(Role.CLIENT, codecs=deflated(Role.CLIENT))
    client.send_message("deflated " * 100)
    (message,) = wire.receive(taken(client)) or [None]
    assert message.payload == "deflated " * 100
    assert message.frames[0].rsv1
    wire.close()


# -- writing ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("message", ["text", "\u20ac" * 5000, b"", b"x" * 70_000])
def test_a_message_is_written_and_counted(role: Role, message: str | bytes) -> None:
    wire = Wire(opened(role))
    peer = opened(role.other)
    assert wire.write(message) == b""
    received: list[Any] = []
    while not received:
        received += peer.receive_data(wire.peer.recv(2**20))
    assert received == [message]
    sent = wire.connection.sent
    assert (sent.messages, sent.size) == (1, peer.received.size)
    assert wire.connection.size_to_send == 0
    wire.close()


def test_what_the_socket_does_not_take_comes_back_and_is_counted(server: Wire) -> None:
    rest = server.write(LARGE)
    assert rest
    expected = frame(BINARY, LARGE)
    assert expected.endswith(rest)
    assert server.connection.sent.size == server.connection.size_to_write == len(expected)
    assert server.connection.size_to_send == 0
    assert len(server.peer.recv(len(expected))) <= len(expected) - len(rest)


def test_a_message_is_queued_behind_what_waits(server: Wire) -> None:
    server.connection.send_ping(b"?")
    assert server.write(b"x") is None
    assert frames_of(server.connection) == [PingFrame(b"?"), BinaryFrame(b"x")]


def test_a_frame_that_is_traced_is_queued(server: Wire) -> None:
    traced: list[int] = []
    server.connection.trace(None, lambda first_byte, *_: traced.append(first_byte))
    assert server.write("x") is None
    assert traced == [0x81]
    assert frames_of(server.connection) == [TextFrame(b"x")]


def test_no_message_is_written_into_a_fragmented_one(server: Wire) -> None:
    server.connection.send_fragment(BinaryFrame, b"a", final=False)
    taken(server.connection)
    with pytest.raises(LocalProtocolError, match="fragmented"):
        server.write(b"x")
    server.connection.send_fragment(BinaryFrame, b"b", final=True)
    taken(server.connection)
    assert server.write(b"x") == b""


def test_no_message_is_written_behind_our_close(server: Wire) -> None:
    server.connection.send_close(1000)
    taken(server.connection)
    with pytest.raises(LocalProtocolError):
        server.write(b"x")


@pytest.mark.parametrize("codecs", [False, True])
def test_text_with_a_lone_surrogate_is_refused(codecs: bool) -> None:
    wire = Wire(opened(Role.SERVER, codecs=deflated(Role.SERVER) if codecs else ()))
    with pytest.raises(ValueError, match="UTF-8"):
        wire.write("\ud800")
    assert wire.connection.sent.messages == 0
    assert wire.write("good") == b""
    wire.close()


@pytest.mark.parametrize("message", ["deflated " * 100, b"deflated " * 100])
@pytest.mark.parametrize("compress", [False, True])
def test_a_message_is_compressed_and_written(message: str | bytes, compress: bool) -> None:
    wire = Wire(opened(Role.SERVER, codecs=deflated(Role.SERVER)))
    client = opened(Role.CLIENT, codecs=deflated(Role.CLIENT))
    assert wire.write(message, compress) == b""
    (received,) = client.receive_data(wire.peer.recv(2**16))
    payload = received.payload if isinstance(received, Message) else received
    assert payload == message
    assert (client.received.size < 200) is compress
    wire.close()


def test_two_extensions_encode_before_anything_is_written() -> None:
    class Same(Codec):
        __slots__ = ()

    wire = Wire(opened(Role.SERVER, codecs=(Same(), Same())))
    assert wire.write(b"x") is None
    assert frames_of(wire.connection) == [BinaryFrame(b"x")]
    wire.close()
