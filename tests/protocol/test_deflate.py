from __future__ import annotations

import contextlib
import importlib
import itertools
import random
import sys
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trio_wsendpoint.protocol import (
    BinaryFrame,
    CloseCode,
    Codec,
    ContinuationFrame,
    DataFrame,
    Frame,
    FrameParser,
    HandshakeError,
    PermessageDeflate,
    ProtocolError,
    TextFrame,
    deflate,
)
from trio_wsendpoint.protocol.deflate import CHUNK, TAIL
from trio_wsendpoint.protocol.extensions import confirm, format_offers, negotiate

LIBRARIES: dict[str, Any] = {"zlib": zlib}
with contextlib.suppress(ImportError):  # it is optional
    LIBRARIES["zlib-ng"] = importlib.import_module("zlib_ng.zlib_ng")

HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")
"""Section 7.2.3.1: "Hello" in one block."""


@pytest.fixture(params=LIBRARIES.values(), ids=list(LIBRARIES), autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(deflate, "zlib", request.param)
    return request.param


def agree(
    client: PermessageDeflate | None = None, server: PermessageDeflate | None = None
) -> tuple[Codec, Codec]:
    """Negotiate, and return the client's codec and the server's."""
    asked = [client or PermessageDeflate(threshold=0)]
    offers = format_offers(asked)
    assert offers is not None
    answer, (theirs,) = negotiate([offers], [server or PermessageDeflate(threshold=0)])
    assert answer is not None
    (ours,) = confirm([answer], asked)
    return ours, theirs


def compressed(payload: bytes, kind: type[Frame] = BinaryFrame, *, fin: bool = True) -> Frame:
    return kind(payload, fin=fin, rsv1=True)


def decode(codec: Codec, *frames: Frame) -> bytes:
    """Decode the frames of a message, and check the form of what comes out."""
    decoded: list[Frame] = []
    for frame in frames:
        pieces = list(codec.decode(frame))
        assert [piece.fin for piece in pieces] == [False] * (len(pieces) - 1) + [frame.fin]
        assert all(len(piece.payload) <= CHUNK for piece in pieces)
        decoded += pieces
    assert type(decoded[0]) is type(frames[0])
    assert all(type(frame) is ContinuationFrame for frame in decoded[1:])
    assert not any(frame.rsv1 for frame in decoded)
    return b"".join(frame.payload for frame in decoded)


def in_fragments(
    payload: bytes, cuts: Iterable[int], kind: type[Frame] = BinaryFrame, *, rsv1: bool = False
) -> list[Frame]:
    edges = [0, *sorted(cut % (len(payload) + 1) for cut in cuts), len(payload)]
    parts = [payload[a:b] for a, b in itertools.pairwise(edges)]
    first, *others = parts
    frames: list[Frame] = [kind(first, fin=not others, rsv1=rsv1)]
    frames += [ContinuationFrame(part, fin=False) for part in others[:-1]]
    frames += [ContinuationFrame(part) for part in others[-1:]]
    return frames


def inflate(payload: bytes, window_bits: int = 15) -> bytes:
    return zlib.decompressobj(-window_bits).decompress(payload + TAIL)


# -- options ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("server_no_context_takeover", 1, TypeError),
        ("client_no_context_takeover", None, TypeError),
        ("server_max_window_bits", None, TypeError),
        ("server_max_window_bits", True, TypeError),
        ("server_max_window_bits", "12", TypeError),
        ("server_max_window_bits", 7, ValueError),
        ("server_max_window_bits", 16, ValueError),
        ("client_max_window_bits", True, TypeError),
        ("client_max_window_bits", 12.0, TypeError),
        ("client_max_window_bits", 7, ValueError),
        ("client_max_window_bits", 16, ValueError),
        ("level", -1, ValueError),
        ("level", 10, ValueError),
        ("level", "best", TypeError),
        ("memory_level", 0, ValueError),
        ("memory_level", 10, ValueError),
        ("threshold", -1, ValueError),
        ("threshold", None, TypeError),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    option: str, value: object, error: type[Exception]
) -> None:
    arguments: dict[str, Any] = {option: value}
    with pytest.raises(error, match=option):
        PermessageDeflate(**arguments)


