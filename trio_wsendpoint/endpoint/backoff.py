"""`Backoff`: how long to wait before what has failed is tried again."""

from __future__ import annotations

import math
import random
from typing import Any

import attrs


def check_wait(name: str, value: Any) -> None:
    """Refuse what is no number of seconds that can be waited.

    Raises:
        TypeError, ValueError: `value` is none; the message says `name`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be seconds, not {type(value).__name__}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be at least 0 seconds and not infinite, not {value}")


def _check_seconds(_: object, attribute: attrs.Attribute[float], value: Any) -> None:
    check_wait(attribute.name, value)


def _check_factor(_: object, __: object, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"factor must be a number, not {type(value).__name__}")
    if not 1 <= value < math.inf:
        raise ValueError(f"factor must be at least 1 and not infinite, not {value}")


@attrs.frozen
class Backoff:
    """How long to wait between two tries: at random, from nothing to a bound.

    The bound grows with each failure. That the wait is anything below it ("full jitter") keeps
    those who lost the same server from arriving all at once when it is back.

    Args:
        first: Seconds that the wait after the first failure takes at most.
        factor: How many times longer than the last bound each bound is.
        limit: Seconds that no bound exceeds.
        healthy_after: Seconds that a connection has to last for the bound to begin anew.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """

    first: float = attrs.field(default=0.5, validator=_check_seconds)
    factor: float = attrs.field(default=2.0, validator=_check_factor)
    limit: float = attrs.field(default=60.0, validator=_check_seconds)
    healthy_after: float = attrs.field(default=10.0, validator=_check_seconds)

    def bound(self, failures: int) -> float:
        """Seconds that the wait takes at most, after so many failures before this one."""
        try:
            return min(self.limit, self.first * float(self.factor) ** failures)
        except OverflowError:
            return self.limit

    def delay(self, failures: int) -> float:
        """Seconds to wait, at random, after so many failures before this one."""
        return random.uniform(0, self.bound(failures))
