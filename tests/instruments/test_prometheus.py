from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import trio

from trio_wsendpoint import PrometheusInstrument, Request, broadcast
from trio_wsendpoint.instruments.metrics import METRICS
from trio_wsendpoint.testing import open_endpoint_pair


def scrape(registry: prometheus_client.CollectorRegistry) -> str:
    return prometheus_client.generate_latest(registry).decode()


async def test_a_registry_has_what_happened() -> None:
    registry = prometheus_client.CollectorRegistry()
    instrument = PrometheusInstrument(registry)
    async with open_endpoint_pair(instrument=instrument) as (client, server):
        await client.send("hello")
        await server.receive()
        broadcast([server], b"x" * 100)
        await client.receive()
        await client.ping()
        value = registry.get_sample_value
        for role in ("client", "server"):
            assert value("websocket_active_connections", {"websocket_role": role}) == 1
        sizes = (
            "websocket_sent_message_size_bytes_sum",
            "websocket_received_message_size_bytes_sum",
        )
        assert [value(name, {"websocket_role": "client"}) for name in sizes] == [5, 100]
        assert [value(name, {"websocket_role": "server"}) for name in sizes] == [100, 5]
        assert value("websocket_ping_duration_seconds_count", {"websocket_role": "client"}) == 1
        instrument.slow_consumer(server)
        instrument.handler_failed(server, KeyError("secret"))
        instrument.handshake_refused(Request("/?token=secret"), 403, "secret")
        await client.aclose(4321)
        await server.wait_closed()
    page = scrape(registry)
    assert "secret" not in page
    assert 'websocket_active_connections{websocket_role="client"} 0.0' in page
    assert (
        'websocket_connection_duration_seconds_count{websocket_close_code="4000-4999",'
        'websocket_closed_first="client",websocket_role="server"} 1.0'
    ) in page
    assert 'websocket_slow_consumers_total{websocket_role="server"} 1.0' in page
    assert (
        'websocket_handler_failures_total{error_type="KeyError",websocket_role="server"}'
        in page
    )
    assert 'websocket_handshake_refusals_total{http_response_status_code="403"} 1.0' in page


@pytest.mark.parametrize(
    ("code", "shown"), [(1000, "1000"), (3000, "3000-3999"), (4999, "4000-4999")]
)
async def test_codes_of_ones_own_are_counted_together(code: int, shown: str) -> None:
    registry = prometheus_client.CollectorRegistry()
    instrument = PrometheusInstrument(registry)
    async with open_endpoint_pair() as (client, _):
        instrument.connection_closed(client, code, None, 1.0)
    labels = {
        "websocket_role": "client",
        "websocket_close_code": shown,
        "websocket_closed_first": "none",
    }
    assert registry.get_sample_value("websocket_connection_duration_seconds_count", labels) == 1


def test_by_default_it_is_the_registry_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = prometheus_client.CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    PrometheusInstrument()
    assert "websocket_active_connections" in scrape(registry)


def test_a_registry_has_one_of_them() -> None:
    registry = prometheus_client.CollectorRegistry()
    PrometheusInstrument(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusInstrument(registry)


@pytest.mark.parametrize("registry", [7, "registry", trio])
def test_anything_else_is_no_registry(registry: Any) -> None:
    with pytest.raises(TypeError, match=r"registry must be a prometheus_client\.Coll"):
        PrometheusInstrument(registry)


def test_without_the_library_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r"trio-wsendpoint\[prometheus\]"):
        PrometheusInstrument()


def test_the_reference_names_all_metrics() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
    rows = re.findall(r"^\| `(websocket\.\S+)` \| `(websocket_\w+)` \|", page, re.MULTILINE)
    registry = prometheus_client.CollectorRegistry()
    PrometheusInstrument(registry)
    shown = re.findall(r"^# HELP (\S+)", scrape(registry), re.MULTILINE)
    assert [name for name, _ in rows] == [metric.name for metric in METRICS]
    assert {name for _, name in rows} == set(shown)
