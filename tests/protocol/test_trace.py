from __future__ import annotations

import pytest

from tests.protocol.wire import BINARY, CLOSE, CONTINUATION, FIN, PING, RSV1, RSV2, RSV3, TEXT
from trio_wsendpoint.protocol import DataFrame, FrameParser, describe_frame


class CellFrame(DataFrame):
    opcode = 0x3


@pytest.mark.parametrize(
    ("first_byte", "payload", "line"),
    [
        (FIN | TEXT, b"hello", "TEXT 'hello' [5 bytes]"),
        (FIN | TEXT, b"", "TEXT '' [0 bytes]"),
        (FIN | TEXT, b"a\n\xff", "TEXT 'a\\n\ufffd' [3 bytes]"),
        (TEXT, b"x", "TEXT 'x' [1 byte] to be continued"),
        (FIN | CONTINUATION, b"\xc3", "CONTINUATION c3 [1 byte]"),
        (FIN | RSV1 | TEXT, b"\x01\x02", "TEXT 01 02 [2 bytes] rsv1"),
        (RSV2 | RSV3 | BINARY, b"\xff", "BINARY ff [1 byte] rsv2 rsv3 to be continued"),
        (FIN | 3, b"x", "CellFrame 78 [1 byte]"),
        (FIN | PING, b"", "PING [0 bytes]"),
        (FIN | CLOSE, b"", "CLOSE [0 bytes]"),
        (FIN | CLOSE, b"\x03\xe8", "CLOSE 1000 '' [2 bytes]"),
        (FIN | CLOSE, b"\x03\xedb\xff", "CLOSE 1005 'b\ufffd' [4 bytes]"),
        (FIN | CLOSE, b"\x03", "CLOSE 03 [1 byte]"),
    ],
)
def test_a_frame_is_described_in_a_line(first_byte: int, payload: bytes, line: str) -> None:
    parser = FrameParser([CellFrame])
    assert describe_frame(first_byte, payload, len(payload), parser) == line


def test_only_the_beginning_of_a_large_payload_is_shown() -> None:
    line = describe_frame(FIN | TEXT, b"x" * 1000, 2000, FrameParser())
    assert line == f"TEXT '{'x' * 48}'... [2000 bytes]"
