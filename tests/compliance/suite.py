"""The Autobahn test suite: found, installed once, and run as a subprocess."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENT = ROOT / ".venv-autobahn"
REQUIREMENTS = HERE / "requirements.txt"

# The last virtualenv that makes environments for Python 2.7.
VIRTUALENV = "virtualenv==20.21.1"

LIST_CASES = """
import json
from autobahntestsuite.case import Cases, CaseBasename
ids = [c.__name__[len(CaseBasename):].split('_') for c in Cases]
print(json.dumps(['.'.join(i) for i in sorted(ids, key=lambda i: [int(n) for n in i])]))
"""


class Python27NotFoundError(Exception):
    """No Python 2.7 on this machine: the suite runs on nothing newer."""

    exit_status = 3


class NotInstalledError(Exception):
    """The suite could not be installed."""

    exit_status = 4


def candidates() -> Iterator[Path]:
    """Where a Python 2.7 may be: in PATH, then under pyenv."""
    if found := shutil.which("python2.7"):
        yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob("versions/2.7*/bin/python2.7"), reverse=True)


def find_python27() -> Path:
    """Find a Python 2.7 that really runs (a pyenv shim may be there without one)."""
    for candidate in candidates():
        try:
            probe = [str(candidate), "-c", "import sys; assert sys.version_info[:2] == (2, 7)"]
            subprocess.run(probe, check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            continue
        return candidate
    raise Python27NotFoundError(
        "The Autobahn test suite needs Python 2.7, and no python2.7 was found in PATH or "
        "under pyenv ($PYENV_ROOT or ~/.pyenv). `pyenv install 2.7.18` provides one."
    )


def install() -> Path:
    """Make the suite's environment where it is missing or outdated.

    Returns:
        The environment's own Python 2.7.
    """
    python = ENVIRONMENT / "bin" / "python"
    installed = ENVIRONMENT / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    if installed.is_file() and installed.read_text() == wanted:
        return python
    python27 = find_python27()
    print(
        f"Installing the Autobahn test suite for {python27} into {ENVIRONMENT.name}/ ...",
        flush=True,
    )
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    tool = ENVIRONMENT / "tool"
    pip = ["-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    try:
        run([sys.executable, *pip, "--target", str(tool), VIRTUALENV])
        virtualenv = [sys.executable, "-m", "virtualenv", "--quiet", "--python", str(python27)]
        run([*virtualenv, str(ENVIRONMENT)], PYTHONPATH=str(tool))
        run([str(python), *pip, "--requirement", str(REQUIREMENTS)])
    except subprocess.CalledProcessError as error:
        raise NotInstalledError(f"{error}\n{error.stdout}") from None
    installed.write_text(wanted)
    return python


def run(command: list[str], **environment: str) -> str:
    """Run a command to its end and return what it printed."""
    return subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    ).stdout


def case_ids(python: Path) -> list[str]:
    """Ask the suite for the ids of all its cases, in its order."""
    ids: list[str] = json.loads(run([str(python), "-W", "ignore", "-c", LIST_CASES]))
    return ids


def start(
    python: Path, mode: str, spec: dict[str, Any], folder: Path, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start `wstest` in a mode, with a specification that is written into the folder."""
    path = folder / "spec.json"
    path.write_text(json.dumps(spec, indent=2))
    wstest = [str(python), "-u", str(python.with_name("wstest"))]
    # Unbuffered, so that the growing log shows the progress; no web server beside it.
    command = [*wstest, "--mode", mode, "--spec", str(path), "--webport", "0"]
    return subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
