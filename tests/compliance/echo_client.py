"""An echo client for the suite: it asks for the number of cases and runs them all.

python -m tests.compliance.echo_client ws://127.0.0.1:9001 AGENT
"""

import contextlib
import math
import sys
from urllib.parse import urlencode

import trio

from trio_wsendpoint import ConnectionClosedError, PermessageDeflate, connect


async def count_cases(url: str) -> int:
    async with connect(f"{url}/getCaseCount") as endpoint:
        return int(await endpoint.receive())


async def run_case(url: str) -> None:
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


async def update_reports(url: str) -> None:
    """Have the reports written: many files, before the suite says a word more."""
    async with connect(url, ping_interval=math.inf) as endpoint:
        async for _ in endpoint:
            pass


async def main(url: str, agent: str) -> None:
    for case in range(1, await count_cases(url) + 1):
        await run_case(f"{url}/runCase?{urlencode({'case': case, 'agent': agent})}")
    await update_reports(f"{url}/updateReports?{urlencode({'agent': agent})}")


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
