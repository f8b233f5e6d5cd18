"""What every measured program (a server or a client of some library) does first."""

import argparse
import os
import resource
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

HEARTBEAT = 20.0  # seconds: what most libraries take by default; set where one has another


@attrs.frozen
class Settings:
    """What a server is asked to be."""

    broadcast: bool
    deflate: bool
    http2: bool
    ssl_context: ssl.SSLContext | None


def raise_file_limit() -> None:
    """Allow this process as many open sockets as the system lets it have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pin(cpu: int | None) -> None:
    """Run on `cpu` alone, where a CPU was given."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


def server_settings() -> Settings:
    """Pin this process as its command line says, and return what the server is to be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--broadcast", action="store_true")
    parser.add_argument("--deflate", action="store_true")
    parser.add_argument("--http2", action="store_true")
    parser.add_argument("--certificate", type=Path)
    options = parser.parse_args()
    pin(options.cpu)
    raise_file_limit()
    ssl_context = None
    if options.certificate is not None:
        ssl_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ssl_context.load_cert_chain(options.certificate)
    return Settings(options.broadcast, options.deflate, options.http2, ssl_context)


def announce(port: int) -> None:
    """Tell the benchmark that the server is ready, and where."""
    print(port, flush=True)


PAYLOAD = bytes(range(32))
BURST = 256  # messages that a client sends in a row, before it receives as many


def client_requests() -> tuple[str, Iterator[str]]:
    """Pin this process; return what the client is to do, and the URLs to connect to.

    It is to "echo" what comes, to "count" it, or to send a "burst" of `BURST` messages of
    `PAYLOAD`, receive as many, and so on, until the connection is closed.

    The benchmark asks for each connection by a line on standard input. Waiting for that line
    blocks the event loop, which has nothing else to do between two connections.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--work", choices=("echo", "count", "burst"), default="echo")
    options = parser.parse_args()
    pin(options.cpu)
    return options.work, (line.strip() for line in sys.stdin)
