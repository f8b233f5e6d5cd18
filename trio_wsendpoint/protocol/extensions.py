"""Extensions (RFC 6455 section 9): what one is, and how they are negotiated."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, TypeAlias

from .errors import HandshakeError
from .frames import Frame

Parameters: TypeAlias = Sequence[tuple[str, str | None]]
"""An extension's parameters as they stand in the header; None for one without a value."""


class Codec:
    """An extension at work on one connection: it transforms data frames out and in.

    What the negotiation of an `Extension` ends in. Subclasses override what they need.

    Attributes:
        rsv: The reserved bits it claims, where they stand in a frame's first byte
            (rsv1 is 0x40, rsv2 0x20, rsv3 0x10).
        per_message: True if it works on a message whatever its fragments are, so that
            `decode` may be handed a frame's payload in pieces, the later ones as
            continuation frames. False if it must see each frame whole.
    """

    rsv: int = 0
    per_message: bool = False

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:  # noqa: ARG002
        """Transform a data frame on its way out.

        Args:
            frame: The frame as the application, or the extension before this one, made it.
            compress: False if the application asked for this message to go uncompressed;
                the same for all frames of a message.
        """
        return frame

    def decode(self, frame: Frame) -> Iterator[Frame]:
        """Transform a data frame on its way in, back to what `encode` was given.

        It may yield one frame as several of bounded size (the later ones as continuations),
        so that whoever consumes them can stop at a limit: work is done only when the next
        frame is asked for. The reserved bits it claims must be cleared.

        Raises:
            ProtocolError: the frame cannot be decoded; carries the close code.
        """
        yield frame


class Extension(ABC):
    """An extension as the application asks for it; it holds no state of a connection.

    Attributes:
        name: The token that names it in `Sec-WebSocket-Extensions`.
    """

    name: ClassVar[str]

    @abstractmethod
    def offers(self) -> Sequence[Parameters]:
        """The client's offers, the most wanted first (RFC 6455 section 9.1)."""

    @abstractmethod
    def accept(self, offer: Parameters) -> tuple[Parameters, Codec] | None:
        """The server's answer to one offer, with the codec for it; None declines the offer."""

    @abstractmethod
    def confirm(self, answer: Parameters) -> Codec:
        """The client's codec for what the server answered.

        Raises:
            HandshakeError: the answer does not fit what was offered.
        """


# One piece of the header, with the white space before it. No two alternatives begin alike,
# and none can match in two ways, so the time is linear whatever comes.
_PIECE = re.compile(
    r"""[ \t]*(?:(?P<token>[-!#$%&'*+.^_`|~0-9A-Za-z]+)"""
    r"""|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<mark>[,;=])|(?P<end>\Z))"""
)
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_ESCAPE = re.compile(r"\\(.)")


class _Scanner:
    """Reads a header piece by piece, one piece ahead."""

    def __init__(self, header: str) -> None:
        self._header = header
        self._position = 0
        self.advance()

    def advance(self) -> None:
        match = _PIECE.match(self._header, self._position)
        if match is None:
            raise _bad_header(self._position)
        self._position = match.end()
        self.kind = match.lastgroup
        self.text: str = match[self.kind or "end"]

    def take(self, mark: str) -> bool:
        """Go past this mark, if it is next."""
        if self.kind != "mark" or self.text != mark:
            return False
        self.advance()
        return True

    def take_token(self) -> str:
        """Go past a token, which must be next."""
        if self.kind != "token":
            raise _bad_header(self._position)
        token = self.text
        self.advance()
        return token

    def take_value(self) -> str:
        """Go past a token, or a quoted string whose content is one (section 9.1)."""
        if self.kind != "quoted":
            return self.take_token()
        value = _ESCAPE.sub(r"\1", self.text)
        if not _TOKEN.fullmatch(value):
            raise _bad_header(self._position)
        self.advance()
        return value


def _bad_header(position: int) -> HandshakeError:
    return HandshakeError(f"Sec-WebSocket-Extensions is malformed at character {position}")


