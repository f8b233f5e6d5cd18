from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.protocol.codecs import CountingCodec
from tests.protocol.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    KEY,
    PING,
    PONG,
    RSV2,
    TEXT,
    assert_failed,
    frame,
    frame_for,
    frames_of,
    opened,
    taken,
)
from trio_wsendpoint.protocol import (
    TRANSITIONS,
    BinaryFrame,
    CloseCode,
    CloseFrame,
    Codec,
    Connection,
    ContinuationFrame,
    ControlFrame,
    DataFrame,
    Event,
    Frame,
    FrameParser,
    LocalProtocolError,
    Message,
    PingFrame,
    PongFrame,
    ProtocolError,
    Role,
    State,
    TextFrame,
    create_message,
)
from trio_wsendpoint.protocol.messages import to_sendable
from trio_wsendpoint.protocol.outbound import JOIN_LIMIT, MAX_PONGS


class CellFrame(DataFrame):
    opcode = 0x3


class TickFrame(ControlFrame):
    opcode = 0xB


PARSER = FrameParser([CellFrame, TickFrame])
Act = Callable[[Connection], object]

# -- every state and event ----------------------------------------------------------------

OUR_WAYS: dict[State, list[Act]] = {
    State.CONNECTING: [],
    State.OPEN: [Connection.open],
    State.CLOSE_SENT: [Connection.open, Connection.send_close],
    State.ENDED: [Connection.open, Connection.send_close, Connection.send_eof],
    State.FAILED: [Connection.open, Connection.send_eof],
}
OUR_ACTS: list[tuple[Event, Act]] = [
    (Event.HANDSHAKE, Connection.open),
    (Event.FRAME, lambda connection: connection.send_message("x")),
    (Event.FRAME, lambda connection: connection.send_fragment(TextFrame, b"x", final=False)),
    (Event.FRAME, lambda connection: connection.send_ping(b"x")),
    (Event.FRAME, lambda connection: connection.send_pong(b"x")),
    (Event.FRAME, lambda connection: connection.send_control(TickFrame(b"x"))),
    (Event.CLOSE, lambda connection: connection.send_close(1000, "x")),
    (Event.END, Connection.send_eof),
]


@pytest.mark.parametrize(("event", "act"), OUR_ACTS)
@pytest.mark.parametrize("state", State)
def test_our_half_walks_the_table(state: State, event: Event, act: Act) -> None:
    connection = Connection(Role.CLIENT)
    for step in OUR_WAYS[state]:
        step(connection)
    taken(connection)
    assert connection.state is state
    if event in TRANSITIONS[state]:
        act(connection)
        assert connection.state is TRANSITIONS[state][event]
    else:
        with pytest.raises(LocalProtocolError, match=f"^no .* while {state.value}$"):
            act(connection)
        assert connection.state is state
        assert taken(connection) == b""


def receive(data: bytes) -> Act:
    return lambda connection: connection.receive_data(data)


THEIR_WAYS: dict[State, list[Act]] = {
    State.CONNECTING: [],
    State.OPEN: [Connection.open],
    State.CLOSE_SENT: [Connection.open, receive(frame(CLOSE))],
    State.ENDED: [Connection.open, receive(frame(CLOSE)), Connection.receive_eof],
    State.FAILED: [Connection.open, Connection.receive_eof],
}
THEIR_ACTS: list[tuple[Event, Act]] = [
    (Event.FRAME, receive(frame(TEXT, b"x"))),
    (Event.FRAME, receive(frame(PING))),
    (Event.CLOSE, receive(frame(CLOSE))),
    (Event.END, Connection.receive_eof),
    (Event.FAILURE, receive(b"\xff")),
    (Event.FAILURE, lambda connection: connection.fail(1008, "enough")),
]


@pytest.mark.parametrize(("event", "act"), THEIR_ACTS)
@pytest.mark.parametrize("state", [state for state in State if state is not State.CONNECTING])
def test_their_half_walks_the_table_and_what_has_no_place_there_is_ignored(
    state: State, event: Event, act: Act
) -> None:
    connection = Connection(Role.CLIENT)
    for step in THEIR_WAYS[state]:
        step(connection)
    assert connection.peer_state is state
    failure, close = connection.failure, connection.received_close_frame
    taken(connection)
    act(connection)
    if state is State.OPEN:
        assert connection.peer_state is TRANSITIONS[state][event]
    else:
        ended = state is State.CLOSE_SENT and event is Event.END
        assert connection.peer_state is (State.ENDED if ended else state)
        assert (connection.failure, connection.received_close_frame) == (failure, close)
        assert taken(connection) == b""
        assert connection.received.messages == connection.received.pings == 0


