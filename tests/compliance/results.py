"""What the suite reported, compared with what is expected of every case."""

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen
class Result:
    """The suite's verdict on one case: on what was said, and on how it was closed."""

    behavior: str
    behavior_close: str

    @classmethod
    def of(cls, entry: dict[str, Any] | None) -> "Result":
        """Read an entry of the suite's index; without one the case did not run to its end."""
        if entry is None:
            return cls("MISSING", "MISSING")
        return cls(entry["behavior"], entry["behaviorClose"])

    def __str__(self) -> str:
        return f"{self.behavior} / {self.behavior_close}"


@attrs.frozen
class Rule:
    """The verdicts that are accepted for the cases of some patterns."""

    cases: list[str]
    behavior: list[str]
    behavior_close: list[str]

    def accepts(self, result: Result) -> bool:
        return result.behavior in self.behavior and result.behavior_close in self.behavior_close

    def __str__(self) -> str:
        return f"{' or '.join(self.behavior)} / {' or '.join(self.behavior_close)}"


@attrs.frozen
class Expected:
    """The committed expectations; of several rules that fit a case the first holds."""

    count: int
    rules: list[Rule]
    long: list[str]
    sample_of_long: list[str]

    @classmethod
    def load(cls, path: Path) -> "Expected":
        fields = json.loads(path.read_text())
        rules = [Rule(**rule) for rule in fields.pop("rules")]
        return cls(rules=rules, **fields)

    def rule(self, case: str) -> Rule:
        return next(rule for rule in self.rules if fits(case, rule.cases))

    def sample(self, cases: Iterable[str]) -> list[str]:
        """All cases but the long ones, and a few of those."""
        return [
            case
            for case in cases
            if fits(case, self.sample_of_long) or not fits(case, self.long)
        ]


def fits(case: str, patterns: Iterable[str]) -> bool:
    """Whether a case's id fits any of the patterns, such as `7.*`."""
    return any(fnmatchcase(case, pattern) for pattern in patterns)


def read_index(folder: Path, agent: str) -> dict[str, dict[str, Any]]:
    """Read the suite's index of its reports: one entry for each case that was run."""
    index = folder / "index.json"
    if not index.is_file():
        return {}
    entries: dict[str, dict[str, Any]] = json.loads(index.read_text()).get(agent, {})
    return entries


def explain(folder: Path, entry: dict[str, Any]) -> str:
    """Say in a few lines what the suite expected of a case, and what happened."""
    text = (folder / entry["reportfile"]).read_text(errors="replace")
    report = json.loads(text, strict=False)
    shown = {
        "expectation": " ".join(report["expectation"].split()),
        "result": report["result"],
        "expected": json.dumps(report["expected"])[:500],
        "received": json.dumps(report["received"])[:500],
        "closing": report["resultClose"],
        "not clean": report["wasNotCleanReason"],
        "close code": f"{report['remoteCloseCode']} {report['remoteCloseReason']!r}",
        "report": str(folder / entry["reportfile"]),
    }
    return "\n".join(f"    {name}: {value}" for name, value in shown.items() if value)