def parse_extensions(header: str) -> list[tuple[str, Parameters]]:
    """Parse a `Sec-WebSocket-Extensions` header (RFC 6455 section 9.1).

    Returns:
        The extensions in order, each with its parameters.

    Raises:
        HandshakeError: the header breaks the grammar.
    """
    extensions: list[tuple[str, Parameters]] = []
    scanner = _Scanner(header)
    while scanner.kind != "end":
        if scanner.take(","):
            continue  # "a recipient MUST parse and ignore ... empty list elements"
        name = scanner.take_token()
        parameters: list[tuple[str, str | None]] = []
        while scanner.take(";"):
            parameter = scanner.take_token()
            parameters.append((parameter, scanner.take_value() if scanner.take("=") else None))
        if scanner.kind != "end" and not scanner.take(","):
            raise _bad_header(0)
        extensions.append((name, parameters))
    return extensions


def format_extension(name: str, parameters: Parameters) -> str:
    """Write an extension with its parameters, as it stands in the header."""
    values = (key if value is None else f"{key}={value}" for key, value in parameters)
    return "; ".join((name, *values))


def check_extensions(extensions: Iterable[Extension]) -> tuple[Extension, ...]:
    """Check what the application gave for `extensions`.

    Raises:
        TypeError: it is no iterable of `Extension` objects.
        ValueError: two have the same name.
    """
    if isinstance(extensions, Extension) or not isinstance(extensions, Iterable):
        raise TypeError(f"extensions must be an iterable of extensions, not {extensions!r}")
    result = tuple(extensions)
    for extension in result:
        if not isinstance(extension, Extension):
            raise TypeError(f"extensions must hold Extension objects, not {extension!r}")
    if len({extension.name for extension in result}) < len(result):
        raise ValueError("extensions must not hold two of the same name")
    return result


def format_offers(extensions: Sequence[Extension]) -> str | None:
    """The client's header, or None where it offers nothing."""
    offers = [
        format_extension(extension.name, offer)
        for extension in extensions
        for offer in extension.offers()
    ]
    return ", ".join(offers) or None


def negotiate(
    header_values: Sequence[str], extensions: Sequence[Extension]
) -> tuple[str | None, tuple[Codec, ...]]:
    """The server's side: accept what it knows of the client's offers, in their order.

    Of several offers of one extension, the first acceptable one counts. One that claims a
    reserved bit that is taken is declined.

    Returns:
        The header to answer with, or None for no header, and the codecs in its order.

    Raises:
        HandshakeError: the client's header is malformed.
    """
    known = {extension.name: extension for extension in extensions}
    answers: list[str] = []
    codecs: list[Codec] = []
    taken = 0
    for name, offer in parse_extensions(", ".join(header_values)):
        accepted = known[name].accept(offer) if name in known else None
        if accepted is None or accepted[1].rsv & taken:
            continue
        parameters, codec = accepted
        taken |= codec.rsv
        answers.append(format_extension(name, parameters))
        codecs.append(codec)
        del known[name]
    return ", ".join(answers) or None, tuple(codecs)


def confirm(header_values: Sequence[str], extensions: Sequence[Extension]) -> tuple[Codec, ...]:
    """The client's side: check what the server answered.

    Raises:
        HandshakeError: the header is malformed, has an extension that was not offered, or
            one twice, or two that claim the same reserved bit.
    """
    offered = {extension.name: extension for extension in extensions if extension.offers()}
    codecs: list[Codec] = []
    taken = 0
    for name, answer in parse_extensions(", ".join(header_values)):
        # "If a client receives an extension that it did not offer, it MUST _Fail_" (4.1)
        if name not in offered:
            raise HandshakeError(f"Sec-WebSocket-Extensions has {name}, which was not offered")
        codec = offered.pop(name).confirm(answer)
        if codec.rsv & taken:
            raise HandshakeError(f"{name} claims a reserved bit that is taken")
        taken |= codec.rsv
        codecs.append(codec)
    return tuple(codecs)
