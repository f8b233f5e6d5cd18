"""The hot paths: in C where `_speedups.c` was built, else their twins in Python.

`TRIO_WSENDPOINT_PURE=1` in the environment chooses Python in any case.
"""

from __future__ import annotations

import os

__all__ = [
    "apply_mask",
    "build_frame",
    "cut_frame",
    "cut_messages",
    "fill_payload",
    "in_c",
    "new_payload",
    "payload_room",
    "read_messages",
    "write_each",
    "write_frame",
]

in_c = not os.environ.get("TRIO_WSENDPOINT_PURE")
"""Whether the functions are those in C."""

if in_c:
    try:
        from ._speedups import (
            apply_mask,
            build_frame,
            cut_frame,
            cut_messages,
            fill_payload,
            new_payload,
            payload_room,
            read_messages,
            write_each,
            write_frame,
        )
    except ImportError:
        in_c = False
if not in_c:
    from .cutting import build_frame, cut_frame, cut_messages
    from .descriptors import read_messages, write_each, write_frame
    from .masking import apply_mask
    from .payloads import fill_payload, new_payload, payload_room
