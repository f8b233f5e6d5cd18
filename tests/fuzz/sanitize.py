"""Runs the C twins, built with sanitizers, against the Python ones on random and broken input.

`make sanitize` builds and preloads what it needs and names the library in `SPEEDUPS`.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import random
from typing import Any

from trio_wsendpoint.protocol import frames, masking

ROUNDS = 20_000


def load(path: str) -> Any:
    name = "trio_wsendpoint.protocol._speedups"
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def random_frames(rng: random.Random, masked: bool) -> bytes:
    """Frames, some of them cut, stretched or with bytes that are wrong."""
    out = bytearray()
    for _ in range(rng.randrange(6)):
        size = rng.choice(
            [0, 1, 7, 8, 9, 125, 126, 127, 5000, 65535, 65536, rng.randrange(300)]
        )
        text = rng.random() < 0.5
        payload = b"\xc3\xa9" * (size // 2) if text else rng.randbytes(size)
        key = rng.randbytes(4) if masked else b""
        out += frames.build_frame(0x81 if text else 0x82, payload, key)
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        if out:
            out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out[: rng.randrange(len(out) + 1)] if rng.random() < 0.3 else out)


def compare(c: Any, rng: random.Random) -> None:
    masked = rng.random() < 0.5
    data = random_frames(rng, masked)
    limit = rng.choice([0, 10, 200, 1 << 62])
    ours: list[Any] = []
    theirs: list[Any] = []
    offset = rng.choice([0, 0, 0, rng.randrange(len(data) + 2)])
    count = rng.choice([0, 1, 3, 1 << 10])
    assert frames.cut_messages(data, offset, masked, limit, count, ours) == c.cut_messages(
        memoryview(data), offset, masked, limit, count, theirs
    )
    assert ours == theirs
    key = rng.randbytes(4)
    shift = rng.randrange(9)
    assert masking.apply_mask(data[shift:], key) == c.apply_mask(memoryview(data)[shift:], key)
    first = rng.randrange(256)
    assert frames.build_frame(first, data, key) == c.build_frame(first, data, key)
    assert frames.build_frame(first, data, b"") == c.build_frame(first, data, b"")
    text = data.decode("latin-1")
    assert frames.build_frame(first, text, key) == c.build_frame(first, text, key)


def expect_errors(function: Any, *calls: tuple[object, ...]) -> None:
    for args in calls:
        try:
            function(*args)
        except (TypeError, ValueError, OverflowError):
            continue
        raise AssertionError(f"{function} took {args}")


def main() -> None:
    c = load(os.environ["SPEEDUPS"])
    rng = random.Random(6455)
    for _ in range(ROUNDS):
        compare(c, rng)
    expect_errors(
        c.apply_mask, (), (b"x",), (b"x", b"abc"), (b"x", b""), ("x", b"abcd"), (b"x", 1)
    )
    expect_errors(
        c.build_frame, (), (1, b"x"), ("1", b"x", b""), (1, "\ud800", b""), (1, b"x", b"abc")
    )
    expect_errors(
        c.cut_messages,
        (),
        (b"", -1, True, 1, 1, []),
        (b"", 0, True, 1, 1, ()),
        ("", 0, True, 1, 1, []),
        (b"", 0, True, -1, 1, []),
        (b"", 0, True, 1, "1", []),
    )
    print(f"{ROUNDS} rounds: the twins agree, and the sanitizers are silent")


if __name__ == "__main__":
    main()
