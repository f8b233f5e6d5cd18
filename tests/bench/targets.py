"""The ratios that have to hold: our CPU time over a peer's, in the same run."""

import attrs


@attrs.frozen
class Target:
    """In `scenario`, `subject` costs at most `at_most` times what `against` costs."""

    scenario: str
    against: str
    at_most: float
    subject: str = "ours"


TARGETS = [
    Target("echo-32", "websockets-trio", 0.30),
    Target("echo-32-many", "websockets-trio", 0.20),
    Target("echo-32", "aiohttp", 1.2),
    Target("echo-32-many", "aiohttp", 1.2),
    Target("pipelined-32", "picows", 0.5),
    Target("pipelined-2k", "picows", 0.7),
    Target("pipelined-64k", "picows", 0.9),
    Target("echo-1m", "picows", 1.0),
    Target("deflate-2k", "aiohttp", 0.8),
    Target("client-burst", "aiohttp", 0.5),
    Target("tls-32", "websockets-trio", 0.40),
    Target("tls-64k", "websockets-trio", 0.45),
    Target("handshakes", "websockets-trio", 0.6),
    Target("handshakes", "bare-trio", 2.0),
    Target("echo-32", "websockets-trio", 0.5, subject="ours-pure"),
]
IDLE_MEMORY_AT_MOST = 16.0  # KiB for each connection