# -- negotiation (section 7.1) ------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "offer"),
    [
        ({}, "permessage-deflate; client_max_window_bits"),
        ({"client_max_window_bits": None}, "permessage-deflate"),
        ({"client_max_window_bits": 10}, "permessage-deflate; client_max_window_bits=10"),
        # zlib cannot keep to 8 of ours, which the server may do of its own.
        ({"client_max_window_bits": 8}, "permessage-deflate; client_max_window_bits=9"),
        (
            {"server_max_window_bits": 8},
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits",
        ),
        (
            {"server_no_context_takeover": True, "client_max_window_bits": None},
            "permessage-deflate; server_no_context_takeover",
        ),
        (
            {"client_no_context_takeover": True, "client_max_window_bits": None},
            "permessage-deflate; client_no_context_takeover",
        ),
    ],
)
def test_a_client_offers_what_differs_from_the_defaults(
    options: dict[str, Any], offer: str
) -> None:
    assert format_offers([PermessageDeflate(**options)]) == offer


NO_TAKEOVER = {"server_no_context_takeover": True, "client_no_context_takeover": True}
SMALL = {"server_max_window_bits": 11, "client_max_window_bits": 12}


@pytest.mark.parametrize(
    ("options", "offer", "answer"),
    [
        ({}, "", ""),
        ({}, "client_max_window_bits", ""),
        ({}, "client_max_window_bits=15", ""),
        ({}, "client_max_window_bits=10", "client_max_window_bits=10"),
        ({}, "client_max_window_bits=8", "client_max_window_bits=8"),
        ({}, "server_max_window_bits=15", "server_max_window_bits=15"),
        ({}, "server_max_window_bits=10", "server_max_window_bits=10"),
        ({}, 'server_max_window_bits="10"', "server_max_window_bits=10"),
        ({}, "server_max_window_bits=9", "server_max_window_bits=9"),
        ({}, "server_no_context_takeover", "server_no_context_takeover"),
        ({}, "client_no_context_takeover", "client_no_context_takeover"),
        (
            {},
            "client_no_context_takeover; server_no_context_takeover",
            "server_no_context_takeover; client_no_context_takeover",
        ),
        # The server may ask for less than was offered, of itself and of a client that can.
        (NO_TAKEOVER, "", "server_no_context_takeover; client_no_context_takeover"),
        (SMALL, "", "server_max_window_bits=11"),
        (
            SMALL,
            "client_max_window_bits",
            "server_max_window_bits=11; client_max_window_bits=12",
        ),
        (
            SMALL,
            "client_max_window_bits=10; server_max_window_bits=10",
            "server_max_window_bits=10; client_max_window_bits=10",
        ),
        (
            SMALL,
            "client_max_window_bits=14; server_max_window_bits=14",
            "server_max_window_bits=11; client_max_window_bits=12",
        ),
        ({"client_max_window_bits": None}, "client_max_window_bits", ""),
        ({"client_max_window_bits": 8}, "client_max_window_bits", "client_max_window_bits=8"),
        ({"server_max_window_bits": 8}, "", "server_max_window_bits=9"),
        ({"server_max_window_bits": 8}, "server_max_window_bits=9", "server_max_window_bits=9"),
    ],
)
def test_a_server_answers_an_offer(options: dict[str, Any], offer: str, answer: str) -> None:
    name = "permessage-deflate"
    header, codecs = negotiate(
        [f"{name}; {offer}" if offer else name], [PermessageDeflate(**options)]
    )
    assert header == (f"{name}; {answer}" if answer else name)
    assert len(codecs) == 1


@pytest.mark.parametrize(
    "offer",
    [
        "unknown",
        "unknown=1",
        "SERVER_NO_CONTEXT_TAKEOVER",
        "server_no_context_takeover; server_no_context_takeover",
        "server_no_context_takeover=true",
        "client_no_context_takeover; client_no_context_takeover",
        "client_no_context_takeover=1",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=8",  # more than zlib can do
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits=+10",
        "server_max_window_bits=1_0",
        "server_max_window_bits=ten",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=09",
        "client_max_window_bits; client_max_window_bits=10",
        "client_max_window_bits; unknown",
    ],
)
def test_a_server_declines_a_bad_offer_and_takes_the_next(offer: str) -> None:
    extensions = [PermessageDeflate()]
    assert negotiate([f"permessage-deflate; {offer}"], extensions) == (None, ())
    fallback = f"permessage-deflate; {offer}, permessage-deflate"
    assert negotiate([fallback], extensions)[0] == "permessage-deflate"


