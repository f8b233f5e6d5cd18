"""permessage-deflate between two connections: limits, windows, context, and either zlib."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.wire import (
    BINARY,
    CONTINUATION,
    PING,
    RSV1,
    TEXT,
    assert_failed,
    frame_for,
    frames_of,
    opened,
    taken,
)
from trio_wsendpoint.protocol import (
    BinaryFrame,
    Connection,
    Entry,
    Message,
    PermessageDeflate,
    Piece,
    PongFrame,
    Role,
    TextFrame,
    deflate,
)
from trio_wsendpoint.protocol.deflate import CHUNK, TAIL
from trio_wsendpoint.protocol.extensions import confirm, format_offers, negotiate
from trio_wsendpoint.protocol.inbound import MAX_DECODED

LIBRARIES = [name for name in ("zlib", "zlib_ng.zlib_ng") if find_spec(name.partition(".")[0])]
FLAGS = ["server_no_context_takeover", "client_no_context_takeover"]
BITS = ["server_max_window_bits", "client_max_window_bits"]
HELLO = bytes.fromhex("f248cdc9c90700")
ROW = '{"id": %d, "name": "alpha bravo", "active": true, "tags": ["charlie", "delta"]}'
DOCUMENT = "[" + ", ".join(ROW % i for i in range(25)) + "]"


@contextmanager
def using(module: str) -> Iterator[None]:
    """Compress and inflate by this library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deflate, "zlib", import_module(module))
        yield


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Iterator[Any]:
    with using(request.param):
        yield deflate.zlib


with_both = pytest.mark.usefixtures("library")


