"""The neutral load generator for HTTP/2: one blocking socket, and frames built beforehand.

It grants all the window that there can be, and keeps so little under way on each stream that
the server's own windows are never full.
"""

import socket
import struct
import time

from tests.bench.load import PATIENCE, READ_SIZE, SHOWN, Address, dial
from tests.bench.programs import ProgramError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = struct.Struct(">HBBBI")  # the length is the first three bytes
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_FRAME, MAX_WINDOW = 2**14, 2**31 - 1
INITIAL_WINDOW = 2**16 - 1
# Of HPACK: literal fields, none of which is to be remembered; and ":status: 200".
FIELDS = (
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":authority", b"127.0.0.1"),
    (b":path", b"/"),
    (b"sec-websocket-version", b"13"),
)
STATUS_200 = 0x88


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def data_frames(stream_id: int, payload: bytes) -> bytes:
    """Return the DATA frames that carry `payload`."""
    return b"".join(
        frame(DATA, 0, stream_id, payload[start : start + MAX_FRAME])
        for start in range(0, len(payload), MAX_FRAME)
    )


def request(stream_id: int) -> bytes:
    """Return the HEADERS that ask for a WebSocket."""
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in FIELDS
    )
    return frame(HEADERS, END_HEADERS, stream_id, block)


class Streams:
    """WebSockets on the streams of one connection."""

    def __init__(self, address: Address, count: int) -> None:
        self._socket: socket.socket = dial(address)
        self._buffer = bytearray()
        self.ids = range(1, 2 * count + 1, 2)
        window = struct.pack(">HI", 4, MAX_WINDOW)
        update = struct.pack(">I", MAX_WINDOW - INITIAL_WINDOW)
        hello = frame(SETTINGS, 0, 0, window) + frame(WINDOW_UPDATE, 0, 0, update)
        self._socket.sendall(PREFACE + hello + b"".join(map(request, self.ids)))
        opened = 0
        while opened < count:
            kind, _, _, payload = self._next()
            if kind == HEADERS:
                if payload[0] != STATUS_200:
                    raise ProgramError(f"a stream was answered by {payload[:SHOWN]!r}")
                opened += 1

    def _next(self) -> tuple[int, int, int, bytes]:
        """Return the next frame: its kind, flags, stream and payload."""
        buffer = self._buffer
        while True:
            if len(buffer) >= HEAD.size:
                high, low, kind, flags, stream_id = HEAD.unpack_from(buffer)
                end = HEAD.size + (high << 8 | low)
                if len(buffer) >= end:
                    payload = bytes(buffer[HEAD.size : end])
                    del buffer[:end]
                    if kind in (RST_STREAM, GOAWAY):
                        raise ProgramError(f"the server ended it: {kind} {payload[:SHOWN]!r}")
                    return kind, flags, stream_id, payload
            data = self._socket.recv(READ_SIZE)
            if not data:
                raise ProgramError("the connection ended")
            buffer += data

    def echo(self, sent: bytes, expected: bytes, seconds: float) -> int:
        """Keep one message under way on each stream; return how many echoes came."""
        messages = {stream_id: data_frames(stream_id, sent) for stream_id in self.ids}
        received = dict.fromkeys(self.ids, b"")
        self._socket.sendall(b"".join(messages.values()))
        under_way = len(messages)
        count = 0
        deadline = time.perf_counter() + seconds
        while under_way:
            kind, _, stream_id, payload = self._next()
            if kind != DATA:
                continue
            whole = received[stream_id] + payload
            if len(whole) < len(expected):
                received[stream_id] = whole
                continue
            if whole != expected:
                raise ProgramError(f"expected {expected[:SHOWN]!r}…, got {whole[:SHOWN]!r}…")
            received[stream_id] = b""
            count += 1
            if time.perf_counter() < deadline:
                self._socket.sendall(messages[stream_id])
            else:
                under_way -= 1
        return count

    def close(self) -> None:
        """Leave, and wait for the server to end the connection."""
        self._socket.sendall(frame(GOAWAY, 0, 0, bytes(8)))
        self._socket.shutdown(socket.SHUT_WR)
        self._socket.settimeout(PATIENCE)
        while self._socket.recv(READ_SIZE):
            pass
        self._socket.close()
