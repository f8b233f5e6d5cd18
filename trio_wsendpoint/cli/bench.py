"""`bench`: how fast a server echoes."""

from __future__ import annotations

import json
import math
import os
from array import array
from typing import Final

import attrs
import trio

from ..endpoint import Endpoint
from .chart import draw_histogram
from .console import Console
from .dialling import Dialling
from .exits import CommandError, Exit
from .stopping import Stop, stopping_on_signals

PERCENTILES: Final = (50, 90, 99, 99.9)
PROGRESS_INTERVAL: Final = 0.2


@attrs.frozen
class Report:
    """What was measured.

    Attributes:
        connections: How many there were.
        size: Bytes of each message.
        duration: Seconds from the first message to the last answer.
        round_trips: Seconds that each message took there and back, in order of size.
    """

    connections: int
    size: int
    duration: float
    round_trips: array[float]

    @property
    def throughput(self) -> float:
        """Messages a second, there and back."""
        return len(self.round_trips) / self.duration if self.duration else 0.0

    def percentile(self, percent: float) -> float:
        """The seconds that this many of a hundred round trips took at most."""
        rank = math.ceil(len(self.round_trips) * percent / 100)
        return self.round_trips[max(rank, 1) - 1]

    def as_json(self) -> str:
        """All of it in one object; times in seconds."""
        times = {f"p{percent}": self.percentile(percent) for percent in PERCENTILES}
        return json.dumps(
            {
                "connections": self.connections,
                "messages": len(self.round_trips),
                "size": self.size,
                "duration": self.duration,
                "messages_per_second": self.throughput,
                "round_trip": {
                    "min": self.round_trips[0],
                    "mean": sum(self.round_trips) / len(self.round_trips),
                    **times,
                    "max": self.round_trips[-1],
                },
            }
        )

    def as_text(self, columns: int) -> str:
        """The same for a person, with a picture."""
        count = len(self.round_trips)
        lines = [
            f"{count:,} messages of {self.size:,} bytes over {self.connections:,} connections"
            f" in {self.duration:.2f} s",
            f"{self.throughput:,.0f} messages a second, there and back",
            "round trip in ms: "
            + ", ".join(f"{p}% {self.percentile(p) * 1000:.3f}" for p in PERCENTILES)
            + f", max {self.round_trips[-1] * 1000:.3f}",
            "",
            *draw_histogram([1000 * each for each in self.round_trips], "ms", columns),
        ]
        return "\n".join(lines)


@attrs.frozen(kw_only=True)
class Bench:
    """What `bench` was asked for.

    Attributes:
        dialling: How to reach the server.
        connections: How many to open.
        messages: How many to send on each.
        size: Bytes of each.
        rate: Messages a second, all connections together; None for as fast as it goes, one
            under way on each.
        json: Whether to report as JSON.
    """

    dialling: Dialling
    connections: int = 10
    messages: int = 1000
    size: int = 100
    rate: float | None = None
    json: bool = False

    async def run(self, console: Console) -> Exit:
        """Measure, and report."""
        async with stopping_on_signals() as stop:
            run = _Run(self, console)
            await run.measure(stop)
        if not run.round_trips:
            raise CommandError("nothing was measured", Exit.ENDED)
        report = run.report()
        columns = os.get_terminal_size(console.stdout).columns if console.shows else 80
        text = report.as_json() if self.json else report.as_text(columns)
        await console.write(f"{text}\n".encode())
        return Exit.OK


class _Run:
    """One measurement."""

    def __init__(self, bench: Bench, console: Console) -> None:
        self.bench = bench
        self.console = console
        self.round_trips = array("d")
        self.began = 0.0
        self.ended = 0.0
        self._ready = trio.Event()
        self._open = 0

    def report(self) -> Report:
        in_order = array("d", sorted(self.round_trips))
        bench = self.bench
        return Report(bench.connections, bench.size, self.ended - self.began, in_order)

    async def measure(self, stop: Stop) -> None:
        """Open all connections, then send on all of them."""
        with stop.scope():
            async with trio.open_nursery() as showing:
                showing.start_soon(self._show_progress)
                async with trio.open_nursery() as nursery:
                    for number in range(self.bench.connections):
                        nursery.start_soon(self._connect, number)
                showing.cancel_scope.cancel()

    async def _connect(self, number: int) -> None:
        async with self.bench.dialling.open() as endpoint:
            self._open += 1
            if self._open == self.bench.connections:
                self.began = trio.current_time()
                self._ready.set()
            await self._ready.wait()
            await self._send(endpoint, number)

    async def _send(self, endpoint: Endpoint, number: int) -> None:
        message = "x" * self.bench.size
        rate, connections = self.bench.rate, self.bench.connections
        for turn in range(self.bench.messages):
            due = trio.current_time()
            if rate is not None:
                # From when it was due, not sent: a server that stalls is charged for all that
                # would have been sent meanwhile.
                due = self.began + (turn * connections + number) / rate
                await trio.sleep_until(due)
            await endpoint.send(message)
            with trio.move_on_after(self.bench.dialling.timeout) as waiting:
                answer = await endpoint.receive()
            if waiting.cancelled_caught:
                raise CommandError("the server does not answer each message", Exit.TIMEOUT)
            self.ended = trio.current_time()
            self.round_trips.append(self.ended - due)
            if answer != message:
                raise CommandError("the server does not echo", Exit.ENDED)

    async def _show_progress(self) -> None:
        if not os.isatty(self.console.stderr):
            return
        total = self.bench.connections * self.bench.messages
        try:
            while True:
                await trio.sleep(PROGRESS_INTERVAL)
                done = len(self.round_trips)
                took = max(trio.current_time() - self.began, 1e-9) if self.began else math.inf
                text = f"{done / total:4.0%}  {done / took:,.0f} messages a second"
                os.write(self.console.stderr, f"\r\x1b[K{text}".encode())
        finally:
            os.write(self.console.stderr, b"\r\x1b[K")
