"""Extensions (RFC 6455 section 9): what one is, and how they are negotiated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, TypeAlias

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

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
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


# STAND-IN until the negotiation lands
def format_offers(extensions: Sequence[Extension]) -> str | None:
    return None


def negotiate(
    header_values: Sequence[str], extensions: Sequence[Extension]
) -> tuple[str | None, tuple[Codec, ...]]:
    return None, ()


def confirm(header_values: Sequence[str], extensions: Sequence[Extension]) -> tuple[Codec, ...]:
    return ()
