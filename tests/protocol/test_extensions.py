from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.protocol.codecs import ReversingCodec
from trio_wsendpoint.protocol import (
    BinaryFrame,
    CloseCode,
    Codec,
    ContinuationFrame,
    Extension,
    Frame,
    HandshakeError,
    Parameters,
    ProtocolError,
    TextFrame,
    check_extensions,
)
from trio_wsendpoint.protocol.extensions import (
    confirm,
    decode_through,
    format_extension,
    format_offers,
    negotiate,
)
from trio_wsendpoint.protocol.fields import parse_extensions

MALFORMED = "Sec-WebSocket-Extensions is malformed"


@attrs.frozen(slots=False)
class Numbered(Codec):
    """Adds its number to a payload, so that the order of codecs shows."""

    number: int = 0
    rsv: int = 0
    per_message = True

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:  # noqa: ARG002
        return attrs.evolve(frame, payload=frame.payload + b"%d" % self.number)

    def decode(self, frame: Frame) -> Iterator[Frame]:
        assert frame.payload[-1:] == b"%d" % self.number
        yield attrs.evolve(frame, payload=frame.payload[:-1])


@attrs.frozen(slots=False)
class Scripted(Extension):
    """Offers what it is told to, and accepts the offers that are `welcome`."""

    name: str = "x"  # type: ignore[misc] # one class stands for many extensions
    offer: tuple[Parameters, ...] = ((),)
    welcome: Parameters = ()
    codec: Codec = attrs.field(factory=Codec)

    def offers(self) -> Sequence[Parameters]:
        return self.offer

    def accept(self, offer: Parameters) -> tuple[Parameters, Codec] | None:
        return (offer, self.codec) if list(offer) == list(self.welcome) else None

    def confirm(self, answer: Parameters) -> Codec:
        if list(answer) != list(self.welcome):
            raise HandshakeError("not what was offered")
        return self.codec


# -- the header's grammar -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "extensions"),
    [
        ("foo", [("foo", [])]),
        ("foo, bar; baz=2", [("foo", []), ("bar", [("baz", "2")])]),
        ("foo;a;b", [("foo", [("a", None), ("b", None)])]),
        ("foo; a=1; a=2, foo", [("foo", [("a", "1"), ("a", "2")]), ("foo", [])]),
        ('foo; a="b"', [("foo", [("a", "b")])]),
        (r'foo; a="\b\c"', [("foo", [("a", "bc")])]),
        (r'foo; a="!\#$"', [("foo", [("a", "!#$")])]),
        ("foo\t ;\ta =\t1 , bar ", [("foo", [("a", "1")]), ("bar", [])]),
        (", foo,, ,bar,", [("foo", []), ("bar", [])]),
        ("!#$%&'*+-.^_`|~09azAZ", [("!#$%&'*+-.^_`|~09azAZ", [])]),
    ],
)
def test_a_header_is_parsed(header: str, extensions: list[tuple[str, Parameters]]) -> None:
    assert parse_extensions(header) == extensions


@pytest.mark.parametrize(
    "header",
    [
        "",  # 1#extension: there must be one
        " ",
        ",",
        " , ,",
        "foo bar",
        "foo;",
        "foo; ;a",
        "foo;;a",
        "foo;,bar",
        ";a",
        ", ;a",
        "foo=1",
        "=1",
        ",=1",
        '"foo"',
        "foo; a=",
        "foo; =1",
        "foo; a=1=2",
        "foo; a b",
        'foo; "a"=1',
        'foo; a=""',
        'foo; a="b',
        r'foo; a="b\"',
        r'foo; a="b\""',
        'foo; a="b c"',
        'foo; a="b;c"',
        'foo; a="b"c',
        "foo; a='b,c=d'",
        "foo/bar",
        "foo\n",
        "f\xf6\xf6",
        "foo\x00",
    ],
)
def test_a_header_that_breaks_the_grammar_is_refused(header: str) -> None:
    with pytest.raises(HandshakeError, match=MALFORMED):
        parse_extensions(header)


@pytest.mark.parametrize(
    "piece", ["a", "a,", "a;", "a;a,", "a=", '"', '\\"', "\\", " ", "\t,", ",;", 'a;a="a",']
)
@pytest.mark.parametrize("start", ["", "a;", "a;a=", 'a;a="'])
def test_a_long_header_costs_no_more_than_its_length(start: str, piece: str) -> None:
    # In quadratic time this would not end while anyone waits.
    header = start + piece * 50_000
    try:
        extensions = parse_extensions(header)
    except HandshakeError:
        return
    assert sum(1 + len(parameters) for _, parameters in extensions) <= len(header)


