"""An instrument that writes down what it is told."""

from __future__ import annotations

from typing import Any

from trio_wsendpoint.endpoint import Endpoint, Instrument
from trio_wsendpoint.protocol import Request, Role


class Recorder(Instrument):
    """Writes down what it is told.

    Attributes:
        events: The names of the methods that were called, with their arguments; an endpoint is
            written down as its role.
    """

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of one method."""
        return [event[1:] for event in self.events if event[0] == name]

    def connection_opened(self, endpoint: Endpoint) -> None:
        self.events.append(("connection_opened", endpoint.role))

    def handshake_refused(self, request: Request, status_code: int, reason: str) -> None:
        self.events.append(("handshake_refused", request.target, status_code, reason))

    def connection_closed(
        self, endpoint: Endpoint, code: int, closed_first: Role | None, seconds: float
    ) -> None:
        self.events.append(("connection_closed", endpoint.role, code, closed_first, seconds))

    def message_sent(self, endpoint: Endpoint, size: int) -> None:
        self.events.append(("message_sent", endpoint.role, size))

    def message_received(self, endpoint: Endpoint, size: int) -> None:
        self.events.append(("message_received", endpoint.role, size))

    def ping_answered(self, endpoint: Endpoint, seconds: float) -> None:
        self.events.append(("ping_answered", endpoint.role, seconds))

    def slow_consumer(self, endpoint: Endpoint) -> None:
        self.events.append(("slow_consumer", endpoint.role))

    def handler_failed(self, endpoint: Endpoint, error: BaseException) -> None:
        self.events.append(("handler_failed", endpoint.role, error))


class Failing(Instrument):
    """Raises, whatever it is told."""

    def __getattribute__(self, name: str) -> Any:
        if hasattr(Instrument, name) and not name.startswith("_"):
            raise RuntimeError(f"no {name}")
        return super().__getattribute__(name)
