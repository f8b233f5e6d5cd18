"""An echo client for the suite: it asks for the number of cases and runs them all.

python -m tests.compliance.echo_client ws://127.0.0.1:9001 AGENT
"""

import contextlib
import math
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import trio

from trio_wsendpoint import ConnectionClosedError, PermessageDeflate, connect

Connect = Callable[..., Any]


async def count_cases(connect: Connect, url: str) -> int:
    async with connect(f"{url}/getCaseCount") as endpoint:
        return int(await endpoint.receive())


async def run_case(connect: Connect, url: str) -> None:
    """Echo until the suite closes. Many a case ends in an error, as it should."""
    with contextlib.suppress(ConnectionClosedError, trio.BrokenResourceError):
        async with connect(
            url,
            extensions=[PermessageDeflate()],
            max_message_size=None,
            ping_interval=math.inf,
        ) as endpoint:
            async for message in endpoint:
                await endpoint.send(message)


async def update_reports(connect: Connect, url: str) -> None:
    """Have the reports written: many files, before the suite says a word more."""
    async with connect(url, ping_interval=math.inf) as endpoint:
        async for _ in endpoint:
            pass


async def run(connect: Connect, url: str, agent: str) -> None:
    """Run all cases, each on a connection that `connect` makes."""
    for case in range(1, await count_cases(connect, url) + 1):
        query = urlencode({"case": case, "agent": agent})
        await run_case(connect, f"{url}/runCase?{query}")
    await update_reports(connect, f"{url}/updateReports?{urlencode({'agent': agent})}")


if __name__ == "__main__":
    trio.run(run, connect, sys.argv[1], sys.argv[2])
