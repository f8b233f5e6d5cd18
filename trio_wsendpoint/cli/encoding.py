"""Lines to messages, and messages to what a pipe is given."""

from __future__ import annotations

import base64
import binascii

import attrs

from .exits import CommandError


@attrs.frozen
class Encoding:
    """What a line means.

    Attributes:
        binary: Whether it is a binary message.
        base64: Whether it is one in Base64.
    """

    binary: bool = False
    base64: bool = False

    def to_message(self, line: bytes, number: int) -> str | bytes:
        """The message that a line is.

        Raises:
            CommandError: it is none.
        """
        if self.base64:
            try:
                return base64.b64decode(line, validate=True)
            except binascii.Error as error:
                raise CommandError(f"line {number} is not Base64: {error}") from error
        if self.binary:
            return line
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise CommandError(
                f"line {number} is not UTF-8; --binary sends it as it is"
            ) from None

    def from_message(self, message: str | bytes) -> bytes:
        """What a pipe is given for a message: text as a line, binary as it is."""
        if isinstance(message, str):
            return message.encode() + b"\n"
        return base64.b64encode(message) + b"\n" if self.base64 else message