def test_nothing_can_be_received_before_the_opening_handshake_is_done() -> None:
    connection = Connection(Role.CLIENT)
    with pytest.raises(LocalProtocolError, match=r"^no any frame but a close while connecting"):
        connection.receive_data(b"x")


@pytest.mark.parametrize("end", [Connection.receive_eof, Connection.send_eof])
def test_what_ended_before_it_was_open_cannot_be_opened(end: Act) -> None:
    connection = Connection(Role.CLIENT)
    end(connection)
    before = (connection.state, connection.peer_state)
    assert State.FAILED in before
    with pytest.raises(LocalProtocolError):
        connection.open()
    assert (connection.state, connection.peer_state) == before
    assert connection.failure is None


# -- sending ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("é", frame(TEXT, b"\xc3\xa9")),
        ("", frame(TEXT)),
        (b"\xff", frame(BINARY, b"\xff")),
        (bytearray(b"\xff"), frame(BINARY, b"\xff")),
        (memoryview(b"\xff"), frame(BINARY, b"\xff")),
        (create_message("text", "é"), frame(TEXT, b"\xc3\xa9")),
        (create_message("binary", b"\xff"), frame(BINARY, b"\xff")),
        (create_message(CellFrame, b"\xff"), frame(3, b"\xff")),
        (create_message(TickFrame, b"\xff"), frame(11, b"\xff")),
        *((bytes(size), frame(BINARY, bytes(size))) for size in (125, 126, 4096, 4097, 65536)),
    ],
)
def test_a_server_sends_frames_as_they_are(message: Any, expected: bytes) -> None:
    server = opened(Role.SERVER)
    server.send_message(message)
    assert server.size_to_send == len(expected)
    assert taken(server) == expected
    assert server.size_to_send == 0


@pytest.mark.parametrize("size", [0, 5, 126, JOIN_LIMIT + 1, 65536])
def test_a_client_masks_every_frame(size: int) -> None:
    client = opened()
    client.send_message(bytes(size))
    server = opened(Role.SERVER)
    assert server.receive_data(taken(client)) == [bytes(size)]


def test_a_client_takes_a_fresh_key_for_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    client = opened()
    for _ in range(1000):
        client.send_message(b"\x00" * 4)  # so that the payload is the key
        client.send_ping(b"")
        client.forget_ping(b"")
    frames = client.data_to_send()
    keys = [bytes(frame[2:6]) for frame in frames]
    assert len(frames) == 2000
    assert {bytes(frame[6:]) for frame in frames[::2]} == set(keys[::2])
    assert len(set(keys)) > 1990


def test_a_large_payload_of_a_server_is_not_copied() -> None:
    server = opened(Role.SERVER)
    payload = bytes(JOIN_LIMIT + 1)
    server.send_message(payload)
    header, sent = server.data_to_send()
    assert header == b"\x82\x7e\x10\x01"
    assert isinstance(sent, memoryview)
    assert sent.obj is payload


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("size", [10, JOIN_LIMIT + 1])
def test_a_buffer_may_be_used_again_once_it_is_sent(role: Role, size: int) -> None:
    connection = opened(role)
    buffer = bytearray(size)
    connection.send_message(buffer)
    connection.send_message(memoryview(buffer))
    connection.send_fragment(BinaryFrame, buffer, final=True)
    buffer[:] = b"x" * size
    assert {frame.payload for frame in frames_of(connection)} == {bytes(size)}


def test_frames_leave_in_the_order_they_were_sent() -> None:
    server = opened(Role.SERVER)
    server.send_message("a")
    server.send_ping(b"b")
    server.send_pong(b"c")
    server.send_close()
    assert frames_of(server) == [
        TextFrame(b"a"),
        PingFrame(b"b"),
        PongFrame(b"c"),
        CloseFrame(),
    ]


