from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from tests.endpoint.peer import stream_pair
from trio_wsendpoint.endpoint import (
    EndpointKeywords,
    EndpointOptions,
    HandshakeKeywords,
    HandshakeOptions,
    open_endpoint,
    parse_keywords,
)
from trio_wsendpoint.protocol import (
    BinaryFrame,
    Codec,
    ControlFrame,
    DataFrame,
    Extension,
    FrameParser,
    PermessageDeflate,
    PingFrame,
    Role,
)


class Nudge(ControlFrame):
    __slots__ = ()
    opcode = 11


class Note(DataFrame):
    __slots__ = ()
    opcode = 3


class Picky(Extension):
    """Does not accept what it offers itself."""

    name = "picky"

    def __init__(self, offers: int) -> None:
        self._offers = offers

    def offers(self) -> list[list[tuple[str, str | None]]]:
        return [[] for _ in range(self._offers)]

    def accept(self, _: object) -> None:
        return None

    def confirm(self, _: object) -> Codec:
        return Codec()


async def handle(*_: object) -> None:
    pass


PARSER = FrameParser(frame_types=[Nudge, Note])


def test_the_keywords_are_those_of_the_options() -> None:
    ours = set(EndpointKeywords.__annotations__)
    assert ours == {field.name for field in attrs.fields(EndpointOptions) if field.init}
    theirs = set(HandshakeKeywords.__annotations__) - ours
    assert theirs == {field.name for field in attrs.fields(HandshakeOptions)}


def test_the_defaults_are_those_of_the_design() -> None:
    options, handshake = parse_keywords({})
    assert (options.max_pings, options.ping_interval) == (3, 20)
    assert (options.close_timeout, options.cancel_timeout) == (10, 1)
    assert options.max_message_size == 2**20
    assert options.extensions == ()
    assert options.on_data_frame is None
    assert options.control_handlers == {}
    assert not options.raise_on_close
    assert handshake == HandshakeOptions(handshake_timeout=10, subprotocols=(), headers=())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_pings", 1),
        ("ping_interval", math.inf),
        ("ping_interval", 0.001),
        ("close_timeout", 0),
        ("cancel_timeout", math.inf),
        ("max_message_size", None),
        ("max_message_size", 1),
        ("extensions", [PermessageDeflate()]),
        ("parser", PARSER),
        ("on_data_frame", print),
        ("raise_on_close", True),
    ],
)
def test_good_arguments_are_kept(name: str, value: object) -> None:
    options = EndpointOptions(**{name: value})  # type: ignore[arg-type]
    kept = getattr(options, name)
    assert (list(kept) if name == "extensions" else kept) == value


BAD: list[tuple[str, object, type[Exception]]] = [
    *[("max_pings", value, TypeError) for value in (None, "3", 3.0, True)],
    *[("max_pings", value, ValueError) for value in (0, -1)],
    *[
        (name, value, TypeError)
        for name in ("ping_interval", "close_timeout", "cancel_timeout", "handshake_timeout")
        for value in (None, "3", True, 1j)
    ],
    *[
        (name, value, ValueError)
        for name in ("ping_interval", "close_timeout", "cancel_timeout", "handshake_timeout")
        for value in (-1, -0.5, math.nan, -math.inf)
    ],
    ("ping_interval", 0, ValueError),
    *[("max_message_size", value, TypeError) for value in ("1", 1.5, True)],
    *[("max_message_size", value, ValueError) for value in (0, -1)],
    *[("extensions", value, TypeError) for value in (5, PermessageDeflate(), ["x"], None)],
    *[("parser", value, TypeError) for value in (None, FrameParser, "x")],
    *[("on_data_frame", value, TypeError) for value in (5, "x")],
    *[("control_handlers", value, TypeError) for value in (None, [Nudge], {Nudge: 5})],
    *[
        ("control_handlers", {key: handle}, ValueError)
        for key in (PingFrame, BinaryFrame, Note, "x")
    ],
    *[("raise_on_close", value, TypeError) for value in (None, 1, "yes")],
    ("max_ping", 3, TypeError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_a_bad_argument_is_named(name: str, value: object, error: type[Exception]) -> None:
    keywords: dict[str, Any] = {"parser": PARSER, name: value}
    with pytest.raises(error, match=name):
        parse_keywords(keywords)


@pytest.mark.parametrize("offers", [0, 1])
async def test_extensions_that_do_not_accept_themselves_need_a_handshake(offers: int) -> None:
    ours, theirs = stream_pair("memory")
    with pytest.raises(ValueError, match=r"extensions: .* does not accept its own offer"):
        open_endpoint(ours, Role.CLIENT, extensions=[Picky(offers)])
    await ours.send_all(b"the stream is still ours")
    assert await theirs.receive_some() == b"the stream is still ours"


@pytest.mark.parametrize("role", Role)
def test_without_a_handshake_both_sides_have_the_same_codecs(role: Role) -> None:
    (codec,) = EndpointOptions(extensions=[PermessageDeflate()]).assumed_codecs(role)
    assert codec.rsv == 0x40