class WatchedZlib:
    """Stands in for the library, and counts what it is asked for."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.compressors: list[tuple[Any, ...]] = []
        self.decompressors: list[tuple[Any, ...]] = []
        self.made = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def compressobj(self, *arguments: Any) -> Any:
        self.compressors.append(arguments)
        return self._library.compressobj(*arguments)

    def decompressobj(self, *arguments: Any) -> Any:
        self.decompressors.append(arguments)
        return WatchedInflater(self, self._library.decompressobj(*arguments))


class WatchedInflater:
    def __init__(self, watched: WatchedZlib, inflater: Any) -> None:
        self._watched = watched
        self._inflater = inflater

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inflater, name)

    def decompress(self, data: bytes, max_length: int) -> Any:
        made = self._inflater.decompress(data, max_length)
        self._watched.made += len(made)
        return made


@pytest.fixture
def watched(library: Any, monkeypatch: pytest.MonkeyPatch) -> WatchedZlib:
    watched = WatchedZlib(library)
    monkeypatch.setattr(deflate, "zlib", watched)
    return watched


def pair(
    client: PermessageDeflate | None = None,
    server: PermessageDeflate | None = None,
    **options: Any,
) -> tuple[Connection, Connection]:
    """A client and a server that have agreed on compression."""
    client = client or PermessageDeflate()
    offer = format_offers([client])
    assert offer is not None
    answer, codecs = negotiate([offer], [server or PermessageDeflate()])
    assert answer is not None
    return (
        opened(Role.CLIENT, codecs=confirm([answer], [client]), **options),
        opened(Role.SERVER, codecs=codecs, **options),
    )


def server_for(offer: str = "", codec: PermessageDeflate | None = None, **options: Any) -> Any:
    """A server that has accepted an offer of these parameters."""
    _, codecs = negotiate(["permessage-deflate" + offer], [codec or PermessageDeflate()])
    assert codecs
    return opened(Role.SERVER, codecs=codecs, **options)


def feed(connection: Connection, data: bytes) -> list[Entry]:
    """What becomes of bytes, with all that they leave pending."""
    batch = connection.receive_data(data)
    while connection.pending:
        batch += connection.receive_data(b"")
    return batch


def payloads(batch: list[Entry]) -> list[str | bytes]:
    return [entry.payload if isinstance(entry, Message | Piece) else entry for entry in batch]


def send(sender: Connection, receiver: Connection, message: str | bytes) -> int:
    """Send a message across; returns its bytes on the wire."""
    sender.send_message(message)
    data = taken(sender)
    assert payloads(feed(receiver, data)) == [message]
    return len(data)


def send_hello(connection: Connection, payload: bytes = HELLO) -> list[str | bytes]:
    return payloads(feed(connection, frame_for(connection, TEXT, payload, rsv=RSV1)))


def compressed(data: bytes, level: int = 9, bits: int = 15) -> bytes:
    """Data as the payload of a message."""
    state = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return (state.compress(data) + state.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


# -- what the peer may do wrong -----------------------------------------------------------


@with_both
@pytest.mark.parametrize("fragmented", [False, True])
def test_corrupt_data_is_refused(fragmented: bool) -> None:
    connection = server_for()
    if fragmented:
        data = frame_for(connection, BINARY, HELLO, fin=False, rsv=RSV1)
        data += frame_for(connection, CONTINUATION, b"\xff" * 10, fin=False)
    else:
        data = frame_for(connection, BINARY, b"\xff" * 10, rsv=RSV1)
    assert connection.receive_data(data) == []
    assert str(connection.failure) == "compressed data that is corrupt"
    assert_failed(connection, 1007)


@with_both
def test_a_message_cut_short_does_no_more_than_fail() -> None:
    whole = DOCUMENT.encode()
    payload = compressed(whole)
    refused = 0
    for size in range(len(payload)):
        connection = server_for()
        batch = feed(connection, frame_for(connection, BINARY, payload[:size], rsv=RSV1))
        if batch:
            assert payloads(batch) != [whole]
        else:
            assert_failed(connection, 1007)
            refused += 1
    assert refused > len(payload) / 2


def test_text_that_is_not_utf_8_when_inflated_is_refused() -> None:
    connection = server_for()
    data = frame_for(connection, TEXT, compressed(b"\xff"), rsv=RSV1)
    assert connection.receive_data(data) == []
    assert_failed(connection, 1007)


@pytest.mark.parametrize("rsv", [0, RSV1])
def test_a_continuation_must_not_have_rsv1(rsv: int) -> None:
    connection = server_for()
    data = frame_for(connection, BINARY, HELLO, fin=False, rsv=rsv)
    data += frame_for(connection, CONTINUATION, b"", rsv=RSV1)
    assert connection.receive_data(data) == []
    assert_failed(connection, 1002)


def test_a_control_frame_must_not_have_rsv1() -> None:
    connection = server_for()
    connection.receive_data(frame_for(connection, PING, b"", rsv=RSV1))
    assert_failed(connection, 1002)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("limit", "fits"), [(len(DOCUMENT), True), (len(DOCUMENT) - 1, False)])
def test_the_limit_counts_inflated_bytes(role: Role, limit: int, fits: bool) -> None:
    ends = dict(zip((Role.CLIENT, Role.SERVER), pair(max_message_size=limit), strict=True))
    receiver = ends[role]
    ends[role.other].send_message(DOCUMENT)
    batch = receiver.receive_data(taken(ends[role.other]))
    assert payloads(batch) == [DOCUMENT] * fits
    if not fits:
        assert_failed(receiver, 1009)


@pytest.mark.parametrize("limit", [0, 1000, CHUNK, 3 * CHUNK + 1])
@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("hold", [False, True])
def test_of_a_bomb_at_most_one_chunk_beyond_the_limit_is_inflated(
    watched: WatchedZlib, limit: int, fragments: int, hold: bool
) -> None:
    connection = server_for(max_message_size=limit, hold_oversize=hold)
    bomb = compressed(bytes(10**7))[: max(limit, 600)]  # or it would be too big for a frame
    size = -(-len(bomb) // fragments)
    for i in range(fragments):
        piece = bomb[i * size : (i + 1) * size]
        opcode, rsv = (CONTINUATION, 0) if i else (BINARY, RSV1)
        data = frame_for(connection, opcode, piece, fin=False, rsv=rsv)
        assert feed(connection, data) == []
    connection.refuse_oversize()
    assert_failed(connection, 1009)
    assert limit < watched.made <= limit + CHUNK


def test_a_bomb_can_be_streamed(watched: WatchedZlib) -> None:
    connection = server_for(max_message_size=1000)
    connection.stream_message()
    size = 0
    batch = connection.receive_data(
        frame_for(connection, BINARY, compressed(bytes(10**6)), rsv=RSV1)
    )
    while batch:
        assert sum(map(len, payloads(batch))) <= 2**18
        size += sum(map(len, payloads(batch)))
        batch = connection.receive_data(b"")
    assert size == 10**6
    assert connection.failure is None


def test_whole_messages_are_inflated_into_batches_of_bounded_size() -> None:
    client, server = pair()
    message = bytes(50_000)
    for _ in range(20):
        client.send_message(message)
    batch = server.receive_data(taken(client))
    assert MAX_DECODED <= sum(map(len, payloads(batch))) < MAX_DECODED + len(message)
    assert server.pending
    batch += feed(server, b"")
    assert payloads(batch) == [message] * 20


def test_a_frame_far_too_big_is_refused_uninflated(watched: WatchedZlib) -> None:
    connection = server_for(max_message_size=1000)
    payload = compressed(random.Random(1).randbytes(5000))
    connection.receive_data(frame_for(connection, BINARY, payload, rsv=RSV1))
    assert_failed(connection, 1009)
    assert watched.decompressors == []


def test_data_that_inflates_to_nothing_does_not_go_on_for_ever() -> None:
    connection = server_for(max_message_size=1000)
    connection.receive_data(frame_for(connection, BINARY, b"", fin=False, rsv=RSV1))
    empty_block = frame_for(connection, CONTINUATION, b"\x00" + TAIL, fin=False)
    for _ in range(1000):
        connection.receive_data(empty_block)
    assert_failed(connection, 1009)


# -- at work ------------------------------------------------------------------------------


@with_both
@pytest.mark.parametrize("role", Role)
def test_messages_cross_compressed(role: Role) -> None:
    ends = dict(zip((Role.CLIENT, Role.SERVER), pair(), strict=True))
    assert send(ends[role], ends[role.other], DOCUMENT) < len(DOCUMENT) / 3
    assert send(ends[role], ends[role.other], bytes(1000)) < 50


@pytest.mark.parametrize(("size", "rsv1"), [(0, False), (99, False), (100, True)])
def test_a_message_below_the_threshold_goes_uncompressed(size: int, rsv1: bool) -> None:
    client, server = pair(PermessageDeflate(threshold=100))
    client.send_message(bytes(size))
    data = taken(client)
    assert bool(data[0] & RSV1) is rsv1
    assert payloads(server.receive_data(data)) == [bytes(size)]


def test_a_message_goes_uncompressed_if_the_application_says_so() -> None:
    client, server = pair()
    client.send_message(DOCUMENT, compress=False)
    for final in (False, True):
        client.send_fragment(BinaryFrame, bytes(500), final=final, compress=False)
    data = taken(client)
    assert len(data) > len(DOCUMENT) + 1000
    assert payloads(server.receive_data(data)) == [DOCUMENT, bytes(1000)]


@with_both
def test_compressed_and_plain_messages_take_turns() -> None:
    client, server = pair(PermessageDeflate(threshold=0))
    messages: list[str | bytes] = [DOCUMENT, "tiny", DOCUMENT.encode(), b"", "é" * 1000, "x"]
    for i, message in enumerate(messages):
        client.send_message(message, compress=i % 2 == 0)
    assert payloads(feed(server, taken(client))) == messages


@with_both
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.parametrize("asks", Role)
def test_context_is_taken_over_or_not(role: Role, forget: bool, asks: Role) -> None:
    option = PermessageDeflate(**{f"{role.value}_no_context_takeover": forget})
    client, server = pair(
        option if asks is Role.CLIENT else None, option if asks is Role.SERVER else None
    )
    sender, receiver = (client, server) if role is Role.CLIENT else (server, client)
    first = send(sender, receiver, DOCUMENT)
    second = send(sender, receiver, DOCUMENT)
    if forget:
        assert second == first
    else:
        assert second < first


@with_both
@pytest.mark.parametrize("role", Role)
def test_the_other_direction_keeps_its_context(role: Role) -> None:
    option = PermessageDeflate(**{f"{role.value}_no_context_takeover": True})
    client, server = pair(option)
    sender, receiver = (server, client) if role is Role.CLIENT else (client, server)
    assert send(sender, receiver, DOCUMENT) > send(sender, receiver, DOCUMENT)


def inflates_with(bits: int, payload: bytes) -> bytes:
    """Inflate with no more window than this."""
    state = zlib.decompressobj(-bits)
    result, rest = b"", payload + TAIL
    while rest:
        # As a call looks back on all that it has made itself, it must not make much.
        result += (piece := state.decompress(rest, 16))
        rest = state.unconsumed_tail
        assert piece or rest
        if not rest:
            while piece:
                result += (piece := state.decompress(b"", 16))
    return result


def far_repeats(bits: int) -> bytes:
    """Data that repeats just beyond a window of this size, and inside it."""
    chance = random.Random(bits)
    near = chance.randbytes(2**bits // 2 - 100)
    far = chance.randbytes(2**bits + 10)
    return near + near + far + far + near


@with_both
@pytest.mark.parametrize("bits", range(9, 15))
@pytest.mark.parametrize("level", [1, 2, 6, 9])
@pytest.mark.parametrize("role", Role)
def test_a_peer_with_a_small_window_can_inflate(bits: int, level: int, role: Role) -> None:
    options: dict[str, Any] = {f"{role.value}_max_window_bits": bits}
    client, server = pair(
        PermessageDeflate(level=level, **(options if role is Role.CLIENT else {})),
        PermessageDeflate(level=level, **(options if role is Role.SERVER else {})),
    )
    sender = client if role is Role.CLIENT else server
    message = far_repeats(bits)
    sender.send_message(message)
    [frame] = frames_of(sender)
    assert inflates_with(bits, frame.payload) == message


def test_a_smaller_window_than_agreed_would_not_do() -> None:
    with pytest.raises(zlib.error, match="too far back"):
        inflates_with(9, compressed(far_repeats(12)))


# -- the state of the library -------------------------------------------------------------


def test_the_state_is_made_when_it_is_first_needed(watched: WatchedZlib) -> None:
    client, server = pair()
    send(client, server, "tiny")
    send(server, client, b"tiny")
    client.send_message(DOCUMENT, compress=False)
    server.receive_data(taken(client))
    server.receive_data(frame_for(server, TEXT, b"", fin=False, rsv=RSV1))
    assert watched.compressors == watched.decompressors == []
    client.send_message(DOCUMENT)
    assert len(watched.compressors) == 1
    assert watched.decompressors == []


@pytest.mark.parametrize(("forget", "states"), [(False, 1), (True, 3)])
def test_the_state_lives_as_long_as_its_context(
    watched: WatchedZlib, forget: bool, states: int
) -> None:
    client, server = pair(PermessageDeflate(client_no_context_takeover=forget))
    for _ in range(3):
        send(client, server, DOCUMENT)
    assert len(watched.compressors) == states
    assert len(watched.decompressors) == states


@pytest.mark.parametrize("role", Role)
def test_the_library_is_told_the_options(watched: WatchedZlib, role: Role) -> None:
    ours = PermessageDeflate(
        level=7, memory_level=3, server_max_window_bits=11, client_max_window_bits=12
    )
    client, server = pair(*((ours, None) if role is Role.CLIENT else (None, ours)))
    sender, receiver = (client, server) if role is Role.CLIENT else (server, client)
    send(sender, receiver, DOCUMENT)
    bits = 12 if role is Role.CLIENT else 11
    assert watched.compressors == [(7, zlib.DEFLATED, -bits, 3)]
    assert watched.decompressors == [(-bits,)]


# -- fragments ----------------------------------------------------------------------------


@with_both
@pytest.mark.parametrize(
    "chunks", [[b"", b""], [b"ab", b""], [b"", b"ab"], [b"", b"", b"a", b""]]
)
@pytest.mark.parametrize("forget", [False, True])
def test_fragments_may_be_empty(chunks: list[bytes], forget: bool) -> None:
    client, server = pair(PermessageDeflate(client_no_context_takeover=forget))
    for _ in range(2):
        for i, chunk in enumerate(chunks):
            client.send_fragment(BinaryFrame, chunk, final=i == len(chunks) - 1)
        assert payloads(server.receive_data(taken(client))) == [b"".join(chunks)]
        send(client, server, DOCUMENT)


def test_pings_go_between_the_fragments() -> None:
    client, server = pair()
    for i in range(3):
        client.send_fragment(BinaryFrame, DOCUMENT.encode(), final=i == 2)
        client.send_ping(b"%d" % i)
    assert payloads(feed(server, taken(client))) == [DOCUMENT.encode() * 3]
    assert frames_of(server)[-1] == PongFrame(b"2")


def test_a_message_knows_its_frames_as_they_were_compressed() -> None:
    connection = server_for()
    data = frame_for(connection, TEXT, HELLO, rsv=RSV1)
    [message] = connection.receive_data(data)
    assert isinstance(message, Message)
    assert message.frames == (TextFrame(HELLO, rsv1=True),)


@pytest.mark.parametrize("role", Role)
def test_a_message_is_the_same_at_once_or_byte_by_byte(role: Role) -> None:
    batches: list[list[Entry]] = []
    for step in (1, 10**6):
        client, server = pair()
        sender, receiver = (client, server) if role is Role.CLIENT else (server, client)
        sender.send_message(DOCUMENT)
        sender.send_message(bytes(CHUNK * 2))
        data = taken(sender)
        pieces = [data[start : start + step] for start in range(0, len(data), step)]
        batches.append([entry for piece in pieces for entry in feed(receiver, piece)])
    assert batches[0] == batches[1]
    for slow, fast in zip(*batches, strict=True):
        assert isinstance(slow, Message)
        assert isinstance(fast, Message)
        assert slow.frames == fast.frames


# -- anything ------------------------------------------------------------------------------

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.booleans() for name in FLAGS},
        **{name: st.integers(8, 15) for name in BITS},
        "level": st.integers(0, 9),
        "memory_level": st.integers(1, 9),
        "threshold": st.integers(0, 64),
    },
)


CHUNKS = st.lists(
    st.tuples(st.binary(max_size=300), st.just(1))
    | st.tuples(st.binary(max_size=20), st.integers(0, 9000)),
    min_size=1,
    max_size=4,
)
"""The fragments of a message: each some bytes, and how often they stand there."""


@given(
    options=st.tuples(OPTIONS, OPTIONS),
    libraries=st.tuples(st.sampled_from(LIBRARIES), st.sampled_from(LIBRARIES)),
    role=st.sampled_from(Role),
    messages=st.lists(st.tuples(CHUNKS, st.booleans()), min_size=1, max_size=4),
    pieces=st.integers(1, 300),
)
@settings(deadline=None)
def test_any_message_arrives_as_it_was(
    options: tuple[dict[str, Any], dict[str, Any]],
    libraries: tuple[str, str],
    role: Role,
    messages: list[tuple[list[tuple[bytes, int]], bool]],
    pieces: int,
) -> None:
    if options[0].get("server_max_window_bits") == 8:
        return  # which the server declines
    client, server = pair(*(PermessageDeflate(**chosen) for chosen in options))
    sender, receiver = (client, server) if role is Role.CLIENT else (server, client)
    batch: list[Entry] = []
    for i, (chunks, compress) in enumerate(messages):
        with using(libraries[0]):
            for j, (part, times) in enumerate(chunks):
                final = j == len(chunks) - 1
                sender.send_fragment(BinaryFrame, part * times, final=final, compress=compress)
                sender.send_ping(b"%d %d" % (i, j))
        data = taken(sender)
        step = -(-len(data) // pieces)
        with using(libraries[1]):
            for start in range(0, len(data), step):
                batch += feed(receiver, data[start : start + step])
    assert receiver.failure is None
    assert payloads(batch) == [
        b"".join(part * times for part, times in chunks) for chunks, _ in messages
    ]


@given(
    st.lists(st.binary(max_size=50) | st.just(HELLO), max_size=4),
    st.sampled_from(LIBRARIES),
    st.booleans(),
)
def test_any_payload_is_inflated_or_refused(
    fragments: list[bytes], module: str, forget: bool
) -> None:
    with using(module):
        connection = server_for("; client_no_context_takeover" if forget else "")
        data = frame_for(connection, BINARY, HELLO, fin=False, rsv=RSV1)
        for fragment in fragments:
            data += frame_for(connection, CONTINUATION, fragment, fin=False)
        data += frame_for(connection, CONTINUATION, b"\x00")
        batch = feed(connection, data)
    if connection.failure is None:
        [content] = payloads(batch)
        assert isinstance(content, bytes)
        assert content.startswith(b"Hello")
    else:
        assert_failed(connection, 1007)
        assert batch == []