def test_a_message_may_leave_in_fragments_with_control_frames_between() -> None:
    client = opened()
    under_way = [client.sending_fragments]
    client.send_fragment(TextFrame, b"a\xc3", final=False)
    under_way.append(client.sending_fragments)
    client.send_ping(b"?")
    client.send_control(TickFrame(b"!"))
    client.send_fragment(TextFrame, b"\xa9", final=False)
    client.send_fragment(TextFrame, b"", final=True)
    under_way.append(client.sending_fragments)
    client.send_fragment(CellFrame, b"x", final=True)
    assert under_way == [False, True, False]
    assert frames_of(client, PARSER) == [
        TextFrame(b"a\xc3", fin=False),
        PingFrame(b"?"),
        TickFrame(b"!"),
        ContinuationFrame(b"\xa9", fin=False),
        ContinuationFrame(),
        CellFrame(b"x"),
    ]


@pytest.mark.parametrize(
    "act",
    [
        lambda connection: connection.send_message("x"),
        lambda connection: connection.send_fragment(BinaryFrame, b"x", final=True),
    ],
)
def test_no_other_message_is_sent_between_fragments(act: Act) -> None:
    client = opened()
    client.send_fragment(TextFrame, b"a", final=False)
    with pytest.raises(LocalProtocolError, match="before the fragmented one has ended"):
        act(client)
    client.send_fragment(TextFrame, b"b", final=True)
    assert len(frames_of(client)) == 2
    act(client)


def test_data_frames_are_encoded_and_control_frames_are_not() -> None:
    server = opened(Role.SERVER, codecs=(CountingCodec(),))
    server.send_message(b"aaa")
    server.send_message(b"aaa", compress=False)
    server.send_fragment(BinaryFrame, b"aa", final=False)
    server.send_ping(b"aaa")
    server.send_fragment(BinaryFrame, b"a", final=True)
    server.send_fragment(BinaryFrame, b"aaa", final=True, compress=False)
    assert taken(server) == b"".join(
        (
            frame(BINARY, b"abc", rsv=RSV2),
            frame(BINARY, b"aaa"),
            frame(BINARY, b"ab", rsv=RSV2, fin=False),
            frame(PING, b"aaa"),
            frame(CONTINUATION, b"c"),
            frame(BINARY, b"aaa"),
        )
    )


@pytest.mark.parametrize("role", Role)
def test_what_is_sent_and_received_is_counted(role: Role) -> None:
    ours, theirs = opened(role), opened(role.other)
    ours.send_message(bytes(JOIN_LIMIT + 1))
    ours.send_fragment(TextFrame, b"a", final=False)
    ours.send_fragment(TextFrame, b"b", final=True)
    ours.send_ping(b"?")
    ours.send_pong(b"!")
    wire = taken(ours)
    theirs.receive_data(wire)
    answer = taken(theirs)
    ours.receive_data(answer)
    sent, received = ours.sent, theirs.received
    assert (sent.messages, sent.pings, sent.pongs, sent.size) == (2, 1, 1, len(wire))
    assert (received.messages, received.pings, received.pongs) == (2, 1, 1)
    assert received.size == len(wire)
    assert (theirs.sent.pongs, ours.received.pongs) == (1, 1)
    assert theirs.sent.size == ours.received.size == len(answer)


# -- bad arguments ------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["client", None, True])
def test_a_bad_role_is_refused(role: Any) -> None:
    with pytest.raises(TypeError, match=r"^role must be a Role, not "):
        Connection(role)


@pytest.mark.parametrize("options", [{}, 0, "x"])
def test_bad_options_are_refused(options: Any) -> None:
    with pytest.raises(TypeError, match=r"^options must be InboundOptions, not "):
        Connection(Role.CLIENT, options)


def test_the_other_role_is_that_of_the_peer() -> None:
    assert Role.CLIENT.other is Role.SERVER
    assert Role.SERVER.other is Role.CLIENT


