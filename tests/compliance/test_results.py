import json
from pathlib import Path
from typing import Any

import pytest

from tests.compliance.results import Expected, Result, explain, read_index

EXPECTED = Expected.load(Path(__file__).with_name("expected.json"))

OK = Result.of({"behavior": "OK", "behaviorClose": "OK"})
MISSING = Result.of(None)
NON_STRICT = Result("NON-STRICT", "OK")
INFORMATIONAL = Result("INFORMATIONAL", "INFORMATIONAL")


@pytest.mark.parametrize(
    ("case", "result"),
    [
        ("1.1.1", OK),
        ("3.2", OK),
        ("5.15", OK),
        ("7.1.6", INFORMATIONAL),
    ],
)
def test_an_expected_result_is_accepted(case: str, result: Result) -> None:
    assert EXPECTED.rule(case).accepts(result)


@pytest.mark.parametrize(
    ("case", "result"),
    [
        ("1.1.1", MISSING),
        ("1.1.1", Result("FAILED", "OK")),
        ("1.1.1", Result("OK", "UNCLEAN")),
        ("1.1.1", INFORMATIONAL),
        ("3.2", Result("NON-STRICT", "WRONG CODE")),
        ("3.2", NON_STRICT),
        ("5.15", NON_STRICT),
        ("6.4.1", NON_STRICT),
        ("7.1.6", Result("INFORMATIONAL", "UNCLEAN")),
        ("13.1.1", Result("UNIMPLEMENTED", "OK")),
    ],
)
def test_any_other_result_is_refused(case: str, result: Result) -> None:
    assert not EXPECTED.rule(case).accepts(result)


def test_a_sample_has_all_short_cases_and_few_of_the_long_ones() -> None:
    assert EXPECTED.sample(["1.1.1", "9.1.1", "9.1.2", "12.1.4", "12.1.14"]) == [
        "1.1.1",
        "9.1.1",
        "12.1.4",
    ]


def test_a_run_without_reports_has_no_results(tmp_path: Path) -> None:
    assert read_index(tmp_path, "agent") == {}


def test_a_report_is_explained_by_what_was_expected_and_what_happened(tmp_path: Path) -> None:
    report: dict[str, Any] = {
        "expectation": "Clean  close\nwith normal code.",
        "result": "The close code should have been 1000 or empty",
        "expected": {"OK": []},
        "received": [],
        "resultClose": "",
        "wasNotCleanReason": None,
        "remoteCloseCode": 1002,
        "remoteCloseReason": "incomplete",
    }
    (tmp_path / "case.json").write_text(json.dumps(report))
    (tmp_path / "index.json").write_text(
        json.dumps({"agent": {"7.1.5": {"reportfile": "case.json"}}})
    )
    entry = read_index(tmp_path, "agent")["7.1.5"]
    assert explain(tmp_path, entry).splitlines()[:3] == [
        "    expectation: Clean close with normal code.",
        "    result: The close code should have been 1000 or empty",
        '    expected: {"OK": []}',
    ]
