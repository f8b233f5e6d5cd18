"""The suite speaks HTTP/1.1: a bridge between it and our own peers, which speak HTTP/2.

    python -m tests.compliance.http2_bridge server
    python -m tests.compliance.http2_bridge client ws://127.0.0.1:9001 AGENT

As the server, it is our server, behind a port that takes WebSockets by HTTP/1.1 and prints its
URL; as the client, it is our client, whose WebSockets it carries to the suite's server. Bytes
cross the bridge as they are; a stream's end is the other's end.
"""

import contextlib
import sys

import trio

from tests.compliance import echo_client, echo_server
from trio_wsendpoint import Request, open_http2
from trio_wsendpoint.http2 import (
    Http2Connection,
    Http2Stream,
    connect_fields,
    open_connection,
    read_response,
    response_fields,
    serve_connection,
)
from trio_wsendpoint.protocol import (
    ClientHandshake,
    RequestReader,
    ResponseReader,
    Role,
    encode_request,
    encode_response,
)

READ_SIZE = 2**16


async def carry(source: trio.abc.Stream, target: trio.abc.HalfCloseableStream) -> None:
    """Pass on what comes, and the end of it."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some(READ_SIZE):
            await target.send_all(data)
        await target.send_eof()
        return
    # It broke, which the other side is to see too.
    await trio.aclose_forcefully(target)


async def join(one: trio.abc.HalfCloseableStream, two: trio.abc.HalfCloseableStream) -> None:
    """Carry both ways, until both have ended."""
    async with one, two, trio.open_nursery() as nursery:
        nursery.start_soon(carry, one, two)
        nursery.start_soon(carry, two, one)


# -- towards our server -------------------------------------------------------------------


async def bring_to_http2(stream: trio.SocketStream, connection: Http2Connection) -> None:
    """Take a WebSocket by HTTP/1.1, and carry it over a stream of HTTP/2."""
    reader = RequestReader()
    request = None
    while request is None:
        request = reader.receive_data(await stream.receive_some(READ_SIZE))
    while not connection.has_free_stream:
        await connection.wait_changed()
    far = connection.open_stream(connect_fields(request, "http"))
    response = read_response(await far.receive_fields(), request)
    await stream.send_all(encode_response(response))
    if reader.trailing_data:
        await far.send_all(reader.trailing_data)
    await join(stream, far)


async def be_server() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(echo_server.start)
        below = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
        async with open_connection(below, Role.CLIENT) as connection:
            await connection.wait_introduced()

            async def bring(stream: trio.SocketStream) -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    await bring_to_http2(stream, connection)

            gates = await trio.open_tcp_listeners(0, host="127.0.0.1")
            print(f"ws://127.0.0.1:{gates[0].socket.getsockname()[1]}", flush=True)
            await trio.serve_listeners(bring, gates)


# -- from our client ----------------------------------------------------------------------


async def bring_to_http11(near: Http2Stream, asked: Request, port: int) -> None:
    """Take a WebSocket on a stream of HTTP/2, and carry it to the suite by HTTP/1.1."""
    offers = asked.header_values("Sec-WebSocket-Extensions")
    handshake = ClientHandshake(f"127.0.0.1:{port}", asked.target).request
    ours = [("Sec-WebSocket-Extensions", offer) for offer in offers]
    request = Request(asked.target, (*handshake.headers, *ours))
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(encode_request(request))
    reader = ResponseReader()
    response = None
    while response is None:
        response = reader.receive_data(await stream.receive_some(READ_SIZE))
    fields = response_fields(response, opens=True)
    near.send_fields([(b":status", b"200"), *fields[1:]])
    if reader.trailing_data:
        await near.send_all(reader.trailing_data)
    await join(near, stream)


async def be_client(url: str, agent: str) -> None:
    port = int(url.rpartition(":")[2])

    async def handle(near: Http2Stream, request: Request) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await bring_to_http11(near, request, port)

    async def gate(stream: trio.SocketStream) -> None:
        await serve_connection(stream, handle)

    async with trio.open_nursery() as nursery:
        gates = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, gate, gates)
        origin = f"http://127.0.0.1:{gates[0].socket.getsockname()[1]}"
        async with open_http2(origin) as session:
            await echo_client.run(session.connect, "", agent)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    if sys.argv[1] == "server":
        trio.run(be_server)
    else:
        trio.run(be_client, sys.argv[2], sys.argv[3])
