"""What a run has measured, and what follows from it."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import attrs

from tests.bench.programs import CPUS, ROOT, Peer
from tests.bench.scenarios import Figure, Scenario
from tests.bench.targets import IDLE_MEMORY_AT_MOST, TARGETS, Target

PACKAGES = (
    "trio",
    "h11",
    "websockets",
    "trio-websocket",
    "wsproto",
    "aiohttp",
    "picows",
    "uvloop",
    "zlib-ng",
)


@attrs.frozen
class Cell:
    """The figures of one peer in one scenario, one for each round, or why there are none."""

    figures: tuple[Figure, ...] = ()
    failure: str = ""

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return median(figure.value for figure in self.figures)

    @property
    def remark(self) -> str:
        """What is to be said of it: why it failed, or the remark on its last figure."""
        return self.failure or (self.figures[-1].note if self.figures else "")

    @property
    def extent(self) -> tuple[float, float]:
        """The least and the greatest of the rounds."""
        values = [figure.value for figure in self.figures]
        return min(values), max(values)


@attrs.frozen
class Results:
    """The table of a run: a cell for each scenario and each peer that took part in it."""

    peers: list[Peer]
    scenarios: list[Scenario]
    cells: dict[tuple[str, str], Cell]

    def value(self, scenario: str, peer: str) -> float | None:
        """Return the median of `peer` in `scenario`, if it was measured."""
        cell = self.cells.get((scenario, peer))
        return cell.value if cell and cell.figures else None

    def ratio(self, scenario: str, peer: str, subject: str = "ours") -> float | None:
        """Return what `subject` costs for each unit that `peer` costs."""
        ours, theirs = self.value(scenario, subject), self.value(scenario, peer)
        return ours / theirs if ours is not None and theirs is not None else None

    def notes(self) -> Iterator[str]:
        """Yield what is to be said of single cells: failures, and the remarks on figures."""
        titles = {peer.name: peer.title for peer in self.peers}
        rows = {scenario.name: scenario.title for scenario in self.scenarios}
        for (scenario, peer), cell in self.cells.items():
            if cell.remark:
                yield f"{rows[scenario]}, {titles[peer]}: {cell.remark}"

    def verdicts(self) -> Iterator[tuple[str, str, float, float]]:
        """Yield each target of this run: scenario, against, at most, measured."""
        titles = {peer.name: peer.title for peer in self.peers}
        rows = {scenario.name: f"itself, {scenario.title}" for scenario in self.scenarios}
        for scenario in self.scenarios:
            for target in TARGETS:
                measured = self._measured(target)
                if target.scenario == scenario.name and measured is not None:
                    row = self._title(scenario, target)
                    against = target.other_scenario or target.against
                    yield row, (titles | rows)[against], target.at_most, measured
            memory = self.value(scenario.name, "ours")
            if scenario.name == "idle-memory" and memory is not None:
                yield scenario.title, "KiB", IDLE_MEMORY_AT_MOST, memory

    def _measured(self, target: Target) -> float | None:
        ours = self.value(target.scenario, target.subject)
        theirs = self.value(target.other_scenario or target.scenario, target.against)
        return ours / theirs if ours is not None and theirs is not None else None

    def _title(self, scenario: Scenario, target: Target) -> str:
        return scenario.title + (", pure Python" if target.subject == "ours-pure" else "")


def judge(at_most: float, measured: float) -> str:
    """Say by how much a target is met or missed."""
    difference = abs(1 - measured / at_most)
    return f"{'met' if measured <= at_most else 'MISSED'} by {difference:.0%}"


def machine() -> str:
    """Return the model of the CPU, how many of them there are, and the kernel."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{model}, {len(CPUS)} CPUs, Linux {platform.release()}"


def versions() -> list[str]:
    """Return the version of everything that takes part."""
    found = [f"Python {platform.python_version()}"]
    built = list((ROOT / "trio_wsendpoint" / "protocol").glob("_speedups*.so"))
    found.append(f"trio_wsendpoint {'with' if built else 'without'} its C extension")
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
