"""The ratios that have to hold: our CPU time over a peer's, in the same run."""

import attrs


@attrs.frozen
class Target:
    """In `scenario`, `subject` costs at most `at_most` times what `against` costs.

    What `against` costs is taken from another scenario, if one is given.
    """

    scenario: str
    against: str
    at_most: float
    subject: str = "ours"
    other_scenario: str | None = None


TARGETS = [
    Target("echo-32", "bare-trio", 1.12),
    Target("echo-32", "aiohttp", 1.1),
    Target("echo-32", "websockets-trio", 0.38, subject="ours-pure"),
    Target("echo-32-own", "bare-trio", 1.0),
    Target("echo-32-own", "aiohttp", 1.0),
    Target("pipelined-32", "picows", 0.3),
    Target("pipelined-2k", "picows", 0.45),
    Target("pipelined-64k", "picows", 0.9),
    Target("echo-1m", "picows", 0.9),
    Target("deflate-2k", "aiohttp", 0.8),
    Target("tls-32", "aiohttp", 0.75),
    Target("tls-64k", "picows", 1.1),
    Target("broadcast-1k", "picows", 1.2),
    Target("client-burst-both", "aiohttp", 0.4),
    Target("whole-life", "websockets-trio", 0.45),
    Target("whole-life", "websockets-uvloop", 1.0),
    Target("echo-32-10k", "ours", 1.3, other_scenario="echo-32-own"),
]
IDLE_MEMORY_AT_MOST = 16.0  # KiB for each connection
