"""What is measured: each scenario is a context manager that yields a function to measure by.

Every measurement makes new connections, so that none grows old enough for a ping.
"""

import random
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from pathlib import Path
from socket import socket
from statistics import mean

import attrs
import trustme

from tests.bench import deflated, load, load_http2, raw_server
from tests.bench.programs import Peer, Program, ProgramError, run_program
from tests.bench.wire import client_frame, server_frame

KIB, MIB = 2**10, 2**20
WARM_UP = 0.1  # of the time that is measured after it
HANDSHAKES_PER_SECOND = 800  # as many are measured in a second's time; most servers can do more
LONG = 4  # times as long as usual: for so many connections that a turn of all takes seconds
FIRST_CONNECTIONS = 20  # for what a server makes but once


@attrs.frozen
class Figure:
    """What was measured: CPU time in microseconds, or memory in KiB; and a remark on it."""

    value: float
    note: str = ""


Measure = Callable[[float], Figure]  # takes seconds
Work = Callable[[Sequence[socket], bytes, bytes, float], int]


@attrs.frozen
class Scenario:
    """A row of the table."""

    name: str
    title: str
    unit: str
    open: Callable[[Peer], AbstractContextManager[Measure]]
    once: bool = False  # as memory is: it takes long, and hardly differs between rounds


def cpu_per_message(program: Program, work: Callable[[float], int], seconds: float) -> float:
    """Return the microseconds of CPU time that `program` needs for each message of `work`."""
    work(seconds * WARM_UP)
    before = program.cpu_time()
    count = work(seconds)
    return (program.cpu_time() - before) / count * 1e6


@cache
def certificate() -> tuple[tempfile.TemporaryDirectory[str], Path, ssl.SSLContext]:
    """Return a directory to hold on to, a server's certificate in it, a client's context."""
    directory = tempfile.TemporaryDirectory()
    path = Path(directory.name, "server.pem")
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return directory, path, context


@contextmanager
def run_server(
    peer: Peer, *options: str, tls: bool = False
) -> Iterator[tuple[Program, load.Address]]:
    """Run the server of `peer` until the context is left."""
    context = None
    if tls:
        _, path, context = certificate()
        options += ("--certificate", str(path))
    with run_program(peer, "servers", *options) as program:
        line = program.hear()
        if not line:
            raise ProgramError("the server does not start")
        yield program, load.Address(int(line), context)


@contextmanager
def connected(address: load.Address, count: int) -> Iterator[list[socket]]:
    """Hold `count` connections open until the context is left."""
    sockets = load.open_connections(address, count)
    try:
        yield sockets
    finally:
        load.close_connections(sockets)


@contextmanager
def echo(
    peer: Peer,
    *,
    work: Work,
    size: int,
    connections: int = 1,
    tls: bool = False,
    options: Sequence[str] = (),
    patience: float = 1,
) -> Iterator[Measure]:
    """A server that answers messages of `size` bytes, for `patience` times as long as usual."""
    payload = random.Random(size).randbytes(size)
    sent, expected = client_frame(payload), server_frame(payload)
    with run_server(peer, *options, tls=tls) as (program, address):

        def measure(seconds: float) -> Figure:
            with connected(address, connections) as sockets:
                program.come_to_rest()
                send_and_check = partial(work, sockets, sent, expected)
                value = cpu_per_message(program, send_and_check, seconds * patience)
                return Figure(value)

        yield measure


@contextmanager
def deflate(peer: Peer, *, size: int) -> Iterator[Measure]:
    """A server that answers compressed JSON texts, compressed."""
    pairs = deflated.documents(size)
    with run_server(peer, "--deflate") as (program, address):

        def measure(seconds: float) -> Figure:
            sock, agreed = load.open_connection(address)
            conversation = deflated.Conversation(sock, pairs)
            value = cpu_per_message(program, conversation.echo, seconds)
            load.close_connections([sock])
            note = f"agreed on `{agreed}`, {mean(conversation.sizes):.0f} bytes a message"
            return Figure(value, note)

        yield measure


@contextmanager
def http2_echo(peer: Peer, *, size: int, streams: int = 1) -> Iterator[Measure]:
    """A server that answers messages of `size` bytes on the streams of one connection."""
    payload = random.Random(size).randbytes(size)
    sent, expected = client_frame(payload), server_frame(payload)
    with run_server(peer, "--http2") as (program, address):

        def measure(seconds: float) -> Figure:
            connection = load_http2.Streams(address, streams)
            program.come_to_rest()
            value = cpu_per_message(program, partial(connection.echo, sent, expected), seconds)
            connection.close()
            return Figure(value)

        yield measure


@contextmanager
def handshakes(peer: Peer) -> Iterator[Measure]:
    """A server that answers opening handshakes; closing is not part of the figure."""
    with run_server(peer) as (program, address):

        def measure(seconds: float) -> Figure:
            program.come_to_rest()
            count = max(100, int(HANDSHAKES_PER_SECOND * seconds))
            before = program.cpu_time()
            with connected(address, count):
                program.come_to_rest()
                spent = program.cpu_time() - before
            return Figure(spent / count * 1e6)

        yield measure


