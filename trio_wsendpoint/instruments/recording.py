"""From what endpoints tell to the values of metrics, whoever keeps them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ..endpoint import Endpoint, Instrument
from ..protocol import Request, Role
from .metrics import (
    ACTIVE,
    CLOSE_CODE,
    CLOSED_FIRST,
    DURATION,
    ERROR_TYPE,
    FAILED,
    PING,
    RECEIVED,
    REFUSED,
    ROLE,
    SENT,
    SLOW,
    STATUS_CODE,
    Metric,
)

_ROLES = {role: {ROLE: role.value} for role in Role}


class RecordingInstrument(Instrument):
    """Records metrics; subclasses keep them."""

    @abstractmethod
    def record(self, metric: Metric, value: float, attributes: dict[str, Any]) -> None:
        """Count, add or observe a value."""
        raise NotImplementedError

    def connection_opened(self, endpoint: Endpoint) -> None:
        """One more connection is open."""
        self.record(ACTIVE, 1, _ROLES[endpoint.role])

    def connection_closed(
        self, endpoint: Endpoint, code: int, closed_first: Role | None, seconds: float
    ) -> None:
        """One connection less is open."""
        self.record(ACTIVE, -1, _ROLES[endpoint.role])
        first = "none" if closed_first is None else closed_first.value
        self.record(
            DURATION,
            seconds,
            {ROLE: endpoint.role.value, CLOSE_CODE: _group(code), CLOSED_FIRST: first},
        )

    def message_sent(self, endpoint: Endpoint, size: int) -> None:
        """A message of this size was sent."""
        self.record(SENT, size, _ROLES[endpoint.role])

    def message_received(self, endpoint: Endpoint, size: int) -> None:
        """A message of this size has come."""
        self.record(RECEIVED, size, _ROLES[endpoint.role])

    def ping_answered(self, endpoint: Endpoint, seconds: float) -> None:
        """A ping was answered after so long."""
        self.record(PING, seconds, _ROLES[endpoint.role])

    def slow_consumer(self, endpoint: Endpoint) -> None:
        """An endpoint is slow."""
        self.record(SLOW, 1, _ROLES[endpoint.role])

    def handshake_refused(
        self,
        request: Request,  # noqa: ARG002 - of which nothing may be an attribute
        status_code: int,
        reason: str,  # noqa: ARG002
    ) -> None:
        """A handshake was refused."""
        self.record(REFUSED, 1, {STATUS_CODE: status_code})

    def handler_failed(self, endpoint: Endpoint, error: BaseException) -> None:
        """A handler has failed."""
        kind = type(error).__qualname__
        self.record(FAILED, 1, {ROLE: endpoint.role.value, ERROR_TYPE: kind})


def _group(code: int) -> int | str:
    """A close code; those that peers may make up count as one, or there were two thousand."""
    return code if code < 3000 else "3000-3999" if code < 4000 else "4000-4999"
