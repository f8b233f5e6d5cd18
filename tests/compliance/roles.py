"""One run of the suite against one of our peers: against our server, or our client."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from tests.compliance import suite

AGENT = "trio_wsendpoint"
SERVER = ("tests.compliance.echo_server",)
CLIENT = ("tests.compliance.echo_client",)
HTTP2_SERVER = ("tests.compliance.http2_bridge", "server")
HTTP2_CLIENT = ("tests.compliance.http2_bridge", "client")

# In seconds. One case may take 480; a log that is silent for longer tells of a hang.
STALLED_AFTER = 500
STARTED_WITHIN = 60


class PeerError(Exception):
    """One of the two sides did not start, or came to a halt before the last case."""


def run_server_role(
    python: Path, cases: list[str], folder: Path, peer: Sequence[str] = SERVER
) -> None:
    """Run the suite's fuzzing client against our server."""
    with (
        (folder / "wstest.log").open("wb") as log,
        (folder / "peer.log").open("wb") as peer_log,
        running(start_peer(*peer, stdout=subprocess.PIPE, stderr=peer_log)) as server,
    ):
        url = read_line(server)
        spec = {
            "outdir": str(folder),
            "servers": [{"agent": AGENT, "url": url}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        with running(suite.start(python, "fuzzingclient", spec, folder, log)) as fuzzer:
            wait(fuzzer, watching=Path(log.name))


def run_client_role(
    python: Path, cases: list[str], folder: Path, peer: Sequence[str] = CLIENT
) -> None:
    """Run our client against the suite's fuzzing server."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    spec = {
        "outdir": str(folder),
        "url": url,
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    with (
        (folder / "wstest.log").open("wb") as log,
        (folder / "peer.log").open("wb") as peer_log,
        running(suite.start(python, "fuzzingserver", spec, folder, log)) as fuzzer,
    ):
        wait_until_listening(port, fuzzer)
        with running(start_peer(*peer, url, AGENT, stdout=peer_log, stderr=peer_log)) as client:
            wait(client, watching=Path(log.name))


ROLES: dict[str, Callable[[Path, list[str], Path], None]] = {
    "server": run_server_role,
    "client": run_client_role,
    "http2-server": partial(run_server_role, peer=HTTP2_SERVER),
    "http2-client": partial(run_client_role, peer=HTTP2_CLIENT),
}


def start_peer(
    module: str, *arguments: str, stdout: int | IO[bytes], stderr: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start one of our peers, as a module of this checkout."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, cwd=suite.ROOT, stdout=stdout, stderr=stderr)


@contextlib.contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Leave no process behind, whatever happens."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_line(server: subprocess.Popen[bytes]) -> str:
    """Read the URL that our server prints once it listens."""
    assert server.stdout is not None
    line = server.stdout.readline().decode().strip()
    if not line:
        raise PeerError("our server stopped before it listened")
    return line


def free_port() -> int:
    """Find a port of the loopback interface that is free at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until_listening(port: int, fuzzer: subprocess.Popen[bytes]) -> None:
    """Wait until the suite's server accepts connections."""
    deadline = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < deadline and fuzzer.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.1)
    raise PeerError("the suite's server did not start")


def wait(process: subprocess.Popen[bytes], *, watching: Path) -> None:
    """Wait for the end of a process while the suite's log grows."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if status := process.wait(timeout=1):
                raise PeerError(f"{process.args!r} ended with status {status}")
            return
        if time.time() - watching.stat().st_mtime > STALLED_AFTER:
            raise PeerError(f"the suite has been silent for {STALLED_AFTER} seconds")
