"""Tests of the client's opening handshake on a stream."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from tests.client.servers import read_request, switching
from tests.endpoint.peer import STREAM_KINDS, StreamKind, stream_pair
from trio_wsendpoint.client.handshake import BODY_TIMEOUT, request_endpoint
from trio_wsendpoint.endpoint import EndpointOptions, EndpointScope
from trio_wsendpoint.protocol import (
    ClientHandshake,
    HandshakeError,
    HandshakeRejected,
    PermessageDeflate,
    Role,
)
from trio_wsendpoint.server import accept
from trio_wsendpoint.testing import CutStream

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)

HANDSHAKE = ClientHandshake("example.org", "/")


@on_both_streams
@pytest.mark.parametrize("extensions", [[], [PermessageDeflate()]])
async def test_both_sides_shake_hands(
    extensions: list[PermessageDeflate], kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    handshake = ClientHandshake("example.org", "/", extensions=extensions)

    async def serve() -> None:
        async with accept(theirs, extensions=extensions) as server:
            await server.send("from the start")
            async for message in server:
                await server.send(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        agreement, rest = await request_endpoint(ours, handshake)
        options = EndpointOptions(extensions=extensions)
        async with EndpointScope(ours, Role.CLIENT, options, agreement, rest) as client:
            assert await client.receive() == "from the start"
            await client.send("x" * 1000)
            assert await client.receive() == "x" * 1000
            assert len(agreement.codecs) == len(extensions)


async def test_a_stream_that_breaks_before_the_response_is_no_handshake(
    autojump_clock: MockClock,
) -> None:
    handshake = HANDSHAKE
    ours, theirs = memory_stream_pair()
    await theirs.aclose()
    with pytest.raises(HandshakeError, match="closed the connection") as caught:
        await request_endpoint(ours, HANDSHAKE)
    assert caught.value.temporary
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 101 Switch")
    with pytest.raises(HandshakeError, match=r"the stream broke .*: .*was cut") as caught:
        await request_endpoint(CutStream(ours, after_received=10), HANDSHAKE)
    assert caught.value.temporary
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    with pytest.raises(HandshakeRejected, match="404"):
        await request_endpoint(ours, handshake)
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 101 Switch")
    await theirs.send_eof()
    with pytest.raises(HandshakeError):
        await request_endpoint(ours, handshake)


async def test_a_rejection_that_breaks_off_is_still_a_rejection(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nnot y")
    with pytest.raises(HandshakeRejected, match="403") as caught:
        await request_endpoint(CutStream(ours, after_received=52), HANDSHAKE)
    assert caught.value.body == b"not y"


# -- a refusal whose body is no good -------------------------------------------------------

HEADS = {
    "stalls": "Content-Length: 100",
    "is framed as identity": "Transfer-Encoding: identity",
    "is framed as gzip, chunked": "Transfer-Encoding: gzip, chunked",
    "has two lengths": "Content-Length: 5\r\nContent-Length: 100",
    "has a length that is none": "Content-Length: many",
    "is chunked, and stalls": "Transfer-Encoding: chunked",
}


async def refuse(stream: trio.abc.Stream, head: str, body: bytes) -> None:
    await read_request(stream)
    await stream.send_all(f"HTTP/1.1 403 Forbidden\r\n{head}\r\nX-A: b\r\n\r\n".encode())
    await stream.send_all(body)


@on_both_streams
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
async def test_a_refusal_keeps_its_status_whatever_its_body_does(
    head: str, kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    chunked = head == "Transfer-Encoding: chunked"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse, theirs, head, b"6\r\nnot yo" if chunked else b"not yo")
        with pytest.raises(HandshakeRejected, match="403 Forbidden") as caught:
            await request_endpoint(ours, HANDSHAKE)
    assert trio.current_time() == BODY_TIMEOUT
    assert caught.value.status_code == 403
    assert caught.value.body == b"not yo"
    assert [f"{name}: {value}" for name, value in caught.value.headers] == [
        *head.split("\r\n"),
        "X-A: b",
    ]
    await ours.aclose()
    await theirs.aclose()


async def test_a_body_that_never_ends_is_cut_off(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()

    async def go_on() -> None:
        await refuse(theirs, "Transfer-Encoding: identity", b"")
        while True:
            await theirs.send_all(bytes(1000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        with pytest.raises(HandshakeRejected) as caught:
            await request_endpoint(ours, HANDSHAKE)
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 0
    assert len(caught.value.body) == 2**16


@pytest.mark.parametrize("outside", [0.5, 5])
async def test_cancelled_while_the_body_is_awaited_it_is_cancelled(
    outside: float, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse, theirs, "Content-Length: 9", b"")
        rejected = False
        with trio.move_on_after(outside):
            try:
                await request_endpoint(ours, HANDSHAKE)
            except HandshakeRejected:
                rejected = True
    assert rejected == (outside > BODY_TIMEOUT)
    assert trio.current_time() == min(outside, BODY_TIMEOUT)


@pytest.mark.parametrize("framing", ["chunked", "identity"])
async def test_a_101_may_say_how_its_body_is_framed_though_it_has_none(
    framing: str, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()

    async def answer() -> None:
        request = await read_request(theirs)
        await theirs.send_all(switching(request, f"Transfer-Encoding: {framing}") + b"rest")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        agreement, rest = await request_endpoint(ours, HANDSHAKE)
    assert agreement.response.header("Transfer-Encoding") == framing
    assert rest == b"rest"


@pytest.mark.parametrize(
    "body",
    [
        b"<center>The plain HTTP request was sent to HTTPS port</center>",
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ],
    ids=["nginx", "Go", "Apache"],
)
async def test_a_server_that_wants_tls_and_says_so_is_understood(
    body: bytes, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()
    head = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(body)}\r\n\r\n"
    await theirs.send_all(head.encode() + body)
    with pytest.raises(HandshakeRejected, match=r"400 .*begin with wss://") as caught:
        await request_endpoint(ours, HANDSHAKE)
    assert caught.value.body == body


async def test_what_was_answered_before_the_server_closed_is_read(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = stream_pair("socket")
    await theirs.send_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    await theirs.aclose()
    with pytest.raises(HandshakeRejected, match="503 Busy"):
        await request_endpoint(ours, HANDSHAKE)
    await ours.aclose()
