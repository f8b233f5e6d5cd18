"""WebSocket and HTTP as the load generator speaks them: bytes that are built beforehand."""

from base64 import b64encode
from hashlib import sha1

TEXT, BINARY, CLOSE = 1, 2, 8
RSV1 = 0x40
MASKING_KEY = b"\x37\xfa\x21\x3d"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
OFFER = "permessage-deflate; client_max_window_bits"


def accept_token(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that answers `key`."""
    return b64encode(sha1(key + GUID).digest())


def mask(payload: bytes, masking_key: bytes = MASKING_KEY) -> bytes:
    """Return `payload` masked, or unmasked, with `masking_key`."""
    key = (masking_key * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload) ^ int.from_bytes(key)
    return number.to_bytes(len(payload))


def frame(payload: bytes, *, opcode: int, masked: bool, rsv1: bool = False) -> bytes:
    """Return one whole frame."""
    first = 0x80 | (RSV1 if rsv1 else 0) | opcode
    mask_bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        header = bytes([first, mask_bit | size])
    elif size < 65536:
        header = bytes([first, mask_bit | 126]) + size.to_bytes(2)
    else:
        header = bytes([first, mask_bit | 127]) + size.to_bytes(8)
    return header + (MASKING_KEY + mask(payload) if masked else payload)


def client_frame(payload: bytes, opcode: int = BINARY, *, rsv1: bool = False) -> bytes:
    """Return a frame as a client sends it: masked."""
    return frame(payload, opcode=opcode, masked=True, rsv1=rsv1)


def server_frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """Return a frame as a server sends it."""
    return frame(payload, opcode=opcode, masked=False)


CLOSE_FRAME = client_frame((1000).to_bytes(2), CLOSE)
REQUEST = f"""\
GET / HTTP/1.1
Host: 127.0.0.1
Connection: Upgrade
Pragma: no-cache
Cache-Control: no-cache
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
Upgrade: websocket
Origin: http://127.0.0.1
Sec-WebSocket-Version: 13
Accept-Encoding: gzip, deflate, br
Accept-Language: en-GB,en;q=0.9
Sec-WebSocket-Key: {KEY.decode()}
Sec-WebSocket-Extensions: {OFFER}

""".replace("\n", "\r\n").encode()
