"""The metrics that are made of what endpoints tell: their names and kinds, stated once.

The names follow OpenTelemetry's conventions. Each metric has the attribute `websocket.role`,
which is "server" or "client", unless it is about a handshake that made no endpoint. None has an
attribute that may take any number of values, such as a path.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

ROLE: Final = "websocket.role"
CLOSE_CODE: Final = "websocket.close.code"
CLOSED_FIRST: Final = "websocket.closed_first"
STATUS_CODE: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"

_LONG_TIMES: Final = (1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 86400)
_SHORT_TIMES: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES: Final = (2**6, 2**8, 2**10, 2**12, 2**14, 2**16, 2**18, 2**20, 2**22)


class Kind(enum.Enum):
    """What is done with the values of a metric."""

    UP_AND_DOWN = enum.auto()
    COUNT = enum.auto()
    HISTOGRAM = enum.auto()


@attrs.frozen
class Metric:
    """One metric.

    Attributes:
        name: By OpenTelemetry's conventions.
        kind: What is done with its values.
        unit: By UCUM, the code that OpenTelemetry uses.
        description: What it measures.
        attributes: The names of its attributes.
        boundaries: Of a histogram, the upper bounds of its buckets.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...]
    boundaries: tuple[float, ...] = ()


ACTIVE: Final = Metric(
    "websocket.active_connections",
    Kind.UP_AND_DOWN,
    "{connection}",
    "Connections that are open, or closing.",
    (ROLE,),
)
DURATION: Final = Metric(
    "websocket.connection.duration",
    Kind.HISTOGRAM,
    "s",
    "How long connections were open, and how they ended.",
    (ROLE, CLOSE_CODE, CLOSED_FIRST),
    _LONG_TIMES,
)
SENT: Final = Metric(
    "websocket.sent_message.size",
    Kind.HISTOGRAM,
    "By",
    "Payloads of messages sent.",
    (ROLE,),
    _SIZES,
)
RECEIVED: Final = Metric(
    "websocket.received_message.size",
    Kind.HISTOGRAM,
    "By",
    "Payloads of messages received.",
    (ROLE,),
    _SIZES,
)
PING: Final = Metric(
    "websocket.ping.duration",
    Kind.HISTOGRAM,
    "s",
    "How long pings took to be answered.",
    (ROLE,),
    _SHORT_TIMES,
)
REFUSED: Final = Metric(
    "websocket.handshake.refusals",
    Kind.COUNT,
    "{handshake}",
    "Opening handshakes that were refused.",
    (STATUS_CODE,),
)
SLOW: Final = Metric(
    "websocket.slow_consumers",
    Kind.COUNT,
    "{endpoint}",
    "Endpoints that a broadcast found too slow.",
    (ROLE,),
)
FAILED: Final = Metric(
    "websocket.handler.failures",
    Kind.COUNT,
    "{failure}",
    "Handlers of a server that raised an exception.",
    (ROLE, ERROR_TYPE),
)

METRICS: Final = (ACTIVE, DURATION, SENT, RECEIVED, PING, REFUSED, SLOW, FAILED)