tokens = st.text("!#$%&'*+-.^_`|~019abzABZ", min_size=1, max_size=8)
parameters = st.lists(st.tuples(tokens, st.none() | tokens), max_size=4)


@given(st.lists(st.tuples(tokens, parameters), min_size=1, max_size=4))
def test_what_was_formatted_is_parsed_as_it_was(
    extensions: list[tuple[str, Parameters]],
) -> None:
    header = ", ".join(format_extension(*extension) for extension in extensions)
    assert parse_extensions(header) == extensions


@given(st.text('a;,="\\ \t\x00ä') | st.text())
@example('a;a="\\')
def test_any_text_is_parsed_or_refused(header: str) -> None:
    try:
        extensions = parse_extensions(header)
    except HandshakeError:
        return
    again = ", ".join(format_extension(*extension) for extension in extensions)
    assert parse_extensions(again) == extensions


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("a b", []),
        ("", []),
        ("a", [("b\r\nc", None)]),
        ("a", [("b", "c, d")]),
        ("a", [("b", "")]),
    ],
)
def test_what_is_no_token_never_gets_into_a_header(name: str, parameters: Parameters) -> None:
    with pytest.raises(ValueError, match="must be made of tokens"):
        format_extension(name, parameters)


# -- what the application asks for --------------------------------------------------------


def test_extensions_are_kept_in_their_order() -> None:
    first, second = Scripted("b"), Scripted("a")
    assert check_extensions(iter([first, second])) == (first, second)


@pytest.mark.parametrize(
    ("extensions", "error"),
    [
        (Scripted(), TypeError),
        (None, TypeError),
        ([Scripted], TypeError),
        ("x", TypeError),
        ([Scripted("x"), Scripted("y"), Scripted("x")], ValueError),
        ([Scripted("x y")], ValueError),
        ([Scripted(None)], ValueError),  # type: ignore[arg-type]
    ],
)
def test_bad_extensions_are_refused(extensions: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="extensions must"):
        check_extensions(extensions)


class Nameless(Extension):
    def offers(self) -> Sequence[Parameters]:
        return []

    def accept(self, offer: Parameters) -> None:  # noqa: ARG002
        return None

    def confirm(self, answer: Parameters) -> Codec:  # noqa: ARG002
        return Codec()


def test_an_extension_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="extensions must have tokens for names, not None"):
        check_extensions([Nameless()])


# -- negotiation --------------------------------------------------------------------------


def test_a_client_offers_all_in_their_order() -> None:
    wanted = [Scripted("b", offer=([("p", "1"), ("q", None)], [])), Scripted("a")]
    assert format_offers(wanted) == "b; p=1; q, b, a"


@pytest.mark.parametrize("extensions", [[], [Scripted("a", offer=())]])
def test_a_client_that_offers_nothing_sends_no_header(extensions: list[Extension]) -> None:
    assert format_offers(extensions) is None


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ([], None),
        (["a"], "a"),
        (["unknown"], None),
        (["unknown; p, a; q=1"], None),
        (["A"], None),
        (["b; p=1, a"], "b; p=1, a"),  # the client's order, not the server's
        (["b", "unknown, a, b; p=1"], "a, b; p=1"),  # the first offer that is acceptable
        (["a, a"], "a"),
        (["b; p=1, b; p=1"], "b; p=1"),
    ],
)
def test_a_server_accepts_what_it_knows_and_can(offers: list[str], answer: str | None) -> None:
    first, second = Codec(), Codec()
    known = [Scripted("a", codec=first), Scripted("b", welcome=[("p", "1")], codec=second)]
    header, codecs = negotiate(offers, known)
    assert header == answer
    names = [name for name, _ in parse_extensions(answer)] if answer else []
    assert codecs == tuple({"a": first, "b": second}[name] for name in names)


def test_a_server_declines_an_extension_whose_reserved_bit_is_taken() -> None:
    first, second, third = Numbered(1, rsv=0x60), Numbered(2, rsv=0x20), Numbered(3, rsv=0x10)
    known = [
        Scripted("a", codec=first),
        Scripted("b", codec=second),
        Scripted("c", codec=third),
    ]
    assert negotiate(["b, a, c"], known) == ("b, c", (second, third))
    assert negotiate(["c, a, b"], known) == ("c, a", (third, first))


