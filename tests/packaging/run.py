"""Build what is published, and check it as its users will meet it.

Usage: python -m tests.packaging.run [--output FOLDER]

It leaves the source distribution and two wheels, `cp311-abi3` and `py3-none-any`, in the
folder, by default dist/. A wheel that is tagged for one Linux alone is for this machine: those
to publish come from cibuildwheel.
"""

from __future__ import annotations

import argparse
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.packaging.pythons import find_pythons

ROOT = Path(__file__).parents[2]


def run(
    *command: str | Path, cwd: Path = ROOT, environment: dict[str, str] | None = None
) -> None:
    # Nothing of the clone may stand in for what was built.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, cwd=cwd, env=own | (environment or {}))


def build_wheel(source: Path, target: Path, environment: dict[str, str]) -> Path:
    """Build a wheel of a source distribution, in isolation."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", target, source, environment=environment)
    (wheel,) = target.glob("*.whl")
    return wheel


def build_all(output: Path) -> tuple[Path, Path, Path]:
    """Build the source distribution, and of it the wheel with the extension and without."""
    shutil.rmtree(output, ignore_errors=True)
    run(sys.executable, "-m", "build", "--sdist", "--outdir", output, ROOT)
    (source,) = output.glob("*.tar.gz")
    wheels = []
    with tempfile.TemporaryDirectory() as folder:
        environments: dict[str, dict[str, str]] = {
            "fast": {},
            "pure": {"TRIO_WSENDPOINT_PURE": "1"},
            "no compiler": {"CC": "false", "CXX": "false"},
        }
        for name, environment in environments.items():
            target = Path(folder) / name
            target.mkdir()
            wheels.append(build_wheel(source, target, environment))
        fast, pure, no_compiler = wheels
        assert "-cp311-abi3-" in fast.name, fast.name
        assert pure.name.endswith("-py3-none-any.whl"), pure.name
        assert no_compiler.name == pure.name, no_compiler.name
        kept = [Path(shutil.copy(wheel, output)) for wheel in (fast, pure)]
    return source, kept[0], kept[1]


def check_contents(source: Path, fast: Path, pure: Path) -> None:
    """Check what is in them, and how a package index will show it."""
    run(sys.executable, "-m", "twine", "check", "--strict", source, fast, pure)
    run(sys.executable, "-m", "check_wheel_contents", fast, pure)
    run(sys.executable, "-m", "abi3audit", "--strict", fast)
    for wheel in fast, pure:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
            text = email.message_from_bytes(archive.read(metadata)).get_payload()
        built = [name for name in names if name.endswith(".so")]
        assert bool(built) is (wheel is fast), built
        assert "trio_wsendpoint/py.typed" in names
        assert not re.search(r"\]\((?!https?:)", str(text)), "a link to a file beside README"
    with tarfile.open(source) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(
        ["git", "ls-files", "trio_wsendpoint", "tests", "docs", "examples"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert not (missing := set(tracked.stdout.split()) - files), missing


def try_wheel(python: Path, wheel: Path, *, extension: bool) -> None:
    """Install a wheel into an empty environment, in an empty folder, and use it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(python, "-m", "venv", folder / "venv", cwd=folder)
        bin_ = folder / "venv/bin"
        pip = (bin_ / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
        run(*pip, "install", wheel, cwd=folder)
        check = shutil.copy(ROOT / "tests/packaging/installed.py", folder)
        run(bin_ / "python", check, *([] if extension else ["--pure"]), cwd=folder)
        run(bin_ / "trio-wsendpoint", "--version", cwd=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    source, fast, pure = build_all(parser.parse_args().output.absolute())
    check_contents(source, fast, pure)
    for version, python in find_pythons().items():
        for wheel, extension in (fast, True), (pure, False):
            print(f"Python {version}: {wheel.name}", flush=True)
            try_wheel(python, wheel, extension=extension)
    print(*(f"built and checked: {path.name}" for path in (source, fast, pure)), sep="\n")


if __name__ == "__main__":
    main()
