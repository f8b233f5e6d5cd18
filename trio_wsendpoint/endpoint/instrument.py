"""Instruments: what an application is told of its endpoints, for metrics and traces."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import trio

from ..protocol import MeteredConnection, Request, Role
from .closing import close_code_and_reason

if TYPE_CHECKING:
    from .endpoint import Endpoint

logger: Final = logging.getLogger("trio_wsendpoint.instrument")


class Instrument:
    """What happens, as it happens: a base class whose methods do nothing.

    Give one as `instrument=` to `serve`, `connect` and the like; it may be the same for any
    number of them. Its methods are called in the midst of things: they must return soon, and
    do nothing to the endpoint. What one raises is logged, and harms nothing.

    Sizes are of payloads, in bytes, text encoded and nothing compressed.
    """

    def connection_opened(self, endpoint: Endpoint) -> None:
        """A connection is open: its opening handshake is done."""

    def handshake_refused(self, request: Request, status_code: int, reason: str) -> None:
        """An opening handshake was refused, by our server or by the server that we asked."""

    def connection_closed(
        self, endpoint: Endpoint, code: int, closed_first: Role | None, seconds: float
    ) -> None:
        """A connection has ended, and its stream is closed.

        Args:
            endpoint: Its endpoint.
            code: As `Endpoint.close_code`: 1006 if there was no close frame.
            closed_first: Whose close frame came first, or None if there was none.
            seconds: How long it was open.
        """

    def message_sent(self, endpoint: Endpoint, size: int) -> None:
        """A whole message is in the outbox."""

    def message_received(self, endpoint: Endpoint, size: int) -> None:
        """A whole message has come; the application may not have received it yet."""

    def ping_answered(self, endpoint: Endpoint, seconds: float) -> None:
        """The pong of a ping has come, a heartbeat's included, after so long."""

    def slow_consumer(self, endpoint: Endpoint) -> None:
        """A broadcast has skipped or closed an endpoint, because too much waits in it."""

    def handler_failed(self, endpoint: Endpoint, error: BaseException) -> None:
        """The handler of a server has raised what is no mere end of its connection."""


def tell(instrument: Instrument | None, event: str, *details: Any) -> None:
    """Tell an instrument, if there is one, of what happens.

    Args:
        instrument: The instrument.
        event: The name of its method.
        *details: The arguments.
    """
    if instrument is None:
        return
    try:
        getattr(instrument, event)(*details)
    except Exception:
        logger.exception("%s of the instrument %r failed", event, instrument)


class Probe:
    """Tells an instrument of one endpoint.

    Args:
        instrument: The instrument.
        connection: The endpoint's; it tells us of its messages.
    """

    __slots__ = ("_began", "_connection", "_endpoint", "_instrument")

    def __init__(self, instrument: Instrument, connection: MeteredConnection) -> None:
        self._instrument = instrument
        self._connection = connection
        self._endpoint: Endpoint | None = None
        self._began = trio.current_time()

    def opened(self, endpoint: Endpoint) -> None:
        """The connection is open."""
        self._endpoint = endpoint
        self._connection.meter(
            lambda size: self.tell("message_sent", size),
            lambda size: self.tell("message_received", size),
        )
        self.tell("connection_opened")

    def ended(self, stream_error: Exception | None) -> None:
        """The connection has ended."""
        self._connection.meter(None, None)
        self.tell(
            "connection_closed",
            close_code_and_reason(self._connection, stream_error)[0],
            self._connection.closed_first,
            trio.current_time() - self._began,
        )
        self._endpoint = None  # it holds the core, and that us

    def tell(self, event: str, *details: Any) -> None:
        """Tell of what happens, until the connection has ended."""
        if self._endpoint is not None:
            tell(self._instrument, event, self._endpoint, *details)
