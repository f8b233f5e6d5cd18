"""The options of a hub: their defaults and their checks."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypedDict

import attrs

from ..endpoint import Backoff, check_seconds
from .ids import Id, parse_id

OnSlow: TypeAlias = Literal["skip", "close"]
WhenAway: TypeAlias = Literal["raise", "wait"]

Wrap: TypeAlias = Callable[[str | bytes, str], str | bytes]
"""Makes what a member gets of a message and its id."""


class HubKeywords(TypedDict, total=False):
    """The keyword arguments of `open_hub`, for type checkers; see `HubOptions`."""

    max_waiting: int
    on_slow: OnSlow
    lease: float
    history: int
    history_lifetime: float
    backoff: Backoff
    ssl_context: ssl.SSLContext | None


def _check_count(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{attribute.name} must be at least 0, not {value}")


def _check_finite(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    check_seconds(instance, attribute, value, zero=False)
    if math.isinf(value):
        raise ValueError(f"{attribute.name} must not be infinite")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of those there are.

    Raises:
        ValueError: it is not.
    """
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")


def _check_on_slow(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    check_choice(attribute.name, value, ("skip", "close"))


@attrs.frozen(kw_only=True)
class HubOptions:
    """What `open_hub` takes as keyword arguments.

    Attributes:
        max_waiting: Bytes that may wait for a member before it counts as slow.
        on_slow: Whether a slow member misses the message or is closed with 1013.
        lease: Seconds after which the members of a process that has died are not counted
            any more.
        history: How many messages of each room are kept; 0 for none.
        history_lifetime: Seconds after its last message when a room's history is dropped.
        backoff: How long to wait before Redis is dialled again.
        ssl_context: For `rediss`; by default what `ssl.create_default_context` makes.
    """

    max_waiting: int = attrs.field(default=2**20, validator=_check_count)
    on_slow: OnSlow = attrs.field(default="skip", validator=_check_on_slow)
    lease: float = attrs.field(default=15.0, validator=_check_finite)
    history: int = attrs.field(default=0, validator=_check_count)
    history_lifetime: float = attrs.field(default=3600.0, validator=_check_finite)
    backoff: Backoff = attrs.field(
        default=Backoff(first=0.2, limit=5.0), validator=attrs.validators.instance_of(Backoff)
    )
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.instance_of(ssl.SSLContext)),
    )


def parse_options(keywords: dict[str, Any]) -> HubOptions:
    """Check the keyword arguments of `open_hub`.

    Raises:
        TypeError, ValueError: one is wrong; the message names it.
    """
    for name in keywords:
        if name not in HubKeywords.__annotations__:
            raise TypeError(f"open_hub() got an unexpected keyword argument {name!r}")
    return HubOptions(**keywords)


def check_room(room: str) -> None:
    """Refuse what cannot be the name of a room.

    Raises:
        TypeError, ValueError: it is not a str, or not to be encoded as UTF-8.
    """
    if not isinstance(room, str):
        raise TypeError(f"room must be a str, not {type(room).__name__}")
    check_encodable("room", room)


def check_encodable(name: str, text: str) -> None:
    """Refuse a text that has a lone surrogate in it.

    Raises:
        ValueError: it has.
    """
    if not text.isascii():  # as most are, and it costs nothing to know
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} must be encodable as UTF-8") from None


def check_replay(history: int, since: str | None, wrap: Wrap | None) -> Id | None:
    """Refuse a `since` or a `wrap` that is none, or that needs a history that there is not.

    Returns:
        What `since` means.

    Raises:
        TypeError, ValueError: one of them is wrong; the message names it.
    """
    for name, value in (("since", since), ("wrap", wrap)):
        if value is not None and not history:
            raise ValueError(f"{name} needs a hub with history, such as open_hub(history=100)")
    if wrap is not None and not callable(wrap):
        raise TypeError(f"wrap must be a function, not {type(wrap).__name__}")
    return None if since is None else parse_id(since)
