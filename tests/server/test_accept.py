from __future__ import annotations

import ssl

import pytest
import trio
import trustme
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, stream_pair
from tests.protocol.wire import PING, PONG, TEXT
from trio_wsendpoint.endpoint import (
    HandshakeTimeout,
    check_ssl_context,
    open_endpoint,
)
from trio_wsendpoint.protocol import (
    HandshakeError,
    Role,
)
from trio_wsendpoint.server import Settings, accept
from trio_wsendpoint.server.accept import LINGER, Acceptor, Established
from trio_wsendpoint.testing import CutStream, SplitStream, StallStream, WrappedStream

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)

REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: one, two\r\n\r\n"
)
NO_REQUESTS = [
    (REQUEST.replace(b"GET", b"PUT"), 405),
    (REQUEST.replace(b"Version: 13", b"Version: 8"), 426),
    (REQUEST.replace(b"Upgrade: websocket\r\n", b""), 426),
    (REQUEST.replace(b"Host: example.org\r\n", b""), 400),
    (REQUEST.replace(b"Key: dGhl", b"Key: dG"), 400),
    (b"\x16\x03\x01 this is TLS, or what\r\n\r\n", 400),
    (b"GET /" + b"x" * 100_000, 431),
]


async def read_head(stream: trio.abc.Stream) -> tuple[bytes, bytes]:
    """The head of a response, and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        assert more, data
        data += bytes(more)
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


async def read_all(stream: trio.abc.Stream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


async def accept_one(stream: trio.abc.Stream) -> None:
    async with accept(stream):
        raise AssertionError("it was accepted")


@on_both_streams
async def test_a_handshake_is_answered_and_the_endpoint_opened(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    peer = Peer(theirs, Role.CLIENT)
    await theirs.send_all(REQUEST)
    async with accept(ours, subprotocols=["two", "one"], headers=[("X-A", "b")]) as endpoint:
        head, rest = await read_head(theirs)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        assert rest == b""
        assert endpoint.subprotocol == "one"
        assert endpoint.request is not None
        assert endpoint.request.target == "/chat"
        assert endpoint.response is not None
        assert ("X-A", "b") in endpoint.response.headers
        assert endpoint.role is Role.SERVER
        await peer.send(TEXT, b"x")
        assert await endpoint.receive() == "x"
        await peer.aclose()


@on_both_streams
async def test_what_comes_behind_the_request_belongs_to_the_first_frame(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    peer = Peer(theirs, Role.CLIENT)
    frames = peer.frame(PING, b"!") + peer.frame(TEXT, b"first") + peer.frame(TEXT, b"2")
    await theirs.send_all(REQUEST + frames[:-2])
    async with accept(ours) as endpoint:
        assert await endpoint.receive() == "first"
        head, rest = await read_head(theirs)
        assert head.startswith(b"HTTP/1.1 101 "), "nothing is written before the 101"
        peer._buffer = rest
        await peer.expect(PONG, b"!")
        await theirs.send_all(frames[-2:])
        assert await endpoint.receive() == "2"
        await peer.aclose()


async def test_nothing_is_written_before_the_request_is_complete(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_one, ours)
        for byte in REQUEST[:-1]:
            await theirs.send_all(bytes((byte,)))
        with trio.move_on_after(1) as scope:
            await theirs.receive_some()
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()
    await theirs.aclose()


async def test_a_request_may_come_byte_by_byte(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(REQUEST)
    async with accept(SplitStream(ours)) as endpoint:
        assert endpoint.request is not None
        await trio.aclose_forcefully(theirs)


@on_both_streams
@pytest.mark.parametrize(("request_", "status_code"), NO_REQUESTS)
async def test_a_bad_request_is_answered_and_the_stream_closed(
    request_: bytes, status_code: int, kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await theirs.send_all(request_)

        nursery.start_soon(send)
        with pytest.raises(HandshakeError) as caught:
            await accept_one(ours)
    assert caught.value.status_code == status_code
    answer = await read_all(theirs)
    assert answer.startswith(b"HTTP/1.1 %d " % status_code)
    assert answer.partition(b"\r\n\r\n")[2].decode().strip() == str(caught.value)
    assert trio.current_time() <= LINGER
    await theirs.aclose()


@on_both_streams
async def test_a_client_that_was_refused_reads_why_though_it_still_sends(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    async with trio.open_nursery() as nursery:
        await theirs.send_all(REQUEST.replace(b"GET", b"PUT"))

        async def talk() -> None:
            for _ in range(5):
                await theirs.send_all(b"more")
                await trio.sleep(0.1)
            assert (await read_all(theirs)).startswith(b"HTTP/1.1 405 ")
            await theirs.aclose()

        nursery.start_soon(talk)
        with pytest.raises(HandshakeError):
            await accept_one(ours)


async def test_a_client_that_was_refused_and_stays_is_left_in_time(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(REQUEST.replace(b"GET", b"PUT"))
    began = trio.current_time()
    with pytest.raises(HandshakeError) as caught:
        await accept_one(ours)
    assert not isinstance(caught.value, HandshakeTimeout)
    assert trio.current_time() - began == LINGER
    await theirs.aclose()


async def test_a_refusal_is_raised_though_the_client_is_gone(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(REQUEST.replace(b"GET", b"PUT"))
    with pytest.raises(HandshakeError) as caught:
        await accept_one(CutStream(ours, after_sent=5))
    assert caught.value.status_code == 405
    await theirs.aclose()


async def test_a_refusal_is_written_to_a_stream_without_halves(
    autojump_clock: MockClock,
) -> None:
    class Whole(trio.abc.Stream):
        def __init__(self, stream: trio.abc.Stream) -> None:
            self.stream = stream

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await self.stream.send_all(data)

        async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
            return await self.stream.receive_some(max_bytes)

        async def wait_send_all_might_not_block(self) -> None:
            raise NotImplementedError

        async def aclose(self) -> None:
            await self.stream.aclose()

    ours, theirs = memory_stream_pair()
    await theirs.send_all(REQUEST.replace(b"GET", b"PUT"))
    with pytest.raises(HandshakeError):
        await accept_one(Whole(ours))
    assert (await read_all(theirs)).startswith(b"HTTP/1.1 405 ")
    assert trio.current_time() == 0


@pytest.mark.parametrize("size", [0, 1, len(REQUEST) - 1])
async def test_a_request_that_ends_too_early_is_no_handshake(
    size: int, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(REQUEST[:size])
    await theirs.send_eof()
    with pytest.raises(HandshakeError):
        await accept_one(ours)
    await theirs.aclose()


async def test_a_socket_that_ends_before_it_is_accepted_is_no_handshake() -> None:
    ours, theirs = trio.socket.socketpair()
    theirs.close()
    with pytest.raises(HandshakeError, match="before its request was complete"):
        await accept_one(trio.SocketStream(ours))
    assert ours.fileno() == -1


@on_both_streams
async def test_a_stream_that_breaks_is_no_handshake(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    await theirs.send_all(REQUEST[:50])
    with pytest.raises(HandshakeError):
        await accept_one(CutStream(ours, after_received=20))
    await theirs.aclose()


async def test_a_socket_that_was_reset_is_no_handshake(autojump_clock: MockClock) -> None:
    ours, theirs = stream_pair("socket")
    await ours.send_all(b"unread")
    await theirs.aclose()
    with pytest.raises(HandshakeError, match="the stream broke: socket connection broken: "):
        await accept_one(ours)


async def test_a_client_that_is_gone_before_the_101_is_no_handshake(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = stream_pair("socket")
    await theirs.send_all(REQUEST)
    await theirs.aclose()
    with pytest.raises(HandshakeError, match="the stream broke: socket connection broken: "):
        await accept_one(ours)


async def test_a_101_that_the_socket_does_not_take_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = stream_pair("socket")
    junk = 0
    with trio.move_on_after(1):
        while True:
            await ours.send_all(b"!")
            junk += 1
    await theirs.send_all(REQUEST)

    async def serve() -> None:
        async with accept(ours) as endpoint:
            assert await endpoint.receive() == "x"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await wait_all_tasks_blocked()
        head, rest = await read_head(theirs)
        assert head.lstrip(b"!").startswith(b"HTTP/1.1 101 ")
        assert (len(head) - len(head.lstrip(b"!")), rest) == (junk, b"")
        peer = Peer(theirs, Role.CLIENT)
        await peer.send(TEXT, b"x")
        await peer.aclose()


@on_both_streams
async def test_a_client_that_drips_is_left_after_the_timeout(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    began = trio.current_time()

    async def drip() -> None:
        try:
            for byte in REQUEST:
                await theirs.send_all(bytes((byte,)))
                await trio.sleep(1)
        except trio.BrokenResourceError:
            await theirs.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with pytest.raises(HandshakeTimeout, match=r"more than 5\.5 seconds"):
            async with accept(ours, handshake_timeout=5.5):
                raise AssertionError("it was accepted")
        assert trio.current_time() - began == 5.5


async def test_a_client_that_does_not_take_its_101_is_left_after_the_timeout(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(REQUEST)
    with pytest.raises(HandshakeTimeout):
        async with accept(StallStream(ours, after_sent=10), handshake_timeout=3):
            raise AssertionError("it was accepted")
    assert trio.current_time() == 3
    await theirs.aclose()


@on_both_streams
@pytest.mark.parametrize("size", [0, 20])
async def test_a_handshake_that_is_cancelled_closes_the_stream(
    size: int, kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    await theirs.send_all(REQUEST[:size])
    with trio.move_on_after(1) as scope:
        await accept_one(ours)
    assert scope.cancelled_caught
    try:
        assert await theirs.receive_some() == b""
    except trio.BrokenResourceError:
        assert kind == "http2", "which can be told from an end"
    await theirs.aclose()


async def test_the_timeout_of_the_handshake_does_not_bind_the_endpoint(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(REQUEST)
    async with accept(ours, handshake_timeout=1, ping_interval=1e6) as endpoint:
        await trio.sleep(100)
        assert not endpoint.is_closed
        await trio.aclose_forcefully(theirs)


async def test_what_is_in_the_async_with_can_be_interrupted_from_the_keyboard() -> None:
    ours, theirs = memory_stream_pair()
    async with open_endpoint(ours, Role.SERVER):
        assert not trio.lowlevel.currently_ki_protected()
        await trio.aclose_forcefully(theirs)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"max_pings": 0}, "max_pings"),
        ({"handshake_timeout": -1}, "handshake_timeout"),
        ({"subprotocols": "chat"}, "subprotocols"),
        ({"subprotocols": ["a b"]}, "subprotocols"),
        ({"headers": [("X", "a\r\nb")]}, "header"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_read(
    arguments: dict[str, object], says: str
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(REQUEST)
    manager = accept(ours, **arguments)  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError), match=says):
        await manager.__aenter__()
    assert await ours.receive_some() == REQUEST


async def test_an_unknown_keyword_is_refused_in_the_name_of_what_was_called() -> None:
    ours, theirs = memory_stream_pair()
    with pytest.raises(TypeError, match=r"^accept\(\) got an unexpected .* 'nonsense'$"):
        await accept(ours, nonsense=1).__aenter__()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^open_endpoint\(\) got an unexpected .* 'headers'$"):
        await open_endpoint(ours, Role.CLIENT, headers=[]).__aenter__()  # type: ignore[call-arg]
    await theirs.aclose()


def test_an_ssl_context_is_none_or_one() -> None:
    for role in Role:
        check_ssl_context(None, role)
        with pytest.raises(TypeError, match="ssl_context"):
            check_ssl_context("x", role)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fits", "purpose", "other"),
    [
        (Role.CLIENT, ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH),
        (Role.SERVER, ssl.Purpose.CLIENT_AUTH, ssl.Purpose.SERVER_AUTH),
    ],
)
def test_an_ssl_context_fits_the_role(
    fits: Role, purpose: ssl.Purpose, other: ssl.Purpose
) -> None:
    check_ssl_context(ssl.create_default_context(purpose), fits)
    with pytest.raises(ValueError, match=f"for a {fits.value}, .*Purpose.{purpose.name}"):
        check_ssl_context(ssl.create_default_context(other), fits)


# -- over TLS -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("example.org").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return client, server


class Holding(WrappedStream):
    """Holds what is sent until it is released, so that it leaves in one piece."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.held: bytearray | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.held is None:
            await super().send_all(data)
        else:
            self.held += data

    async def release(self) -> None:
        held, self.held = self.held, None
        await super().send_all(held or b"")


