"""Pictures made of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
ROWS: Final = 12


def draw_histogram(values: Sequence[float], unit: str, columns: int) -> list[str]:
    """Draw how many values lie where, on a scale on which each row is as many times the last.

    Args:
        values: More than 0, in order.
        unit: What they are in.
        columns: How wide it may be.
    """
    bounds = _bounds(values[0], values[-1])
    counts = [0] * (len(bounds) - 1)
    row = 0
    for value in values:
        while row < len(counts) - 1 and value > bounds[row + 1]:
            row += 1
        counts[row] += 1
    most = max(counts)
    labels = [f"{low:8.3f} - {high:.3f} {unit}" for low, high in pairwise(bounds)]
    width = max(map(len, labels))
    room = max(10, columns - width - len(f"{most:,}") - 4)
    return [
        f"{label:{width}}  {draw_bar(count / most * room)} {count:,}"
        for label, count in zip(labels, counts, strict=True)
    ]


def draw_bar(length: float) -> str:
    """A bar of so many characters, to an eighth; never nothing for something."""
    eighths = math.ceil(length * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _bounds(low: float, high: float) -> list[float]:
    if not low < high:
        return [low, high]
    step = (high / low) ** (1 / ROWS)
    return [low * step**row for row in range(ROWS)] + [high]
