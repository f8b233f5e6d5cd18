"""The processes of a measurement: a Redis, nodes, and the load, which reads what they send."""

from __future__ import annotations

import json
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import hiredis

from tests.bench.load import Address, open_connections
from tests.bench.programs import ROOT, ProgramError
from tests.bench.wire import server_frame

PATIENCE = 60.0  # seconds that anything may take


class Redis:
    """A redis-server of the measurement's own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}"

    def ask(self, *command: str) -> Any:
        """Send one command; return the reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as sock:
            sock.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]
            parser = hiredis.Reader()
            while (reply := parser.gets()) is False:
                parser.feed(sock.recv(2**16))
            return reply

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = dict(
            line.split(":") for line in self.ask("INFO", "cpu").decode().split() if ":" in line
        )
        return float(fields["used_cpu_sys"]) + float(fields["used_cpu_user"])


@contextmanager
def open_redis() -> Iterator[Redis]:
    """Run a redis-server on a free port."""
    program = shutil.which("redis-server")
    if program is None:
        raise ProgramError("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
            stdout=subprocess.DEVNULL,
            cwd=directory,
        )
        try:
            redis = Redis(port)
            for _ in range(200):
                try:
                    redis.ask("PING")
                    break
                except OSError:
                    time.sleep(0.05)
            # A subscriber that falls behind is to be measured, not to be cut off.
            redis.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
            yield redis
        finally:
            process.kill()
            process.wait()


class Node:
    """A process under test; see `tests.bench.hub.node`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.address = Address(int(process.stdout.readline()))
        self.sockets: list[socket.socket] = []

    def send(self, *order: Any) -> None:
        """Tell it to do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def result(self) -> Any:
        """Wait until it has done so."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ProgramError("a node has died")
        return json.loads(line)

    def ask(self, *order: Any) -> Any:
        """Tell it to do something, and wait for it."""
        self.send(*order)
        return self.result()

    def connect(self, count: int) -> None:
        """Be so many more of its members."""
        self.sockets += open_connections(self.address, count)


@contextmanager
def open_nodes(kind: str, count: int, url: str | None = None) -> Iterator[list[Node]]:
    """Run so many processes of a kind."""
    with ExitStack() as stack:
        nodes = []
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.hub.node", kind, *([url] if url else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            stack.callback(_end, process)
            nodes.append(Node(process))
        try:
            yield nodes
        finally:
            for node in nodes:
                for sock in node.sockets:
                    sock.close()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in process.stdin, process.stdout:
        assert pipe is not None
        pipe.close()


class Load:
    """All members' peers: they read, and count."""

    def __init__(self, nodes: list[Node]) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets = [sock for node in nodes for sock in node.sockets]
        for sock in self._sockets:
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)

    def read(self, size: int, count: int) -> float:
        """Read so many messages on each connection; return when the last was read."""
        due = dict.fromkeys(self._sockets, len(server_frame(bytes(size))) * count)
        deadline = time.monotonic() + PATIENCE
        while due:
            for key, _ in self._selector.select(1):
                sock: Any = key.fileobj
                due[sock] -= len(sock.recv(2**18))
                if due[sock] <= 0:
                    if due[sock]:
                        raise ProgramError("more came than was published")
                    del due[sock]
            if time.monotonic() > deadline:
                raise ProgramError(f"{len(due)} members have not got all messages")
        return time.monotonic()

    def times(self, size: int, count: int) -> list[float]:
        """Read messages one by one; return the seconds that each took to the last member."""
        seconds = []
        frame_size = len(server_frame(bytes(size)))
        for _ in range(count):
            data = dict.fromkeys(self._sockets, b"")
            left = set(self._sockets)
            while left:
                for key, _ in self._selector.select(PATIENCE):
                    sock: Any = key.fileobj
                    data[sock] += sock.recv(frame_size - len(data[sock]))
                    if len(data[sock]) == frame_size:
                        left.discard(sock)
            now = time.monotonic_ns()
            first = data[self._sockets[0]]
            header = frame_size - size
            published = int.from_bytes(first[header : header + 8], "big")
            seconds.append((now - published) / 1e9)
        return seconds


@attrs.frozen
class Times:
    """Seconds from publish to the last member."""

    median: float
    p99: float

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        return cls(statistics.median(seconds), statistics.quantiles(seconds, n=100)[98])
