"""No library at all: what Trio and h11 cost when one task does everything itself.

Its opening handshake is a real one. Its echo is not: it answers whatever was read with the
frame that the first message deserved, so it is a floor, for messages that are all the same.
"""

import os
from functools import partial

import h11
import trio

from tests.bench.subject import announce, server_settings
from tests.bench.wire import MASKING_KEY, accept_token, mask, server_frame

READ_SIZE = 65536
CLOSE_BYTE = 0x88


async def open_handshake(stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some())
    assert isinstance(event, h11.Request)
    key = dict(event.headers)[b"sec-websocket-key"]
    headers = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", accept_token(key)),
    ]
    response = h11.InformationalResponse(status_code=101, headers=headers)
    await stream.send_all(connection.send(response))


async def serve_connection(stream: trio.SocketStream) -> None:
    await open_handshake(stream)
    descriptor = stream.socket.fileno()
    reply = b""
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        data = os.read(descriptor, READ_SIZE)
        if not data or data[0] == CLOSE_BYTE:
            return
        if not reply:
            payload = data[data.index(MASKING_KEY) + len(MASKING_KEY) :]
            reply = server_frame(mask(payload))
        os.write(descriptor, reply)


async def main() -> None:
    server_settings()
    service = partial(trio.serve_tcp, serve_connection, 0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(service)
        announce(listeners[0].socket.getsockname()[1])


trio.run(main)
