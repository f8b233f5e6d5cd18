"""Instruments that make metrics of what endpoints tell, for monitoring systems."""

from ..endpoint import Instrument
from .opentelemetry import OpenTelemetryInstrument
from .prometheus import PrometheusInstrument

__all__ = ["Instrument", "OpenTelemetryInstrument", "PrometheusInstrument"]
