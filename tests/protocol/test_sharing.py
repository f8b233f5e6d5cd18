from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.protocol.wire import taken
from trio_wsendpoint.protocol import (
    BinaryFrame,
    BytesLike,
    Codec,
    Connection,
    ControlFrame,
    DataFrame,
    InboundOptions,
    LocalProtocolError,
    Message,
    PermessageDeflate,
    Role,
    SharedMessage,
    TextFrame,
    create_message,
)

TEXT_MESSAGE = "a tick of the clock, " * 50
FORGETFUL = PermessageDeflate(server_no_context_takeover=True, client_no_context_takeover=True)


def connect(
    extension: PermessageDeflate | None = None, role: Role = Role.SERVER
) -> tuple[Connection, Connection]:
    """A connection and its peer, both open, with an extension agreed on."""
    ours, peer = Connection(role), Connection(role.other)
    codecs: dict[Role, tuple[Codec, ...]] = {Role.SERVER: (), Role.CLIENT: ()}
    if extension is not None:
        accepted = extension.accept(extension.offers()[0])
        assert accepted is not None
        answer, codec = accepted
        codecs = {Role.SERVER: (codec,), Role.CLIENT: (extension.confirm(answer),)}
    ours.open(codecs[role])
    peer.open(codecs[role.other])
    return ours, peer


def received(peer: Connection, data: BytesLike) -> list[object]:
    """The payloads of the messages that a peer gets."""
    batch = peer.receive_data(data)
    return [each.payload if isinstance(each, Message) else each for each in batch]


def queued(connection: Connection) -> Sequence[BytesLike]:
    return connection.data_to_send()


class Marked(DataFrame):
    opcode = 3


class Probe(ControlFrame):
    opcode = 11


# -- one frame for all --------------------------------------------------------------------


@pytest.mark.parametrize("message", ["tick", b"tick", "x" * 5000, bytes(100_000), ""])
def test_servers_without_extensions_queue_the_very_same_bytes(message: str | bytes) -> None:
    shared = SharedMessage(message)
    (first, first_peer), (second, _) = connect(), connect()
    first.send_shared(shared)
    second.send_shared(shared)
    [ours], [theirs] = queued(first), queued(second)
    assert ours is theirs
    assert received(first_peer, ours) == [message]
    assert first.sent.messages == 1
    assert first.sent.size == len(ours)


def test_clients_mask_each_with_a_key_of_its_own() -> None:
    shared = SharedMessage("tick " * 20)
    (first, first_peer), (second, second_peer) = (connect(role=Role.CLIENT) for _ in range(2))
    first.send_shared(shared)
    second.send_shared(shared)
    ours, theirs = taken(first), taken(second)
    assert ours != theirs
    assert received(first_peer, ours) == received(second_peer, theirs) == ["tick " * 20]


def test_those_that_forget_each_message_share_it_compressed() -> None:
    shared = SharedMessage(TEXT_MESSAGE)
    (first, first_peer), (second, second_peer) = connect(FORGETFUL), connect(FORGETFUL)
    first.send_message("something before, " * 20)
    received(first_peer, taken(first))
    first.send_shared(shared)
    second.send_shared(shared)
    [ours], [theirs] = queued(first), queued(second)
    assert ours is theirs
    assert len(ours) < len(TEXT_MESSAGE) / 4
    assert received(first_peer, ours) == received(second_peer, ours) == [TEXT_MESSAGE]


@pytest.mark.parametrize(
    "other",
    [
        {"server_max_window_bits": 10},
        {"level": 9},
        {"memory_level": 1},
        {"server_no_context_takeover": False},
    ],
)
def test_those_that_compress_otherwise_do_not_share(other: dict[str, Any]) -> None:
    shared = SharedMessage(TEXT_MESSAGE)
    options: dict[str, Any] = {"server_no_context_takeover": True, **other}
    (first, first_peer), (second, second_peer) = (
        connect(FORGETFUL),
        connect(PermessageDeflate(**options)),
    )
    first.send_shared(shared)
    second.send_shared(shared)
    [ours], [theirs] = queued(first), queued(second)
    assert ours is not theirs
    assert received(first_peer, ours) == received(second_peer, theirs) == [TEXT_MESSAGE]


def test_those_that_remember_messages_compress_each_in_their_context() -> None:
    remembering = PermessageDeflate()
    (first, first_peer), (second, second_peer) = connect(remembering), connect(remembering)
    for connection, peer in ((first, first_peer), (second, second_peer)):
        for number in range(3):
            connection.send_message(TEXT_MESSAGE)
            connection.send_shared(SharedMessage(f"{number} {TEXT_MESSAGE}"))
            assert received(peer, taken(connection)) == [
                TEXT_MESSAGE,
                f"{number} {TEXT_MESSAGE}",
            ]


@pytest.mark.parametrize("compress", [True, False])
def test_what_is_not_worth_compressing_is_shared_by_all(compress: bool) -> None:
    message = "tick" if compress else TEXT_MESSAGE
    shared = SharedMessage(message, compress=compress)
    (first, _), (second, peer) = connect(FORGETFUL), connect(PermessageDeflate())
    first.send_shared(shared)
    second.send_shared(shared)
    [ours], [theirs] = queued(first), queued(second)
    assert ours is theirs
    assert received(peer, ours) == [message]


