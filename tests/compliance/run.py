"""Run the Autobahn test suite against our server and our client.

    python -m tests.compliance.run --sample

Exit status: 0 when every result is as expected.json says, 1 when one is not, 3 where no
Python 2.7 is found, 4 where the suite cannot be installed.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.compliance import roles, suite
from tests.compliance.results import Expected, Result, explain, fits, read_index

ROLES = roles.ROLES
BOTH = ("server", "client")
ROLE_HELP = "which of ours is tried; through a bridge, as the suite speaks no HTTP/2"

# In seconds: the busy processes stop by themselves, however this one ends.
BUSY_AT_MOST = 3600


def main() -> int:
    options = parse_arguments()
    expected = Expected.load(suite.HERE / "expected.json")
    try:
        python = suite.install()
    except (suite.Python27NotFoundError, suite.NotInstalledError) as error:
        print(error, file=sys.stderr)
        return error.exit_status
    known = suite.case_ids(python)
    assert len(known) == expected.count, f"{len(known)} cases, not {expected.count}"
    cases = select(known, expected, options)

    reports = Path(options.reports or tempfile.mkdtemp(prefix="compliance-")).resolve()
    runs = failed = 0
    with busy_cores() if options.busy else contextlib.nullcontext():
        for turn in range(1, options.repeat + 1):
            for role in BOTH if options.role == "both" else [options.role]:
                runs += len(cases)
                folder = reports / f"{role}-{turn}"
                failed += run_once(role, python, cases, folder, expected)
    if failed or options.reports:
        print(f"The suite's reports are in {reports}")
    else:
        shutil.rmtree(reports)
    print(f"{runs - failed} passed, {failed} failed")
    return 1 if failed else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the Autobahn test suite.")
    parser.add_argument("--role", choices=[*ROLES, "both"], default="both", help=ROLE_HELP)
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="PATTERN")
    parser.add_argument("--sample", action="store_true", help="few of the long cases")
    parser.add_argument("--repeat", type=int, default=1, metavar="N")
    parser.add_argument("--busy", action="store_true", help="keep every core busy meanwhile")
    parser.add_argument("--reports", metavar="NEW-FOLDER", help="keep the reports")
    return parser.parse_args()


def select(known: list[str], expected: Expected, options: argparse.Namespace) -> list[str]:
    """Choose the cases that the command line asks for."""
    cases = expected.sample(known) if options.sample else known
    cases = [c for c in cases if fits(c, options.cases) and not fits(c, options.exclude)]
    if not cases:
        sys.exit("No case fits these patterns.")
    return cases


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy, so that races show."""
    command = [sys.executable, "-m", "tests.compliance.busy", str(BUSY_AT_MOST)]
    with contextlib.ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            process = subprocess.Popen(command, cwd=suite.ROOT, stdin=subprocess.DEVNULL)
            stack.enter_context(roles.running(process))
        yield


def run_once(
    role: str, python: Path, cases: list[str], folder: Path, expected: Expected
) -> int:
    """Run the cases in one role, and return how many did not end as expected."""
    folder.mkdir(parents=True)
    started = time.monotonic()
    try:
        ROLES[role](python, cases, folder)
    except roles.PeerError as error:
        print(f"{role}: {error}")
    seconds = time.monotonic() - started

    index = read_index(folder, roles.AGENT)
    results = {case: Result.of(index.get(case)) for case in cases}
    unexpected = {c: r for c, r in results.items() if not expected.rule(c).accepts(r)}
    for case, result in unexpected.items():
        print(f"{role} {case}: {result}, expected {expected.rule(case)}")
        if case in index:
            print(explain(folder, index[case]))
    if unexpected:
        print(f"What our {role} wrote is in {folder / 'peer.log'}")
    counts = Counter(results.values()).most_common()
    summary = ", ".join(f"{count} {result}" for result, count in counts)
    print(f"{role}: {len(cases)} cases in {seconds:.0f} s: {summary}", flush=True)
    return len(unexpected)


if __name__ == "__main__":
    sys.exit(main())