def test_a_server_answers_the_examples_of_the_rfc() -> None:
    preferred = (
        "permessage-deflate; client_max_window_bits; server_max_window_bits=10,"
        " permessage-deflate; client_max_window_bits"
    )
    header, _ = negotiate([preferred], [PermessageDeflate()])
    assert header == "permessage-deflate; server_max_window_bits=10"


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({}, ""),
        ({}, "server_no_context_takeover"),
        ({}, "client_no_context_takeover"),
        ({}, "server_max_window_bits=8"),
        ({}, "server_max_window_bits=15"),
        ({}, "client_max_window_bits=8"),
        ({}, "client_max_window_bits=15"),
        (SMALL, "server_max_window_bits=11; client_max_window_bits=12"),
        (SMALL, "server_max_window_bits=8"),
        (SMALL, "client_max_window_bits=9; server_max_window_bits=9"),
        (NO_TAKEOVER, "server_no_context_takeover"),
        (NO_TAKEOVER, "client_no_context_takeover; server_no_context_takeover"),
        ({"client_max_window_bits": None}, ""),
        ({"client_max_window_bits": 8}, "client_max_window_bits=9"),
        ({"client_max_window_bits": 8}, "client_max_window_bits=8"),
    ],
)
def test_a_client_takes_an_answer_that_fits_its_offer(
    options: dict[str, Any], answer: str
) -> None:
    header = f"permessage-deflate; {answer}" if answer else "permessage-deflate"
    assert len(confirm([header], [PermessageDeflate(**options)])) == 1


@pytest.mark.parametrize(
    ("options", "answer", "reason"),
    [
        ({}, "unknown", "unknown"),
        ({}, "server_no_context_takeover=1", "bad or unknown server_no_context_takeover"),
        (
            {},
            "client_no_context_takeover; client_no_context_takeover",
            "client_no_context_takeover twice",
        ),
        ({}, "server_max_window_bits", "bad or unknown server_max_window_bits"),
        ({}, "server_max_window_bits=16", "bad or unknown server_max_window_bits"),
        # Only an offer may have it without a value.
        ({}, "client_max_window_bits", "bad or unknown client_max_window_bits"),
        ({}, "client_max_window_bits=7", "bad or unknown client_max_window_bits"),
        ({"client_max_window_bits": None}, "client_max_window_bits=15", "not offered"),
        (SMALL, "", "a larger server_max_window_bits"),
        (SMALL, "server_max_window_bits=12", "a larger server_max_window_bits"),
        (
            SMALL,
            "server_max_window_bits=11; client_max_window_bits=13",
            "a larger client_max_window_bits",
        ),
        (NO_TAKEOVER, "", "insists on context takeover"),
        (NO_TAKEOVER, "client_no_context_takeover", "insists on context takeover"),
    ],
)
def test_a_client_fails_the_handshake_on_an_answer_that_does_not_fit(
    options: dict[str, Any], answer: str, reason: str
) -> None:
    header = f"permessage-deflate; {answer}" if answer else "permessage-deflate"
    with pytest.raises(HandshakeError, match=reason):
        confirm([header], [PermessageDeflate(**options)])


# -- the examples of section 7.2.3 --------------------------------------------------------


