"""Talks with other libraries' clients and servers, over TCP and TLS, plain and deflated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from tests.conftest import TLSContexts
from tests.interop.peers import (
    CLIENT_CLOSE,
    CLIENTS,
    CLOSE_REQUEST,
    MAX_SIZE,
    SERVER_CLOSE,
    SERVERS,
    Compression,
    Messages,
    Setup,
)
from trio_wsendpoint import (
    ConnectionClosedError,
    Endpoint,
    PermessageDeflate,
    Role,
    connect,
    serve,
)

CONVERSATIONS: dict[str, Messages] = {
    "text": ["hello", "héllo wörld", "\N{SNOWMAN}" * 100],
    "binary": [b"\x00\xff" * 50, bytes(range(256))],
    "empty": ["", b"", ""],
    "1 MB": ["x" * 2**20, bytes(2**20)],
    "1000 pipelined": [f"message {number}" for number in range(1000)],
}

COMPRESSIONS = {
    "both keep their context": Compression(),
    "neither keeps its context": Compression(
        server_no_context_takeover=True, client_no_context_takeover=True
    ),
    "small windows": Compression(server_max_window_bits=9, client_max_window_bits=10),
}

peers = pytest.mark.parametrize("peer", sorted(SERVERS))
conversations = pytest.mark.parametrize("name", CONVERSATIONS)
over = pytest.mark.parametrize("transport", ["TCP", "TLS"])


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


def server_setup(transport: str, contexts: TLSContexts, **more: Compression) -> Setup:
    return Setup(ssl_context=contexts.server if transport == "TLS" else None, **more)


def client_setup(transport: str, contexts: TLSContexts, **more: Compression) -> Setup:
    return Setup(ssl_context=contexts.client if transport == "TLS" else None, **more)


def extensions(compression: Compression | None) -> list[PermessageDeflate]:
    if compression is None:
        return []
    return [PermessageDeflate(**attrs.asdict(compression), threshold=0)]


@asynccontextmanager
async def connected(
    peer: str, transport: str, contexts: TLSContexts, compression: Compression | None = None
) -> AsyncIterator[Endpoint]:
    """Our client, connected to another library's server."""
    setup = server_setup(transport, contexts)
    async with SERVERS[peer](attrs.evolve(setup, compression=compression)) as port:
        scheme = "wss" if transport == "TLS" else "ws"
        async with connect(
            f"{scheme}://localhost:{port}/",
            ssl_context=contexts.client if transport == "TLS" else None,
            stream=None
            if transport == "TLS"
            else await trio.open_tcp_stream("127.0.0.1", port),
            extensions=extensions(compression),
            max_message_size=MAX_SIZE,
        ) as endpoint:
            yield endpoint


