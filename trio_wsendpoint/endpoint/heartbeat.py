"""The heartbeat: pings that are counted, and a peer that is given up on when it is silent."""

from __future__ import annotations

import math
import os

import attrs
import trio

from ..protocol import Connection, State
from .outbox import Outbox
from .owner import Owner
from .reader import Reader
from .timer import Alarm, current_timer


@attrs.define
class _Ping:
    """A ping under way: when it was sent, and who waits for it."""

    sent: float
    ended: trio.Event | None
    latency: float | None = None


class Heartbeat:
    """Counts pings that nothing came back for.

    Every byte from the peer is a sign of life, and so is what it takes of the data that waited
    at the last ping: a stream that was blocked moves on only if the other side reads. Our own
    pings do not count, as they may only have waited for their turn to be written. While it is
    we who do not read, because the application does not receive, nothing is counted.

    The heartbeat task is started for each of its pings, by the timer that all endpoints share.

    Args:
        interval: Seconds between pings; `math.inf` for none.
        max_pings: The count at which the peer is given up on.
        connection: Sends the pings.
        reader: Knows whether we read.
        outbox: Knows whether the peer takes what we send.
        owner: Starts the heartbeat task, and is told when the peer is given up on.

    Attributes:
        count: Pings since the last sign of life.
        latency: Seconds that the last answered ping took, or None.
    """

    __slots__ = (
        "_alarm",
        "_connection",
        "_data_waited",
        "_delivered",
        "_interval",
        "_max_pings",
        "_outbox",
        "_own",
        "_own_size",
        "_owner",
        "_reader",
        "_received",
        "_waiting",
        "count",
        "latency",
    )

    def __init__(
        self,
        interval: float,
        max_pings: int,
        connection: Connection,
        reader: Reader,
        outbox: Outbox,
        owner: Owner,
    ) -> None:
        self._interval = interval
        self._max_pings = max_pings
        self._connection = connection
        self._reader = reader
        self._outbox = outbox
        self._owner = owner
        self._received = self._delivered = 0
        self._data_waited = False
        self._own_size = 0  # bytes of our pings since the outbox was last empty
        self._waiting: dict[bytes, _Ping] = {}
        # Of our own, the oldest is forgotten in time: a peer may live and never answer one.
        self._own: list[bytes] = []
        self._alarm: Alarm | None = None
        self.count = 0
        self.latency: float | None = None

    def start(self) -> None:
        """Have the peer's life checked in an interval's time, and so on until the end."""
        if self._interval != math.inf:
            self._alarm = current_timer().set(self._interval, self._beat)

    def _beat(self) -> None:
        self._owner.start_task(self.run)

    async def run(self) -> None:
        """The heartbeat task: checks once, and has itself started again."""
        await self.check()
        if self._connection.is_open:
            self.start()

    async def check(self) -> None:
        """Send a ping and count it; or give up on the peer, if enough were counted."""
        await trio.lowlevel.checkpoint()
        if self.count >= self._max_pings:
            # The clock may have jumped, and the peer's bytes be there but not yet read.
            await trio.lowlevel.checkpoint()
        if self._connection.state is not State.OPEN:
            return
        if self._saw_life():
            self.count = 0
        if self.count >= self._max_pings:
            self._owner.on_silence(f"{self.count} pings went unanswered")
            return
        self.count += 1
        self._forget_oldest()
        payload = self._new_payload()
        self._own.append(payload)
        before = self._connection.sent.size
        self._connection.send_ping(payload)
        self._own_size += self._connection.sent.size - before
        self._begin(payload, None)

    def _saw_life(self) -> bool:
        received, delivered = self._connection.received.size, self._outbox.delivered
        moved_on = self._data_waited and delivered - self._delivered > self._own_size
        alive = received != self._received or moved_on or self._reader.paused
        self._received, self._delivered = received, delivered
        if not self._outbox.undelivered:
            self._own_size = 0
        self._data_waited = self._outbox.undelivered > self._own_size
        return alive

    def _forget_oldest(self) -> None:
        if len(self._own) >= self._max_pings:
            payload = self._own.pop(0)
            self._waiting.pop(payload, None)
            self._connection.forget_ping(payload)

    def _new_payload(self) -> bytes:
        while True:
            payload = os.urandom(4)
            if payload not in self._waiting:
                return payload

    def _begin(self, payload: bytes, ended: trio.Event | None) -> _Ping:
        ping = self._waiting[payload] = _Ping(trio.current_time(), ended)
        self._outbox.flush()
        return ping

    async def ping(self, payload: bytes | None) -> float | None:
        """Send a ping of the application's, and wait for its pong.

        Returns:
            The round trip in seconds; None if the connection ended before the pong came.
        """
        payload = self._new_payload() if payload is None else payload
        ended = trio.Event()
        self._connection.send_ping(payload)
        ping = self._begin(payload, ended)
        self._reader.urgent += 1
        self._reader.wake()
        try:
            await ended.wait()
        finally:
            self._reader.urgent -= 1
            self._waiting.pop(payload, None)
            self._connection.forget_ping(payload)
        return ping.latency

    def take_pongs(self) -> None:
        """Note the pongs that came."""
        answered = self._connection.answered_pings
        for payload in answered:
            if payload in self._own:
                self._own.remove(payload)
            ping = self._waiting.pop(payload)
            ping.latency = self.latency = trio.current_time() - ping.sent
            if ping.ended is not None:
                ping.ended.set()
        answered.clear()

    def end(self) -> None:
        """No more pongs will come, and no more pings are needed."""
        if self._alarm is not None:
            current_timer().cancel(self._alarm)
        for ping in self._waiting.values():
            if ping.ended is not None:
                ping.ended.set()
