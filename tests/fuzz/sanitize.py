"""Runs the C twins, built with sanitizers, against the Python ones on random and broken input.

`make sanitize` builds and preloads what it needs and names the library in `SPEEDUPS`.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import random
import socket
from typing import Any

from trio_wsendpoint.protocol import cutting, descriptors, masking, payloads

ROUNDS = 20_000
SOCKET_ROUNDS = 2_000


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
        out += cutting.build_frame(0x81 if text else 0x82, payload, key)
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
    assert cutting.cut_messages(data, offset, masked, limit, count, ours) == c.cut_messages(
        memoryview(data), offset, masked, limit, count, theirs
    )
    assert ours == theirs
    rsv = rng.choice([0, 0x40, 0x70, -1])
    arguments = data, offset, masked, rsv, limit
    assert cutting.cut_frame(*arguments) == c.cut_frame(*arguments)
    key = rng.randbytes(4)
    shift = rng.randrange(9)
    assert masking.apply_mask(data[shift:], key) == c.apply_mask(memoryview(data)[shift:], key)
    first = rng.randrange(256)
    assert cutting.build_frame(first, data, key) == c.build_frame(first, data, key)
    assert cutting.build_frame(first, data, b"") == c.build_frame(first, data, b"")
    text = data.decode("latin-1")
    assert cutting.build_frame(first, text, key) == c.build_frame(first, text, key)


def compare_payloads(c: Any, rng: random.Random) -> None:
    """Fill a payload of each twin with the same parts, and let both grow."""
    key = rng.choice([b"", rng.randbytes(4)])
    size = rng.randrange(2, 3000)
    made: dict[Any, Any] = {twin: twin.new_payload(size) for twin in (c, payloads)}
    if rng.random() < 0.3:
        made[c] = bytearray(size)
    filled = 0
    for _ in range(rng.randrange(1, 6)):
        part = rng.randbytes(rng.randrange(size - filled + 1))
        in_place = rng.random() < 0.5
        for twin, payload in made.items():
            data: Any = part
            if in_place:
                room = twin.payload_room(payload, filled)
                room[: len(part)] = part
                data = room[: len(part)]
            assert twin.fill_payload(payload, filled, data, key) == filled + len(part)
        filled += len(part)
    ours, theirs = (bytes(payload[:filled]) for payload in made.values())
    assert ours == theirs


def compare_descriptors(c: Any, rng: random.Random, pair: tuple[Any, Any]) -> None:
    """Send frames by each twin until the socket is full, and read them by each."""
    fd = pair[0].fileno()
    data: Any = rng.randbytes(rng.choice([0, 10, 200, 4090, 4096, 70_000]))
    if rng.random() < 0.5:
        data = data.decode("latin-1")
    key = rng.choice([b"", rng.randbytes(4)])
    frame = cutting.build_frame(0x81, data, key)
    writers = [c, descriptors]
    rng.shuffle(writers)
    expected, received = bytearray(), bytearray()
    for _ in range(rng.randrange(1, 5)):
        written = rng.choice(writers).write_frame(fd, 0x81, data, key)
        if isinstance(written, tuple):
            assert frame.endswith(written[1])
            assert sum((written[0], len(written[1]))) == len(frame)
            expected += frame[: written[0]]
            break
        assert written == len(frame)
        expected += frame
    while len(received) < len(expected):
        scratch = bytearray(rng.choice([50, 5000, 100_000]))
        out: list[Any] = []
        twin = rng.choice(writers)
        size, offset = twin.read_messages(pair[1].fileno(), scratch, bool(key), 1 << 62, 9, out)
        again: list[Any] = []
        part = bytes(scratch[:size])
        assert cutting.cut_messages(part, 0, bool(key), 1 << 62, 9, again) == offset
        assert again == out
        received += part
    assert received == expected
    assert c.read_messages(pair[1].fileno(), bytearray(9), True, 1, 1, []) is None


def expect_errors(function: Any, *calls: tuple[object, ...]) -> None:
    for args in calls:
        try:
            function(*args)
        except (TypeError, ValueError, OverflowError, OSError, BufferError):
            continue
        raise AssertionError(f"{function} took {args}")


def main() -> None:
    c = load(os.environ["SPEEDUPS"])
    rng = random.Random(6455)
    for _ in range(ROUNDS):
        compare(c, rng)
        compare_payloads(c, rng)
    pair = socket.socketpair()
    for each in pair:
        each.setblocking(False)
    for _ in range(SOCKET_ROUNDS):
        compare_descriptors(c, rng, pair)
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
    expect_errors(
        c.cut_frame,
        (),
        (b"", -1, True, 0, 1),
        ("", 0, True, 0, 1),
        (b"", 0, True, "", 1),
        (b"", 0, True, 0, -1),
    )
    expect_errors(c.new_payload, (), (1,), (-9,), ("9",))
    expect_errors(
        c.fill_payload,
        (),
        (b"abc", 4, b"", b""),
        (b"abc", -1, b"", b""),
        (b"abc", 1, b"abc", b""),
        (b"abc", 0, b"", b"x"),
        (b"abc", 0, "", b""),
        (memoryview(b"abc"), 0, b"", b""),
    )
    expect_errors(c.payload_room, (), (b"abc", 4), ("", 0), (b"abc", "0"))
    expect_errors(
        c.read_messages,
        (),
        (-1, bytearray(9), True, 1, 1, []),
        (1 << 40, bytearray(9), True, 1, 1, []),
        ("", bytearray(9), True, 1, 1, []),
        (0, b"read-only", True, 1, 1, []),
        (0, bytearray(9), True, 1, 1, ()),
    )
    expect_errors(
        c.write_frame,
        (),
        (-1, 1, b"", b""),
        (0, 1, b"x", b"abc"),
        (0, 1, 5, b""),
        (0, "", b"", b""),
    )
    for each in pair:
        each.close()
    print(f"{ROUNDS} rounds: the twins agree, and the sanitizers are silent")


if __name__ == "__main__":
    main()
