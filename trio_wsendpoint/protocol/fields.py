"""What stands in header fields: tokens and lists (RFC 9110 section 5.6), extensions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from .errors import HandshakeError

TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
"""A token (RFC 9110 section 5.6.2)."""

Parameters: TypeAlias = Sequence[tuple[str, str | None]]
"""An extension's parameters as they stand in the header; None for one without a value."""


def parse_list(values: Iterable[str]) -> list[str]:
    """The elements of a comma-separated header; empty ones are ignored (RFC 9110 5.6.1)."""
    elements = ",".join(values).split(",")
    return [element for each in elements if (element := each.strip(" \t"))]


# A name with its value, up to the mark that follows it; both may be missing. Nothing in it
# ever gives back what it took, so the time is linear whatever comes.
_STEP = re.compile(
    rf"""[ \t]*+(?:((?>{TOKEN.pattern}))[ \t]*+)?+"""
    rf"""(?:=[ \t]*+(?:((?>{TOKEN.pattern}))|"((?:[^"\\]|\\.)*+)")[ \t]*+)?+"""
    r"""([,;]|\Z)"""
)
_ESCAPE = re.compile(r"\\(.)")


def parse_extensions(header: str) -> list[tuple[str, Parameters]]:
    """Parse a `Sec-WebSocket-Extensions` header (RFC 6455 section 9.1).

    Args:
        header: Its value; where the header came more than once, all values joined by commas.

    Returns:
        The extensions in order, each with its parameters.

    Raises:
        HandshakeError: the header breaks the grammar.
    """
    extensions: list[tuple[str, Parameters]] = []
    parameters: list[tuple[str, str | None]] = []
    position = 0
    mark = ","
    while mark:
        match = _STEP.match(header, position)
        if match is None:
            raise _malformed(position)
        name, value, quoted, next_mark = match.groups()
        if quoted is not None:
            # "the value after quoted-string unescaping MUST conform to the 'token' ABNF"
            value = _ESCAPE.sub(r"\1", quoted)
            if not TOKEN.fullmatch(value):
                raise _malformed(position)
        if mark == ";" and name:
            parameters.append((name, value))
        elif mark == "," and name and value is None:
            parameters = []
            extensions.append((name, parameters))
        # "A recipient MUST parse and ignore a reasonable number of empty list elements"
        # (RFC 9110 section 5.6.1.2)
        elif mark == ";" or value is not None or next_mark == ";":
            raise _malformed(position)
        mark = next_mark
        position = match.end()
    if not extensions:
        raise _malformed(position)  # "extension-list = 1#extension"
    return extensions


def _malformed(position: int) -> HandshakeError:
    return HandshakeError(f"Sec-WebSocket-Extensions is malformed from character {position} on")
