"""The server of picows with uvloop; it has no extensions."""
# mypy: disallow-subclassing-any=False

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from tests.bench.subject import HEARTBEAT, announce, server_settings

transports: set[WSTransport] = set()


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class Broadcast(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transports.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        transports.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            message = frame.get_payload_as_bytes()
            for each in transports:
                each.send(frame.msg_type, message)


async def main() -> None:
    settings = server_settings()
    listener = Broadcast if settings.broadcast else Echo

    def make_listener(request: WSUpgradeRequest) -> WSListener:
        return listener()

    server = await ws_create_server(
        make_listener,
        "127.0.0.1",
        0,
        ssl=settings.ssl_context,
        enable_auto_ping=True,
        auto_ping_idle_timeout=HEARTBEAT,
    )
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


uvloop.run(main())