async def exchange(endpoint: Endpoint, messages: Messages) -> list[str | bytes]:
    async def send() -> None:
        for message in messages:
            await endpoint.send(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        return [await endpoint.receive() for _ in messages]
    raise AssertionError("unreachable")


@peers
@over
@conversations
async def test_our_client_talks_with_their_server(
    peer: str, transport: str, name: str, tls_contexts: TLSContexts
) -> None:
    messages = CONVERSATIONS[name]
    async with connected(peer, transport, tls_contexts) as endpoint:
        assert await exchange(endpoint, messages) == messages


@peers
@over
async def test_their_server_puts_our_fragments_together(
    peer: str, transport: str, tls_contexts: TLSContexts
) -> None:
    async with connected(peer, transport, tls_contexts) as endpoint:
        async with endpoint.open_send_stream("text") as stream:
            for part in ("one, ", "two, ", "three"):
                await stream.send(part)
        assert await endpoint.receive() == "one, two, three"


@peers
@over
async def test_their_server_answers_our_ping(
    peer: str, transport: str, tls_contexts: TLSContexts
) -> None:
    async with connected(peer, transport, tls_contexts) as endpoint:
        assert 0 < await endpoint.ping(b"there?") < 10


@peers
@over
async def test_our_client_closes_with_a_code_and_a_reason(
    peer: str, transport: str, tls_contexts: TLSContexts
) -> None:
    async with connected(peer, transport, tls_contexts) as endpoint:
        await endpoint.aclose(*CLIENT_CLOSE)
    assert endpoint.closed_first is Role.CLIENT
    assert (endpoint.close_code, endpoint.close_reason) == CLIENT_CLOSE
    assert endpoint.received_close_frame is not None


@peers
@over
async def test_their_server_closes_with_a_code_and_a_reason(
    peer: str, transport: str, tls_contexts: TLSContexts
) -> None:
    async with connected(peer, transport, tls_contexts) as endpoint:
        await endpoint.send(CLOSE_REQUEST)
        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.receive()
    assert (caught.value.code, caught.value.reason) == SERVER_CLOSE
    assert caught.value.closed_first is Role.SERVER


@pytest.mark.parametrize("peer", sorted(CLIENTS))
@over
@conversations
async def test_their_client_talks_with_our_server(
    peer: str, transport: str, name: str, tls_contexts: TLSContexts
) -> None:
    await talk_with_our_server(peer, transport, tls_contexts, CONVERSATIONS[name])


async def talk_with_our_server(
    peer: str,
    transport: str,
    contexts: TLSContexts,
    messages: Messages,
    compression: Compression | None = None,
) -> None:
    served: list[Endpoint] = []
    ended = trio.Event()

    async def handler(endpoint: Endpoint) -> None:
        served.append(endpoint)
        try:
            await echo(endpoint)
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(
                serve,
                handler,
                0,
                host="127.0.0.1",
                ssl_context=contexts.server if transport == "TLS" else None,
                extensions=extensions(compression),
                max_message_size=MAX_SIZE,
            )
        )
        port = listeners[0].socket.getsockname()[1]
        scheme = "wss" if transport == "TLS" else "ws"
        setup = client_setup(transport, contexts)
        replies = await CLIENTS[peer](
            f"{scheme}://127.0.0.1:{port}/",
            messages,
            attrs.evolve(setup, compression=compression),
        )
        await ended.wait()
        nursery.cancel_scope.cancel()
    assert replies == messages
    (endpoint,) = served
    assert (endpoint.close_code, endpoint.close_reason) == CLIENT_CLOSE
    assert endpoint.closed_first is Role.CLIENT
    assert endpoint.statistics().received.pings == 1


COMPRESSIBLE: Messages = ["a text of words, words and words " * 40] * 3 + [
    b"\x01\x02" * 5000,
    "",
]


@peers
@over
@pytest.mark.parametrize("parameters", COMPRESSIONS)
async def test_our_client_compresses_with_their_server(
    peer: str, transport: str, parameters: str, tls_contexts: TLSContexts
) -> None:
    compression = COMPRESSIONS[parameters]
    async with connected(peer, transport, tls_contexts, compression) as endpoint:
        assert endpoint.response is not None
        agreed = endpoint.response.header("Sec-WebSocket-Extensions") or ""
        assert agreed.startswith("permessage-deflate")
        for message in COMPRESSIBLE:
            await endpoint.send(message)
        received = [await endpoint.receive_message() for _ in COMPRESSIBLE]
    assert [message.payload for message in received] == COMPRESSIBLE
    # On the wire it was compressed, both ways.
    assert received[0].frames[0].rsv1
    assert endpoint.statistics().sent.size < sum(map(len, COMPRESSIBLE)) / 5


@pytest.mark.parametrize("peer", sorted(CLIENTS))
@over
@pytest.mark.parametrize("parameters", COMPRESSIONS)
async def test_their_client_compresses_with_our_server(
    peer: str, transport: str, parameters: str, tls_contexts: TLSContexts
) -> None:
    await talk_with_our_server(
        peer, transport, tls_contexts, COMPRESSIBLE, COMPRESSIONS[parameters]
    )


@peers
async def test_a_message_below_the_threshold_goes_uncompressed(
    peer: str, tls_contexts: TLSContexts
) -> None:
    setup = Setup(compression=Compression())
    async with (
        SERVERS[peer](setup) as port,
        connect(
            f"ws://127.0.0.1:{port}/", extensions=[PermessageDeflate(threshold=100)]
        ) as endpoint,
    ):
        await endpoint.send("word " * 19)
        small = endpoint.statistics().sent.size
        assert small > 95
        await endpoint.send("word " * 20)
        assert endpoint.statistics().sent.size - small < 50
        assert await endpoint.receive() == "word " * 19
        assert await endpoint.receive() == "word " * 20
