"""`broadcast` and `Room`: one message to many endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Literal, TypeAlias

import attrs

from ..endpoint import (
    Endpoint,
    call_when_ended,
    forget_when_ended,
    give_up_slow,
    share,
)
from ..protocol import BytesLike, Message, SharedMessage

OnSlow: TypeAlias = Literal["skip", "close"]

MAX_WAITING: Final = 2**20
"""Bytes that may wait to be sent to a peer before a broadcast passes it over."""


@attrs.frozen
class Broadcast:
    """What became of a message to many endpoints, in numbers of them.

    Those that had ended, or had begun to close, are in none.

    Attributes:
        sent: Those that have it in their outbox, or on its way.
        skipped: Those that were passed over because too much waited before it.
        closed: Those that were closed because too much waited before it.
    """

    sent: int
    skipped: int
    closed: int


def broadcast(
    endpoints: Iterable[Endpoint],
    message: str | BytesLike | Message,
    *,
    compress: bool = True,
    max_waiting: int = MAX_WAITING,
    on_slow: OnSlow = "skip",
) -> Broadcast:
    """Send a message to many endpoints, without waiting for any.

    The message is framed once for all that can share the bytes: with no compression, or with
    compression agreed on with the same parameters and `server_no_context_takeover` (RFC 7692
    section 7.1.1.1), for which it is compressed once. It goes behind all that waits in an
    outbox, and behind a message that another task sends in fragments; if the endpoint closes
    before that has ended, it is not sent.

    Args:
        endpoints: Of either role; each gets it as often as it is in there.
        message: `str` for a text message, bytes-like for a binary one, or a `Message`.
        compress: False to leave it uncompressed, where compression is on at all.
        max_waiting: Bytes of memory that may wait to be sent by an endpoint, as
            `Endpoint.statistics().sent.waiting` tells them. With more it is slow.
        on_slow: What is done with a slow one: `"skip"` leaves it out; `"close"` drops what
            waits and closes it with 1013, within its `close_timeout`, which this function
            does not wait for either.

    Returns:
        How many it was sent to, and what became of the others.

    Raises:
        TypeError, ValueError: an argument is wrong, and the message names it; nothing was
            sent.
    """
    members = _check_endpoints(endpoints)
    shared = SharedMessage(message, compress=_check_compress(compress))
    _check_limits(max_waiting, on_slow)
    sent, slow = share(members, shared, max_waiting)
    if on_slow == "skip":
        return Broadcast(sent, len(slow), 0)
    closed = set(slow)  # each once, however often it was named
    for endpoint in closed:
        give_up_slow(endpoint)
    return Broadcast(sent, 0, len(closed))


def _check_endpoints(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    if not isinstance(endpoints, Iterable) or isinstance(endpoints, Endpoint):
        raise TypeError(
            f"endpoints must be an iterable of Endpoints, not {type(endpoints).__name__}"
        )
    members = list(endpoints)
    for kind in set(map(type, members)):
        if not issubclass(kind, Endpoint):
            raise TypeError(f"endpoints must be Endpoints, not {kind.__name__}")
    return members


def _check_compress(compress: bool) -> bool:
    if not isinstance(compress, bool):
        raise TypeError(f"compress must be a bool, not {type(compress).__name__}")
    return compress


def _check_limits(max_waiting: int, on_slow: OnSlow) -> None:
    if not isinstance(max_waiting, int) or isinstance(max_waiting, bool):
        raise TypeError(f"max_waiting must be an int, not {type(max_waiting).__name__}")
    if max_waiting < 0:
        raise ValueError(f"max_waiting must be at least 0, not {max_waiting}")
    if on_slow not in ("skip", "close"):
        raise ValueError(f"on_slow must be 'skip' or 'close', not {on_slow!r}")


class Room:
    """Endpoints that get the same messages: iterate over it for those in it now.

    An endpoint is in it from `join` on, and until that `with` is left or the endpoint's
    connection has ended.
    """

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[Endpoint, None] = {}

    def join(self, endpoint: Endpoint) -> AbstractContextManager[None]:
        """Have an endpoint in the room, for as long as the `with` lasts or the endpoint does.

        Raises:
            TypeError: `endpoint` is no Endpoint.
            ValueError: on entering, it is in the room already.
        """
        if not isinstance(endpoint, Endpoint):
            raise TypeError(f"endpoint must be an Endpoint, not {type(endpoint).__name__}")
        return _Membership(self._members, endpoint)

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(tuple(self._members))  # others may come and go meanwhile

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, endpoint: object) -> bool:
        return endpoint in self._members

    def broadcast(
        self,
        message: str | BytesLike | Message,
        *,
        compress: bool = True,
        max_waiting: int = MAX_WAITING,
        on_slow: OnSlow = "skip",
    ) -> Broadcast:
        """Send a message to all in the room, as the function `broadcast` does."""
        return broadcast(
            self._members,
            message,
            compress=compress,
            max_waiting=max_waiting,
            on_slow=on_slow,
        )


class _Membership(AbstractContextManager[None]):
    """The `with` for which an endpoint is in a room; no generator, as a server has many."""

    __slots__ = ("_endpoint", "_members")

    def __init__(self, members: dict[Endpoint, None], endpoint: Endpoint) -> None:
        self._members = members
        self._endpoint = endpoint

    def __enter__(self) -> None:
        if self._endpoint in self._members:
            raise ValueError("endpoint is in this room already")
        if call_when_ended(self._endpoint, self._leave):
            self._members[self._endpoint] = None

    def __exit__(self, *_: object) -> None:
        forget_when_ended(self._endpoint, self._leave)
        self._leave()

    def _leave(self) -> None:
        self._members.pop(self._endpoint, None)
