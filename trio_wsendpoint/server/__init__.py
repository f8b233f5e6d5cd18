"""The server: accept connections, shake hands, run an endpoint for each."""

from .accept import accept
from .serve import serve, serve_listeners

__all__ = ["accept", "serve", "serve_listeners"]
