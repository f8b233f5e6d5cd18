"""Serve on all cores: many processes on one port, which are one through Redis.

Usage: python examples/many_processes.py [PORT] [--processes N] [--redis URL]

Each process is a Trio run of its own, and passes what a client says on to all clients with
the same path, in whatever process they are. The supervisor starts another process for each
that dies, and at SIGTERM or SIGINT drains all of them: they finish what is under way, and tell
their clients to connect again.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
from functools import partial

import trio

from trio_wsendpoint import Backoff, Endpoint, open_server
from trio_wsendpoint.hub import Hub, HubUnavailable, open_hub

DRAIN_TIMEOUT = 20.0
"""Seconds that a process has to drain."""
GRACE = 30.0
"""Seconds after which a process that has been told to end is killed."""


def hold_port(port: int) -> socket.socket:
    """A socket that is bound to a port and does not listen: other processes may."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("", port))
    return held


async def relay(hub: Hub, endpoint: Endpoint) -> None:
    room = endpoint.request.path
    async with hub.join(room, endpoint):
        async for message in endpoint:
            # While Redis is away, those in this process have it nevertheless.
            with contextlib.suppress(HubUnavailable):
                await hub.publish(room, message)


async def work(port: int, redis: str) -> None:
    """One of the processes: serve until told to stop, and drained."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with (
            open_hub(redis, on_slow="close") as hub,
            open_server(
                partial(relay, hub), port, reuse_port=True, drain_timeout=DRAIN_TIMEOUT
            ) as server,
        ):
            await anext(signals)
            await server.drain()


async def keep_up(port: int, redis: str) -> None:
    """Keep one process running; cancelled, let it end."""
    backoff, failures = Backoff(first=0.1, limit=10), 0
    command = [sys.executable, __file__, str(port), "--redis", redis, "--work"]
    while True:
        began = trio.current_time()
        # A signal from the keyboard is for the supervisor to pass on.
        process = await trio.lowlevel.open_process(command, start_new_session=True)
        try:
            code = await process.wait()
        finally:
            with trio.move_on_after(GRACE, shield=True):
                process.terminate()
                await process.wait()
            process.kill()
        if trio.current_time() - began >= backoff.healthy_after:
            failures = 0
        print(f"process {process.pid} ended with {code}", file=sys.stderr, flush=True)
        await trio.sleep(backoff.delay(failures))
        failures += 1


async def supervise(port: int, processes: int, redis: str) -> None:
    """Keep all of them running until told to stop."""
    with hold_port(port) as held:  # also while no process is there
        port = held.getsockname()[1]
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                for _ in range(processes):
                    nursery.start_soon(keep_up, port, redis)
                print(f"{processes} processes share port {port}", flush=True)
                await anext(signals)
                nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat server on all cores.")
    parser.add_argument("port", nargs="?", type=int, default=8000)
    parser.add_argument("--processes", metavar="N", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--redis", metavar="URL", default="redis://localhost")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        try:
            trio.run(work, arguments.port, arguments.redis)
        except HubUnavailable as error:
            sys.exit(str(error))
    else:
        trio.run(supervise, arguments.port, arguments.processes, arguments.redis)


if __name__ == "__main__":
    main()
