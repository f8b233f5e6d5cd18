"""The neutral load generator: raw blocking sockets and frames that are built beforehand.

It runs on a CPU of its own. What it costs is not part of any figure, but it must keep the
server busy, so a frame is built and masked once and sent many times. Every echo is compared,
byte for byte, with the frame that it has to be.
"""

import os
import re
import select
import socket
import ssl
import time
from collections.abc import Iterable, Sequence

import attrs

from tests.bench.programs import ProgramError
from tests.bench.wire import CLOSE_FRAME, KEY, REQUEST, accept_token

WINDOW = 256 * 1024  # bytes of echoes that a pipelined connection is owed, at the least
BATCH = 128 * 1024  # bytes sent at a time on a pipelined connection
EXTENSIONS = re.compile(rb"\r\nsec-websocket-extensions: *([^\r]+)\r\n", re.IGNORECASE)
READ_SIZE = 256 * 1024
SMALL_READ = 4096  # for what is short: room for more would have to be made each time
SHOWN = 24  # bytes of a wrong answer, to be shown
PATIENCE = 10.0  # seconds that a socket may stay silent before the run is given up


@attrs.frozen
class Address:
    """Where a server listens, and how to speak TLS to it, if it does."""

    port: int
    ssl_context: ssl.SSLContext | None = None


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes."""
    data = sock.recv(size)
    if len(data) == size:
        return data
    whole = bytearray(size)
    view = memoryview(whole)
    filled = len(data)
    view[:filled] = data
    while filled < size:
        count = sock.recv_into(view[filled:])
        if not count:
            start = bytes(whole[: min(filled, SHOWN)])
            raise ProgramError(
                f"the connection ended after {filled} of {size} bytes: {start!r}"
            )
        filled += count
    return bytes(whole)


def expect(sock: socket.socket, expected: bytes) -> None:
    """Read as many bytes as `expected` has, which they must equal."""
    answer = read_exactly(sock, len(expected))
    if answer != expected:
        raise ProgramError(f"expected {expected[:SHOWN]!r}…, got {answer[:SHOWN]!r}…")


def dial(address: Address) -> socket.socket:
    """Return a connected socket."""
    sock = socket.create_connection(("127.0.0.1", address.port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.ssl_context is not None:
        sock = address.ssl_context.wrap_socket(sock, server_hostname="127.0.0.1")
    return sock


def read_head(sock: socket.socket) -> bytes:
    """Return the head of an HTTP message, after which nothing must have come yet."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = sock.recv(SMALL_READ)
        if not data:
            raise ProgramError(f"the connection ended in the opening handshake: {head!r}")
        head += data
    return head


def read_response(sock: socket.socket) -> str:
    """Read the response, which must accept the opening handshake; return its extensions."""
    head = read_head(sock)
    if not head.startswith(b"HTTP/1.1 101 ") or accept_token(KEY) not in head:
        raise ProgramError(f"the opening handshake was answered by {head!r}")
    extensions = EXTENSIONS.search(head)
    return extensions[1].decode() if extensions else ""


def open_connection(address: Address) -> tuple[socket.socket, str]:
    """Open one connection; return it, and the extensions that the server has agreed to."""
    sock = dial(address)
    sock.sendall(REQUEST)
    return sock, read_response(sock)


def open_connections(address: Address, count: int, at_once: int = 20) -> list[socket.socket]:
    """Open `count` connections, `at_once` side by side."""
    opened: list[socket.socket] = []
    while len(opened) < count:
        group = [dial(address) for _ in range(min(at_once, count - len(opened)))]
        for sock in group:
            sock.sendall(REQUEST)
        for sock in group:
            read_response(sock)
        opened += group
    return opened


def close_connections(sockets: Iterable[socket.socket]) -> None:
    """Close each connection as RFC 6455 would have it: the server ends TCP first."""
    for sock in sockets:
        sock.sendall(CLOSE_FRAME)
    for sock in sockets:
        try:
            while sock.recv(SMALL_READ):
                pass
        except OSError:
            pass  # it is over, which is all that was wanted
        sock.close()