@pytest.mark.parametrize("values", [["a;"], ["a", "b;"], [""], ["a b"]])
def test_a_server_refuses_a_malformed_header(values: list[str]) -> None:
    with pytest.raises(HandshakeError, match=MALFORMED):
        negotiate(values, [Scripted("a")])


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ([], []),
        (["a"], [1]),
        (["b; p=1"], [2]),
        (["b; p=1", "a"], [2, 1]),
        (["a, b; p=1"], [1, 2]),
        (["a", ""], [1]),
    ],
)
def test_a_client_takes_the_codecs_in_the_order_of_the_answer(
    values: list[str], numbers: list[int]
) -> None:
    offered = [
        Scripted("a", codec=Numbered(1, rsv=0x20)),
        Scripted("b", welcome=[("p", "1")], codec=Numbered(2, rsv=0x10)),
    ]
    codecs = confirm(values, offered)
    assert [codec.number for codec in codecs if isinstance(codec, Numbered)] == numbers


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("c", "the server chose extension c, which was not offered"),
        ("A", "the server chose extension A, which was not offered"),
        ("silent", "the server chose extension silent, which was not offered"),
        ("a, a", "the server chose extension a twice"),
        ("a, b", "extension b claims a reserved bit that is taken"),
        ("a; p", "not what was offered"),
        ("a;", MALFORMED),
        ("", MALFORMED),
    ],
)
def test_a_client_fails_the_handshake_on_an_answer_that_does_not_fit(
    value: str, reason: str
) -> None:
    offered = [
        Scripted("a", codec=Numbered(1, rsv=0x20)),
        Scripted("b", codec=Numbered(2, rsv=0x30)),
        Scripted("silent", offer=()),
    ]
    with pytest.raises(HandshakeError, match=reason):
        confirm([value], offered)


# -- codecs at work -----------------------------------------------------------------------


def test_a_plain_codec_leaves_frames_as_they_are() -> None:
    frame = TextFrame(b"x")
    assert Codec().encode(frame) is frame
    assert list(Codec().decode(frame)) == [frame]


def test_frames_go_in_through_the_codecs_in_reverse_order() -> None:
    codecs = (Numbered(1), Numbered(2))
    frame: Frame = TextFrame(b"x")
    for codec in codecs:
        frame = codec.encode(frame)
    assert frame == TextFrame(b"x12")
    assert list(decode_through(codecs, frame, 10)) == [TextFrame(b"x")]


def test_frames_with_no_codecs_come_out_as_they_are() -> None:
    assert list(decode_through((), TextFrame(b"x"), 10)) == [TextFrame(b"x")]


class SplittingCodec(Codec):
    """Yields a frame byte by byte, and counts."""

    per_message = True
    made = 0

    def decode(self, frame: Frame) -> Iterator[Frame]:
        for at in range(len(frame.payload)):
            self.made += 1
            piece = frame.payload[at : at + 1]
            last = at == len(frame.payload) - 1
            kind = ContinuationFrame if at else type(frame)
            yield kind(piece, fin=frame.fin and last, rsv3=frame.rsv3 and not at)


@pytest.mark.parametrize("fin", [True, False])
def test_a_codec_that_must_see_frames_whole_does_so_behind_one_that_splits_them(
    fin: bool,
) -> None:
    frame = BinaryFrame(b"abc", fin=fin, rsv3=True)
    decoded = list(decode_through((ReversingCodec(), SplittingCodec()), frame, 3))
    assert decoded == [BinaryFrame(b"cba", fin=fin)]


def test_nothing_is_decoded_before_it_is_asked_for() -> None:
    codec = SplittingCodec()
    frames = decode_through((Codec(), codec), BinaryFrame(b"abc"), 3)
    assert codec.made == 0
    frames = decode_through((codec,), BinaryFrame(b"abc"), 3)
    next(frames)
    assert codec.made == 1


def test_a_frame_put_together_again_is_limited_in_size() -> None:
    codec = SplittingCodec()
    with pytest.raises(ProtocolError, match="a frame of more than 3 bytes") as caught:
        list(decode_through((ReversingCodec(), codec), BinaryFrame(b"x" * 1000), 3))
    assert caught.value.code is CloseCode.MESSAGE_TOO_BIG
    assert codec.made == 4
