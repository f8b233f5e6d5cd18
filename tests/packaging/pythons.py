"""The Pythons of this machine that the package is for.

Usage: python -m tests.packaging.pythons [--test]

It tells them; with `--test` it runs all tests on each, in an environment of its own, and tells
which versions are not there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

VERSIONS = "3.11", "3.12", "3.13", "3.14"
"""Those that the package is for."""


def find_pythons() -> dict[str, Path]:
    """The interpreters of this machine, by version: on the path, or where pyenv has them."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for version in VERSIONS:
        candidates = sorted(pyenv.glob(f"{version}.*/bin/python{version}"))
        if on_path := shutil.which(f"python{version}"):
            candidates.append(Path(on_path))
        # pyenv puts names on the path that may do no more than tell what is missing.
        for candidate in candidates:
            if answers_as(candidate, version):
                found[version] = candidate
                break
    return found


def answers_as(python: Path, version: str) -> bool:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == version


def passes_on(version: str, python: Path) -> bool:
    """Run all tests on one Python; says whether they passed."""
    environment = ROOT / f".venv-{version}"
    own = environment / "bin/python"
    install = (own, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    subprocess.run([python, "-m", "venv", environment], check=True)
    # All of them share the extension that is built in place: it is for the stable ABI.
    subprocess.run([*install, "-e", ".[dev]"], check=True, cwd=ROOT)
    tests = subprocess.run([own, "-m", "pytest", "-q"], check=False, cwd=ROOT)
    return tests.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--test", action="store_true")
    pythons = find_pythons()
    if not parser.parse_args().test:
        print(*(f"{version}  {path}" for version, path in pythons.items()), sep="\n")
        return 0
    outcomes = {}
    for version, python in pythons.items():
        print(f"== Python {version} ({python})", flush=True)
        outcomes[version] = "passed" if passes_on(version, python) else "FAILED"
    for version in VERSIONS:
        print(f"Python {version}: {outcomes.get(version, 'not on this machine')}")
    return 1 if "FAILED" in outcomes.values() else 0


if __name__ == "__main__":
    sys.exit(main())
