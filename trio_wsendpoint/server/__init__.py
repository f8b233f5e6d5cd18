"""The server: accept connections, shake hands, run an endpoint for each."""

from .serve import serve, serve_listeners

__all__ = ["serve", "serve_listeners"]
