"""Build the site of the documentation, with nothing amiss and no network.

Usage: python -m tests.docs.build [--output FOLDER]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.docs.names import missing_names

ROOT = Path(__file__).parents[2]


def build(output: Path) -> int:
    """Build it with warnings as errors; returns the exit status."""
    # A proxy that nobody answers at: what asked for the network would fail.
    nowhere = "http://127.0.0.1:9"
    environment = {**os.environ, "http_proxy": nowhere, "https_proxy": nowhere}
    sphinx = (sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-b", "html")
    return subprocess.run(
        [*sphinx, ROOT / "docs", output], check=False, env=environment
    ).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs/_build")
    output: Path = parser.parse_args().output
    if status := build(output):
        return status
    for name in (missing := missing_names(output / "objects.inv")):
        print(f"the reference of the site has no {name}")
    print(f"{output}/index.html")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