def echo(sockets: Sequence[socket.socket], sent: bytes, expected: bytes, seconds: float) -> int:
    """Send a frame, wait for its echo, and so on; return how many echoes came."""
    (sock,) = sockets
    count = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        sock.sendall(sent)
        expect(sock, expected)
        count += 1
    return count


def echo_on_many(
    sockets: Sequence[socket.socket], sent: bytes, expected: bytes, seconds: float
) -> int:
    """Do as `echo` on many connections, with one frame under way on each."""
    by_descriptor = {sock.fileno(): sock for sock in sockets}
    poll = select.epoll()
    for sock in sockets:
        poll.register(sock, select.EPOLLIN)
        sock.sendall(sent)
    count = 0
    under_way = len(sockets)
    deadline = time.perf_counter() + seconds
    with poll:
        while under_way:
            ready = poll.poll(PATIENCE)
            if not ready:
                raise ProgramError(f"{under_way} echoes did not come")
            more = time.perf_counter() < deadline
            for descriptor, _ in ready:
                sock = by_descriptor[descriptor]
                expect(sock, expected)
                count += 1
                if more:
                    sock.sendall(sent)
                else:
                    under_way -= 1
    return count


def echo_as_they_come(
    sockets: Sequence[socket.socket], sent: bytes, expected: bytes, seconds: float
) -> int:
    """Do as `echo` on many connections, each in a rhythm of its own.

    An echo is answered before the next one is looked for, so that no two connections are kept
    in step, as `echo_on_many` keeps them.
    """
    poll = select.epoll()
    for sock in sockets:
        poll.register(sock, select.EPOLLIN)
        sock.sendall(sent)
    count = 0
    under_way = len(sockets)
    deadline = time.perf_counter() + seconds
    with poll:
        while under_way:
            ready = poll.poll(PATIENCE, 1)
            if not ready:
                raise ProgramError(f"{under_way} echoes did not come")
            ((descriptor, _),) = ready
            # Below the socket, whose timeout would cost more than the echo.
            if (answer := os.read(descriptor, SMALL_READ)) != expected:
                raise ProgramError(f"expected {expected[:SHOWN]!r}…, got {answer[:SHOWN]!r}…")
            count += 1
            if time.perf_counter() < deadline:
                os.write(descriptor, sent)
            else:
                under_way -= 1
    return count


def whole_lives(address: Address, count: int, at_once: int = 20) -> None:
    """Open `count` connections and close them again, `at_once` side by side."""
    for start in range(0, count, at_once):
        close_connections(open_connections(address, min(at_once, count - start)))


def pipeline(
    sockets: Sequence[socket.socket], sent: bytes, expected: bytes, seconds: float
) -> int:
    """Keep at least `WINDOW` bytes of frames under way; return how many echoes came."""
    (sock,) = sockets
    frames = max(1, BATCH // len(sent))
    batch = sent * frames
    answers = expected * (READ_SIZE // len(expected) + 2)
    owed = received = count = 0
    unsent = memoryview(b"")
    sock.setblocking(False)
    deadline = time.perf_counter() + seconds
    while True:
        if not unsent and owed < WINDOW and time.perf_counter() < deadline:
            unsent = memoryview(batch)
            owed += frames * len(expected)
            count += frames
        if not owed:
            break
        readable, writable, _ = select.select([sock], [sock] if unsent else [], [], PATIENCE)
        if writable:
            unsent = unsent[sock.send(unsent) :]
        if readable:
            data = sock.recv(READ_SIZE)
            start = received % len(expected)
            if not data or data != answers[start : start + len(data)]:
                raise ProgramError(f"wrong echo after {received} bytes: {data[:SHOWN]!r}")
            received += len(data)
            owed -= len(data)
        elif not writable:
            raise ProgramError(f"{owed} bytes of echoes did not come")
    sock.settimeout(PATIENCE)
    return count


def broadcast(
    sockets: Sequence[socket.socket], sent: bytes, expected: bytes, seconds: float
) -> int:
    """Send on one connection what comes on all; return how many messages came."""
    count = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        sockets[0].sendall(sent)
        for sock in sockets:
            expect(sock, expected)
        count += len(sockets)
    return count
