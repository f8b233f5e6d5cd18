"""Ids of messages, as Redis streams give them: milliseconds, a dash, a number."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_FORM: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


class Id(NamedTuple):
    """The id of a message: later ones compare greater."""

    milliseconds: int
    number: int

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.number}"


BEGINNING: Final = Id(0, 0)
"""Before all messages: since then there are all that are kept."""


def parse_id(text: str) -> Id:
    """Take an id to pieces.

    Raises:
        TypeError: `text` is not a str.
        ValueError: it is not an id.
    """
    if not isinstance(text, str):
        raise TypeError(f"since must be a str, not {type(text).__name__}")
    match = _FORM.fullmatch(text)
    # Redis takes two numbers of 64 bits.
    if match is None or max(map(int, match.groups())) >= 2**64:
        raise ValueError(f"since must be the id of a message, such as '0-0', not {text!r}")
    return Id(int(match[1]), int(match[2]))
