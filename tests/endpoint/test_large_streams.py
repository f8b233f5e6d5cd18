"""Messages far larger than the memory that they may take.

Each runs in a process of its own, whose peak memory is its own, too: `python -m` this module.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, StreamKind, stream_pair
from tests.protocol.wire import KEY, mask
from trio_wsendpoint.endpoint import Endpoint, open_endpoint
from trio_wsendpoint.protocol import PermessageDeflate, Role

MB = 2**20
ROOM = 20 * MB
CHUNK = 2**16
LINE = "Größe 𝄞 "
TEXT = LINE * (CHUNK // len(LINE))


def peak_memory() -> int:
    """The most memory that this process ever took, in bytes."""
    # What `getrusage` tells begins, on Linux, with the peak of the process that started us.
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# -- what runs in a process of its own ----------------------------------------------------


@asynccontextmanager
async def open_pair(
    kind: StreamKind, *, deflate: bool = False
) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    ours, theirs = stream_pair(kind)
    extensions = [PermessageDeflate()] if deflate else []
    async with (
        open_endpoint(theirs, Role.SERVER, extensions=extensions) as server,
        open_endpoint(ours, Role.CLIENT, extensions=extensions) as client,
    ):
        yield client, server


async def send_chunks(endpoint: Endpoint, chunk: str | bytes, size: int) -> None:
    async with endpoint.open_send_stream("text" if chunk == TEXT else "binary") as stream:
        for _ in range(size // len(chunk)):
            await stream.send(chunk)


async def count_chunks(endpoint: Endpoint) -> int:
    async with endpoint.open_receive_stream() as stream:
        total = 0
        async for piece in stream:
            total += len(piece)
        return total


async def in_fragments(
    kind: StreamKind, size: int, chunk: str | bytes = bytes(CHUNK), *, deflate: bool = False
) -> None:
    """One endpoint streams a message out, the other one streams it in; and back again."""
    async with open_pair(kind, deflate=deflate) as pair, trio.open_nursery() as nursery:
        for sender, receiver in (pair, pair[::-1]):
            nursery.start_soon(send_chunks, sender, chunk, size)
            assert await count_chunks(receiver) == size // len(chunk) * len(chunk)


async def in_fragments_of_text(kind: StreamKind, size: int) -> None:
    await in_fragments(kind, size, TEXT)


async def deflated(kind: StreamKind, size: int) -> None:
    await in_fragments(kind, size, bytes(range(256)) * (CHUNK // 256), deflate=True)


async def deflated_text(kind: StreamKind, size: int) -> None:
    await in_fragments(kind, size, TEXT, deflate=True)


async def in_one_frame(kind: StreamKind, size: int) -> None:
    """A client that is none sends a single frame of that size."""
    ours, theirs = stream_pair(kind)
    chunk = mask(bytes(CHUNK), KEY)

    async def send_frame() -> None:
        await theirs.send_all(b"\x82\xff" + size.to_bytes(8, "big") + KEY)
        for _ in range(size // CHUNK):
            await theirs.send_all(chunk)
            if kind == "memory":  # whose streams know no back-pressure
                await wait_all_tasks_blocked()

    async with open_endpoint(ours, Role.SERVER) as endpoint, trio.open_nursery() as nursery:
        nursery.start_soon(send_frame)
        assert await count_chunks(endpoint) == size
        await theirs.aclose()


async def received_whole(kind: StreamKind, size: int) -> None:
    """The counter-example: what takes memory is seen to take it."""
    ours, theirs = stream_pair(kind)
    async with (
        open_endpoint(theirs, Role.SERVER, max_message_size=None) as server,
        open_endpoint(ours, Role.CLIENT) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send_chunks, client, bytes(CHUNK), size)
        assert len(await server.receive()) == size


SCENARIOS: dict[str, Callable[[StreamKind, int], Awaitable[None]]] = {
    scenario.__name__: scenario
    for scenario in (
        in_fragments,
        in_fragments_of_text,
        in_one_frame,
        deflated,
        deflated_text,
        received_whole,
    )
}


def main(name: str, kind: StreamKind, size: int) -> None:
    before, began = peak_memory(), time.monotonic()
    trio.run(SCENARIOS[name], kind, size)
    seconds = time.monotonic() - began
    print(json.dumps({"grown": peak_memory() - before, "seconds": round(seconds, 1)}))


# -- the tests ----------------------------------------------------------------------------


def grown(name: str, kind: StreamKind, size: int) -> int:
    """Bytes by which the peak memory of a process grows in a scenario."""
    command = [sys.executable, "-m", "tests.endpoint.test_large_streams", name, kind, str(size)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, timeout=600)
    return int(json.loads(done.stdout)["grown"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["in_fragments", "in_one_frame"])
def test_a_message_of_1_gb_is_streamed_in_little_memory(name: str) -> None:
    assert grown(name, "socket", 1024 * MB) < ROOM


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("in_fragments", "memory", 128),
        ("in_one_frame", "memory", 128),
        ("in_fragments_of_text", "socket", 128),
        ("deflated", "socket", 128),
        ("deflated_text", "socket", 64),
        ("in_fragments", "http2", 64),
        ("in_one_frame", "http2", 64),
    ],
)
def test_other_large_messages_are_too(name: str, kind: StreamKind, size: int) -> None:
    assert grown(name, kind, size * MB) < ROOM


@pytest.mark.slow
def test_a_message_of_that_kind_received_whole_takes_its_memory() -> None:
    assert grown("received_whole", "socket", 64 * MB) > ROOM


if __name__ == "__main__":
    _, name, wanted, size = sys.argv
    [kind] = [each for each in STREAM_KINDS if each == wanted]
    main(name, kind, int(size))
