"""The server: accept connections, look at requests, run an endpoint for each, reach many."""

from .accept import accept
from .auth import basic_auth
from .broadcast import Broadcast, Room, broadcast
from .opening import Server, ServerStatistics, open_server
from .options import AcceptKeywords, ServerKeywords, ServerOptions, Settings
from .origins import ANY_ORIGIN
from .requests import Accept, Decision, Gate
from .routing import Router
from .serve import serve, serve_listeners, serve_unix

__all__ = [
    "ANY_ORIGIN",
    "Accept",
    "AcceptKeywords",
    "Broadcast",
    "Decision",
    "Gate",
    "Room",
    "Router",
    "Server",
    "ServerKeywords",
    "ServerOptions",
    "ServerStatistics",
    "Settings",
    "accept",
    "basic_auth",
    "broadcast",
    "open_server",
    "serve",
    "serve_listeners",
    "serve_unix",
]
