"""Extensions (RFC 6455 section 9): what one is, and how they are negotiated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import ClassVar

import attrs

from .close import CloseCode
from .errors import HandshakeError, ProtocolError
from .fields import TOKEN, Parameters, parse_extensions
from .frames import Frame


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

    __slots__ = ()

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

    # The quick ways for whole messages, which most are; one may do without them.

    def encode_message(
        self, frame_type: type[Frame], payload: bytes, compress: bool
    ) -> tuple[int, bytes]:
        """Transform a whole message on its way out, as `encode` does its one frame.

        Returns:
            The first byte of the frame (fin, reserved bits, opcode), and its payload.
        """
        frame = self.encode(frame_type(payload), compress=compress)
        return frame.first_byte, frame.payload

    def sharing_key(self, size: int, compress: bool) -> Hashable:  # noqa: ARG002
        """What codecs have in common that make the same of a whole message.

        A message to many connections is encoded once for all whose codecs have equal keys.

        Args:
            size: Bytes of the message.
            compress: As for `encode`.

        Returns:
            None if it depends on more, such as the messages before: each encodes it by itself.
        """
        return None

    def decode_message(self, first_byte: int, payload: bytes) -> bytes | None:  # noqa: ARG002
        """Transform a whole message that came in one frame, if that is done in one go.

        Args:
            first_byte: The frame's: fin, reserved bits, opcode.
            payload: The frame's.

        Returns:
            The message's payload; None to be asked for the same by `decode` instead.

        Raises:
            ProtocolError: as for `decode`.
        """
        return None


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


def format_extension(name: str, parameters: Parameters) -> str:
    """Write an extension with its parameters, as it stands in the header.

    Raises:
        ValueError: a part of it is not a token, so that it cannot stand there.
    """
    parts = [part for pair in parameters for part in pair if part is not None]
    for part in (name, *parts):
        if not TOKEN.fullmatch(part):
            raise ValueError(f"extension {name!r} must be made of tokens, not {part!r}")
    values = (key if value is None else f"{key}={value}" for key, value in parameters)
    return "; ".join((name, *values))


def check_extensions(extensions: Iterable[Extension]) -> tuple[Extension, ...]:
    """Check what the application gave for `extensions`.

    Raises:
        TypeError: it is no iterable of `Extension` objects.
        ValueError: two have the same name, or one has a name that is not a token.
    """
    if isinstance(extensions, Extension) or not isinstance(extensions, Iterable):
        raise TypeError(f"extensions must be an iterable of extensions, not {extensions!r}")
    result = tuple(extensions)
    for extension in result:
        if not isinstance(extension, Extension):
            raise TypeError(f"extensions must hold Extension objects, not {extension!r}")
        name = getattr(extension, "name", None)
        if not (isinstance(name, str) and TOKEN.fullmatch(name)):
            raise ValueError(f"extensions must have tokens for names, not {name!r}")
    if len({extension.name for extension in result}) < len(result):
        raise ValueError("extensions must not hold two of the same name")
    return result


def format_offers(extensions: Sequence[Extension]) -> str | None:
    """The client's header, or None where it offers nothing.

    Raises:
        ValueError: an offer cannot stand in a header.
    """
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
    reserved bit that is taken is declined, which is to say, left out of the answer.

    Args:
        header_values: Those of the request's `Sec-WebSocket-Extensions` headers.
        extensions: What the application wants, with names that are unique.

    Returns:
        The header to answer with, or None for no header, and the codecs in its order.

    Raises:
        HandshakeError: the client's header is malformed.
    """
    if not header_values:
        return None, ()
    known = {extension.name: extension for extension in extensions}
    answers: list[str] = []
    codecs: list[Codec] = []
    taken = 0
    for name, offer in _parse_all(header_values):
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

    Args:
        header_values: Those of the response's `Sec-WebSocket-Extensions` headers.
        extensions: What was offered by `format_offers`.

    Returns:
        The codecs in the order of the answer, in which they work on what goes out.

    Raises:
        HandshakeError: the header is malformed, has an extension that was not offered, or
            one twice, or two that claim the same reserved bit.
    """
    offered = {extension.name: extension for extension in extensions if extension.offers()}
    codecs: dict[str, Codec] = {}
    taken = 0
    for name, answer in _parse_all(header_values):
        # "the use of an extension that was not present in the client's handshake" fails the
        # connection (section 4.1)
        if name not in offered:
            raise HandshakeError(f"the server chose extension {name}, which was not offered")
        if name in codecs:
            raise HandshakeError(f"the server chose extension {name} twice")
        codec = offered[name].confirm(answer)
        if codec.rsv & taken:
            raise HandshakeError(f"extension {name} claims a reserved bit that is taken")
        taken |= codec.rsv
        codecs[name] = codec
    return tuple(codecs.values())


def _parse_all(header_values: Sequence[str]) -> list[tuple[str, Parameters]]:
    # "MAY appear multiple times ... (which is logically the same as a single
    # |Sec-WebSocket-Extensions| header field that contains all values)" (section 11.3.2)
    return parse_extensions(",".join(header_values)) if header_values else []


def decode_through(
    codecs: Sequence[Codec], frame: Frame, max_frame_size: float
) -> Iterator[Frame]:
    """Decode a data frame by all codecs, the last negotiated first.

    It works as its result is consumed, so that whoever does so can stop at a limit.

    Args:
        codecs: In the order negotiated.
        frame: The frame, or a piece of one if all codecs are `per_message`.
        max_frame_size: Bytes that a frame may have for a codec that must see it whole.

    Raises:
        ProtocolError: a codec cannot decode it, or it is too big.
    """
    if not codecs:
        return iter((frame,))
    frames = codecs[-1].decode(frame)
    for codec in codecs[-2::-1]:
        whole = frames if codec.per_message else _join(frames, max_frame_size)
        frames = _decode_all(codec, whole)
    return frames


def _decode_all(codec: Codec, frames: Iterator[Frame]) -> Iterator[Frame]:
    for frame in frames:
        yield from codec.decode(frame)


def _join(frames: Iterator[Frame], max_size: float) -> Iterator[Frame]:
    """Put the pieces that another codec made of a frame together again."""
    for first in frames:
        payload = bytearray(first.payload)
        fin = first.fin
        for frame in frames:
            payload += frame.payload
            fin = frame.fin
            if len(payload) > max_size:
                raise ProtocolError(
                    f"a frame of more than {max_size} bytes", CloseCode.MESSAGE_TOO_BIG
                )
        yield attrs.evolve(first, payload=payload, fin=fin)
