"""The other end, on paper: bytes of frames made by hand, and what a connection answered."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import pytest

from trio_wsendpoint.protocol import (
    CloseFrame,
    Codec,
    Connection,
    Frame,
    FrameParser,
    InboundOptions,
    Role,
    State,
)

PACKAGE = "trio_wsendpoint.protocol"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
KEY = b"\x37\xfa\x21\x3d"


def twins(module: str, name: str) -> pytest.MarkDecorator:
    """Run a test with the function in Python, and with its twin in C where it was built."""
    found = {"python": getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)}
    with contextlib.suppress(ImportError):  # it is optional
        found["c"] = getattr(importlib.import_module(f"{PACKAGE}._speedups"), name)
    return pytest.mark.parametrize(name, found.values(), ids=found)


def mask(payload: bytes, key: bytes) -> bytes:
    """Section 5.3 as it is written, byte by byte."""
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, key: bytes = b""
) -> bytes:
    """A frame's bytes, masked if a key is given, with no check of anything."""
    size = len(payload)
    if size < 126:
        length = bytes((size,))
    elif size < 2**16:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    first = (FIN if fin else 0) | rsv | opcode
    if not key:
        return bytes((first,)) + length + payload
    return bytes((first, length[0] | 0x80)) + length[1:] + key + mask(payload, key)


def frame_for(
    connection: Connection, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0
) -> bytes:
    """A frame as the peer of this connection must send it: masked if that is a client."""
    key = KEY if connection.role is Role.SERVER else b""
    return frame(opcode, payload, fin=fin, rsv=rsv, key=key)


def opened(
    role: Role = Role.CLIENT, *, codecs: tuple[Codec, ...] = (), **options: Any
) -> Connection:
    """A connection whose opening handshake is done; a client's peer need not mask."""
    connection = Connection(role, InboundOptions(**options))
    connection.open(codecs)
    return connection


def taken(connection: Connection) -> bytes:
    """The bytes that the connection wants written."""
    return b"".join(connection.data_to_send())


def frames_of(connection: Connection, parser: FrameParser | None = None) -> list[Frame]:
    """The frames that the connection wants written."""
    parser = parser or FrameParser()
    data = taken(connection)
    frames: list[Frame] = []
    offset = 0
    while offset < len(data):
        parsed = parser.parse(data, offset, masked=connection.role is Role.CLIENT)
        assert parsed is not None, "half a frame was sent"
        found, offset = parsed
        frames.append(found)
    return frames


def assert_failed(connection: Connection, code: int) -> None:
    """The peer was found at fault, and the last that it was sent is a close that says so."""
    assert connection.failure is not None
    assert connection.failure.code == code
    assert connection.peer_state is State.FAILED
    assert connection.state is State.CLOSE_SENT
    close = frames_of(connection)[-1]
    assert isinstance(close, CloseFrame)
    assert close.code == code
    assert close.reason == connection.failure.reason
