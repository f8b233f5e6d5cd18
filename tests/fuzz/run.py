"""Coverage-guided fuzzing: `python -m tests.fuzz.run --seconds 60`.

What it finds is written to `tests/fuzz/cases/`, where the tests replay it for ever.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

CASES = Path(__file__).parent / "cases"
NO_FUZZER = 3


def fuzz_here(target: str, seconds: int, corpus: str) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    atheris.instrument_all()
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-artifact_prefix={CASES / target}/",
        "-max_len=4096",
        "-timeout=10",
        "-print_final_stats=1",
        corpus,
    ]
    atheris.Setup(arguments, TARGETS[target])
    atheris.Fuzz()


def fuzz(target: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; says whether it found nothing."""
    (CASES / target).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds(target)):
            Path(corpus, f"seed-{number}").write_bytes(seed)
        command = [sys.executable, "-m", "tests.fuzz.run", "--seconds", str(seconds)]
        command += ["--target", target, "--corpus", corpus]
        status = subprocess.run(command, check=False).returncode
    print(f"{target}: {'nothing found' if status == 0 else f'ended with {status}'}", flush=True)
    return status == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", choices=sorted(TARGETS), help="by default, all")
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install -e '.[fuzz]'", file=sys.stderr)
        return NO_FUZZER
    if arguments.corpus is not None:
        fuzz_here(arguments.target, arguments.seconds, arguments.corpus)
        return 0
    targets = [arguments.target] if arguments.target else sorted(TARGETS)
    results = [fuzz(target, arguments.seconds) for target in targets]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
