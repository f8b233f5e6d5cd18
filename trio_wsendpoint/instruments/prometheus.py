"""Metrics for Prometheus (`pip install trio-wsendpoint[prometheus]`)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .metrics import METRICS, Kind, Metric
from .recording import RecordingInstrument

_SUFFIXES = {"s": "_seconds", "By": "_bytes"}


class PrometheusInstrument(RecordingInstrument):
    """Keeps metrics of endpoints in a registry of `prometheus_client`.

    Their names are OpenTelemetry's, as it translates them for Prometheus:
    `websocket_active_connections`, `websocket_sent_message_size_bytes` and so on. One does for
    all servers and clients of a process; the registry refuses a second one.

    Args:
        registry: A `prometheus_client.CollectorRegistry`; by default that of the process.

    Raises:
        ImportError: `prometheus_client` is not installed.
        TypeError: `registry` is something else.
        ValueError: the registry has metrics of these names already.
    """

    def __init__(self, registry: Any = None) -> None:
        try:
            client = import_module("prometheus_client")
        except ImportError as error:
            raise ImportError(
                "PrometheusInstrument needs trio-wsendpoint[prometheus]"
            ) from error
        if not isinstance(registry, client.CollectorRegistry | None):
            raise TypeError(
                "registry must be a prometheus_client.CollectorRegistry,"
                f" not {type(registry).__name__}"
            )
        kept_in = client.REGISTRY if registry is None else registry
        self._collectors = {each.name: _collector(client, each, kept_in) for each in METRICS}
        # To look up the child of a metric with its labels takes longer than to count.
        self._children: dict[tuple[Any, ...], Any] = {}

    def record(self, metric: Metric, value: float, attributes: dict[str, Any]) -> None:
        """Count, add or observe a value."""
        key = (metric.name, *attributes.values())
        child = self._children.get(key)
        if child is None:
            labels = {_name(name): str(value) for name, value in attributes.items()}
            child = self._children[key] = self._collectors[metric.name].labels(**labels)
        if metric.kind is Kind.HISTOGRAM:
            child.observe(value)
        else:
            child.inc(value)


def _name(name: str) -> str:
    return name.replace(".", "_")


def _collector(client: Any, metric: Metric, registry: Any) -> Any:
    """The collector of a metric."""
    kinds = {
        Kind.UP_AND_DOWN: client.Gauge,
        Kind.COUNT: client.Counter,  # which adds "_total" to the name
        Kind.HISTOGRAM: client.Histogram,
    }
    buckets = {"buckets": metric.boundaries} if metric.kind is Kind.HISTOGRAM else {}
    return kinds[metric.kind](
        _name(metric.name) + _SUFFIXES.get(metric.unit, ""),
        metric.description,
        [_name(each) for each in metric.attributes],
        registry=registry,
        **buckets,
    )
