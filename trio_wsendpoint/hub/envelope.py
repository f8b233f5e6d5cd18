"""What travels through Redis: a message, who published it, and who is to be left out.

    kind (1 byte, t or b)   the publishing hub (8)   the excluded connection (8)   payload

With history, Redis puts the message's id and a space in front when it passes it on.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from .ids import Id, parse_id

HUB_ID_SIZE: Final = 8
_unpack_head = struct.Struct(f">c{HUB_ID_SIZE}sQ").unpack_from
_HEAD: Final = struct.calcsize(f">c{HUB_ID_SIZE}sQ")
_TEXT, _BINARY = b"tb"
NOBODY: Final = 0
"""An excluded connection that is none; their ids begin at 1."""


class Envelope(NamedTuple):
    """A message as it comes out of Redis.

    Attributes:
        message: What was published.
        hub_id: By which hub.
        excluded: The id of the connection that is not to get it; it means something to the
            publishing hub alone.
        id: The message's, or None where there is no history.
    """

    message: str | bytes
    hub_id: bytes
    excluded: int
    id: Id | None = None


def pack(message: str | bytes, hub_id: bytes, excluded: int) -> bytes:
    """The bytes of a message that is to be published."""
    kind, payload = (b"t", message.encode()) if isinstance(message, str) else (b"b", message)
    return b"".join((kind, hub_id, excluded.to_bytes(8, "big"), payload))


def message_of(data: bytes) -> str | bytes | None:
    """The message alone, where there is no history and so nothing else matters.

    Returns:
        None if `unpack` has to look at it.
    """
    if len(data) < _HEAD:
        return None
    if data[0] == _BINARY:
        return data[_HEAD:]
    return data[_HEAD:].decode() if data[0] == _TEXT else None


def unpack(data: bytes, id: Id | None = None) -> Envelope:  # noqa: A002
    """Read them again.

    Raises:
        ValueError: they are not of a hub's making.
    """
    if data[:1].isdigit():
        text, _, data = data.partition(b" ")
        id = parse_id(text.decode("ascii", "replace"))  # noqa: A001
    if len(data) < _HEAD:
        raise ValueError("this was not published by a hub")
    kind, hub_id, excluded = _unpack_head(data)
    if kind == b"b":
        return Envelope(data[_HEAD:], hub_id, excluded, id)
    if kind == b"t":
        return Envelope(data[_HEAD:].decode(), hub_id, excluded, id)
    raise ValueError("this was not published by a hub")
