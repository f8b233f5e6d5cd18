"""A WebSocket endpoint for Trio: client and server, as structured concurrency."""
