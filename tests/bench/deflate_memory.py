"""Measures what the zlib state of permessage-deflate takes.

Run it by `python -m tests.bench.deflate_memory`: it prints tables in Markdown, for the docs.
Each figure is the growth of a fresh process's resident memory over a few hundred states that
have all worked, divided by their number.
"""

import gc
import random
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LIBRARIES = ("zlib", "zlib_ng.zlib_ng")
WINDOW_BITS = (9, 10, 11, 12, 13, 14, 15)
MEMORY_LEVELS = (1, 3, 5, 8, 9)
COUNT = 200
PAGE = 4096


def resident_memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def sample() -> bytes:
    """Text longer than any window, so that a state touches all the memory it will ever need."""
    chance = random.Random(1)
    return " ".join(str(chance.randrange(10**9)) for _ in range(10_000)).encode()


def make_states(zlib: Any, window_bits: int, memory_level: int) -> list[Any]:
    """Make states that compress or, with a memory level of 0, decompress."""
    text = sample()
    if memory_level:
        states = [zlib.compressobj(1, 8, -window_bits, memory_level) for _ in range(COUNT)]
        for state in states:
            state.compress(text)
            state.flush(zlib.Z_SYNC_FLUSH)
        return states
    state = zlib.compressobj(1, 8, -window_bits)
    payload = state.compress(text) + state.flush(zlib.Z_SYNC_FLUSH)
    states = [zlib.decompressobj(-window_bits) for _ in range(COUNT)]
    for state in states:
        # Not at once: zlib keeps its window only from one call to the next.
        for start in range(0, len(payload), 4096):
            state.decompress(payload[start : start + 4096])
    return states


def measure(library: str, window_bits: int, memory_level: int) -> float:
    """Measure one figure here and now, in KiB; only the first of a process is right."""
    zlib: Any = import_module(library)
    sample()
    gc.collect()
    before = resident_memory()
    states = make_states(zlib, window_bits, memory_level)
    gc.collect()
    return (resident_memory() - before) / len(states) / 1024


def measure_apart(library: str, window_bits: int, memory_level: int) -> str:
    """Measure one figure in a process of its own."""
    arguments = (library, str(window_bits), str(memory_level))
    command = (sys.executable, "-m", __spec__.name, *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def print_table(library: str) -> None:
    """Print what compressing takes at each memory level, and decompressing, in KiB."""
    print(f"\n{library.partition('.')[0].replace('_', '-')}, KiB:\n")
    levels = (f"`memory_level={level}`" for level in MEMORY_LEVELS)
    print("| window bits |", " | ".join("out, " + level for level in levels), "| in |")
    print("| ---: |" + " ---: |" * (len(MEMORY_LEVELS) + 1))
    for bits in WINDOW_BITS:
        figures = [measure_apart(library, bits, level) for level in (*MEMORY_LEVELS, 0)]
        print(f"| {bits} |", " | ".join(figures), "|", flush=True)


def main() -> None:
    """Print the tables, or one figure if asked for it."""
    match sys.argv[1:]:
        case [library, window_bits, memory_level]:
            print(round(measure(library, int(window_bits), int(memory_level))))
        case _:
            for library in LIBRARIES:
                if find_spec(library.partition(".")[0]):
                    print_table(library)


if __name__ == "__main__":
    main()
