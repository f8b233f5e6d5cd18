"""Metrics for OpenTelemetry (`pip install trio-wsendpoint[opentelemetry]`)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .metrics import METRICS, Kind, Metric
from .recording import RecordingInstrument


class OpenTelemetryInstrument(RecordingInstrument):
    """Records metrics of endpoints with a meter of OpenTelemetry.

    Their names are `websocket.active_connections`, `websocket.sent_message.size` and so on.

    Args:
        meter: An `opentelemetry.metrics.Meter`; by default that of the process's meter
            provider, named `trio_wsendpoint`.

    Raises:
        ImportError: OpenTelemetry's API is not installed.
        TypeError: `meter` is something else.
    """

    def __init__(self, meter: Any = None) -> None:
        try:
            api = import_module("opentelemetry.metrics")
        except ImportError as error:
            raise ImportError(
                "OpenTelemetryInstrument needs trio-wsendpoint[opentelemetry]"
            ) from error
        if not isinstance(meter, api.Meter | None):
            raise TypeError(
                f"meter must be an opentelemetry.metrics.Meter, not {type(meter).__name__}"
            )
        records_with = api.get_meter("trio_wsendpoint") if meter is None else meter
        self._record = {each.name: _recorder(records_with, each) for each in METRICS}

    def record(self, metric: Metric, value: float, attributes: dict[str, Any]) -> None:
        """Count, add or observe a value."""
        self._record[metric.name](value, attributes)


def _recorder(meter: Any, metric: Metric) -> Any:
    """The function that takes the values of a metric."""
    named = {"name": metric.name, "unit": metric.unit, "description": metric.description}
    if metric.kind is Kind.HISTOGRAM:
        boundaries = list(metric.boundaries)
        return meter.create_histogram(
            **named, explicit_bucket_boundaries_advisory=boundaries
        ).record
    if metric.kind is Kind.COUNT:
        return meter.create_counter(**named).add
    return meter.create_up_down_counter(**named).add
