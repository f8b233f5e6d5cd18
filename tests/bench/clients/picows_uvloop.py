"""The client of picows with uvloop."""
# mypy: disallow-subclassing-any=False

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.bench.subject import BURST, HEARTBEAT, PAYLOAD, client_requests


def answer_close(transport: WSTransport, frame: WSFrame) -> None:
    transport.send_close(frame.get_close_code(), frame.get_close_message())
    transport.disconnect()


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            answer_close(transport, frame)
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class Count(WSListener):
    def __init__(self) -> None:
        self.counted = 0
        self.latest = b""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.BINARY:
            self.latest = frame.get_payload_as_bytes()
            self.counted += 1
        elif frame.msg_type is WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, str(self.counted).encode())
            self.counted = 0
        else:
            answer_close(transport, frame)


class Burst(WSListener):
    def __init__(self) -> None:
        self.received = 0
        self.latest = b""

    def on_ws_connected(self, transport: WSTransport) -> None:
        for _ in range(BURST):
            transport.send(WSMsgType.BINARY, PAYLOAD)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            answer_close(transport, frame)
            return
        self.latest = frame.get_payload_as_bytes()
        self.received += 1
        if self.received % BURST == 0:
            self.on_ws_connected(transport)


async def main() -> None:
    work, urls = client_requests()
    for url in urls:
        transport, _ = await ws_connect(
            WORK[work],
            url,
            enable_auto_ping=True,
            auto_ping_idle_timeout=HEARTBEAT,
        )
        await transport.wait_disconnected()


WORK = {"echo": Echo, "count": Count, "burst": Burst}
uvloop.run(main())
