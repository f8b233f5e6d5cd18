from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, open_scripted, stream_pair
from tests.protocol.wire import BINARY, CONTINUATION, PING, PONG, TEXT
from trio_wsendpoint.endpoint import (
    ConnectionClosedError,
    ConnectionClosedOK,
    Statistics,
    Traffic,
    open_endpoint,
)
from trio_wsendpoint.protocol import (
    CloseFrame,
    Message,
    PermessageDeflate,
    Role,
    TextFrame,
    create_message,
)

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)


# -- bad arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (None, TypeError),
        (5, TypeError),
        (["x"], TypeError),
        (TextFrame(b"x"), TypeError),
        ("\ud800", ValueError),
        (Message("\ud800", TextFrame), ValueError),
        (Message(b"", CloseFrame), ValueError),
    ],
)
async def test_what_cannot_be_sent_is_refused_and_the_connection_is_still_good(
    message: Any, error: type[Exception], autojump_clock: MockClock
) -> None:
    async with open_scripted() as (endpoint, peer):
        with pytest.raises(error):
            await endpoint.send(message)
        await endpoint.send("good")
        await peer.expect(TEXT, b"good")
        assert len(peer.frames) == 1


@pytest.mark.parametrize(
    ("code", "reason", "error", "says"),
    [
        ("1000", "", TypeError, "code must be"),
        (True, "", TypeError, "code must be"),
        (1000, b"x", TypeError, "reason must be"),
        (1000, None, TypeError, "reason must be"),
        (0, "", ValueError, "code must be"),
        (999, "", ValueError, "code must be"),
        (1004, "", ValueError, "code must be"),
        (1005, "", ValueError, "code must be"),
        (1006, "", ValueError, "code must be"),
        (1015, "", ValueError, "code must be"),
        (2999, "", ValueError, "code must be"),
        (5000, "", ValueError, "code must be"),
        (None, "x", ValueError, "reason"),
        (1000, "x" * 124, ValueError, "reason"),
        (1000, "ü" * 62, ValueError, "reason"),
        (1000, "\ud800", ValueError, "reason"),
    ],
)
async def test_a_bad_close_is_refused_and_the_connection_is_still_good(
    code: Any, reason: Any, error: type[Exception], says: str, autojump_clock: MockClock
) -> None:
    async with open_scripted() as (endpoint, peer):
        with pytest.raises(error, match=says):
            await endpoint.aclose(code, reason)
        assert not endpoint.is_closed
        await endpoint.send("good")
        await peer.expect(TEXT, b"good")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"stream": 5}, "stream must be"),
        ({"role": "client"}, "role must be"),
        ({"agreement": "x"}, "agreement must be"),
        ({"initial_data": "x"}, "initial_data must be"),
        ({"max_pings": "x"}, "max_pings must be"),
    ],
)
async def test_opening_an_endpoint_refuses_bad_arguments(
    arguments: dict[str, Any], says: str
) -> None:
    ours, theirs = stream_pair("memory")
    with pytest.raises(TypeError, match=says):
        open_endpoint(**{"stream": ours, "role": Role.CLIENT, **arguments})
    await ours.send_all(b"the stream is still ours")
    assert await theirs.receive_some() == b"the stream is still ours"


# -- what one task cannot do --------------------------------------------------------------