BAD_CALLS: list[tuple[Callable[[Any], object], type[Exception], str]] = [
    (lambda c: c.receive_data("x"), TypeError, "data must be bytes-like, not str"),
    (lambda c: c.receive_data(None), TypeError, "data must be bytes-like, not NoneType"),
    (lambda c: c.send_message(None), TypeError, "message must be str, bytes-like or a Mess"),
    (lambda c: c.send_message([b"x"]), TypeError, "message must be str, bytes-like or a Mess"),
    (lambda c: c.send_message("\ud800"), ValueError, "message must be encodable as UTF-8"),
    (lambda c: c.send_message(Message("\ud800", TextFrame)), ValueError, "payload must be"),
    (
        lambda c: c.send_message(Message(b"\xff", TextFrame)),
        ValueError,
        "payload must be UTF-8",
    ),
    (lambda c: c.send_message(Message(b"", CloseFrame)), ValueError, "kind must be a frame"),
    (lambda c: c.send_message(Message(b"", ContinuationFrame)), ValueError, "kind must be a f"),
    (lambda c: c.send_message(Message(bytes(126), TickFrame)), ValueError, "payload of a cont"),
    (lambda c: c.send_fragment(TextFrame, "x", final=True), TypeError, "payload must be byte"),
    (lambda c: c.send_fragment("text", b"", final=True), TypeError, "frame_type must be the c"),
    (
        lambda c: c.send_fragment(PingFrame, b"", final=True),
        TypeError,
        "frame_type must be the",
    ),
    (
        lambda c: c.send_fragment(DataFrame, b"", final=True),
        TypeError,
        "frame_type must be the",
    ),
    (
        lambda c: c.send_fragment(ContinuationFrame, b"", final=True),
        TypeError,
        "frame_type must be the class of a message's first frame, not ",
    ),
    (lambda c: c.send_ping(bytes(126)), ValueError, "payload of a control frame must be at mo"),
    (lambda c: c.send_ping("x"), TypeError, "payload must be bytes-like, not str"),
    (lambda c: c.send_ping(b"waiting"), ValueError, "payload must differ from that of a ping"),
    (lambda c: c.send_pong(bytes(126)), ValueError, "payload of a control frame must be at mo"),
    (lambda c: c.send_pong(None), TypeError, "payload must be bytes-like, not NoneType"),
    (lambda c: c.send_control(b"x"), TypeError, "frame must be a control frame"),
    (lambda c: c.send_control(TextFrame()), TypeError, "frame must be a control frame"),
    (lambda c: c.send_control(ControlFrame()), TypeError, "frame must be a control frame"),
    (lambda c: c.send_control(CloseFrame()), TypeError, "frame must be a control frame and no"),
    (lambda c: c.send_control(PingFrame(rsv1=True)), ValueError, "frame must have no reserved"),
    (lambda c: c.send_close("1000"), TypeError, "code must be an int or None, not str"),
    (lambda c: c.send_close(1000, b"x"), TypeError, "reason must be a str, not bytes"),
    (lambda c: c.send_close(1000, "é" * 62), ValueError, "reason must be at most 123 bytes"),
    (lambda c: c.send_close(None, "x"), ValueError, "reason needs a code"),
    *(
        (lambda c, code=code: c.send_close(code), ValueError, "code must be 1000 to 1003, 1007")
        for code in (999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)
    ),
    (lambda c: c.fail(1005, "x"), ValueError, "code must be 1000 to 1003, 1007"),
    (lambda c: c.fail("1002", "x"), TypeError, "code must be an int or None, not str"),
    (lambda c: c.fail(1002, None), TypeError, "reason must be a str, not NoneType"),
]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("call", "error", "words"), BAD_CALLS)
def test_a_bad_argument_is_refused_at_once_and_the_connection_stays_good(
    role: Role, call: Callable[[Any], object], error: type[Exception], words: str
) -> None:
    connection = opened(role)
    connection.send_ping(b"waiting")
    taken(connection)
    with pytest.raises(error, match=f"^{re.escape(words)}"):
        call(connection)
    assert connection.size_to_send == 0
    assert (connection.sent.messages, connection.sent.pings, connection.sent.pongs) == (0, 1, 0)
    connection.send_message("fine")
    assert frames_of(connection) == [TextFrame(b"fine")]
    assert connection.receive_data(frame_for(connection, TEXT, b"fine")) == ["fine"]
    connection.send_close(4999, "x" * 123)
    assert connection.state is State.CLOSE_SENT


@pytest.mark.parametrize(
    "message", ["", b"", bytearray(), memoryview(b""), Message("", TextFrame)]
)
def test_what_can_be_sent_passes_the_check(message: object) -> None:
    to_sendable(message)


