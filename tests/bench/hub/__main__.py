"""Measure the hub, and reckon with the figures: `python -m tests.bench.hub [--quick]`."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from pathlib import Path

from tests.bench.hub.measure import (
    QUICK,
    Cell,
    Effort,
    Way,
    costs,
    measure_processes,
    measure_sizes,
    measure_ways,
)
from tests.bench.hub.model import MILLION, Costs, first_to_end, use
from tests.bench.hub.programs import open_redis
from tests.bench.programs import ROOT
from tests.bench.subject import raise_file_limit

PAGE = ROOT / "docs" / "scaling.md"
PLACE = re.compile(r"(?<=<!-- measured -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:.1f}"


def table(header: str, rows: list[str]) -> str:
    """A table in Markdown."""
    line = "|" + " --- |" * header.count(" | ") + " --- |"
    return "\n".join((f"| {header} |", line, *(f"| {row} |" for row in rows))) + "\n"


def machine(busy: float) -> str:
    """What it was measured on, and how busy that was with other things."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    beside = (
        "Other programs ran beside it, which took from all rates and times." if busy > 1 else ""
    )
    return (
        f"Measured on {cores} cores of {model[1] if model else platform.machine()},"
        f" Python {platform.python_version()}; all processes, Redis and the members' peers"
        f" share these cores. Before it began, the load of the machine was {busy:.1f}."
        f" {beside}\n"
    )


def ways_table(ways: list[Way]) -> str:
    header = (
        "100 bytes through Redis | messages a second | publisher, µs | subscriber, µs"
        " | Redis, µs | median way, ms | 99 of 100, ms"
    )
    rows = []
    for way in ways:
        burst, times = way.burst, way.times
        cpu = map(micro, (burst.publisher, burst.subscriber, burst.redis))
        late = [f"{times.median * 1e3:.2f}", f"{times.p99 * 1e3:.2f}"] if times else ["", ""]
        rows.append(" | ".join((way.name, f"{burst.rate:,.0f}", *cpu, *late)))
    return table(header, rows)


def sizes_table(local: list[Cell], through: list[Cell]) -> str:
    header = (
        "members | size | one process, messages a second | deliveries a second"
        " | through Redis, messages a second | deliveries a second"
    )
    rows = [
        f"{near.members:,} | {near.size:,} | {near.burst.rate:,.0f} | {near.deliveries:,.0f}"
        f" | {far.burst.rate:,.0f} | {far.deliveries:,.0f}"
        for near, far in zip(local, through, strict=True)
    ]
    return table(header, rows)


def processes_table(cells: list[Cell]) -> str:
    header = (
        "processes with 100 members each | messages a second | deliveries a second"
        " | median time to the last member, ms | 99 of 100, ms"
    )
    rows = []
    for cell in cells:
        assert cell.times is not None
        rows.append(
            f"{cell.processes} | {cell.burst.rate:,.0f} | {cell.deliveries:,.0f}"
            f" | {cell.times.median * 1e3:.2f} | {cell.times.p99 * 1e3:.2f}"
        )
    return table(header, rows)


def costs_table(found: Costs) -> str:
    rows = [
        f"a message published, in its process | {micro(found.publish)} µs of CPU",
        f"a message received from Redis | {micro(found.receive)} µs of CPU",
        f"a message given to one member | {micro(found.deliver)} µs of CPU",
        f"a message, in Redis | {micro(found.redis_publish)} µs of CPU",
        f"a message sent to one process, in Redis | {micro(found.redis_fan_out)} µs of CPU",
        f"a connection, in its room | {found.connection / 1024:.1f} KB of memory",
        f"a process without connections | {found.process / 2**20:.0f} MB of memory",
    ]
    return table("what | costs", rows)


def model_table(found: Costs) -> str:
    names = list(use(MILLION[0], found))
    header = " | ".join(("1,000,000 connections, 50 machines of 4 cores", *names, "the end"))
    rows = []
    for service in MILLION:
        used = use(service, found)
        name, times = first_to_end(service, found)
        end = f"{name}, at {times:.1f} times the messages"
        rows.append(" | ".join((service.name, *(f"{used[each]:.0%}" for each in names), end)))
    return table(header, rows)


def report(effort: Effort, busy: float) -> str:
    """Measure all, and write it down."""
    with open_redis() as redis:
        print("measuring the way through Redis", file=sys.stderr)
        ways = measure_ways(redis, effort)
        print("measuring sizes and members", file=sys.stderr)
        local = measure_sizes(None, effort)
        through = measure_sizes(redis, effort)
        print("measuring processes", file=sys.stderr)
        processes = measure_processes(redis, effort)
        print("measuring what each costs", file=sys.stderr)
        found = costs(redis, effort, ways, through)
    return "\n".join(
        (
            machine(busy),
            ways_table(ways),
            sizes_table(local, through),
            processes_table(processes),
            costs_table(found),
            model_table(found),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="too short to mean anything")
    parser.add_argument("--no-write", action="store_true", help="leave docs/ as it is")
    options = parser.parse_args()
    raise_file_limit()
    busy = os.getloadavg()[0]
    text = report(QUICK if options.quick else Effort(), busy)
    print(text)
    if not (options.quick or options.no_write):
        PAGE.write_text(PLACE.sub(lambda _: text, PAGE.read_text()))


if __name__ == "__main__":
    main()
