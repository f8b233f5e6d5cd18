"""The command line: `connect`, `serve` and `bench`."""

from .main import main

__all__ = ["main"]
