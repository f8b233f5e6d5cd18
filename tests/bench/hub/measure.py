"""What is measured of the hub, each by a function of its own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from tests.bench.hub.model import Costs
from tests.bench.hub.programs import Load, Node, Redis, Times, open_nodes

SIZES: Final = (100, 1_000, 10_000)
MEMBERS: Final = (1, 100, 1_000)
PROCESSES: Final = (1, 2, 4)
MEMBERS_EACH: Final = 100
SETTLE: Final = 0.3
"""Seconds that joins take to be known everywhere, at the most."""


@attrs.frozen
class Effort:
    """How long to measure: messages of a burst, deliveries of one, and rounds."""

    messages: int = 20_000
    deliveries: int = 100_000
    paced: int = 300
    connections: int = 2_000
    rounds: int = 5


QUICK: Final = Effort(2_000, 10_000, 50, 200, 1)


@attrs.frozen
class Burst:
    """Messages as fast as they go.

    Attributes:
        rate: Messages a second, until the last member has the last one.
        publisher: Seconds of CPU for each message, in the process that publishes.
        subscriber: Likewise in one that has members.
        redis: Likewise in Redis.
    """

    rate: float
    publisher: float
    subscriber: float
    redis: float


def measure_burst(
    publisher: Node,
    others: list[Node],
    redis: Redis | None,
    size: int,
    count: int,
    members: bool = True,
) -> Burst:
    """Publish so many messages, and wait until all members have all of them."""
    nodes = [publisher, *others]
    load = Load(nodes) if members else None
    before = [node.ask("cpu") for node in nodes]
    redis_before = redis.cpu() if redis else 0.0
    began = time.monotonic()
    publisher.send("publish", size, count)
    if load is not None:
        ended = load.read(size, count)
    else:
        others[0].ask("heard", count)
        ended = time.monotonic()
    publisher.result()
    used = [node.ask("cpu") - start for node, start in zip(nodes, before, strict=True)]
    subscriber = sum(used[1:]) / max(1, len(others))
    redis_used = redis.cpu() - redis_before if redis else 0.0
    return Burst(
        count / (ended - began), used[0] / count, subscriber / count, redis_used / count
    )


def measure_times(publisher: Node, others: list[Node], size: int, count: int) -> list[float]:
    """How long single messages take to the last member."""
    load = Load([publisher, *others])
    # Slowly enough for one to be over before the next begins.
    members = sum(len(node.sockets) for node in others)
    publisher.send("paced", size, count, 0.002 + 0.0002 * members)
    seconds = load.times(size, count)
    publisher.result()
    return seconds


def median(bursts: list[Burst]) -> Burst:
    """The median of each figure."""
    return Burst(*map(statistics.median, zip(*map(attrs.astuple, bursts), strict=True)))


@attrs.frozen
class Way:
    """One way from a publisher through Redis to one member."""

    name: str
    burst: Burst
    times: Times | None


KINDS: Final = {
    "bare hiredis, one member": ("bare", True),
    "the hub, one member": ("hub", True),
    "bare hiredis, counted only": ("bare", False),
    "the hub, a channel": ("hub", False),
}


def measure_ways(redis: Redis, effort: Effort) -> list[Way]:
    """100 bytes from one process to another, with the hub and without, in turns."""
    bursts: dict[str, list[Burst]] = {name: [] for name in KINDS}
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    for _ in range(effort.rounds):
        for name, (kind, member) in KINDS.items():
            with open_nodes(kind, 2, redis.url) as (publisher, subscriber):
                if kind == "bare" or not member:
                    subscriber.ask("listen")
                if member:
                    subscriber.connect(1)
                time.sleep(SETTLE)
                arguments = (publisher, [subscriber], redis, 100)
                measure_burst(*arguments, effort.messages // 10, member)
                bursts[name].append(measure_burst(*arguments, effort.messages, member))
                if member:
                    times[name] += measure_times(publisher, [subscriber], 100, effort.paced)
    return [
        Way(name, median(bursts[name]), Times.of(times[name]) if times[name] else None)
        for name in KINDS
    ]


@contextmanager
def members_of(
    redis: Redis | None, processes: int, members: int
) -> Iterator[tuple[Node, list[Node]]]:
    """A publisher, and processes that have the members; one process is both without Redis."""
    if redis is None:
        with open_nodes("hub", 1) as (node,):
            node.connect(members)
            yield node, []
        return
    with open_nodes("hub", processes + 1, redis.url) as (publisher, *others):
        for node in others:
            node.connect(members)
        time.sleep(SETTLE)
        yield publisher, others


@attrs.frozen
class Cell:
    """What was measured for one number of processes, of members, and one size."""

    processes: int
    members: int
    size: int
    burst: Burst
    times: Times | None = None

    @property
    def deliveries(self) -> float:
        """Messages a second that members got."""
        return self.burst.rate * self.processes * self.members


def measure_sizes(redis: Redis | None, effort: Effort) -> list[Cell]:
    """Messages of each size to each number of members in one process."""
    cells = []
    for members in MEMBERS:
        with members_of(redis, 1, members) as (publisher, others):
            for size in SIZES:
                count = min(effort.messages, max(20, effort.deliveries // members))
                count = min(count, 200_000_000 // (size * members))
                burst = measure_burst(publisher, others, redis, size, count)
                cells.append(Cell(1, members, size, burst))
    return cells


def measure_processes(redis: Redis, effort: Effort) -> list[Cell]:
    """Messages to the same number of members in each of several processes."""
    cells = []
    for processes in PROCESSES:
        with members_of(redis, processes, MEMBERS_EACH) as (publisher, others):
            count = effort.deliveries // MEMBERS_EACH // processes
            burst = measure_burst(publisher, others, redis, 100, count)
            times = Times.of(measure_times(publisher, others, 100, effort.paced // 3))
            cells.append(Cell(processes, MEMBERS_EACH, 100, burst, times))
    return cells


def measure_memory(redis: Redis, effort: Effort) -> tuple[float, float]:
    """Bytes of a process without connections, and of each connection that is in a room."""
    with open_nodes("hub", 1, redis.url) as (node,):
        node.connect(10)
        before = node.ask("memory")
        node.connect(effort.connections)
        time.sleep(SETTLE)
        return before, (node.ask("memory") - before) / effort.connections


def measure_redis(redis: Redis, effort: Effort) -> tuple[float, float]:
    """Seconds of CPU of Redis for each message, and for each process that it goes to."""
    used = {}
    for processes in 1, 4:
        with members_of(redis, processes, 1) as (publisher, others):
            count = effort.messages // 2
            used[processes] = measure_burst(publisher, others, redis, 100, count).redis
    fan_out = max(0.0, (used[4] - used[1]) / 3)
    return max(0.0, used[1] - fan_out), fan_out


def costs(redis: Redis, effort: Effort, ways: list[Way], through: list[Cell]) -> Costs:
    """What the model needs to know."""
    (channel,) = (way.burst for way in ways if way.name == "the hub, a channel")
    process, connection = measure_memory(redis, effort)
    redis_publish, redis_fan_out = measure_redis(redis, effort)
    small = {cell.members: cell.burst for cell in through if cell.size == SIZES[0]}
    one, many = small[1], small[MEMBERS[-1]]
    deliver = (many.subscriber - one.subscriber) / (MEMBERS[-1] - 1)
    return Costs(
        publish=one.publisher,
        receive=channel.subscriber,
        deliver=deliver,
        redis_publish=redis_publish,
        redis_fan_out=redis_fan_out,
        connection=connection,
        process=process,
    )
