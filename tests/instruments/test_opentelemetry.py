from __future__ import annotations

import sys
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from trio_wsendpoint import OpenTelemetryInstrument, Request
from trio_wsendpoint.testing import open_endpoint_pair


def read(reader: InMemoryMetricReader) -> dict[str, list[dict[str, Any]]]:
    """The points of each metric: their attributes, and the value, or the sum and the count."""
    found: dict[str, list[dict[str, Any]]] = {}
    data = reader.get_metrics_data()
    assert data is not None
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found[metric.name] = [
                    {
                        **dict(point.attributes or {}),
                        "value": getattr(point, "value", getattr(point, "sum", None)),
                        "count": getattr(point, "count", None),
                        "unit": metric.unit,
                    }
                    for point in metric.data.data_points
                ]
    return found


async def test_a_meter_has_what_happened() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider(metric_readers=[reader]).get_meter("test")
    instrument = OpenTelemetryInstrument(meter)
    async with open_endpoint_pair(server_options={"instrument": instrument}) as (
        client,
        server,
    ):
        await client.send("hello")
        await server.receive()
        found = read(reader)
        role = {"websocket.role": "server"}
        assert found["websocket.active_connections"] == [
            {**role, "value": 1, "count": None, "unit": "{connection}"}
        ]
        assert found["websocket.received_message.size"] == [
            {**role, "value": 5, "count": 1, "unit": "By"}
        ]
        instrument.handshake_refused(Request("/"), 403, "no")
        await client.aclose()
        await server.wait_closed()
    found = read(reader)
    assert found["websocket.active_connections"][0]["value"] == 0
    assert found["websocket.connection.duration"][0] | {"value": 0} == {
        **role,
        "websocket.close.code": 1000,
        "websocket.closed_first": "client",
        "value": 0,
        "count": 1,
        "unit": "s",
    }
    assert found["websocket.handshake.refusals"] == [
        {"http.response.status_code": 403, "value": 1, "count": None, "unit": "{handshake}"}
    ]


def test_by_default_it_is_a_meter_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    instrument = OpenTelemetryInstrument()
    instrument.handshake_refused(Request("/"), 403, "no")
    assert list(read(reader)) == ["websocket.handshake.refusals"]


def test_anything_else_is_no_meter() -> None:
    with pytest.raises(TypeError, match=r"meter must be an opentelemetry\.metrics\.Meter, not"):
        OpenTelemetryInstrument("meter")


def test_without_the_library_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(ImportError, match=r"trio-wsendpoint\[opentelemetry\]"):
        OpenTelemetryInstrument()
