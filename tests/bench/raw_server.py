"""The neutral server that clients are measured against: one raw connection at a time."""

import re
import socket
import time
from types import TracebackType

from tests.bench.load import PATIENCE, SMALL_READ, read_exactly, read_head
from tests.bench.programs import ProgramError
from tests.bench.subject import BURST, PAYLOAD
from tests.bench.wire import CLOSE, TEXT, accept_token, mask, server_frame

KEY_HEADER = re.compile(rb"\r\nsec-websocket-key: *([^\r]+)\r\n", re.IGNORECASE)
RESPONSE = b"""\
HTTP/1.1 101 Switching Protocols
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Accept: %s

""".replace(b"\n", b"\r\n")
COUNTED = 20_000  # messages, before the client is asked how many there were
QUESTION = server_frame(b"how many?", TEXT)
CLOSE_FRAME = server_frame((1000).to_bytes(2), CLOSE)


class RawServer:
    """A listening socket."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/"

    def __enter__(self) -> "RawServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()

    def accept(self) -> socket.socket:
        """Return the next connection, its opening handshake done."""
        sock, _ = self._listener.accept()
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = read_head(sock)
        key = KEY_HEADER.search(head)
        if key is None:
            raise ProgramError(f"a request with no key: {head!r}")
        sock.sendall(RESPONSE % accept_token(key[1]))
        return sock


def ends_with_close(data: bytes) -> bool:
    """Whether the client's close frame, which echoes ours, is the last of it."""
    return data[-8:-6] == bytes((0x80 | CLOSE, 0x80 | 2))


def close(sock: socket.socket) -> None:
    """Perform the closing handshake, as far as the client will."""
    try:
        sock.sendall(CLOSE_FRAME)
        while not ends_with_close(data := sock.recv(SMALL_READ)) and data:
            pass  # of a burst, which unread would make the close a reset
    except OSError:
        pass  # it is over, which is all that was wanted
    sock.close()


def read_masked(sock: socket.socket, size: int) -> bytes:
    """Return the payload of the client's next frame, of `size` bytes, at most 125."""
    _, length, *key = read_exactly(sock, 6)
    if length != 0x80 | size:
        raise ProgramError(f"expected {size} bytes of payload, got {length & 0x7F}")
    return mask(read_exactly(sock, size), bytes(key))


def echo(sock: socket.socket, payload: bytes, seconds: float) -> int:
    """Send a message, wait for its echo, and so on; return how many echoes came."""
    sent = server_frame(payload)
    count = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        sock.sendall(sent)
        if read_masked(sock, len(payload)) != payload:
            raise ProgramError("the echo is another message")
        count += 1
    return count


def burst(sock: socket.socket, payload: bytes, seconds: float) -> int:
    """Send bursts of messages; return how many the client has counted."""
    sent = server_frame(payload) * COUNTED + QUESTION
    answer = str(COUNTED).encode()
    count = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        sock.sendall(sent)
        if read_masked(sock, len(answer)) != answer:
            raise ProgramError("the client has counted another number of messages")
        count += COUNTED
    return count


def check_masked(data: bytes, payload: bytes) -> None:
    """Refuse frames that are not all masked and of `payload`, at most 125 bytes of it."""
    start = 6  # of the payload, behind the header
    size = start + len(payload)
    count = len(data) // size
    # A column at a time, as a loop over the frames would take longer than the client does.
    columns = [int.from_bytes(data[at::size]) for at in range(size)]
    ones = int.from_bytes(b"\1" * count)
    expected = [0x82, 0x80 | len(payload), *columns[2:start]]
    expected[:2] = (byte * ones for byte in expected[:2])
    for at, byte in enumerate(payload):
        expected.append(byte * ones ^ columns[2 + at % 4])
    if columns != expected:
        raise ProgramError("a burst with a wrong frame in it")


def burst_both_ways(sock: socket.socket, _payload: bytes, seconds: float) -> int:
    """Answer bursts of messages by as many; return how many there were."""
    sent = server_frame(PAYLOAD) * BURST
    size = (6 + len(PAYLOAD)) * BURST
    count = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        check_masked(read_exactly(sock, size), PAYLOAD)
        sock.sendall(sent)
        count += BURST
    return count
