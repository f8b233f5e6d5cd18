"""How many connections a server has at a time, and how many it has with one client."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Final

import trio

from ..protocol import HandshakeError

FULL: Final = "the server has as many connections as it takes"
DRAINING: Final = "the server takes no more connections"


class Limits:
    """Counts the connections of a server, and refuses those over its limits.

    Args:
        max_connections: How many may be open at a time; None for no limit.
        max_connections_per_host: How many may be open with one client address.
        max_handshakes: How many opening handshakes may be under way.

    Attributes:
        connections: How many are open.
        draining: Whether there are to be no more.
        handshakes: How many opening handshakes are under way.
        reading: Of how many of these the request has not come yet.
    """

    __slots__ = (
        "_changed",
        "_hosts",
        "_max_connections",
        "_max_handshakes",
        "_max_per_host",
        "_waiting",
        "connections",
        "draining",
        "handshakes",
        "reading",
    )

    def __init__(
        self,
        max_connections: int | None = None,
        max_connections_per_host: int | None = None,
        max_handshakes: int | None = None,
    ) -> None:
        self._max_connections = math.inf if max_connections is None else max_connections
        self._max_per_host = (
            math.inf if max_connections_per_host is None else max_connections_per_host
        )
        self._max_handshakes = math.inf if max_handshakes is None else max_handshakes
        self._hosts: dict[str, int] = {}
        self._waiting = trio.lowlevel.ParkingLot()
        self._changed = trio.lowlevel.ParkingLot()
        self.draining = False
        self.connections = 0
        self.handshakes = 0
        self.reading = 0

    def check(self, client_address: str | None) -> None:
        """Refuse one connection more than there may be.

        Raises:
            HandshakeError: with 503.
        """
        if self.draining:
            raise HandshakeError(DRAINING, 503)
        if self.connections >= self._max_connections:
            raise HandshakeError(FULL, 503)
        if client_address is not None and self._open_with(client_address) >= self._max_per_host:
            raise HandshakeError(f"{FULL} from one address", 503)

    def _open_with(self, client_address: str) -> int:
        return self._hosts.get(client_address, 0)

    def take_seat(self, client_address: str | None) -> Seat:
        """Count a connection from here on, until its seat is left.

        Raises:
            HandshakeError: with 503, as there may be no more.
        """
        self.check(client_address)
        counted = None if self._max_per_host == math.inf else client_address
        self.connections += 1
        if counted is not None:
            self._hosts[counted] = self._open_with(counted) + 1
        return Seat(self, counted)

    def _leave(self, counted: str | None) -> None:
        self.connections -= 1
        if counted is not None:
            left = self._hosts.pop(counted) - 1
            if left:
                self._hosts[counted] = left
        self._changed.unpark_all()

    async def wait_for_handshakes(self) -> None:
        """Wait until one handshake more may be under way."""
        while self.handshakes >= self._max_handshakes:
            await self._waiting.park()

    def handshake_done(self) -> None:
        """An opening handshake is no longer under way, however it ended."""
        self.handshakes -= 1
        # All: the first may go on to wait for a client, while another has one already.
        self._waiting.unpark_all()
        self._changed.unpark_all()

    async def wait_answered(self) -> None:
        """Wait until there is no connection, and no request that waits for an answer."""
        while self.connections or self.handshakes > self.reading:
            await self._changed.park()

    async def wait_idle(self) -> None:
        """Wait until there is neither a connection nor an opening handshake."""
        while self.connections or self.handshakes:
            await self._changed.park()


class Seat:
    """The place of one connection among those that may be open; a context manager."""

    __slots__ = ("_counted", "_limits")

    def __init__(self, limits: Limits, counted: str | None) -> None:
        self._limits: Limits | None = limits
        self._counted = counted

    def leave(self) -> None:
        """Give it up; to do so again changes nothing."""
        limits, self._limits = self._limits, None
        if limits is not None:
            limits._leave(self._counted)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()