@pytest.mark.parametrize("message", [None, 1, ["x"], TextFrame()])
def test_what_cannot_be_sent_does_not(message: object) -> None:
    with pytest.raises(TypeError, match=r"^message must be str, bytes-like or a Message, not "):
        to_sendable(message)


# -- pings and pongs ----------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("payload", [b"", b"hello", bytes(125)])
def test_a_ping_is_answered_with_its_payload(role: Role, payload: bytes) -> None:
    connection = opened(role)
    connection.receive_data(frame_for(connection, PING, payload))
    size = connection.size_to_send
    answer = taken(connection)
    assert size == len(answer)
    peer = opened(role.other)
    peer.send_ping(payload)
    peer.receive_data(answer)
    assert peer.answered_pings == [payload]


def test_a_few_pings_are_all_answered_in_order() -> None:
    server = opened(Role.SERVER)
    payloads = [b"%d" % i for i in range(MAX_PONGS)]
    for payload in payloads:
        server.receive_data(frame(PING, payload, key=KEY))
    assert frames_of(server) == [PongFrame(payload) for payload in payloads]


def test_of_a_flood_of_pings_only_the_latest_are_answered() -> None:
    server = opened(Role.SERVER)
    for i in range(1000):
        server.receive_data(frame(PING, b"%03d" % i, key=KEY))
        assert server.size_to_send <= MAX_PONGS * 5
    latest = range(1000 - MAX_PONGS, 1000)
    assert frames_of(server) == [PongFrame(b"%03d" % i) for i in latest]
    assert (server.received.pings, server.sent.pongs) == (1000, MAX_PONGS)
    assert taken(server) == b""


def test_a_pong_goes_in_front_of_data_that_waits() -> None:
    client = opened()
    client.send_message("waits")
    client.receive_data(frame(PING, b"?"))
    assert frames_of(client) == [PongFrame(b"?"), TextFrame(b"waits")]


def test_a_pong_that_is_due_goes_before_a_close() -> None:
    client = opened()
    client.receive_data(frame(PING, b"?") + frame(CLOSE))
    assert frames_of(client) == [PongFrame(b"?"), CloseFrame()]


def test_no_pong_follows_our_close() -> None:
    client = opened()
    client.send_close()
    taken(client)
    client.receive_data(frame(PING, b"?"))
    assert client.received.pings == 1
    assert taken(client) == b""


def test_a_pong_answers_its_ping_and_those_before() -> None:
    client = opened()
    for payload in (b"1", b"2", b"3", b"4"):
        client.send_ping(payload)
    client.receive_data(frame(PONG, b"3"))
    assert client.answered_pings == [b"1", b"2", b"3"]
    client.receive_data(frame(PONG, b"2") + frame(PONG, b"4"))
    assert client.answered_pings == [b"1", b"2", b"3", b"4"]


def test_a_pong_that_nobody_asked_for_is_counted_and_answers_nothing() -> None:
    client = opened()
    client.send_ping(b"1")
    assert client.receive_data(frame(PONG) + frame(PONG, b"2")) == []
    assert client.answered_pings == []
    assert client.received.pongs == 2
    assert client.failure is None


def test_a_ping_that_is_forgotten_is_not_answered_and_may_be_sent_again() -> None:
    client = opened()
    client.send_ping(b"1")
    client.forget_ping(b"1")
    client.forget_ping(b"never sent")
    client.receive_data(frame(PONG, b"1"))
    assert client.answered_pings == []
    client.send_ping(b"1")


# -- closing ------------------------------------------------------------------------------

VALID_CLOSES = [
    b"",
    b"\x03\xe8",
    b"\x03\xe8bye",
    b"\x0f\xa1" + "é€😀".encode(),
    b"\x03\xe9" + b"x" * 123,
]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("payload", VALID_CLOSES)
def test_a_close_is_answered_with_the_same_close(role: Role, payload: bytes) -> None:
    connection = opened(role)
    assert connection.receive_data(frame_for(connection, CLOSE, payload)) == []
    assert connection.received_close_frame == CloseFrame(payload)
    assert connection.sent_close_frame == CloseFrame(payload)
    assert frames_of(connection) == [CloseFrame(payload)]
    assert (connection.state, connection.peer_state) == (State.CLOSE_SENT, State.CLOSE_SENT)
    assert connection.closed_first is role.other
    assert connection.failure is None


