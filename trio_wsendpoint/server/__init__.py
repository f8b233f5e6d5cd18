"""The server: accept connections, shake hands, run an endpoint for each, and reach many."""

from .accept import accept
from .broadcast import Broadcast, Room, broadcast
from .serve import serve, serve_listeners

__all__ = ["Broadcast", "Room", "accept", "broadcast", "serve", "serve_listeners"]
