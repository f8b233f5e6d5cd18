"""What came and went, as a person wants to see it."""

from __future__ import annotations

import json
import re
import time
from typing import Final

import attrs

SHOWN_BYTES: Final = 64
"""Bytes of a binary message that are shown."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_JSON_TOKEN: Final = re.compile(
    r'(?P<string>"(?:\\.|[^"\\])*")(?P<colon>\s*:)?'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|(?P<word>true|false|null)"
)
_COLOURS: Final = {"key": "36", "string": "32", "number": "33", "word": "35", "dim": "90"}


@attrs.frozen
class Painter:
    """Makes lines of what happens.

    Attributes:
        colour: Whether with colours.
        json: Whether text that is JSON is shown as such.
    """

    colour: bool = False
    json: bool = False

    def received(self, message: str | bytes) -> str:
        """A message that came."""
        return self._stamp("<", self._describe(message))

    def sent(self, message: str | bytes) -> str:
        """A message that went."""
        return self._stamp(">", self._describe(message))

    def bare(self, message: str | bytes) -> str:
        """A message by itself."""
        return self._text(message) if isinstance(message, str) else describe_bytes(message)

    def note(self, text: str) -> str:
        """Anything else that is worth a line."""
        return self._stamp("*", self._paint("dim", printable(text)))

    def _stamp(self, sign: str, text: str) -> str:
        return f"{self._paint('dim', time.strftime('%H:%M:%S'))} {sign} {text}"

    def _describe(self, message: str | bytes) -> str:
        if isinstance(message, str):
            return f"text    {self._text(message)}"
        return f"binary  {describe_bytes(message)}"

    def _text(self, text: str) -> str:
        if self.json:
            try:
                shown = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
            except ValueError:
                pass
            else:
                return self._paint_json(printable(shown))
        return printable(text)

    def _paint_json(self, text: str) -> str:
        def paint(match: re.Match[str]) -> str:
            kind = "key" if match["colon"] else str(match.lastgroup)
            return self._paint(kind, match[0])

        return _JSON_TOKEN.sub(paint, text)

    def _paint(self, kind: str, text: str) -> str:
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if self.colour else text


def printable(text: str) -> str:
    """Text that does nothing to the terminal: what a peer sends must not steer it."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def describe_bytes(data: bytes) -> str:
    """The size of it, and its first bytes."""
    rest = "" if len(data) <= SHOWN_BYTES else " ..."
    unit = "byte" if len(data) == 1 else "bytes"
    return f"{len(data)} {unit}  {data[:SHOWN_BYTES].hex(' ')}{rest}".rstrip()
