"""The plot: one line for each scenario, one dot for each library, on a scale of ratios."""

import math
from html import escape

from tests.bench.results import Results

# Okabe and Ito's colours, which the colour-blind can tell apart; ours is black.
COLOURS = (
    "#000000",
    "#999999",
    "#0072b2",
    "#56b4e9",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#e69f00",
)
LEFT, RIGHT, ROW, TOP, WIDTH = 240, 24, 26, 92, 960
LEGEND_COLUMNS = 4
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


class Scale:
    """Maps ratios to the width of the plot, by their logarithms."""

    def __init__(self, least: float, greatest: float) -> None:
        self.ticks = [tick for tick in TICKS if least / 2 < tick < greatest * 2]
        self._start = math.log(min(least, self.ticks[0]) / 1.1)
        self._end = math.log(max(greatest, self.ticks[-1]) * 1.1)

    def place(self, ratio: float) -> float:
        """Return the distance of `ratio` from the left edge of the picture."""
        share = (math.log(ratio) - self._start) / (self._end - self._start)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


def text(x: float, y: float, content: str, anchor: str = "start") -> str:
    """Return a piece of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    """Return a straight line."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"/>'
    )


def dot(x: float, y: float, colour: str, title: str) -> str:
    """Return a dot that tells what it is where the mouse rests on it."""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}" fill-opacity="0.85">'
        f"<title>{escape(title)}</title></circle>"
    )


def draw_legend(results: Results) -> list[str]:
    """Return the names of the libraries beside their dots."""
    parts = []
    for index, peer in enumerate(results.peers):
        x = 20 + index % LEGEND_COLUMNS * (WIDTH - 40) / LEGEND_COLUMNS
        y = 44 + index // LEGEND_COLUMNS * 20
        parts += [dot(x, y - 4, COLOURS[index], peer.title), text(x + 12, y, peer.title)]
    return parts


def draw_rows(results: Results, scale: Scale) -> list[str]:
    """Return a dot for each figure, with a line from the least to the greatest round."""
    parts = []
    for row, scenario in enumerate(results.scenarios):
        y = TOP + (row + 0.5) * ROW
        parts += [text(LEFT - 14, y + 4, scenario.title, "end")]
        parts += [line(LEFT, y, WIDTH - RIGHT, y, "#eeeeee")]
        ours = results.value(scenario.name, "ours")
        for peer, colour in zip(results.peers, COLOURS, strict=False):
            value = results.value(scenario.name, peer.name)
            if ours is None or value is None:
                continue
            least, greatest = results.cells[scenario.name, peer.name].extent
            x1, x2 = scale.place(least / ours), scale.place(greatest / ours)
            title = f"{peer.title}: {value:.4g} {scenario.unit}"
            parts += [line(x1, y, x2, y, colour, 2)]
            parts += [dot(scale.place(value / ours), y, colour, title)]
    return parts


def draw(results: Results) -> str:
    """Return the plot as SVG."""
    extents = [
        end / ours
        for (scenario, _), cell in results.cells.items()
        if cell.figures and (ours := results.value(scenario, "ours")) is not None
        for end in cell.extent
    ]
    scale = Scale(min(extents, default=1), max(extents, default=1))
    bottom = TOP + ROW * len(results.scenarios)
    height = bottom + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13" fill="#222222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(
            20, 20, "Cost over that of trio_wsendpoint: to the left of 1 cheaper, right dearer"
        ),
        *draw_legend(results),
    ]
    for tick in scale.ticks:
        x = scale.place(tick)
        parts += [line(x, TOP, x, bottom, "#888888" if tick == 1 else "#dddddd")]
        parts += [text(x, bottom + 18, f"{tick:g}", "middle")]
    return "\n".join([*parts, *draw_rows(results, scale), "</svg>", ""])
