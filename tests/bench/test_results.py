"""What the benchmark makes of its figures."""

from xml.etree import ElementTree

import pytest

from tests.bench.plot import draw
from tests.bench.programs import PEERS
from tests.bench.report import as_markdown, figures, number, targets
from tests.bench.results import Cell, Results, judge
from tests.bench.scenarios import SCENARIOS, Figure
from tests.bench.targets import TARGETS


def cell(*values: float) -> Cell:
    return Cell(tuple(Figure(value) for value in values))


@pytest.fixture
def results() -> Results:
    names = ("ours", "aiohttp", "picows")
    peers = [peer for peer in PEERS if peer.name in names]
    cells = {
        ("echo-32", "ours"): cell(20, 90, 10),
        ("echo-32", "aiohttp"): cell(80, 80, 80),
        ("echo-32", "picows"): Cell(failure="failed: it fell over"),
    }
    return Results(peers, SCENARIOS[:1], cells)


def test_a_figure_is_the_median_of_the_rounds(results: Results) -> None:
    assert results.value("echo-32", "ours") == 20


def test_a_ratio_is_ours_over_theirs(results: Results) -> None:
    assert results.ratio("echo-32", "aiohttp") == 0.25


def test_a_failed_cell_has_no_figure_and_says_why(results: Results) -> None:
    assert results.value("echo-32", "picows") is None
    assert [note.partition(": ")[2] for note in results.notes()] == ["failed: it fell over"]


def test_the_table_shows_figures_ratios_and_gaps(results: Results) -> None:
    _, row = figures(results, ["ours", "aiohttp", "picows"])
    assert row[2:] == ["20.0", "80.0 (0.25)", "–"]


def test_a_target_is_judged_where_both_were_measured(results: Results) -> None:
    _, *rows = targets(results)
    assert [row[2:] for row in rows] == [["1.1", "0.25", "met by 77%"]]


def test_a_target_may_be_against_itself_in_another_scenario() -> None:
    scenarios = [each for each in SCENARIOS if each.name.startswith("echo-32-")]
    cells = {("echo-32-own", "ours"): cell(20), ("echo-32-10k", "ours"): cell(30)}
    _, *rows = targets(Results(PEERS[:1], scenarios, cells))
    assert [row[1:] for row in rows] == [
        ["itself, echo 32 B, 100 connections, own rhythm", "1.3", "1.50", "MISSED by 15%"]
    ]


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [(0.5, "met by 0%"), (0.25, "met by 50%"), (0.75, "MISSED by 50%")],
)
def test_a_verdict_says_by_how_much(measured: float, verdict: str) -> None:
    assert judge(0.5, measured) == verdict


def test_every_target_names_a_scenario_and_peers_that_exist() -> None:
    peers = {peer.name for peer in PEERS}
    assert {target.scenario for target in TARGETS} <= {each.name for each in SCENARIOS}
    assert {target.against for target in TARGETS} | {each.subject for each in TARGETS} <= peers


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.5, "1,234"), (12.34, "12.3"), (1.234, "1.23")]
)
def test_a_number_is_shown_with_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_table_becomes_markdown() -> None:
    assert as_markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_plot_has_a_dot_for_each_figure_and_each_library(results: Results) -> None:
    picture = ElementTree.fromstring(draw(results))
    dots = picture.findall("{http://www.w3.org/2000/svg}circle")
    assert len(dots) == 2 + len(results.peers)