def is_assigned(code: int) -> bool:
    return code in {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


@pytest.mark.parametrize(
    "code",
    [0, 1, 999, *range(1000, 1017), 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535],
)
def test_a_received_close_code_is_checked(code: int) -> None:
    client = opened()
    client.receive_data(frame(CLOSE, code.to_bytes(2, "big")))
    if is_assigned(code):
        assert client.received_close_frame is not None
        assert client.received_close_frame.code == code
        assert client.sent_close_frame == client.received_close_frame
    else:
        assert client.received_close_frame is None
        assert_failed(client, 1002)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x03", 1002),
        (b"\x03\xe8\xff", 1007),
        (b"\x03\xe8" + "é".encode()[:1], 1007),
        (b"\x03\xe8\xed\xa0\x80", 1007),
    ],
)
def test_a_received_close_payload_is_checked(payload: bytes, code: int) -> None:
    client = opened()
    client.receive_data(frame(CLOSE, payload))
    assert client.received_close_frame is None
    assert_failed(client, code)


@pytest.mark.parametrize(
    ("arguments", "payload"),
    [((), b""), ((1000,), b"\x03\xe8"), ((CloseCode.GOING_AWAY, "é"), b"\x03\xe9\xc3\xa9")],
)
def test_our_close_is_the_last_that_we_send(arguments: Any, payload: bytes) -> None:
    server = opened(Role.SERVER)
    server.send_close(*arguments)
    assert taken(server) == frame(CLOSE, payload)
    assert server.sent_close_frame == CloseFrame(payload)
    assert server.closed_first is Role.SERVER
    assert server.state is State.CLOSE_SENT
    server.receive_data(frame(PING, key=KEY) + frame(CLOSE, payload, key=KEY))
    assert taken(server) == b""
    assert server.closed_first is Role.SERVER
    assert server.peer_state is State.CLOSE_SENT


def test_messages_between_our_close_and_theirs_still_arrive() -> None:
    client = opened()
    client.send_close(1000)
    assert client.receive_data(frame(TEXT, b"late") + frame(CLOSE)) == ["late"]


@pytest.mark.parametrize("behind", [frame(TEXT, b"x"), frame(PING), b"\xff", frame(CLOSE)])
def test_what_follows_a_close_is_ignored(behind: bytes) -> None:
    client = opened()
    assert client.receive_data(frame(TEXT, b"good") + frame(CLOSE) + behind) == ["good"]
    assert client.receive_data(behind) == []
    assert client.inbound_size == 0
    assert client.failure is None
    assert frames_of(client) == [CloseFrame()]


def test_a_close_may_come_in_the_middle_of_a_message() -> None:
    client = opened()
    client.receive_data(frame(TEXT, b"a", fin=False) + frame(CLOSE, b"\x03\xe8"))
    assert client.received_close_frame == CloseFrame.create(1000)
    assert client.failure is None


def test_a_failure_after_our_close_sends_no_other() -> None:
    client = opened()
    client.send_close(1000)
    taken(client)
    client.receive_data(b"\xff")
    assert client.failure is not None
    assert client.peer_state is State.FAILED
    assert taken(client) == b""


# -- failing ------------------------------------------------------------------------------


def test_a_peer_may_be_given_up_for_a_reason_of_our_own() -> None:
    client = opened()
    client.fail(CloseCode.PROTOCOL_ERROR, "3 pings unanswered")
    assert_failed(client, 1002)
    assert client.closed_first is Role.CLIENT


def test_a_private_code_may_tell_why_a_peer_was_given_up() -> None:
    client = opened()
    client.fail(4000, "enough")
    assert_failed(client, 4000)


@pytest.mark.parametrize(
    ("reason", "cut"),
    [("x" * 124, "x" * 123), ("x" * 122 + "é", "x" * 122), ("😀" * 31, "😀" * 30)],
)
def test_the_reason_of_a_failure_is_cut_at_a_character_boundary(reason: str, cut: str) -> None:
    class WordyCodec(Codec):
        def decode(self, frame: Frame) -> Any:  # noqa: ARG002
            raise ProtocolError(reason, CloseCode.POLICY_VIOLATION)

    client = opened(codecs=(WordyCodec(),))
    client.receive_data(frame(TEXT))
    assert client.failure is not None
    assert client.failure.reason == reason
    assert frames_of(client) == [CloseFrame.create(1008, cut)]

    other = opened()
    other.fail(1008, reason)
    assert frames_of(other) == [CloseFrame.create(1008, cut)]


