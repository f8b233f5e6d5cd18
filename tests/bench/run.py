"""Measure trio_wsendpoint and its peers side by side: `python -m tests.bench.run`."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import attrs

from tests.bench.programs import LOAD_CPU, PEERS, Peer, ProgramError
from tests.bench.report import print_report, write_report
from tests.bench.results import Cell, Results
from tests.bench.scenarios import SCENARIOS, Figure, Measure, Scenario
from tests.bench.subject import pin, raise_file_limit

ROUNDS, QUICK_ROUNDS = 5, 3
SECONDS, QUICK_SECONDS = 0.5, 0.1


@attrs.define
class Contestant:
    """A peer in one scenario, while it is being measured."""

    peer: Peer
    measure: Measure | None = None
    figures: list[Figure] = attrs.field(factory=list)
    failure: str = ""

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Where the body fails, keep the reason, and take no further part."""
        try:
            yield
        except (OSError, ProgramError) as error:
            notes = getattr(error, "__notes__", [])
            self.failure = " / ".join([f"failed: {error}", *notes])
            self.measure = None

    def start(self, scenario: Scenario, stack: ExitStack) -> None:
        """Start the program under test."""
        with self.attempt():
            self.measure = stack.enter_context(scenario.open(self.peer))

    def take_turn(self, seconds: float) -> None:
        """Measure once."""
        if self.measure is not None:
            with self.attempt():
                self.figures.append(self.measure(seconds))


def run_scenario(
    scenario: Scenario, peers: list[Peer], rounds: int, seconds: float
) -> dict[str, Cell]:
    """Measure `peers` in turn, `rounds` times."""
    contestants = [Contestant(peer) for peer in peers if peer.can_do(scenario.name)]
    with ExitStack() as stack:
        for each in contestants:
            each.start(scenario, stack)
        for number in range(1 if scenario.once else rounds):
            # Each begins once: who comes after whom makes a difference of a tenth.
            first = number % len(contestants)
            for each in contestants[first:] + contestants[:first]:
                each.take_turn(seconds)
    return {each.peer.name: Cell(tuple(each.figures), each.failure) for each in contestants}


def choose(names: str | None, known: list[str], what: str) -> list[str]:
    """Return the comma-separated `names`, all of which must be `known`; None means all."""
    if names is None:
        return known
    chosen = names.split(",")
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        sys.exit(f"no {what} is called {', '.join(unknown)}; there are {', '.join(known)}")
    return chosen


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--only", metavar="SCENARIO,...", help="measure these scenarios")
    parser.add_argument("--peers", metavar="PEER,...", help="measure these libraries")
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--no-write", action="store_true", help="leave docs/ as it is")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    scenario_names = choose(options.only, [each.name for each in SCENARIOS], "scenario")
    peer_names = choose(options.peers, [peer.name for peer in PEERS], "peer")
    scenarios = [each for each in SCENARIOS if each.name in scenario_names]
    peers = [peer for peer in PEERS if peer.name in peer_names]
    for peer in peers:
        if not peer.is_installed:
            print(f"{peer.title} is left out: not installed", file=sys.stderr)
    peers = [peer for peer in peers if peer.is_installed]
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = QUICK_SECONDS if options.quick else SECONDS

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    raise_file_limit()
    pin(LOAD_CPU)
    cells = {}
    for scenario in scenarios:
        print(f"measuring {scenario.title}", file=sys.stderr)
        for name, cell in run_scenario(scenario, peers, rounds, seconds).items():
            cells[scenario.name, name] = cell
    results = Results(peers, scenarios, cells)
    print_report(results)
    if options.only or options.peers or options.quick or options.no_write:
        return
    print(f"\nwritten to {write_report(results, rounds, seconds)}")


if __name__ == "__main__":
    main()
