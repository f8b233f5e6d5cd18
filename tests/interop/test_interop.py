"""Talks with other libraries' clients and servers, over TCP and TLS, plain and deflated."""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from tests.conftest import TLSContexts
from tests.interop.peers import (
    CLIENT_CLOSE,
    CLIENTS,
    CLOSE_REQUEST,
    LONG,
    MAX_SIZE,
    PIECES,
    PIECES_REQUEST,
    PING_ANSWERED,
    PING_REQUEST,
    SERVER_CLOSE,
    SERVERS,
    Compression,
    Messages,
    Outcome,
    Setup,
    in_two,
)
from trio_wsendpoint import (
    ConnectionClosedError,
    Endpoint,
    HandshakeRejected,
    Message,
    PermessageDeflate,
    Role,
    connect,
    serve,
)
from trio_wsendpoint.protocol import deflate

LIBRARIES: dict[str, Any] = {"zlib": zlib}
with contextlib.suppress(ImportError):
    LIBRARIES["zlib-ng"] = importlib.import_module("zlib_ng.zlib_ng")


@attrs.frozen
class Conversation:
    """What a client sends, and what comes of it, whoever the two are."""

    messages: Messages
    replies: Messages = attrs.field()
    close: tuple[int, str] = CLIENT_CLOSE
    closed_first: Role = Role.CLIENT
    server_pings: int = 0

    @replies.default
    def _echoed(self) -> Messages:
        return self.messages


CONVERSATIONS = {
    "text": Conversation(
        ["hello", "h\N{LATIN SMALL LETTER E WITH ACUTE}llo", "\N{SNOWMAN}" * 99]
    ),
    "binary": Conversation([b"\x00\xff" * 50, bytes(range(256))]),
    "empty": Conversation(["", b"", ""]),
    "1 MB": Conversation(["x" * 2**20, bytes(2**20)]),
    "1000 pipelined": Conversation([f"message {number}" for number in range(1000)]),
    "repeating": Conversation(["words and words and words " * 40] * 3 + [b"\1\2" * 5000]),
    "in pieces": Conversation([PIECES_REQUEST], ["".join(PIECES)]),
    "ping": Conversation([PING_REQUEST], [PING_ANSWERED], server_pings=1),
    "the server closes": Conversation([CLOSE_REQUEST], [], SERVER_CLOSE, Role.SERVER),
}

COMPRESSIONS = {
    "takeover": Compression(),
    "no takeover": Compression(
        server_no_context_takeover=True, client_no_context_takeover=True
    ),
    "small windows": Compression(server_max_window_bits=9, client_max_window_bits=10),
}

peers = pytest.mark.parametrize("peer", ["websockets", "aiohttp"])
conversations = pytest.mark.parametrize(
    "conversation", CONVERSATIONS.values(), ids=CONVERSATIONS
)
transports = pytest.mark.parametrize("transport", ["TCP", "TLS"])
compressions = pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)


@pytest.fixture
def plain(transport: str, tls_contexts: TLSContexts) -> Setup:
    """A connection with no compression, over either transport."""
    return Setup(contexts=tls_contexts if transport == "TLS" else None)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "zlib", LIBRARIES[request.param])


# -- our side -----------------------------------------------------------------------------


def options(setup: Setup) -> dict[str, Any]:
    extensions = []
    if setup.compression is not None:
        extensions = [PermessageDeflate(**attrs.asdict(setup.compression), threshold=0)]
    return {
        "extensions": extensions,
        "subprotocols": setup.subprotocols,
        "max_message_size": MAX_SIZE,
    }


@asynccontextmanager
async def connected(peer: str, setup: Setup) -> AsyncIterator[Endpoint]:
    """Our client, connected to another library's server."""
    context = setup.client_context
    async with (
        SERVERS[peer](setup) as port,
        connect(setup.url(port), ssl_context=context, **options(setup)) as endpoint,
    ):
        yield endpoint


