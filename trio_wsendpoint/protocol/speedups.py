"""The hot paths: in C where `_speedups.c` was built, else their twins in Python.

`TRIO_WSENDPOINT_PURE=1` in the environment chooses Python in any case.
"""

from __future__ import annotations

import os

__all__ = ["apply_mask", "build_frame", "cut_messages", "in_c"]

in_c = not os.environ.get("TRIO_WSENDPOINT_PURE")
"""Whether the functions are those in C."""

if in_c:
    try:
        from ._speedups import apply_mask, build_frame, cut_messages
    except ImportError:
        in_c = False
if not in_c:
    from .frames import build_frame, cut_messages
    from .masking import apply_mask
