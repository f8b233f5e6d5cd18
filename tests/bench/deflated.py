"""The load of compressed messages: JSON texts, deflated beforehand, inflated to be compared."""

import json
import random
import socket
import time
import zlib
from collections.abc import Sequence
from itertools import cycle

from tests.bench.load import read_exactly
from tests.bench.programs import ProgramError
from tests.bench.wire import RSV1, TEXT, client_frame

TAIL = b"\x00\x00\xff\xff"
WINDOW_BITS = 12  # the least that any server here asks of its clients, and so good for all
WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india"]


def make_document(size: int, seed: int) -> bytes:
    """Return a JSON text of `size` bytes, or a little more, such as applications send."""
    chance = random.Random(seed)
    rows: list[dict[str, object]] = []
    while len(text := json.dumps(rows)) < size:
        row = {
            "id": chance.randrange(10**9),
            "name": " ".join(chance.choices(WORDS, k=3)),
            "price": round(chance.uniform(1, 1000), 2),
            "active": chance.random() < 0.5,
            "tags": chance.sample(WORDS, 2),
        }
        rows.append(row)
    return text.encode()


def deflate(document: bytes) -> bytes:
    """Return `document` as the payload of a message that needs no earlier one."""
    compress = zlib.compressobj(wbits=-WINDOW_BITS)
    return (compress.compress(document) + compress.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]


def documents(size: int, count: int = 64) -> list[tuple[bytes, bytes]]:
    """Return pairs of a client's frame and the text in it.

    Together they are longer than any window, so that no server finds one that it has sent
    before, and few have anything but their form in common.
    """
    texts = [make_document(size, seed) for seed in range(count)]
    return [(client_frame(deflate(text), TEXT, rsv1=True), text) for text in texts]


def read_message(sock: socket.socket) -> bytes:
    """Return the payload of the next frame, which must be a whole compressed text."""
    first, size = read_exactly(sock, 2)
    if size == 126:
        size = int.from_bytes(read_exactly(sock, 2))
    if first != 0x80 | RSV1 | TEXT:
        raise ProgramError(f"expected a compressed text, got a frame of {first:#x}")
    return read_exactly(sock, size)


class Conversation:
    """A connection on which every text goes and comes compressed."""

    def __init__(self, sock: socket.socket, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self._sock = sock
        self._pairs = cycle(pairs)
        self._inflate = zlib.decompressobj(-15)
        self.sizes: list[int] = []  # of the echoes, compressed

    def echo(self, seconds: float) -> int:
        """Send a text, wait for its echo, and so on; return how many echoes came."""
        earlier = len(self.sizes)
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            sent, text = next(self._pairs)
            self._sock.sendall(sent)
            payload = read_message(self._sock)
            if self._inflate.decompress(payload + TAIL) != text:
                raise ProgramError("the echo of a compressed text is another text")
            self.sizes.append(len(payload))
        return len(self.sizes) - earlier
