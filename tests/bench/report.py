"""The tables of a run, for the terminal and for docs/benchmarks.md."""

from pathlib import Path

from tests.bench.plot import draw
from tests.bench.programs import ROOT
from tests.bench.results import Results, judge, machine, versions
from tests.bench.scenarios import Scenario

MISSING = "–"
INTRODUCTION = """\
# Benchmarks

What a message costs: the CPU time (user and system) that the server itself uses for each
message, or the client where it is the client that is measured, in microseconds; lower is
better. In brackets: our cost over theirs, so that less than 1 is in our favour.

The program under test has one CPU for itself, and a load generator, which speaks to it over raw
loopback sockets and compares every byte of every echo, has another. All libraries are
measured in one run and in turn, {rounds} rounds of {seconds} s each; every figure is the median
of the rounds (memory is measured once). All have a heartbeat where they offer one, which
trio-websocket does not, and compression only in the row that is about it. Messages are binary,
but for the JSON. Bare Trio is no library, but a floor: one task that waits, reads and
writes, with an opening handshake by h11 and no WebSocket protocol beyond it.

{machine}. {versions}.

![CPU time of each library, over ours](benchmarks.svg)
"""


def number(value: float) -> str:
    """Return `value` with three digits, or more where it is large."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(results: Results, scenario: Scenario, peer: str) -> str:
    """Return the text of a cell: a figure, and in brackets ours over it."""
    value = results.value(scenario.name, peer)
    if value is None:
        return MISSING
    ratio = results.ratio(scenario.name, peer)
    if peer == "ours" or ratio is None:
        return number(value)
    return f"{number(value)} ({ratio:.2f})"


def figures(results: Results, names: list[str]) -> list[list[str]]:
    """Return the table of all figures, its head first, the libraries called `names`."""
    head = ["scenario", "unit", *names]
    rows = [
        [
            scenario.title,
            scenario.unit,
            *(cell(results, scenario, peer.name) for peer in results.peers),
        ]
        for scenario in results.scenarios
    ]
    return [head, *rows]


def targets(results: Results) -> list[list[str]]:
    """Return the table of the ratios that have to hold, its head first."""
    rows = [
        [row, against, f"{at_most:g}", f"{measured:.2f}", judge(at_most, measured)]
        for row, against, at_most, measured in results.verdicts()
    ]
    return [["must hold", "against", "at most", "measured", ""], *rows]


def as_text(table: list[list[str]]) -> str:
    """Lay `table` out for a terminal."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def as_markdown(table: list[list[str]]) -> str:
    """Lay `table` out as Markdown."""
    head, *rows = table
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def print_report(results: Results) -> None:
    """Print all that was found."""
    print(f"\n{machine()}\n{', '.join(versions())}\n")
    print(as_text(figures(results, [peer.name for peer in results.peers])))
    judged = targets(results)
    if len(judged) > 1:
        print("\n" + as_text(judged))
    for note in results.notes():
        print(f"\n{note}")


def write_report(results: Results, rounds: int, seconds: float) -> Path:
    """Write docs/benchmarks.md and the plot beside it; return the path of the former."""
    introduction = INTRODUCTION.format(
        rounds=rounds, seconds=seconds, machine=machine(), versions=", ".join(versions())
    )
    notes = "\n".join(f"- {note}" for note in results.notes())
    parts = [
        introduction,
        as_markdown(figures(results, [peer.title for peer in results.peers])),
        "\n## What has to hold\n",
        as_markdown(targets(results)),
        f"\n## Notes\n\n{notes}" if notes else "",
        "\nWritten by `make bench`.\n",
    ]
    path = ROOT / "docs" / "benchmarks.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(parts))
    path.with_suffix(".svg").write_text(draw(results))
    return path