def test_with_two_extensions_each_encodes_by_itself() -> None:
    shared = SharedMessage(TEXT_MESSAGE)
    connection = Connection(Role.SERVER)
    accepted = FORGETFUL.accept([])
    assert accepted is not None
    connection.open((accepted[1], Codec()))
    connection.send_shared(shared)
    assert len(taken(connection)) < len(TEXT_MESSAGE) / 4


def test_an_extension_that_says_nothing_of_sharing_encodes_each_by_itself() -> None:
    (first, peer), (second, _) = connect(), connect()
    first.outbound.use((Codec(),))
    second.outbound.use((Codec(),))
    shared = SharedMessage(b"tick")
    first.send_shared(shared)
    second.send_shared(shared)
    [ours], [theirs] = queued(first), queued(second)
    assert ours is not theirs
    assert received(peer, ours) == [b"tick"]


def test_a_frame_that_is_shared_is_traced() -> None:
    connection, _ = connect()
    traced: list[tuple[int, bytes, int]] = []
    connection.trace(None, lambda *frame: traced.append((frame[0], bytes(frame[1]), frame[2])))
    connection.send_shared(SharedMessage("tick"))
    assert traced == [(0x81, b"tick", 4)]


# -- behind a message under way -----------------------------------------------------------


def test_it_waits_for_the_end_of_a_fragmented_message() -> None:
    connection, peer = connect()
    connection.send_fragment(TextFrame, b"one, ", final=False)
    connection.send_shared(SharedMessage("tick"))
    connection.send_shared(SharedMessage(b"tock"))
    before = connection.memory_to_send
    assert before > connection.size_to_send + len("ticktock")
    connection.send_fragment(TextFrame, b"two", final=True)
    assert received(peer, taken(connection)) == [
        "one, two",
        "tick",
        b"tock",
    ]
    assert connection.sent.messages == 3
    assert connection.memory_to_send == 0


def test_it_is_compressed_when_its_turn_comes() -> None:
    connection, peer = connect(PermessageDeflate())
    connection.send_fragment(TextFrame, TEXT_MESSAGE.encode(), final=False)
    connection.send_shared(SharedMessage(TEXT_MESSAGE))
    connection.send_fragment(TextFrame, b"end", final=True)
    assert received(peer, taken(connection)) == [
        TEXT_MESSAGE + "end",
        TEXT_MESSAGE,
    ]


def test_it_is_forgotten_when_the_stream_breaks_before() -> None:
    connection, _ = connect()
    connection.send_fragment(TextFrame, b"one", final=False)
    connection.send_shared(SharedMessage("tick"))
    connection.send_failed()
    assert connection.memory_to_send == 0


# -- dropping -----------------------------------------------------------------------------


def test_what_is_queued_is_dropped_but_the_close_frame_that_follows() -> None:
    connection, peer = connect()
    connection.send_shared(SharedMessage("tick"))
    connection.send_fragment(TextFrame, b"one", final=False)
    connection.send_shared(SharedMessage("tock"))
    connection.drop_queued()
    assert connection.size_to_send == connection.memory_to_send == 0
    connection.send_close(1013, "too slow")
    assert received(peer, taken(connection)) == []
    assert peer.received_close_frame is not None
    assert peer.received_close_frame.code == 1013


@pytest.mark.parametrize("size", [10, 5000, 100_000])
@pytest.mark.parametrize("role", Role)
def test_only_a_view_continues_the_frame_of_the_buffer_before_it(size: int, role: Role) -> None:
    connection, peer = connect(role=role)
    for number in range(3):
        connection.send_message(bytes((number,)) * size)
    frames: list[bytearray] = []
    for buffer in queued(connection):
        if isinstance(buffer, memoryview):
            frames[-1] += buffer
        else:
            frames.append(bytearray(buffer))
    for number, frame in enumerate(frames):
        assert received(peer, frame) == [bytes((number,)) * size]


# -- kinds and refusals -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("text", TextFrame),
        (b"binary", BinaryFrame),
        (bytearray(b"binary"), BinaryFrame),
        (memoryview(b"binary"), BinaryFrame),
        (Message("text", TextFrame), TextFrame),
        (Message(b"own", Marked), Marked),
    ],
)
def test_its_kind_is_that_of_the_message(message: Any, kind: type[DataFrame]) -> None:
    shared = SharedMessage(message)
    assert shared.frame_type is kind
    assert isinstance(shared.payload, bytes)
    assert shared.plain.first_byte == 0x80 | kind.opcode


def test_later_changes_of_a_bytearray_do_not_reach_it() -> None:
    payload = bytearray(b"tick")
    shared = SharedMessage(payload)
    payload[:] = b"tock"
    assert shared.payload == b"tick"


@pytest.mark.parametrize(
    ("message", "error", "reason"),
    [
        (7, TypeError, "message must be str, bytes-like or a Message, not int"),
        ("\ud800", ValueError, "message"),
        (create_message(Probe, b""), ValueError, "message must be no control frame"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    message: Any, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        SharedMessage(message)


def test_nothing_is_shared_once_our_half_has_ended() -> None:
    connection = Connection(Role.SERVER, InboundOptions())
    with pytest.raises(LocalProtocolError):
        connection.send_shared(SharedMessage("tick"))