# -- the end of the stream ----------------------------------------------------------------


def test_a_stream_that_ends_with_no_close_is_a_failure_of_theirs() -> None:
    client = opened()
    client.receive_data(frame(TEXT, b"a", fin=False) + b"\x80")
    client.receive_eof()
    assert client.failure is not None
    assert client.failure.code == 1006
    assert client.peer_state is State.FAILED
    assert client.state is State.OPEN
    assert client.inbound_size == 0
    assert taken(client) == b""


def test_so_it_is_when_only_we_have_closed() -> None:
    client = opened()
    client.send_close(1000)
    client.receive_eof()
    assert client.failure is not None
    assert client.failure.code == 1006
    assert (client.state, client.peer_state) == (State.CLOSE_SENT, State.FAILED)


def test_a_stream_that_ends_after_their_close_has_ended_well() -> None:
    client = opened()
    client.receive_data(frame(CLOSE))
    client.receive_eof()
    client.receive_eof()
    assert client.failure is None
    assert client.peer_state is State.ENDED


def test_a_stream_that_ends_after_a_failure_leaves_the_failure_as_it_is() -> None:
    client = opened()
    client.receive_data(b"\xff")
    failure = client.failure
    client.receive_eof()
    assert client.failure is failure


def test_the_end_of_our_stream_forgets_what_waits_to_be_sent() -> None:
    client = opened()
    client.send_message("x")
    client.receive_data(frame(PING))
    client.send_eof()
    assert client.state is State.FAILED
    assert client.size_to_send == 0
    assert taken(client) == b""
    client.receive_data(frame(PING) + frame(CLOSE))
    assert taken(client) == b""


def test_both_ends_close_cleanly_when_their_closes_cross() -> None:
    client, server = opened(), opened(Role.SERVER)
    client.send_close(1000, "done")
    server.send_close(1001, "going")
    to_server, to_client = taken(client), taken(server)
    client.receive_data(to_client)
    server.receive_data(to_server)
    for connection in (client, server):
        assert taken(connection) == b""
        connection.send_eof()
        connection.receive_eof()
        assert (connection.state, connection.peer_state) == (State.ENDED, State.ENDED)
        assert connection.failure is None
    assert client.received_close_frame == CloseFrame.create(1001, "going")
    assert server.received_close_frame == CloseFrame.create(1000, "done")


def test_nothing_is_held_before_the_handshake() -> None:
    connection = Connection(Role.CLIENT)
    assert connection.inbound_size == connection.size_to_send == 0
    assert not connection.pending
    assert not connection.oversize


# -- the trace, for logs ------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("codecs", [(), (CountingCodec(),)], ids=["plain", "encoded"])
def test_each_frame_that_crosses_is_traced_once_as_it_is_on_the_wire(
    role: Role, codecs: tuple[Codec, ...]
) -> None:
    ours, theirs = opened(role, codecs=codecs), opened(role.other, codecs=codecs)
    sent: list[tuple[int, bytes, int]] = []
    received: list[tuple[int, bytes, int]] = []

    def note_into(notes: list[tuple[int, bytes, int]]) -> Any:
        return lambda first, payload, length: notes.append((first, bytes(payload), length))

    ours.trace(note_into([]), note_into(sent))
    theirs.trace(note_into(received), note_into([]))
    ours.send_message("aaa")
    ours.send_message(bytes(JOIN_LIMIT + 1), compress=False)
    ours.send_fragment(TextFrame, b"a", final=False)
    ours.send_ping(b"?")
    ours.send_fragment(TextFrame, b"", final=True)
    ours.send_close(1000)
    theirs.receive_data(taken(ours))
    assert received == sent
    text = (FIN | RSV2 | TEXT, b"abc", 3) if codecs else (FIN | TEXT, b"aaa", 3)
    assert sent[0] == text
    assert [length for _, _, length in sent] == [3, JOIN_LIMIT + 1, 1, 1, 0, 2]
