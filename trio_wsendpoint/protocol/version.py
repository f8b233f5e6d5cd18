"""The version, stated once for the package, its metadata and its documentation."""

from typing import Final

VERSION: Final = "0.1.0"
