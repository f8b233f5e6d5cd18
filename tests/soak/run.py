"""Many connections with traffic, cancellation and faults at random: `python -m tests.soak.run`.

Afterwards no message may be lost or doubled, no task and no file descriptor left, and memory
must be flat. The seed is printed; with it, chance decides the same, but time does not.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import resource
import socket
import struct
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.soak.traffic import Side, Tally, Violation
from trio_wsendpoint import (
    ConnectionClosed,
    Endpoint,
    HandshakeError,
    PermessageDeflate,
    connect,
    serve,
)

FDS_PER_CONNECTION = 2
SPARE_FDS = 100
GRACE = 5.0
MEMORY_SLACK = 16 * 2**20


@attrs.frozen
class Memory:
    """Resident bytes, sampled while it runs."""

    samples: list[int] = attrs.Factory(list)

    def sample(self) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.samples.append(pages * resource.getpagesize())

    def growth(self) -> int:
        """By how much the last quarter tops the one before."""
        quarter = max(1, len(self.samples) // 4)
        late, last = self.samples[-2 * quarter : -quarter], self.samples[-quarter:]
        return max(last) - max(late) if late else 0


def fit_connections(wanted: int) -> int:
    """Raise the limit of open files as far as it goes, and say how many connections fit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, (hard - SPARE_FDS) // FDS_PER_CONNECTION)


async def handle(rng: random.Random, tally: Tally, endpoint: Endpoint) -> None:
    side = Side(endpoint, random.Random(rng.random()), tally)
    if side.rng.random() < 0.05:
        with trio.move_on_after(side.rng.random() * 0.2):
            await side.converse()
        return
    await side.converse()


async def live(port: int, rng: random.Random, tally: Tally) -> None:
    """One connection from its beginning to one of its ends."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    fate = rng.random()
    extensions = [PermessageDeflate()] if rng.random() < 0.3 else []
    with trio.CancelScope() as scope:
        async with connect(
            f"ws://127.0.0.1:{port}/", stream=stream, extensions=extensions
        ) as endpoint:
            tally.connections += 1
            if fate < 0.15:
                scope.deadline = trio.current_time() + rng.random() * 0.3
            elif fate < 0.3:
                await converse_and_reset(stream, Side(endpoint, rng, tally))
                return
            await Side(endpoint, rng, tally).converse()


async def converse_and_reset(stream: trio.SocketStream, side: Side) -> None:
    with trio.move_on_after(side.rng.random() * 0.2):
        await side.converse()
    # The peer gets a reset, as from a machine that has lost its power.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)


def is_expected(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_expected, error.exceptions))
    expected = ConnectionClosed | HandshakeError | Violation | trio.ClosedResourceError
    return isinstance(error, expected | OSError)


async def keep_living(port: int, rng: random.Random, tally: Tally, until: float) -> None:
    while trio.current_time() < until:
        try:
            await live(port, rng, tally)
        except Exception as error:
            if not is_expected(error):
                tally.violations.append(f"{error!r} from a client")


class Errors(logging.Handler):
    """Notes what the library logs as a fault."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(logging.WARNING)
        self._tally = tally

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or not is_expected(error):
            self._tally.violations.append(f"logged: {record.getMessage()} {error!r}")


async def soak(seconds: float, connections: int, seed: int, tally: Tally) -> Memory:
    memory = Memory()
    rng = random.Random(seed)
    until = trio.current_time() + seconds
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(
                serve,
                partial(handle, rng, tally),
                0,
                host="127.0.0.1",
                backlog=1000,
                extensions=[PermessageDeflate()],
            )
        )
        port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as clients:
            for _ in range(connections):
                clients.start_soon(keep_living, port, random.Random(rng.random()), tally, until)
            while trio.current_time() < until:
                await trio.sleep(min(1, seconds / 20))
                memory.sample()
            # Those who are still talking may finish what they say; then all are cancelled.
            clients.cancel_scope.deadline = until + GRACE
        nursery.cancel_scope.cancel()
    return memory


def count_fds() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def run(seconds: float, connections: int, seed: int) -> tuple[Tally, dict[str, bool]]:
    """Run it all, and tell which checks hold."""
    tally = Tally()
    handler = Errors(tally)
    logging.getLogger("trio_wsendpoint").addHandler(handler)
    hook: Callable[[Any], object] = sys.unraisablehook
    sys.unraisablehook = lambda event: tally.violations.append(f"unraisable: {event}")

    async def main() -> tuple[Memory, int]:
        before = trio.lowlevel.current_statistics().tasks_living
        memory = await soak(seconds, connections, seed, tally)
        await trio.sleep(1)  # the watch of the run ends when it next finds nothing to watch
        return memory, trio.lowlevel.current_statistics().tasks_living - before

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            fds = count_fds()
            memory, tasks = trio.run(main)
            gc.collect()
            fds = count_fds() - fds
    finally:
        sys.unraisablehook = hook
        logging.getLogger("trio_wsendpoint").removeHandler(handler)
    return tally, {
        "connections were made, and some ended cleanly": tally.clean > 0,
        "no message lost or doubled, and no fault": not tally.violations,
        "no task left": tasks == 0,
        "no file descriptor left": fds == 0,
        f"memory flat ({memory.growth() / 2**20:+.1f} MiB in the last quarter)": (
            memory.growth() < MEMORY_SLACK
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    connections = fit_connections(arguments.connections)
    print(f"{connections} connections for {arguments.seconds:g} s, seed {arguments.seed}")
    if connections < arguments.connections:
        print(f"({arguments.connections} would need more open files than this machine allows)")
    tally, checks = run(arguments.seconds, connections, arguments.seed)
    print(
        f"{tally.connections} connections, {tally.clean} sides ended cleanly,"
        f" {tally.messages} messages, {tally.cancelled_sends} sends and"
        f" {tally.cancelled_receives} receives cancelled"
    )
    for violation in tally.violations[:20]:
        print("violation:", violation)
    for name, holds in checks.items():
        print("ok  " if holds else "FAIL", name)
    print(f"{sum(checks.values())} passed, {len(checks) - sum(checks.values())} failed")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