def test_hello_is_compressed_as_in_the_rfc() -> None:
    ours, _ = agree()
    assert ours.encode(TextFrame(b"Hello")) == TextFrame(HELLO, rsv1=True)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("f2 48 cd c9 c9 07 00", id="one block"),
        pytest.param("f2 48 05 00 00 00 ff ff ca c9 c9 07 00", id="two blocks"),
        pytest.param("00 05 00 fa ff 48 65 6c 6c 6f 00", id="no compression"),
        pytest.param("f3 48 cd c9 c9 07 00 00", id="BFINAL"),
        pytest.param("f3 48 cd c9 c9 07 00", id="BFINAL and no more"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_hello_is_decompressed_in_all_its_forms(payload: str, size: int) -> None:
    _, theirs = agree()
    message = bytes.fromhex(payload)
    frames = in_fragments(message, range(size, len(message), size), TextFrame, rsv1=True)
    for _ in range(3):  # nothing of it is left over for the next one
        assert decode(theirs, *frames) == b"Hello"
    assert decode(theirs, compressed(HELLO)) == b"Hello"


def test_the_window_is_kept_for_the_next_message() -> None:
    _, theirs = agree()
    assert decode(theirs, compressed(HELLO)) == b"Hello"
    assert decode(theirs, compressed(bytes.fromhex("f2 00 11 00 00"))) == b"Hello"


@pytest.mark.parametrize("payload", [b"\x00", b"\x02\x00", b"\x03\x00\x00", b""])
def test_an_empty_message_is_decompressed(payload: bytes) -> None:
    _, theirs = agree()
    for _ in range(2):
        assert decode(theirs, compressed(HELLO, TextFrame)) == b"Hello"
        assert decode(theirs, compressed(payload, TextFrame)) == b""
        fragments = compressed(b"", fin=False), ContinuationFrame(payload)
        assert decode(theirs, *fragments) == b""


def test_an_empty_message_is_compressed_to_an_empty_block() -> None:
    ours, _ = agree()
    for _ in range(2):
        assert ours.encode(TextFrame(b"")) == TextFrame(b"\x00", rsv1=True)


# -- which messages are compressed --------------------------------------------------------


def test_the_threshold_decides_for_a_message_in_one_frame() -> None:
    ours, _ = agree(PermessageDeflate(threshold=4))
    assert not ours.encode(TextFrame(b"abc")).rsv1
    assert ours.encode(TextFrame(b"abcd")).rsv1


def test_a_message_in_fragments_is_above_any_threshold() -> None:
    ours, theirs = agree(PermessageDeflate(threshold=1000))
    frames = [ours.encode(frame) for frame in in_fragments(b"abc", [1], TextFrame)]
    assert [frame.rsv1 for frame in frames] == [True, False]
    assert decode(theirs, *frames) == b"abc"


def test_a_message_may_go_uncompressed_and_leaves_the_window_alone() -> None:
    ours, theirs = agree(PermessageDeflate(threshold=4))
    text = b"the quick brown fox jumps over the lazy dog"
    first = ours.encode(TextFrame(text))
    for frame in (TextFrame(b"x"), *in_fragments(b"a" * 40_000, [7, 9])):
        assert ours.encode(frame, compress=False) is frame
    second = ours.encode(TextFrame(text))
    assert len(second.payload) < len(first.payload)  # as the first is still known
    assert decode(theirs, first) == text
    for frame in (TextFrame(b"x"), *in_fragments(b"a" * 40_000, [7, 9])):
        assert list(theirs.decode(frame)) == [frame]
    assert decode(theirs, second) == text


def test_only_the_first_frame_of_a_compressed_message_has_rsv1() -> None:
    ours, _ = agree()
    frames = [ours.encode(frame) for frame in in_fragments(b"abcd", [1, 2])]
    assert [frame.rsv1 for frame in frames] == [True, False, False]
    assert [frame.fin for frame in frames] == [False, False, True]
    assert [type(frame) for frame in frames] == [
        BinaryFrame,
        ContinuationFrame,
        ContinuationFrame,
    ]


def test_each_fragment_can_be_read_when_it_arrives() -> None:
    ours, theirs = agree()
    frames = in_fragments(b"abcdefgh", [2, 5])
    for frame in frames:
        pieces = theirs.decode(ours.encode(frame))
        assert b"".join(piece.payload for piece in pieces) == frame.payload


def test_reserved_bits_of_other_extensions_pass_through() -> None:
    ours, theirs = agree()
    frame = TextFrame(bytes(CHUNK + 1), rsv2=True, rsv3=True)
    encoded = ours.encode(frame)
    assert (encoded.rsv1, encoded.rsv2, encoded.rsv3) == (True, True, True)
    first, second = theirs.decode(encoded)
    assert (first.rsv1, first.rsv2, first.rsv3) == (False, True, True)
    assert (second.rsv1, second.rsv2, second.rsv3) == (False, False, False)


class OwnFrame(DataFrame):
    opcode = 3


def test_frames_of_ones_own_are_compressed_too() -> None:
    ours, theirs = agree()
    frame = OwnFrame(b"x" * 100)
    encoded = ours.encode(frame)
    assert type(encoded) is OwnFrame
    assert list(theirs.decode(encoded)) == [frame]


# -- windows and context takeover ---------------------------------------------------------


@pytest.mark.parametrize("bits", range(9, 16))
def test_neither_side_looks_back_further_than_agreed(bits: int) -> None:
    noise = random.Random(bits).randbytes(2**bits + 1)
    options = PermessageDeflate(
        server_max_window_bits=bits, client_max_window_bits=bits, threshold=0
    )
    for sender in agree(options):
        for _ in range(2):  # the second time it is just out of reach
            payload = sender.encode(BinaryFrame(noise)).payload
            assert len(payload) > len(noise)


@pytest.mark.parametrize(("forgets", "smaller"), [(True, False), (False, True)])
def test_context_takeover_makes_a_message_said_twice_smaller(
    forgets: bool, smaller: bool
) -> None:
    client = PermessageDeflate(client_no_context_takeover=forgets, threshold=0)
    server = PermessageDeflate(server_no_context_takeover=forgets, threshold=0)
    text = random.Random(1).randbytes(100)
    for sender in agree(client, server):
        first, second = (sender.encode(BinaryFrame(text)).payload for _ in range(2))
        assert (len(second) < len(first)) is smaller
        if forgets:
            assert first == second
            assert inflate(second) == text


def test_a_client_keeps_its_hint_whatever_the_server_answers() -> None:
    options = PermessageDeflate(client_no_context_takeover=True, client_max_window_bits=9)
    (codec,) = confirm(["permessage-deflate"], [options])
    text = random.Random(1).randbytes(600) * 2
    first, second = (codec.encode(BinaryFrame(text)).payload for _ in range(2))
    assert first == second
    assert len(first) > len(text)  # what came 600 bytes ago is out of reach


def test_a_client_that_is_told_to_use_8_bits_sends_uncompressed() -> None:
    (codec,) = confirm(["permessage-deflate; client_max_window_bits=8"], [PermessageDeflate()])
    for frame in (BinaryFrame(b"x" * 1000), *in_fragments(b"abc", [1])):
        assert codec.encode(frame) is frame
    assert decode(codec, compressed(HELLO)) == b"Hello"


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_peer_that_takes_9_bits_for_8_is_understood(role: str, library: Any) -> None:
    # As every zlib did before 1.2.9.
    if role == "client":
        asked = PermessageDeflate(server_max_window_bits=8)
        (codec,) = confirm(["permessage-deflate; server_max_window_bits=8"], [asked])
    else:
        offer = ["permessage-deflate; client_max_window_bits=8"]
        _, (codec,) = negotiate(offer, [PermessageDeflate()])
    sender = library.compressobj(9, library.DEFLATED, -10)
    text = random.Random(1).randbytes(400)  # so that the second one looks back 400 bytes
    for _ in range(2):
        payload = sender.compress(text) + sender.flush(library.Z_SYNC_FLUSH)
        assert decode(codec, compressed(payload[:-4])) == text
    assert len(payload) < 100


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_peer_that_is_to_forget_may_not_look_back(role: str) -> None:
    if role == "client":
        answer = ["permessage-deflate; server_no_context_takeover"]
        (codec,) = confirm(answer, [PermessageDeflate()])
    else:
        offer = ["permessage-deflate; client_no_context_takeover"]
        _, (codec,) = negotiate(offer, [PermessageDeflate()])
    assert decode(codec, compressed(HELLO)) == b"Hello"
    with pytest.raises(ProtocolError, match="corrupt"):
        decode(codec, compressed(bytes.fromhex("f2 00 11 00 00")))


class CountingLibrary:
    """zlib, with a count of the states that it makes."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.made: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def compressobj(self, *args: int) -> Any:
        self.made.append("compressobj")
        return self._library.compressobj(*args)

    def decompressobj(self, *args: int) -> Any:
        self.made.append("decompressobj")
        return self._library.decompressobj(*args)


def test_no_state_is_made_before_it_is_needed(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = CountingLibrary(library)
    monkeypatch.setattr(deflate, "zlib", counting)
    ours, theirs = agree(PermessageDeflate(threshold=10))
    list(theirs.decode(ours.encode(BinaryFrame(b"x"))))
    assert counting.made == []
    frame = ours.encode(BinaryFrame(b"x" * 10))
    assert counting.made == ["compressobj"]
    for _ in range(2):
        list(theirs.decode(frame))
    assert counting.made == ["compressobj", "decompressobj"]


# -- what the peer may do wrong -----------------------------------------------------------


def test_rsv1_on_a_continuation_is_refused() -> None:
    _, theirs = agree()
    list(theirs.decode(BinaryFrame(b"x", fin=False)))
    with pytest.raises(ProtocolError, match="RSV1") as caught:
        list(theirs.decode(ContinuationFrame(HELLO, rsv1=True)))
    assert caught.value.code is CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"\xff" * 100,
        HELLO + b"\xff" * 10,
        b"\xf3\x48\xcd\xc9\xc9\x07\x00" + b"\xff" * 10,  # behind a final block
        b"\xf2\x00\x11\x00\x00",  # looks back further than there is anything
    ],
)
@pytest.mark.parametrize("fin", [True, False])
def test_corrupt_data_is_refused(payload: bytes, fin: bool) -> None:
    _, theirs = agree()
    frames = (compressed(payload, fin=fin), ContinuationFrame(b"\x00"))
    with pytest.raises(ProtocolError, match="corrupt") as caught:
        decode(theirs, *frames)
    assert caught.value.code is CloseCode.INVALID_DATA


@given(payload=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_data_is_decompressed_or_refused(payload: bytes, cuts: list[int]) -> None:
    _, theirs = agree()
    with contextlib.suppress(ProtocolError):
        decode(theirs, *in_fragments(payload, cuts, rsv1=True))


def zeros(size: int) -> bytes:
    sender = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (sender.compress(bytes(size)) + sender.flush(zlib.Z_SYNC_FLUSH))[:-4]


class MeasuringLibrary(CountingLibrary):
    """zlib, with a count of the bytes that it inflates and of those that it copies."""

    def __init__(self, library: Any) -> None:
        super().__init__(library)
        self.inflated = self.copied = 0

    def decompressobj(self, *args: int) -> Any:
        return MeasuringInflater(self, super().decompressobj(*args))


class MeasuringInflater:
    def __init__(self, library: MeasuringLibrary, inflater: Any) -> None:
        self._library = library
        self._inflater = inflater

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inflater, name)

    def decompress(self, data: bytes, max_length: int) -> Any:
        result = self._inflater.decompress(data, max_length)
        self._library.inflated += len(result)
        self._library.copied += len(self.unconsumed_tail) + len(self.unused_data)
        return result


@pytest.fixture
def measuring(library: Any, monkeypatch: pytest.MonkeyPatch) -> MeasuringLibrary:
    measuring = MeasuringLibrary(library)
    monkeypatch.setattr(deflate, "zlib", measuring)
    return measuring


def test_a_bomb_is_inflated_one_chunk_at_a_time(measuring: MeasuringLibrary) -> None:
    _, theirs = agree()
    pieces = theirs.decode(compressed(zeros(10 * CHUNK)))
    assert measuring.inflated == 0
    for count in range(1, 11):
        assert len(next(pieces).payload) == CHUNK
        assert measuring.inflated == count * CHUNK


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b"", id="plain"),
        pytest.param(TAIL + b"\x03\x00", id="final block"),
        pytest.param(TAIL + b"\x03\x00\x00", id="final block and another"),
    ],
)
def test_a_message_about_as_long_as_a_chunk_comes_whole(extra: int, end: bytes) -> None:
    _, theirs = agree()
    payload = zeros(CHUNK + extra) + end
    for _ in range(2):
        assert decode(theirs, compressed(payload)) == bytes(CHUNK + extra)


def test_all_that_can_be_read_of_a_piece_is_read_at_once() -> None:
    payload = zeros(CHUNK + 300)
    for cut in range(len(payload)):
        _, theirs = agree()
        piece = compressed(payload[:cut], fin=False)
        expected = zlib.decompressobj(-15).decompress(payload[:cut])
        assert decode(theirs, piece) == expected


def test_a_bomb_of_final_blocks_costs_no_more_than_its_size(
    measuring: MeasuringLibrary,
) -> None:
    # zlib copies what is behind a final block, and here that is nearly all, each time.
    _, theirs = agree()
    blocks = 20_000
    assert decode(theirs, compressed(b"\x03\x00" * blocks + b"\x00")) == b""
    assert measuring.made.count("decompressobj") == blocks + 1
    assert measuring.copied <= blocks * 1024 + 2**17


# -- there and back -----------------------------------------------------------------------


def with_options(chosen: dict[str, Any]) -> PermessageDeflate:
    return PermessageDeflate(**{"threshold": 0, **chosen})


options = st.fixed_dictionaries(
    {},
    optional={
        "server_no_context_takeover": st.booleans(),
        "client_no_context_takeover": st.booleans(),
        "server_max_window_bits": st.integers(9, 15),
        "client_max_window_bits": st.integers(8, 15) | st.none(),
        "level": st.integers(0, 9),
        "memory_level": st.integers(1, 9),
        "threshold": st.integers(0, 20),
    },
).map(with_options)

payloads = st.binary(max_size=300) | st.builds(
    lambda part, times, end: part * times + end,
    st.binary(min_size=1, max_size=50),
    st.integers(0, 3000),
    st.binary(max_size=5),
)
cuts = st.lists(st.integers(0, 2**18), max_size=4)
messages = st.lists(st.tuples(payloads, cuts, cuts, st.booleans()), max_size=4)


def in_pieces(frame: Frame, cuts: Iterable[int]) -> list[Frame]:
    """Cut a frame as it arrives: what follows the first piece is a continuation."""
    pieces = in_fragments(frame.payload, cuts, type(frame), rsv1=frame.rsv1)
    if frame.fin:
        return pieces
    *others, last = pieces
    return [*others, type(last)(last.payload, fin=False, rsv1=last.rsv1)]


@given(client=options, server=options, messages=messages, upstream=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_message_in_any_fragments_and_pieces_comes_back_as_it_was(
    client: PermessageDeflate,
    server: PermessageDeflate,
    messages: list[tuple[bytes, list[int], list[int], bool]],
    upstream: bool,
) -> None:
    ours, theirs = agree(client, server)
    sender, receiver = (ours, theirs) if upstream else (theirs, ours)
    for payload, fragment_cuts, piece_cuts, compress in messages:
        frames = in_fragments(payload, fragment_cuts)
        encoded = [sender.encode(frame, compress=compress) for frame in frames]
        pieces = [piece for frame in encoded for piece in in_pieces(frame, piece_cuts)]
        assert decode(receiver, *pieces) == payload


def test_a_parsed_frame_is_decoded_like_any_other() -> None:
    frame, end = FrameParser().parse(bytes.fromhex("c1 07") + HELLO) or (None, 0)
    assert isinstance(frame, TextFrame)
    assert end == 9
    _, theirs = agree()
    assert decode(theirs, frame) == b"Hello"


# -- the choice of zlib -------------------------------------------------------------------


def test_zlib_ng_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    if "zlib-ng" in LIBRARIES:
        assert deflate.find_zlib() is LIBRARIES["zlib-ng"]
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", None)
    assert deflate.find_zlib() is zlib


def test_both_libraries_are_alike_in_what_is_asked_of_them(library: Any) -> None:
    refused: list[Callable[[], object]] = [
        lambda: library.compressobj(1, library.DEFLATED, -8),  # hence what is done about 8
        lambda: library.decompressobj(-7),
    ]
    for make in refused:
        with pytest.raises(ValueError, match="Invalid initialization option"):
            make()
    inflater = library.decompressobj(-15)
    assert inflater.decompress(b"\xf3\x48\xcd\xc9\xc9\x07\x00rest", CHUNK) == b"Hello"
    assert inflater.eof
    assert inflater.unused_data == b"rest"
    inflater = library.decompressobj(-15)
    payload = zeros(10_000)
    parts = [inflater.decompress(payload, 4000)]
    while inflater.unconsumed_tail or len(parts[-1]) == 4000:
        parts.append(inflater.decompress(inflater.unconsumed_tail, 4000))
    assert b"".join(parts) == bytes(10_000)