async def test_a_task_that_streams_a_message_cannot_wait_for_itself(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        async with endpoint.open_send_stream("text"):
            with pytest.raises(RuntimeError):
                await endpoint.send("x")
        await peer.send(TEXT, b"x")
        async with endpoint.open_receive_stream():
            with pytest.raises(RuntimeError):
                await endpoint.receive()
        await endpoint.send("still good")
        await peer.expect(TEXT, b"")
        await peer.expect(TEXT, b"still good")


# -- every method is a cancellation point -------------------------------------------------


@on_both_streams
async def test_every_receive_is_a_cancellation_point(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send_raw(peer.frame(TEXT, b"x") * 10)
        await endpoint.receive()
        for _ in range(100):
            with trio.CancelScope() as scope:
                scope.cancel()
                await endpoint.receive()
            assert scope.cancelled_caught
        assert [await endpoint.receive() for _ in range(9)] == ["x"] * 9


@on_both_streams
async def test_iterating_gets_messages_of_any_make_that_lie_ready(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        in_two = peer.frame(TEXT, b"in ", fin=False) + peer.frame(CONTINUATION, b"two")
        await peer.send_raw(peer.frame(BINARY, b"whole") + in_two + peer.frame(TEXT, b"last"))
        received = []
        async for message in endpoint:
            received.append(message)
            if message == "last":
                break
        assert received == [b"whole", "in two", "last"]


@on_both_streams
async def test_a_receiver_that_never_waits_lets_others_run(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await trio.lowlevel.checkpoint()
                ticks += 1

        nursery.start_soon(tick)
        await peer.send_raw(peer.frame(TEXT, b"x") * 640)
        for _ in range(640):
            await endpoint.receive()
        assert ticks >= 9
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("method", ["ping", "pong", "check_heartbeat"])
async def test_other_methods_are_cancellation_points_too(
    method: str, autojump_clock: MockClock
) -> None:
    async with open_scripted() as (endpoint, peer):
        with trio.CancelScope() as scope:
            scope.cancel()
            await getattr(endpoint, method)()
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        await endpoint.send("x")
        await peer.expect(TEXT, b"x")


# -- iterating ----------------------------------------------------------------------------


@on_both_streams
async def test_text_is_received_as_bytes_if_it_is_not_to_be_decoded(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        for _ in range(2):
            await peer.send(TEXT, "caf\u00e9".encode())
            await peer.send(BINARY, b"\xff")
        assert await endpoint.receive(decode=False) == b"caf\xc3\xa9"
        assert await endpoint.receive(decode=False) == b"\xff"
        assert await endpoint.receive(decode=True) == "caf\u00e9"
        assert await endpoint.receive() == b"\xff"
        await peer.send(TEXT, b"\xff")
        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.receive(decode=False)
        assert caught.value.code == 1007


@on_both_streams
async def test_iterating_ends_at_a_clean_close(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        await peer.send(TEXT, b"1")
        await peer.send(BINARY, b"2")
        nursery.start_soon(peer.close, 1001)
        assert [message async for message in endpoint] == ["1", b"2"]
        with pytest.raises(ConnectionClosedOK) as caught:
            await endpoint.receive()
        assert caught.value.code == 1001


async def test_the_error_of_an_end_has_both_close_frames(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.close, 4001, "why")
        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.receive()
        error = caught.value
        assert (error.code, error.reason, error.closed_first) == (4001, "why", Role.SERVER)
        assert error.received_close_frame == error.sent_close_frame
        assert error.sent_close_frame is endpoint.sent_close_frame
        assert (endpoint.close_code, endpoint.close_reason) == (4001, "why")
        assert str(error) == "closed by the server with 4001: why"


# -- looking at it ------------------------------------------------------------------------


async def test_an_open_endpoint_has_no_end_yet(autojump_clock: MockClock) -> None:
    async with open_scripted(Role.SERVER) as (endpoint, _):
        assert endpoint.role is Role.SERVER
        assert not endpoint.is_closed
        assert endpoint.close_code is None
        assert endpoint.close_reason is None
        assert endpoint.closed_first is None
        assert endpoint.sent_close_frame is None
        assert endpoint.received_close_frame is None
        assert endpoint.subprotocol is None
        assert endpoint.context is None
        assert endpoint.client_address is None
        assert endpoint.tls is None
        for name in "request", "response":
            with pytest.raises(AttributeError, match="no opening handshake was seen"):
                getattr(endpoint, name)
        assert endpoint.local_address is None
        assert endpoint.remote_address is None


async def test_an_end_without_a_close_frame_is_told_in_words(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        await peer.aclose()
        await trio.sleep(1)
        assert endpoint.close_code == 1006
        assert endpoint.close_reason == "the stream ended with no close frame"
        assert endpoint.is_closed


async def test_an_endpoint_on_a_socket_has_addresses() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = listener.socket.getsockname()
    client = await trio.open_tcp_stream("127.0.0.1", address[1])
    server = await listener.accept()
    peer = Peer(client, Role.CLIENT)
    async with open_endpoint(server, Role.SERVER) as endpoint:
        assert endpoint.local_address == address
        assert endpoint.remote_address == client.socket.getsockname()
        await peer.aclose()
    assert endpoint.local_address == address, "it is known also after the end"
    await listener.aclose()


async def test_a_socket_that_is_gone_has_no_addresses() -> None:
    left, right = socket.socketpair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(left))
    left_socket = stream.socket
    left_socket.close()
    right.close()
    async with open_endpoint(stream, Role.CLIENT) as endpoint:
        assert endpoint.local_address is None
        with pytest.raises(ConnectionClosedError):
            await endpoint.receive()


@on_both_streams
@pytest.mark.parametrize("role", Role)
async def test_statistics_count_what_crossed(
    role: Role, kind: StreamKind, autojump_clock: MockClock
) -> None:
    mask = 4
    async with open_scripted(role, kind) as (endpoint, peer), trio.open_nursery() as nursery:
        assert endpoint.statistics() == Statistics(
            Traffic(0, 0, 0, 0, 0), Traffic(0, 0, 0, 0, 0)
        )
        await endpoint.send("hello")
        await peer.expect(TEXT)
        await peer.send(PING, b"123")
        await peer.expect(PONG)
        nursery.start_soon(endpoint.ping, b"4567")
        await peer.expect(PING)
        await peer.send(PONG, b"4567")
        await peer.send(BINARY, bytes(1000))
        await trio.sleep(1)
        out, into = (mask, 0) if role is Role.CLIENT else (0, mask)
        statistics = endpoint.statistics()
        assert statistics.sent == Traffic(
            1, (2 + 5) + (2 + 3) + (2 + 4) + 3 * out, pings=1, pongs=1, waiting=0
        )
        size = (2 + 3) + (2 + 4) + (4 + 1000) + 3 * into
        assert statistics.received.size == size
        assert statistics.received.messages == 1
        assert (statistics.received.pings, statistics.received.pongs) == (1, 1)
        assert statistics.received.waiting > 1000
        await endpoint.receive()
        with trio.move_on_after(1):
            await endpoint.receive()
        assert endpoint.statistics().received.waiting == 0


# -- compression --------------------------------------------------------------------------


@on_both_streams
async def test_a_message_may_be_left_uncompressed(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    text = "compressible " * 100
    extensions = [PermessageDeflate()]
    ours, theirs = stream_pair(kind)
    async with (
        open_endpoint(ours, Role.CLIENT, extensions=extensions) as client,
        open_endpoint(theirs, Role.SERVER, extensions=extensions) as server,
    ):
        sizes = []
        for compress in (True, False):
            await client.send(text, compress=compress)
            assert await server.receive() == text
            sizes.append(server.statistics().received.size)
            async with client.open_send_stream("text", compress=compress) as stream:
                await stream.send(text)
            message = await server.receive_message()
            assert message.payload == text
            assert message.frames[0].rsv1 is compress
        assert sizes[0] < len(text) / 5
        assert sizes[1] - sizes[0] > len(text)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.aclose)
            nursery.start_soon(server.aclose)


@on_both_streams
async def test_two_endpoints_talk_to_each_other(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    async with (
        open_endpoint(ours, Role.CLIENT) as client,
        open_endpoint(theirs, Role.SERVER) as server,
        trio.open_nursery() as nursery,
    ):

        async def echo() -> None:
            async for message in server:
                await server.send(message)
            await server.aclose()

        nursery.start_soon(echo)
        for size in (0, 1, 125, 126, 2**16, 2**19):
            await client.send("x" * size)
            assert await client.receive() == "x" * size
        assert await client.ping() >= 0
        await client.send(create_message("binary", b"x"))
        assert await client.receive() == b"x"
        await client.aclose()
    assert client.close_code == server.close_code == 1000
    assert client.closed_first is server.closed_first is Role.CLIENT
