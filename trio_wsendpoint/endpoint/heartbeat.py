"""The heartbeat: ping the peer, count what stays unanswered, and give up on a dead one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import attrs
import trio

from ..protocol import Connection
from .errors import LookAheadFull
from .outbox import Outbox
from .reader import Reader
from .waiting import FEW_TURNS, WakeUp

if TYPE_CHECKING:
    from .core import EndpointCore

PONG_PATIENCE: Final = 10.0
"""Seconds for which `ping` waits behind messages of which the application receives none."""


@attrs.define
class _Ping:
    """A ping under way: when it was sent, and who waits for it."""

    sent: float
    ended: trio.Event | None
    latency: float | None = None


class Heartbeat:
    """Counts pings since the last sign of life.

    Every byte from the peer is a sign of life. So is it if the stream had been blocked, with
    bytes of ours waiting, and then took some: that happens only if the other side reads.
    (Bytes that a stream takes at once show nothing, as they may only fill buffers on the way.)
    While it is we who do not read, because the application does not receive, nothing is
    counted.

    Args:
        interval: Seconds between pings; `math.inf` for none.
        max_pings: The count at which the peer is given up on.
        connection: Sends the pings.
        reader: Knows whether we read.
        outbox: Knows whether the peer takes what we send.
        core: Is told when the peer is given up on.

    Attributes:
        count: Pings since the last sign of life.
        latency: Seconds that the last answered ping took, or None.
    """

    __slots__ = (
        "_blocked_at",
        "_connection",
        "_core",
        "_ended",
        "_interval",
        "_max_pings",
        "_outbox",
        "_own",
        "_reader",
        "_received",
        "_under_way",
        "_wake_up",
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
        core: EndpointCore,
    ) -> None:
        self._interval = interval
        self._max_pings = max_pings
        self._connection = connection
        self._reader = reader
        self._outbox = outbox
        self._core = core
        self._received = 0  # bytes received by the last check
        # If the stream was blocked at the last check: the bytes that had gone by then.
        self._blocked_at: int | None = None
        self._under_way: dict[bytes, _Ping] = {}
        # Of our own, the oldest is forgotten in time: a peer may live and never answer one.
        self._own: list[bytes] = []
        self._wake_up = WakeUp()
        self._ended = False
        self.count = 0
        self.latency: float | None = None

    # -- the heartbeat task ---------------------------------------------------------------

    async def run(self) -> None:
        """The heartbeat task: check the peer every interval, until `end`."""
        try:
            while not self._ended:
                due = trio.current_time() + self._interval
                # Deadline and shield in one scope, as each scope takes memory for hours.
                with trio.CancelScope(deadline=due, shield=True):
                    await self._wake_up.wait()
                if not self._ended:
                    await self._check()
        except BaseException as error:
            self._core.crash(error)

    async def check(self) -> None:
        """Send a ping and count it; or give up on the peer, if enough were counted.

        Cancelled, it has done nothing.
        """
        await trio.lowlevel.checkpoint()
        await self._check()

    async def _check(self) -> None:
        if self.count >= self._max_pings:
            await self._read_what_is_there()
        blocked_at = await self._find_blocked()
        if not self._connection.is_open:
            return
        if self._saw_life():
            self.count = 0
        self._received, self._blocked_at = self._connection.received.size, blocked_at
        if self.count >= self._max_pings:
            self._core.give_up(f"{self.count} pings went unanswered")
            return
        self.count += 1
        self._forget_oldest()
        payload = self._new_payload()
        self._own.append(payload)
        self._send(payload, None)

    async def _read_what_is_there(self) -> None:
        # This process may have been suspended: then our sleep has ended, though what the peer
        # sent meanwhile is still to be read.
        self._reader.urgent += 1
        self._reader.wake()
        for _ in range(FEW_TURNS):
            await trio.lowlevel.cancel_shielded_checkpoint()
        self._reader.urgent -= 1

    async def _find_blocked(self) -> int | None:
        """See whether bytes wait because the stream takes no more, for longer than a turn.

        Returns:
            How many bytes had gone by then; None if the stream is not blocked.
        """
        gone, wanted = self._outbox.progress
        if gone >= wanted:
            return None
        for _ in range(FEW_TURNS):
            await trio.lowlevel.cancel_shielded_checkpoint()
        gone, _ = self._outbox.progress
        return gone if gone < wanted else None

    def _saw_life(self) -> bool:
        if self._connection.received.size != self._received or self._reader.paused:
            return True
        return self._blocked_at is not None and self._outbox.progress[0] > self._blocked_at

    def _forget_oldest(self) -> None:
        if len(self._own) >= self._max_pings:
            payload = self._own.pop(0)
            self._under_way.pop(payload, None)
            self._connection.forget_ping(payload)

    # -- pings ----------------------------------------------------------------------------

    def _new_payload(self) -> bytes:
        while True:
            payload = os.urandom(4)
            if payload not in self._under_way:
                return payload

    def _send(self, payload: bytes, ended: trio.Event | None) -> _Ping:
        self._connection.send_ping(payload)
        ping = self._under_way[payload] = _Ping(trio.current_time(), ended)
        self._outbox.flush()
        return ping

    async def ping(self, payload: bytes | None) -> float | None:
        """Send a ping of the application's, and wait for its pong.

        Returns:
            The round trip in seconds; None if the connection ended before the pong came.

        Raises:
            LookAheadFull: the pong lies behind messages that nobody receives.
        """
        payload = self._new_payload() if payload is None else payload
        ended = trio.Event()
        ping = self._send(payload, ended)
        self._reader.urgent += 1
        self._reader.wake()
        try:
            await self._wait_for_pong(ended)
        finally:
            self._reader.urgent -= 1
            self._under_way.pop(payload, None)
            self._connection.forget_ping(payload)
        return ping.latency

    async def _wait_for_pong(self, ended: trio.Event) -> None:
        while True:
            before = self._core.receiver.position
            with trio.move_on_after(PONG_PATIENCE):
                await ended.wait()
            if ended.is_set():
                return
            if self._reader.paused and self._core.receiver.position == before:
                raise LookAheadFull(PONG_PATIENCE)

    def take_pongs(self) -> None:
        """Note the pongs that came."""
        answered = self._connection.answered_pings
        for payload in answered:
            if payload in self._own:
                self._own.remove(payload)
            ping = self._under_way.pop(payload)
            ping.latency = self.latency = trio.current_time() - ping.sent
            if self._core.probe is not None:
                self._core.probe.tell("ping_answered", ping.latency)
            if ping.ended is not None:
                ping.ended.set()
        answered.clear()

    def end(self) -> None:
        """Ping no more, and wake whoever waits for a pong."""
        self._ended = True
        self._wake_up.wake()
        for ping in self._under_way.values():
            if ping.ended is not None:
                ping.ended.set()
