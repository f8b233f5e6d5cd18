"""`Backoff`: how long to wait before what has failed is tried again."""

from __future__ import annotations

import random

import attrs

from .options import check_seconds


def _check_factor(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{attribute.name} must be a number, not {type(value).__name__}")
    if not value >= 1:
        raise ValueError(f"{attribute.name} must be at least 1, not {value}")


@attrs.frozen
class Backoff:
    """Waits that grow, with full jitter: so those who failed together do not return together.

    Attributes:
        first: Seconds that the first wait takes at most.
        factor: How many times longer each wait may be than the one before.
        limit: Seconds that any wait takes at most.
        healthy_after: Seconds that a connection has to last for the waits to begin anew.
    """

    first: float = attrs.field(default=0.5, validator=check_seconds)
    factor: float = attrs.field(default=2.0, validator=_check_factor)
    limit: float = attrs.field(default=60.0, validator=check_seconds)
    healthy_after: float = attrs.field(default=10.0, validator=check_seconds)

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        try:
            longest = self.first * self.factor ** (failures - 1)
        except OverflowError:
            longest = self.limit
        return random.uniform(0, min(longest, self.limit))