async def test_what_comes_behind_the_request_is_not_left_inside_tls(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], autojump_clock: MockClock
) -> None:
    client_context, server_context = contexts
    ours, theirs = stream_pair("socket")
    below = Holding(theirs)
    client = trio.SSLStream(below, client_context, server_hostname="example.org")
    peer = Peer(client, Role.CLIENT)
    received: list[object] = []

    async def serve() -> None:
        acceptor = Acceptor(Settings.parse("accept", {}), server_context)
        established = await acceptor.establish(ours)
        assert isinstance(established, Established)
        async with established.open() as endpoint:
            received.append(await endpoint.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await client.do_handshake()
        below.held = bytearray()
        await client.send_all(REQUEST)
        await peer.send(TEXT, b"a record of its own")
        await below.release()
        await wait_all_tasks_blocked()
        assert received == ["a record of its own"]
        await trio.aclose_forcefully(client)


async def test_a_tls_handshake_that_fails_closes_the_stream(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], autojump_clock: MockClock
) -> None:
    _, server_context = contexts
    ours, theirs = stream_pair("socket")
    await theirs.send_all(REQUEST)

    acceptor = Acceptor(Settings.parse("accept", {}), server_context)

    async def run() -> None:
        await acceptor.establish(ours)
        raise AssertionError("it was accepted")

    with pytest.raises(HandshakeError, match="the TLS handshake failed"):
        await run()
    assert isinstance(ours, trio.SocketStream)
    assert ours.socket.fileno() == -1
    await theirs.aclose()
