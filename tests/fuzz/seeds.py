"""Inputs that fuzzing starts from: well-formed ones, as what is malformed is soon found."""

from __future__ import annotations

from trio_wsendpoint.protocol import (
    ClientHandshake,
    Connection,
    PermessageDeflate,
    Response,
    Role,
    TextFrame,
    encode_request,
    encode_response,
)


def _conversation(role: Role) -> bytes:
    connection = Connection(role)
    connection.open()
    connection.send_message("héllo")
    connection.send_message(b"\x00" * 200)
    connection.send_fragment(TextFrame, b"\xc3", final=False)
    connection.send_ping(b"ping")
    connection.send_fragment(TextFrame, b"\xa9", final=True)
    connection.send_close(1000, "bye")
    return b"".join(connection.data_to_send())


_DEFLATED = bytes.fromhex("c107f248cdc9c90700c105f200110000")


def seeds(target: str) -> list[bytes]:
    """What a target starts from."""
    if target == "connection":
        return [
            b"\x00\x07" + _conversation(Role.SERVER),
            b"\x01\x03" + _conversation(Role.CLIENT),
            b"\x02\x05" + _DEFLATED,
        ]
    if target == "twins":
        return [
            b"\x00abcd" + _conversation(Role.SERVER),
            b"\xffabcd" + _conversation(Role.CLIENT),
        ]
    if target == "request":
        handshake = ClientHandshake(
            "example.org", subprotocols=["chat"], extensions=[PermessageDeflate()]
        )
        return [encode_request(handshake.request)]
    if target == "response":
        return [
            encode_response(Response(101, {"Upgrade": "websocket", "Connection": "Upgrade"})),
            encode_response(Response(403, body=b"no")),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        ]
    return [b'permessage-deflate; client_max_window_bits; a="b\\c", x', b"a;b=c,,d"]
