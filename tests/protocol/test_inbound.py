"""Their half: frames off the wire, through extensions and `on_data_frame`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.codecs import CountingCodec, InflatingCodec, ReversingCodec
from tests.protocol.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    assert_failed,
    frame,
    frame_for,
    frames_of,
    opened,
    taken,
)
from trio_wsendpoint.protocol import (
    BinaryFrame,
    Codec,
    Connection,
    ContinuationFrame,
    ControlFrame,
    DataFrame,
    Entry,
    Frame,
    FrameParser,
    InboundOptions,
    Message,
    Piece,
    PingFrame,
    ProtocolError,
    Role,
    State,
    TextFrame,
)
from trio_wsendpoint.protocol.inbound import MAX_BATCH, MAX_DECODED


class CellFrame(DataFrame):
    opcode = 0x3


class TickFrame(ControlFrame):
    opcode = 0xB


PARSER = FrameParser([CellFrame, TickFrame])

# -- options ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("parser", None, TypeError, "must be a FrameParser, not None"),
        ("parser", FrameParser, TypeError, "must be a FrameParser"),
        ("max_message_size", "1", TypeError, "must be an int or None, not '1'"),
        ("max_message_size", 1.5, TypeError, "must be an int or None, not 1.5"),
        ("max_message_size", True, TypeError, "must be an int or None, not True"),
        ("max_message_size", -1, ValueError, "must be at least 0 bytes, not -1"),
        ("on_data_frame", 7, TypeError, "must be callable or None, not 7"),
    ],
)
def test_a_bad_option_is_refused(
    name: str, value: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=f"^{name} {words}"):
        InboundOptions(**{name: value})


# -- frames off the wire ------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_messages_arrive_unmasked(role: Role) -> None:
    connection = opened(role)
    data = frame_for(connection, TEXT, "é".encode()) + frame_for(connection, BINARY, b"\xff")
    assert connection.receive_data(data) == ["é", b"\xff"]


@pytest.mark.parametrize(
    ("role", "data", "reason"),
    [
        (Role.SERVER, frame(TEXT, b"x"), "a frame that is not masked"),
        (Role.SERVER, frame(PING), "a frame that is not masked"),
        (Role.CLIENT, frame(TEXT, b"x", key=b"abcd"), "a masked frame"),
        (Role.CLIENT, frame(PING, key=b"\0\0\0\0"), "a masked frame"),
    ],
)
def test_a_frame_masked_wrongly_is_refused(role: Role, data: bytes, reason: str) -> None:
    connection = opened(role)
    assert connection.receive_data(data) == []
    assert str(connection.failure) == reason
    assert_failed(connection, 1002)


BAD_STARTS = {
    "a length in too many bytes": bytes([FIN | BINARY, 126, 0, 125]),
    "a long length in too many bytes": bytes([FIN | BINARY, 127, 0, 0, 0, 0, 0, 0, 1, 0]),
    "a length with the top bit": bytes([FIN | BINARY, 127]) + b"\xff" * 8,
    "rsv1": bytes([FIN | RSV1 | TEXT]),
    "rsv2": bytes([FIN | RSV2 | TEXT]),
    "rsv3": bytes([FIN | RSV3 | PING]),
    "an unknown data opcode": bytes([FIN | 3]),
    "an unknown control opcode": bytes([FIN | 11]),
    "a control frame of 126 bytes": bytes([FIN | PING, 126]),
    "a fragmented ping": bytes([PING]),
    "a fragmented close": bytes([CLOSE]),
}


@pytest.mark.parametrize("name", BAD_STARTS)
@pytest.mark.parametrize("between", [False, True], ids=["first", "between fragments"])
def test_a_bad_frame_is_refused_at_once(name: str, between: bool) -> None:
    client = opened()
    if between:
        client.receive_data(frame(TEXT, b"a", fin=False))
    client.receive_data(BAD_STARTS[name])
    assert_failed(client, 1002)


@pytest.mark.parametrize("role", Role)
def test_a_message_in_front_of_a_failure_is_still_returned(role: Role) -> None:
    connection = opened(role)
    good = frame_for(connection, TEXT, b"good")
    assert connection.receive_data(good + b"\xff" + good) == ["good"]
    assert_failed(connection, 1002)
    assert connection.receive_data(good) == []


def test_control_frames_are_read_between_fragments() -> None:
    client = opened(parser=PARSER)
    control = frame(PING, b"?") + frame(PONG, b"!") + frame(0xB, b"tick")
    data = frame(TEXT, b"a", fin=False) + control + frame(CONTINUATION, b"b")
    assert client.receive_data(data) == [Message("ab", TextFrame)]
    assert (client.received.pings, client.received.pongs) == (1, 1)
    assert client.control_frames == [TickFrame(b"tick")]


def test_a_control_frame_may_come_in_pieces() -> None:
    client = opened()
    for byte in frame(PING, b"hello"):
        assert client.received.pings == 0
        client.receive_data(bytes((byte,)))
    assert client.received.pings == 1


def test_data_frames_of_ones_own_arrive_as_messages() -> None:
    client = opened(parser=PARSER)
    batch: list[Any] = client.receive_data(
        frame(3, b"\xff") + frame(3, b"a", fin=False) + frame(CONTINUATION, b"b")
    )
    assert batch == [Message(b"\xff", CellFrame), Message(b"ab", CellFrame)]
    assert batch[1].frames == (CellFrame(b"a", fin=False), ContinuationFrame(b"b"))


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_the_buffer_may_be_used_again(kind: Any) -> None:
    server = opened(Role.SERVER)
    wire = frame_for(server, TEXT, b"whole") + frame_for(server, BINARY, b"in pieces")
    wire += frame_for(server, PING, b"ping")
    batch = []
    for start in range(0, len(wire), 7):
        buffer = bytearray(wire[start : start + 7])
        batch += server.receive_data(kind(buffer))
        buffer[:] = b"\xff" * len(buffer)
    assert batch == ["whole", b"in pieces"]
    assert frames_of(server)[0].payload == b"ping"


# -- text ---------------------------------------------------------------------------------

BAD_TEXT = [
    b"\x80",
    b"\xc0",
    b"\xc1",
    b"\xc3\x28",
    b"\xe0\x9f",
    b"\xe2\x82\x28",
    b"\xed\xa0",
    b"\xed\xbf",
    b"\xf0\x8f",
    b"\xf0\x9f\x98\x28",
    b"\xf4\x90",
    b"\xf5",
    b"\xff",
]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("bad", BAD_TEXT, ids=bytes.hex)
def test_bad_text_is_refused_at_its_first_bad_byte_inside_a_frame(
    role: Role, bad: bytes
) -> None:
    connection = opened(role)
    start = frame_for(connection, TEXT, "fine é".encode() + bad + b"more" * 10)[:-40]
    for byte in start[:-1]:
        connection.receive_data(bytes((byte,)))
    assert connection.failure is None
    connection.receive_data(start[-1:])
    assert_failed(connection, 1007)


@pytest.mark.parametrize("bad", BAD_TEXT, ids=bytes.hex)
def test_bad_text_is_refused_across_fragments(bad: bytes) -> None:
    client = opened()
    client.receive_data(frame(TEXT, b"fine" + bad[:-1], fin=False))
    assert client.failure is None
    client.receive_data(frame(CONTINUATION, bad[-1:], fin=False))
    assert_failed(client, 1007)


@pytest.mark.parametrize(
    "bad", [*BAD_TEXT, b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"], ids=bytes.hex
)
def test_bad_text_in_a_whole_frame_is_refused(bad: bytes) -> None:
    client = opened()
    assert client.receive_data(frame(TEXT, b"fine") + frame(TEXT, b"bad" + bad)) == ["fine"]
    assert_failed(client, 1007)


@pytest.mark.parametrize("cut", range(1, 10))
def test_text_may_be_cut_inside_a_character(cut: int) -> None:
    client = opened()
    text = "é€😀".encode()
    first = frame(TEXT, text[:cut], fin=False)
    batch = client.receive_data(first + frame(CONTINUATION, text[cut:]))
    assert batch == [Message("é€😀", TextFrame)]


# -- any split ----------------------------------------------------------------------------

controls = st.lists(
    st.tuples(st.sampled_from([PING, PONG, 0xB]), st.binary(max_size=5)), max_size=2
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Role, bytes, list[Any]]:
    """What a peer may send: messages in fragments, control frames between, a bad end."""
    role = draw(st.sampled_from(Role))
    connection = Connection(role)
    wire, payloads = b"", []
    for text, fragment_count in draw(
        st.lists(st.tuples(st.text(max_size=80) | st.binary(max_size=200), st.integers(1, 4)))
    ):
        payload = text.encode() if isinstance(text, str) else text
        payloads.append(text)
        cuts = sorted(draw(st.integers(0, len(payload))) for _ in range(fragment_count - 1))
        for i, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(payload)], strict=True)):
            first = TEXT if isinstance(text, str) else BINARY
            opcode = CONTINUATION if i else first
            fin = i == fragment_count - 1
            wire += frame_for(connection, opcode, payload[start:end], fin=fin)
            for control, control_payload in draw(controls):
                wire += frame_for(connection, control, control_payload)
    tail = st.sampled_from([b"", frame_for(connection, CLOSE, b"\x03\xe8bye")])
    return role, wire + draw(tail | st.binary()), payloads


def outcome(connection: Connection, pieces: list[bytes]) -> tuple[Any, ...]:
    batch: list[Entry] = []
    for piece in pieces:
        batch += connection.receive_data(piece)
    return (
        batch,
        [entry.frames for entry in batch if isinstance(entry, Message)],
        frames_of(connection),
        connection.control_frames,
        connection.failure and (connection.failure.code, connection.failure.reason),
        connection.peer_state,
        connection.received.pings,
        connection.received.pongs,
    )


@given(conversations(), st.data())
def test_any_split_of_the_bytes_gives_the_same(
    conversation: tuple[Role, bytes, list[Any]], data: st.DataObject
) -> None:
    role, wire, payloads = conversation
    whole = outcome(opened(role, parser=PARSER), [wire])
    received = [entry.payload if isinstance(entry, Message) else entry for entry in whole[0]]
    assert received[: len(payloads)] == payloads

    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)))))
    pieces = [
        wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)
    ]
    assert outcome(opened(role, parser=PARSER), pieces) == whole
    each_byte = [bytes((byte,)) for byte in wire]
    assert outcome(opened(role, parser=PARSER), each_byte) == whole


# -- on_data_frame ------------------------------------------------------------------------


class Hook:
    """Notes what it is shown, and answers as it is told."""

    def __init__(self, answer: Callable[[Frame], Any] = lambda _: None) -> None:
        self.seen: list[Frame] = []
        self._answer = answer

    def __call__(self, frame: Frame) -> Any:
        self.seen.append(frame)
        return self._answer(frame)


FRAGMENTED = (
    frame(TEXT, b"a", fin=False)
    + frame(PING)
    + frame(CONTINUATION, b"b", fin=False)
    + frame(CONTINUATION, b"c")
)
FRAGMENTS = [
    TextFrame(b"a", fin=False),
    ContinuationFrame(b"b", fin=False),
    ContinuationFrame(b"c"),
]


def test_on_data_frame_sees_each_data_frame_as_it_completes() -> None:
    hook = Hook()
    client = opened(on_data_frame=hook, parser=PARSER)
    batch = []
    for byte in FRAGMENTED:
        assert hook.seen == FRAGMENTS[: len(hook.seen)]
        batch += client.receive_data(bytes((byte,)))
    assert hook.seen == FRAGMENTS
    assert batch == [Message("abc", TextFrame)]
    assert client.receive_data(frame(BINARY, b"d") + frame(3, b"e")) == [
        b"d",
        Message(b"e", CellFrame),
    ]
    assert hook.seen[3:] == [BinaryFrame(b"d"), CellFrame(b"e")]


def test_on_data_frame_may_replace_a_payload() -> None:
    client = opened(on_data_frame=lambda frame: TextFrame(frame.payload.upper() * 2))
    (message,) = client.receive_data(FRAGMENTED)
    assert message == Message("AABBCC", TextFrame)
    assert isinstance(message, Message)
    assert [frame.payload for frame in message.frames] == [b"AA", b"BB", b"CC"]


def test_on_data_frame_may_keep_nothing_of_a_message_larger_than_any_limit() -> None:
    hook = Hook(lambda _: ContinuationFrame())
    client = opened(on_data_frame=hook, max_message_size=100)
    client.receive_data(frame(BINARY, bytes(90), fin=False))
    client.receive_data(frame(CONTINUATION, bytes(90), fin=False) * 50)
    (message,) = client.receive_data(frame(CONTINUATION, bytes(90)))
    assert message == Message(b"", BinaryFrame)
    assert len(hook.seen) == 52


def test_one_frame_must_not_be_larger_than_the_limit_even_so() -> None:
    hook = Hook(lambda _: ContinuationFrame())
    client = opened(on_data_frame=hook, max_message_size=100)
    client.receive_data(frame(BINARY, bytes(101))[:2])
    assert_failed(client, 1009)
    assert hook.seen == []


def test_what_on_data_frame_returns_counts_for_the_limit() -> None:
    client = opened(on_data_frame=lambda _: BinaryFrame(bytes(101)), max_message_size=100)
    client.receive_data(frame(BINARY, b"x"))
    assert_failed(client, 1009)


def test_what_on_data_frame_returns_for_text_must_be_text() -> None:
    client = opened(on_data_frame=lambda _: BinaryFrame(b"\xff"))
    client.receive_data(frame(TEXT, b"x"))
    assert_failed(client, 1007)


@pytest.mark.parametrize("returned", ["text", b"bytes", True, PingFrame()])
def test_on_data_frame_must_return_a_data_frame(returned: Any) -> None:
    client = opened(on_data_frame=Hook(lambda _: returned))
    with pytest.raises(
        TypeError, match=r"^on_data_frame must return a data frame or None, not"
    ):
        client.receive_data(frame(TEXT, b"x"))


def test_what_on_data_frame_raises_comes_out_and_the_connection_can_be_failed() -> None:
    def fall(frame: Frame) -> Frame:
        raise ZeroDivisionError

    client = opened(on_data_frame=fall)
    with pytest.raises(ZeroDivisionError):
        client.receive_data(frame(TEXT, b"x") + frame(TEXT, b"y"))
    client.fail(1011, "on_data_frame fell")
    assert client.receive_data(frame(TEXT, b"z")) == []
    assert_failed(client, 1011)


def test_on_data_frame_works_on_streams_too() -> None:
    client = opened(on_data_frame=lambda frame: TextFrame(frame.payload.upper()))
    client.stream_message()
    batch: list[Any] = client.receive_data(FRAGMENTED)
    assert [piece.payload for piece in batch] == ["A", "B", "C", ""]


def test_a_replacement_too_big_waits_where_it_is_held() -> None:
    client = opened(
        on_data_frame=lambda frame: BinaryFrame(frame.payload * 3),
        max_message_size=4,
        hold_oversize=True,
    )
    assert client.receive_data(frame(BINARY, b"ab") + frame(BINARY, b"c")) == []
    assert client.oversize
    pieces: list[Any] = [*client.stream_message(), *client.receive_data(b"")]
    assert [piece.payload for piece in pieces[:-1]] == [b"", b"ababab", b""]
    assert pieces[-1] == b"ccc"


# -- extensions ---------------------------------------------------------------------------

CODECS: dict[str, Callable[[], tuple[Codec, ...]]] = {
    "per message": lambda: (CountingCodec(),),
    "per frame": lambda: (ReversingCodec(),),
    "both": lambda: (CountingCodec(), ReversingCodec()),
    "both, the other way round": lambda: (ReversingCodec(), CountingCodec()),
    "one that does nothing": lambda: (Codec(),),
}


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("hook", [None, Hook()], ids=["", "on_data_frame"])
def test_what_extensions_encode_they_decode(name: str, step: int, hook: Hook | None) -> None:
    server = opened(Role.SERVER, codecs=CODECS[name]())
    client = opened(codecs=CODECS[name](), on_data_frame=hook)
    server.send_message("héllo")
    server.send_fragment(BinaryFrame, b"abc", final=False)
    server.send_ping(b"?")
    server.send_fragment(BinaryFrame, b"defg", final=False)
    server.send_fragment(BinaryFrame, b"", final=True)
    server.send_message(b"")
    server.send_message(b"plain", compress=False)
    wire = taken(server)
    batch: list[Any] = []
    for start in range(0, len(wire), step):
        batch += client.receive_data(wire[start : start + step])
    payloads = [entry.payload if isinstance(entry, Message) else entry for entry in batch]
    assert payloads == ["héllo", b"abcdefg", b"", b"plain"]
    assert client.failure is None


def test_extensions_work_in_the_order_negotiated() -> None:
    server = opened(Role.SERVER, codecs=(CountingCodec(), ReversingCodec()))
    server.send_message(b"aaa")
    assert taken(server) == frame(BINARY, b"cba", rsv=RSV2 | RSV3)
    client = opened(codecs=(CountingCodec(), ReversingCodec()))
    assert client.receive_data(frame(BINARY, b"cba", rsv=RSV2 | RSV3)) == [
        Message(b"aaa", BinaryFrame)
    ]


def test_a_message_knows_its_frames_as_they_were_encoded() -> None:
    client = opened(codecs=(CountingCodec(),))
    (message,) = client.receive_data(
        frame(TEXT, b"ac", fin=False, rsv=RSV2) + frame(CONTINUATION, b"e")
    )
    assert isinstance(message, Message)
    assert message.payload == "abc"
    assert message.frames == (
        TextFrame(b"ac", fin=False, rsv2=True),
        ContinuationFrame(b"e"),
    )


def test_on_data_frame_sees_frames_decoded() -> None:
    hook = Hook()
    client = opened(codecs=(CountingCodec(),), on_data_frame=hook)
    for byte in frame(TEXT, b"ac", fin=False, rsv=RSV2) + frame(CONTINUATION, b"e"):
        client.receive_data(bytes((byte,)))
    assert hook.seen == [TextFrame(b"ab", fin=False), ContinuationFrame(b"c")]


class NotingCodec(Codec):
    """Changes nothing, and notes what it is shown."""

    def __init__(self, per_message: bool) -> None:
        self.per_message = per_message
        self.seen: list[Frame] = []

    def decode(self, frame: Frame) -> Iterator[Frame]:
        self.seen.append(frame)
        yield frame


WITH_CUT_FRAMES = (frame(TEXT, b"ab", fin=False), frame(PING), frame(CONTINUATION, b"cd"))


def test_an_extension_of_messages_is_shown_pieces_of_frames_as_fragments() -> None:
    codec = NotingCodec(per_message=True)
    client = opened(codecs=(codec,))
    for byte in b"".join(WITH_CUT_FRAMES):
        client.receive_data(bytes((byte,)))
    assert codec.seen == [
        TextFrame(b"a", fin=False),
        ContinuationFrame(b"b", fin=False),
        ContinuationFrame(b"c", fin=False),
        ContinuationFrame(b"d"),
    ]


def test_an_extension_of_frames_is_shown_whole_ones() -> None:
    codec = NotingCodec(per_message=False)
    client = opened(codecs=(codec,))
    for byte in b"".join(WITH_CUT_FRAMES):
        client.receive_data(bytes((byte,)))
    assert codec.seen == [TextFrame(b"ab", fin=False), ContinuationFrame(b"cd")]


@pytest.mark.parametrize("rsv", [RSV1, RSV3, RSV1 | RSV2])
def test_a_reserved_bit_that_no_extension_claims_is_refused(rsv: int) -> None:
    client = opened(codecs=(CountingCodec(),))
    client.receive_data(frame(TEXT, rsv=rsv))
    assert_failed(client, 1002)


def test_a_reserved_bit_on_a_control_frame_is_refused_though_claimed() -> None:
    client = opened(codecs=(CountingCodec(),))
    client.receive_data(frame(PING, rsv=RSV2))
    assert_failed(client, 1002)


def test_text_is_decoded_before_it_is_checked() -> None:
    client = opened(codecs=(CountingCodec(),))
    client.receive_data(frame(TEXT, b"a\x00", fin=False, rsv=RSV2))
    assert_failed(client, 1007)


def test_what_cannot_be_decoded_fails_the_connection() -> None:
    class PickyCodec(Codec):
        def decode(self, frame: Frame) -> Any:  # noqa: ARG002
            raise ProtocolError("nothing is good enough", 3000)

    client = opened(codecs=(PickyCodec(),))
    client.receive_data(frame(TEXT))
    assert_failed(client, 3000)


# -- extensions that make much of little --------------------------------------------------


def drain(client: Connection, batch: list[Entry]) -> Iterator[list[Any]]:
    """The batch, and those that follow with no further bytes."""
    yield batch
    while client.pending:
        yield client.receive_data(b"")


def test_a_batch_is_bounded_in_bytes_and_the_rest_is_pending() -> None:
    client = opened(codecs=(InflatingCodec(100_000),), max_message_size=None)
    client.stream_message()
    first = client.receive_data(frame(BINARY, b"1234567", rsv=RSV1))
    *full, rest = [sum(len(piece.payload) for piece in batch) for batch in drain(client, first)]
    assert full == [263_000, 263_000]  # whole chunks
    assert MAX_DECODED < 263_000
    assert rest == 700_000 - sum(full)


@pytest.mark.parametrize("behind", [b"", b"\x81", frame(TEXT, b"", fin=False)])
def test_a_batch_is_bounded_in_messages_and_the_rest_is_pending(behind: bytes) -> None:
    client = opened(Role.CLIENT)
    batch = client.receive_data(frame(TEXT, b"x") * (2 * MAX_BATCH) + behind)
    assert batch == ["x"] * MAX_BATCH
    assert client.pending
    assert client.received.messages == MAX_BATCH
    assert client.receive_data(b"") == ["x"] * MAX_BATCH
    client.receive_data(b"")
    assert not client.pending


def test_a_batch_as_long_as_may_be_leaves_nothing_pending() -> None:
    client = opened(Role.CLIENT)
    assert len(client.receive_data(frame(TEXT, b"x") * MAX_BATCH)) == MAX_BATCH
    assert not client.pending


def test_bytes_that_arrive_while_others_are_pending_come_after_them() -> None:
    client = opened(codecs=(InflatingCodec(300_000),), max_message_size=None)
    data = frame(BINARY, b"x", rsv=RSV1)
    assert client.receive_data(data + data[:1]) == []
    assert client.pending
    batches = drain(client, client.receive_data(data[1:]))
    sizes = [len(message.payload) for batch in batches for message in batch]
    assert sizes == [300_000, 300_000]


def test_a_bomb_is_refused_having_been_decoded_one_chunk_too_far() -> None:
    codec = InflatingCodec(2**40)
    client = opened(codecs=(codec,), max_message_size=10_000)
    assert client.receive_data(frame(BINARY, b"x", rsv=RSV1)) == []
    assert codec.made == 11_000
    assert_failed(client, 1009)


@pytest.mark.parametrize("hook", [None, Hook()], ids=["", "on_data_frame"])
def test_the_limit_counts_decoded_bytes(hook: Hook | None) -> None:
    client = opened(codecs=(InflatingCodec(2500),), max_message_size=10_000, on_data_frame=hook)
    batch: list[Any] = client.receive_data(frame(BINARY, b"1234", rsv=RSV1))
    assert [getattr(entry, "payload", entry) for entry in batch] == [b"x" * 10_000]
    client.receive_data(frame(BINARY, b"12345", rsv=RSV1))
    assert_failed(client, 1009)


def test_an_encoded_message_that_decodes_to_nothing_does_not_go_on_for_ever() -> None:
    client = opened(codecs=(InflatingCodec(0),), max_message_size=1000)
    client.receive_data(frame(BINARY, bytes(3024), fin=False, rsv=RSV1))
    assert client.failure is None
    client.receive_data(frame(CONTINUATION, b"x")[:2])
    assert_failed(client, 1009)


def test_an_encoded_frame_that_must_be_whole_is_refused_from_its_header() -> None:
    client = opened(codecs=(ReversingCodec(),), max_message_size=1000)
    client.receive_data(frame(BINARY, bytes(1001), rsv=RSV3)[:4])
    assert_failed(client, 1009)


def test_a_bomb_that_is_held_can_be_streamed() -> None:
    codec = InflatingCodec(7_500)
    client = opened(codecs=(codec,), max_message_size=4500, hold_oversize=True)
    data = frame(BINARY, b"x", rsv=RSV1)
    assert client.receive_data(data + frame(BINARY)) == []
    assert client.oversize
    assert codec.made == 5000
    assert 5000 <= client.inbound_size < 5020
    pieces: list[Any] = [*client.stream_message(), *client.receive_data(b"")]
    assert pieces.pop() == Message(b"", BinaryFrame)
    assert [len(piece.payload) for piece in pieces] == [4000, 1000, 1000, 1000, 500, 0]
    assert pieces[-1] == Piece(b"", BinaryFrame, final=True)


def test_a_bomb_that_is_held_can_be_refused() -> None:
    client = opened(codecs=(InflatingCodec(2**40),), max_message_size=4500, hold_oversize=True)
    client.receive_data(frame(BINARY, b"x", rsv=RSV1))
    client.refuse_oversize()
    assert_failed(client, 1009)
    assert client.inbound_size == 0


def test_a_close_frame_waits_behind_what_is_pending() -> None:
    client = opened(codecs=(InflatingCodec(300_000),), max_message_size=None)
    client.receive_data(frame(BINARY, b"x", rsv=RSV1) + frame(CLOSE))
    assert client.pending
    assert client.peer_state is State.OPEN
    (message,) = client.receive_data(b"")
    assert isinstance(message, Message)
    assert client.received_close_frame is not None
