"""A stand-in for `broadcast` of the server's, until that is there."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ..endpoint import Endpoint
from ..protocol import CloseCode
from .options import OnSlow


@attrs.frozen
class BroadcastResult:
    """How many endpoints got a message, missed it, or were closed."""

    sent: int
    skipped: int
    closed: int


def broadcast(
    endpoints: Iterable[Endpoint],
    message: str | bytes,
    *,
    compress: bool = True,
    max_waiting: int = 2**20,
    on_slow: OnSlow = "skip",
) -> BroadcastResult:
    """Put a message in the outbox of each endpoint, without waiting."""
    sent = skipped = closed = 0
    for endpoint in endpoints:
        if endpoint.is_closed:
            continue
        if endpoint._outbox.size > max_waiting:
            skipped += on_slow == "skip"
            if on_slow == "close":
                closed += 1
                endpoint._life.fail(CloseCode.TRY_AGAIN_LATER, "too slow")
        else:
            endpoint._send(message, compress)
            sent += 1
    return BroadcastResult(sent, skipped, closed)