@contextmanager
def whole_lives(peer: Peer) -> Iterator[Measure]:
    """A server whose connections do nothing but open and close."""
    with run_server(peer) as (program, address):

        def measure(seconds: float) -> Figure:
            load.whole_lives(address, FIRST_CONNECTIONS)
            program.come_to_rest()
            count = max(100, int(HANDSHAKES_PER_SECOND * seconds))
            before = program.cpu_time()
            load.whole_lives(address, count)
            program.come_to_rest()
            return Figure((program.cpu_time() - before) / count * 1e6)

        yield measure


@contextmanager
def idle_memory(peer: Peer, *, connections: int) -> Iterator[Measure]:
    """A fresh server, and connections that have carried one message each and then rest."""
    payload = bytes(32)
    sent, expected = client_frame(payload), server_frame(payload)

    def measure(_seconds: float) -> Figure:
        with (
            run_server(peer) as (program, address),
            connected(address, FIRST_CONNECTIONS) as first,
        ):
            load.echo_on_many(first, sent, expected, 0)
            program.come_to_rest()
            before = program.resident()
            with connected(address, connections) as sockets:
                load.echo_on_many(sockets, sent, expected, 0)
                program.come_to_rest()
                return Figure((program.resident() - before) / connections / KIB)

    yield measure


@contextmanager
def client(
    peer: Peer, *, work: Callable[[socket, bytes, float], int], options: Sequence[str] = ()
) -> Iterator[Measure]:
    """A client, against the neutral server."""
    payload = random.Random(32).randbytes(32)
    with (
        raw_server.RawServer() as server,
        run_program(peer, "clients", *options) as program,
    ):

        def measure(seconds: float) -> Figure:
            program.tell(server.url)
            sock = server.accept()
            value = cpu_per_message(program, partial(work, sock, payload), seconds)
            raw_server.close(sock)
            return Figure(value)

        yield measure


WORK: list[tuple[str, str, Callable[[Peer], AbstractContextManager[Measure]]]] = [
    ("echo-32", "echo 32 B, 1 connection", partial(echo, work=load.echo, size=32)),
    (
        "echo-32-many",
        "echo 32 B, 100 connections",
        partial(echo, work=load.echo_on_many, size=32, connections=100),
    ),
    (
        "echo-32-own",
        "echo 32 B, 100 connections, own rhythm",
        partial(echo, work=load.echo_as_they_come, size=32, connections=100),
    ),
    ("pipelined-32", "pipelined 32 B", partial(echo, work=load.pipeline, size=32)),
    ("pipelined-2k", "pipelined 2 KB", partial(echo, work=load.pipeline, size=2 * KIB)),
    ("pipelined-64k", "pipelined 64 KB", partial(echo, work=load.pipeline, size=64 * KIB)),
    ("echo-64k", "echo 64 KB", partial(echo, work=load.echo, size=64 * KIB)),
    ("echo-1m", "echo 1 MB", partial(echo, work=load.echo, size=MIB)),
    ("deflate-2k", "deflated 2 KB JSON", partial(deflate, size=2 * KIB)),
    ("tls-32", "TLS echo 32 B", partial(echo, work=load.echo, size=32, tls=True)),
    ("tls-64k", "TLS echo 64 KB", partial(echo, work=load.echo, size=64 * KIB, tls=True)),
    (
        "http2-32",
        "HTTP/2 echo 32 B, 100 streams",
        partial(http2_echo, size=32, streams=100),
    ),
    ("http2-64k", "HTTP/2 echo 64 KB", partial(http2_echo, size=64 * KIB)),
    (
        "broadcast-1k",
        "broadcast 1 KB to 1,000, by sends",
        partial(
            echo,
            work=load.broadcast,
            size=KIB,
            connections=1000,
            options=["--broadcast"],
        ),
    ),
    ("client-echo", "client echo 32 B", partial(client, work=raw_server.echo)),
    (
        "client-burst",
        "client burst of receives 32 B",
        partial(client, work=raw_server.burst, options=["--work", "count"]),
    ),
    (
        "client-burst-both",
        "client burst of sends and receives",
        partial(client, work=raw_server.burst_both_ways, options=["--work", "burst"]),
    ),
]
SCENARIOS = [
    *(Scenario(name, title, "µs per message", function) for name, title, function in WORK),
    Scenario(
        "echo-32-10k",
        "echo 32 B, 10,000 connections, own rhythm",
        "µs per message",
        partial(echo, work=load.echo_as_they_come, size=32, connections=10_000, patience=LONG),
        once=True,
    ),
    Scenario("handshakes", "opening handshake", "µs per handshake", handshakes),
    Scenario("whole-life", "a connection's whole life", "µs per connection", whole_lives),
    Scenario(
        "idle-memory",
        "memory, 5,000 idle",
        "KiB per connection",
        partial(idle_memory, connections=5000),
        once=True,
    ),
]
