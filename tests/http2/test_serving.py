"""What a server does with the requests of an HTTP/2 connection."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
)
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.http2.raw import CONNECT, GET, RawPeer, open_raw_client
from trio_wsendpoint.http2 import Http2Stream, respond, serve_connection
from trio_wsendpoint.http2.serving import IDLE_TIMEOUT
from trio_wsendpoint.protocol import Request, Response


async def test_many_endpoints_run_side_by_side(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        for stream_id in (1, 3, 5):
            assert (await peer.ask(stream_id))[":status"] == "200"
        for stream_id in (5, 1, 3):
            text = str(stream_id).encode()
            await peer.send(DataFrame(stream_id, bytes((0x81, 0x81, 0, 0, 0, 0)) + text))
            assert (await peer.expect(DataFrame, stream_id)).data == b"\x81\x01" + text


async def test_fields_may_come_in_several_frames(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        whole = peer.headers(1, CONNECT)
        await peer.send(
            HeadersFrame(1, whole.data[:5]),
            ContinuationFrame(1, whole.data[5:10]),
            ContinuationFrame(1, whole.data[10:], flags=["END_HEADERS"]),
        )
        assert peer.decode(await peer.expect(HeadersFrame, 1))[":status"] == "200"


async def test_the_closing_handshake_ends_the_stream(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.ask(1)
        close = bytes((0x88, 0x82, 0, 0, 0, 0)) + (1000).to_bytes(2, "big")
        await peer.send(DataFrame(1, close))
        assert await peer.data_of(1) == bytes((0x88, 0x02)) + (1000).to_bytes(2, "big")
        await peer.send(DataFrame(1, flags=["END_STREAM"]))
        await wait_all_tasks_blocked()
        assert peer.connection is not None
        assert peer.connection.stream_count == 0
        assert (await peer.ask(3))[":status"] == "200"
        assert not any(isinstance(frame, RstStreamFrame) for frame in peer.frames)


@pytest.mark.parametrize("protocol", ["connect-udp", "WebSocket"])
async def test_an_unknown_protocol_is_answered_with_501(
    protocol: str, autojump_clock: MockClock
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        fields = [(name, protocol if name == ":protocol" else value) for name, value in CONNECT]
        assert (await peer.ask(1, fields))[":status"] == "501"
        await peer.expect_reset(1, ErrorCodes.NO_ERROR)


async def test_a_plain_connect_is_answered_with_501(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        fields = [(":method", "CONNECT"), (":authority", "example.org:443")]
        answer = await peer.ask(1, fields)
        assert answer[":status"] == "501"
        assert await peer.data_of(1) == b"this is no proxy\n"


async def test_a_malformed_request_resets_its_stream_and_no_other(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.ask(1)
        for number, malformed in enumerate(
            [
                [(":method", "GET"), (":scheme", "https")],
                [*GET, ("connection", "close")],
                [*GET, ("Upper", "case")],
                [*GET, (":status", "100")],
                [(":status", "100")],
                [*CONNECT[:1], (":protocol", ""), *CONNECT[2:]],
            ]
        ):
            stream_id = 2 * number + 3
            await peer.send(peer.headers(stream_id, malformed))
            await peer.expect_reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
        await peer.send(DataFrame(1, bytes((0x81, 0x80, 0, 0, 0, 0))))
        assert (await peer.expect(DataFrame, 1)).data == b"\x81\x00"


async def test_a_content_length_that_lies_harms_no_other_stream(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.ask(1)
        for stream_id, length in ((3, "5"), (5, "x"), (7, "0")):
            fields = [(":method", "POST"), *GET[1:], ("content-length", length)]
            await peer.send(peer.headers(stream_id, fields))
            await peer.send(DataFrame(stream_id, b"four", flags=["END_STREAM"]))
            await peer.expect(HeadersFrame, stream_id)
        await peer.send(DataFrame(1, bytes((0x81, 0x80, 0, 0, 0, 0))))
        await peer.expect(DataFrame, 1)


async def test_trailers_end_a_stream(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.ask(1)
        await peer.send(peer.headers(1, [("x", "y")], "END_STREAM"))
        assert await peer.data_of(1) == b""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_plain_request_is_answered(method: str, autojump_clock: MockClock) -> None:
    async def handle(stream: Http2Stream, request: Request) -> None:
        response = Response(200, [("X-Path", request.target)], b"x" * 200_000)
        await respond(stream, response, request.method)

    theirs, ours = memory_stream_pair()
    peer = RawPeer(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, theirs, handle)
        await peer.introduce({4: 2**20, 5: 2**20})
        answer = await peer.ask(1, [(":method", method), *GET[1:]], "END_STREAM")
        assert (answer[":status"], answer["x-path"]) == ("200", "/page")
        assert answer["content-length"] == "200000"
        if method == "GET":
            assert len((await peer.expect(DataFrame)).data) <= 2**16
        nursery.cancel_scope.cancel()
    frames = await peer.receive_all()
    assert any(isinstance(frame, GoAwayFrame) for frame in frames)


async def test_a_client_that_leaves_before_its_answer_harms_nobody(
    autojump_clock: MockClock,
) -> None:
    async def handle(stream: Http2Stream, _: Request) -> None:
        await trio.sleep(1)
        await respond(stream, Response(200, body=b"late"))

    theirs, ours = memory_stream_pair()
    peer = RawPeer(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, theirs, handle)
        await peer.introduce()
        await peer.send(peer.headers(1, GET, "END_STREAM"), RstStreamFrame(1))
        await trio.sleep(2)
        assert (await peer.ask(3, GET, "END_STREAM"))[":status"] == "200"
        nursery.cancel_scope.cancel()


async def test_one_who_does_not_introduce_himself_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client(handshake_timeout=5) as peer:
        await peer.send_bytes(b"PRI * HTTP/2.0")
        await peer.expect_goaway(ErrorCodes.NO_ERROR)
        assert 5 <= trio.current_time() <= 7


async def test_a_connection_with_no_stream_is_closed_in_time(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await trio.sleep(IDLE_TIMEOUT - 1)
        await peer.ask(1)
        await trio.sleep(3 * IDLE_TIMEOUT)
        await peer.send(RstStreamFrame(1))
        await trio.sleep(IDLE_TIMEOUT - 1)
        await peer.ask(3, GET, "END_STREAM")
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await peer.expect_goaway(ErrorCodes.NO_ERROR)
        assert IDLE_TIMEOUT <= trio.current_time() - began <= IDLE_TIMEOUT + 2


async def test_a_client_that_goes_away_is_let_go(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.ask(1)
        await peer.send(GoAwayFrame(0))
        await peer.send(DataFrame(1, bytes((0x81, 0x80, 0, 0, 0, 0))))
        await peer.expect(DataFrame, 1)
        await peer.send(RstStreamFrame(1))
        await peer.receive_all()
        assert trio.current_time() < IDLE_TIMEOUT


async def test_the_addresses_are_those_of_the_socket(autojump_clock: MockClock) -> None:
    seen: list[Any] = []

    async def handler(endpoint: Any) -> None:
        seen.append(endpoint.remote_address)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    near = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
    address = near.socket.getsockname()
    far = await listeners[0].accept()
    async with listeners[0], open_raw_client(handler, streams=(far, near)) as peer:
        await peer.introduce()
        await peer.ask(1)
        await wait_all_tasks_blocked()
    assert seen == [address]