async def converse(endpoint: Endpoint, conversation: Conversation) -> list[Message]:
    """Do as the other libraries' clients do, and return the replies."""
    replies: list[Message] = []

    async def send() -> None:
        for message in conversation.messages:
            await endpoint.send(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        for _ in conversation.replies:
            replies.append(await endpoint.receive_message())
    if conversation.closed_first is Role.CLIENT:
        assert 0 < await endpoint.ping() < 10
        await endpoint.aclose(*CLIENT_CLOSE)
    else:
        with pytest.raises(ConnectionClosedError):
            await endpoint.receive()
    return replies


async def speak_words(endpoint: Endpoint, received: list[Message]) -> None:
    """Do as the other libraries' servers do."""
    while True:
        message = await endpoint.receive_message()
        received.append(message)
        if message.payload == CLOSE_REQUEST:
            await endpoint.aclose(*SERVER_CLOSE)
            return
        if message.payload == PING_REQUEST:
            await endpoint.ping()
            await endpoint.send(PING_ANSWERED)
        elif message.payload == PIECES_REQUEST:
            async with endpoint.open_send_stream("text") as stream:
                for piece in PIECES:
                    await stream.send(piece)
        else:
            await endpoint.send(message.payload)


@attrs.define
class Served:
    """What our server has seen of one connection."""

    outcome: Outcome
    endpoint: Endpoint
    received: list[Message]


async def serve_their_client(
    peer: str, setup: Setup, messages: Messages, *, ours: Setup | None = None
) -> Served:
    """Let another library's client talk with our server."""
    endpoints: list[Endpoint] = []
    received: list[Message] = []
    ended = trio.Event()

    async def handler(endpoint: Endpoint) -> None:
        endpoints.append(endpoint)
        with contextlib.suppress(ConnectionClosedError):
            await speak_words(endpoint, received)
        ended.set()

    run = partial(
        serve,
        handler,
        0,
        host="127.0.0.1",
        ssl_context=setup.server_context,
        **options(ours or setup),
    )
    with trio.fail_after(LONG):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(run)
            port = listeners[0].socket.getsockname()[1]
            outcome = await CLIENTS[peer](setup.url(port), messages, setup)
            await ended.wait()
            nursery.cancel_scope.cancel()
    (endpoint,) = endpoints
    return Served(outcome, endpoint, received)


def assert_ended_as(endpoint: Endpoint, conversation: Conversation) -> None:
    assert endpoint.closed_first is conversation.closed_first
    assert (endpoint.close_code, endpoint.close_reason) == conversation.close
    # aiohttp answers any close with 1000.
    assert endpoint.sent_close_frame is not None
    assert endpoint.received_close_frame is not None


# -- the talks ----------------------------------------------------------------------------


async def our_client_talks(
    peer: str, setup: Setup, conversation: Conversation
) -> tuple[Endpoint, list[Message]]:
    with trio.fail_after(LONG):
        async with connected(peer, setup) as endpoint:
            replies = await converse(endpoint, conversation)
    assert [reply.payload for reply in replies] == conversation.replies
    assert_ended_as(endpoint, conversation)
    assert endpoint.statistics().received.pings == conversation.server_pings
    return endpoint, replies


async def their_client_talks(peer: str, setup: Setup, conversation: Conversation) -> Served:
    served = await serve_their_client(peer, setup, conversation.messages)
    assert served.outcome.replies == conversation.replies
    assert [message.payload for message in served.received] == conversation.messages
    assert_ended_as(served.endpoint, conversation)
    client_closes = conversation.closed_first is Role.CLIENT
    assert served.outcome.received_close == (None if client_closes else SERVER_CLOSE)
    assert served.endpoint.statistics().received.pings == int(client_closes)
    return served


@peers
@transports
@conversations
async def test_our_client_talks_with_their_server(
    peer: str, plain: Setup, conversation: Conversation
) -> None:
    await our_client_talks(peer, plain, conversation)


@peers
@transports
@conversations
async def test_their_client_talks_with_our_server(
    peer: str, plain: Setup, conversation: Conversation
) -> None:
    await their_client_talks(peer, plain, conversation)


@peers
@transports
async def test_their_server_puts_our_fragments_together(peer: str, plain: Setup) -> None:
    async with connected(peer, plain) as endpoint:
        async with endpoint.open_send_stream("text") as stream:
            for part in ("four, ", "five, ", "six"):
                await stream.send(part)
        assert await endpoint.receive() == "four, five, six"


@transports
async def test_we_put_the_fragments_of_their_server_together(plain: Setup) -> None:
    _, (reply,) = await our_client_talks("websockets", plain, CONVERSATIONS["in pieces"])
    fragments = [str(frame.payload, "utf-8") for frame in reply.frames if frame.payload]
    assert fragments == list(PIECES)


@transports
@pytest.mark.parametrize("name", ["text", "binary", "empty", "1 MB"])
async def test_we_put_the_fragments_of_their_client_together(plain: Setup, name: str) -> None:
    setup = attrs.evolve(plain, fragmented=True)
    served = await their_client_talks("websockets", setup, CONVERSATIONS[name])
    for message in served.received:
        sizes = [len(frame.payload) for frame in message.frames]
        encoded = [
            part.encode() if isinstance(part, str) else part for part in in_two(message.payload)
        ]
        assert sizes == [*map(len, encoded), 0]


# -- subprotocols -------------------------------------------------------------------------

CLIENTS_OWN, SERVERS_OWN = ("first", "chat"), ("chat", "last")


@pytest.mark.parametrize(
    ("peer", "spoken", "chosen"),
    [
        ("websockets", SERVERS_OWN, "chat"),
        ("aiohttp", SERVERS_OWN, "chat"),
        ("aiohttp", ("last",), None),
    ],
)
async def test_a_subprotocol_is_agreed_on_with_their_server(
    peer: str, spoken: tuple[str, ...], chosen: str | None
) -> None:
    async with (
        SERVERS[peer](Setup(subprotocols=spoken)) as port,
        connect(Setup().url(port), subprotocols=CLIENTS_OWN) as endpoint,
    ):
        assert endpoint.subprotocol == chosen


async def test_a_server_that_insists_on_a_subprotocol_refuses() -> None:
    async with SERVERS["websockets"](Setup(subprotocols=["last"])) as port:
        with pytest.raises(HandshakeRejected) as caught:
            async with connect(Setup().url(port), subprotocols=CLIENTS_OWN):
                raise AssertionError
    assert caught.value.status_code == 400
    assert b"subprotocol" in caught.value.body


@peers
@pytest.mark.parametrize(("spoken", "chosen"), [(SERVERS_OWN, "chat"), (("last",), None)])
async def test_a_subprotocol_is_agreed_on_with_their_client(
    peer: str, spoken: tuple[str, ...], chosen: str | None
) -> None:
    theirs, ours = Setup(subprotocols=CLIENTS_OWN), Setup(subprotocols=spoken)
    served = await serve_their_client(peer, theirs, ["hello"], ours=ours)
    assert served.endpoint.subprotocol == served.outcome.subprotocol == chosen


# -- compression --------------------------------------------------------------------------


def agreed(endpoint: Endpoint) -> Compression:
    """The parameters in the server's answer."""
    assert endpoint.response is not None
    answer = endpoint.response.header("Sec-WebSocket-Extensions")
    assert answer is not None
    name, *parameters = answer.split("; ")
    assert name == "permessage-deflate"
    values: dict[str, Any] = {}
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        values[key] = int(value) if value else True
    return Compression(**values)


def assert_deflated(messages: list[Message]) -> None:
    for message in messages:
        first, *others = message.frames
        assert first.rsv1
        assert not any(frame.rsv1 for frame in others)


@peers
@compressions
@conversations
@pytest.mark.usefixtures("library")
async def test_our_client_and_their_server_compress(
    peer: str, compression: Compression, conversation: Conversation
) -> None:
    setup = Setup(compression=compression)
    endpoint, replies = await our_client_talks(peer, setup, conversation)
    assert_deflated(replies)
    # aiohttp leaves the client to itself.
    free: Any = {"client_no_context_takeover": False, "client_max_window_bits": 15}
    expected = attrs.evolve(compression, **free) if peer == "aiohttp" else compression
    assert agreed(endpoint) == expected


@peers
@compressions
@conversations
@pytest.mark.usefixtures("library")
async def test_their_client_and_our_server_compress(
    peer: str, compression: Compression, conversation: Conversation
) -> None:
    served = await their_client_talks(peer, Setup(compression=compression), conversation)
    assert_deflated(served.received)
    assert agreed(served.endpoint) == compression


@transports
@pytest.mark.parametrize("name", ["text", "empty", "repeating"])
async def test_the_compressed_fragments_of_their_client_are_put_together(
    plain: Setup, name: str
) -> None:
    setup = attrs.evolve(plain, fragmented=True, compression=Compression())
    served = await their_client_talks("websockets", setup, CONVERSATIONS[name])
    assert_deflated(served.received)
    assert {len(message.frames) for message in served.received} == {3}


@peers
@transports
@pytest.mark.parametrize("ours", Role)
async def test_data_is_deflated_on_the_wire_both_ways(
    peer: str, plain: Setup, ours: Role, caplog: pytest.LogCaptureFixture
) -> None:
    setup = attrs.evolve(plain, compression=Compression())
    conversation = CONVERSATIONS["repeating"]
    with caplog.at_level(logging.DEBUG, "trio_wsendpoint.endpoint"):
        if ours is Role.CLIENT:
            endpoint, _ = await our_client_talks(peer, setup, conversation)
        else:
            endpoint = (await their_client_talks(peer, setup, conversation)).endpoint
    frames = [record.getMessage() for record in caplog.records]
    for direction in ("<", ">"):
        data = [line for line in frames if re.match(rf"{direction} (TEXT|BINARY) ", line)]
        assert len(data) == len(conversation.messages)
        assert all(line.endswith(" rsv1") for line in data)
    statistics = endpoint.statistics()
    size = sum(map(len, conversation.messages))
    assert statistics.sent.size < size / 10
    assert statistics.received.size < size / 10


@peers
async def test_a_message_below_the_threshold_goes_uncompressed(peer: str) -> None:
    small, large = "word " * 19, "word " * 20
    async with (
        SERVERS[peer](Setup(compression=Compression())) as port,
        connect(Setup().url(port), extensions=[PermessageDeflate(threshold=100)]) as endpoint,
    ):
        await endpoint.send(small)
        size = endpoint.statistics().sent.size
        assert size > len(small)
        await endpoint.send(large)
        assert endpoint.statistics().sent.size - size < len(large) / 2
        assert [await endpoint.receive(), await endpoint.receive()] == [small, large]
