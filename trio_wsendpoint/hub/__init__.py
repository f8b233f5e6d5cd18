"""Rooms over many processes: members join, messages reach them wherever they are."""

from .channel import HubChannel
from .errors import HistoryLost, HubUnavailable
from .hub import Hub, HubStatistics, open_hub
from .options import HubKeywords, HubOptions

__all__ = [
    "HistoryLost",
    "Hub",
    "HubChannel",
    "HubKeywords",
    "HubOptions",
    "HubStatistics",
    "HubUnavailable",
    "open_hub",
]
