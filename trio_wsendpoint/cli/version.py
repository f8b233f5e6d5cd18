"""What `--version` tells: the version, and whether it runs as fast as it can."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Final

from ..protocol import VERSION, find_zlib, in_c

PACKAGE: Final = Path(__file__).parents[1]


def describe_version() -> str:
    """The version, where it runs, and which of its optional parts are in use."""
    lines = [
        f"trio-wsendpoint {VERSION}, in {PACKAGE}",
        f"{platform.python_implementation()} {platform.python_version()},"
        f" Trio {importlib.metadata.version('trio')}",
        f"C extension: {_extension()}",
        f"zlib-ng: {_zlib_ng()}",
    ]
    return "\n".join(lines)


def _extension() -> str:
    if in_c:
        return "in use"
    if any(PACKAGE.glob("protocol/_speedups.*so")):
        return "not in use, but there; is TRIO_WSENDPOINT_PURE set?"
    return "not in use: it is not built here; in a clone, `pip install -e .` builds it"


def _zlib_ng() -> str:
    if find_zlib().__name__ == "zlib":
        return "not in use: `pip install 'trio-wsendpoint[fast]'` installs it"
    return f"in use, {importlib.metadata.version('zlib-ng')}"
