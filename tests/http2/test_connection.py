"""One connection of HTTP/2, with many streams on it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.http2.pairs import open_pair
from tests.http2.raw import CONNECT, RawPeer, open_raw_client
from tests.http2.servers import echo, handle_with
from trio_wsendpoint import open_endpoint
from trio_wsendpoint.http2 import (
    Http2Connection,
    Http2Stream,
    StreamRefused,
    engine,
    open_connection,
    response_fields,
    serve_connection,
)
from trio_wsendpoint.http2.connection import GOODBYE_TIMEOUT, MAX_INTERIM_RESPONSES
from trio_wsendpoint.http2.engine import STREAM_WINDOW
from trio_wsendpoint.http2.writer import WRITE_SIZE
from trio_wsendpoint.protocol import Response, Role
from trio_wsendpoint.testing import StallStream, WrappedStream


class Recorder(WrappedStream):
    """Keeps what is sent, write by write."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.writes: list[bytes] = []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        await super().send_all(data)


def frames_of(data: bytes) -> list[Frame]:
    frames = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        frames.append(frame)
        data = data[9 + length :]
    return frames


@asynccontextmanager
async def open_raw_server(**settings: int) -> AsyncIterator[tuple[Http2Connection, RawPeer]]:
    """A client, and a server that plays whatever it wants."""
    ours, theirs = memory_stream_pair()
    peer = RawPeer(theirs)
    values = {8: 1} | {int(name[1:]): value for name, value in settings.items()}
    with trio.fail_after(1000):
        async with open_connection(ours, Role.CLIENT) as connection:
            assert await theirs.receive_some(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            await peer.send(SettingsFrame(0, settings=values))
            await connection.wait_introduced()
            yield connection, peer
            await trio.aclose_forcefully(theirs)


REQUEST = [(name.encode(), value.encode()) for name, value in CONNECT]


# -- many streams -------------------------------------------------------------------------


async def test_a_stream_that_nobody_reads_stops_no_other(autojump_clock: MockClock) -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:
        slow = [await pair.open_streams() for _ in range(50)]
        for ours, _ in slow:
            nursery.start_soon(ours.send_all, bytes(2 * STREAM_WINDOW))
        await wait_all_tasks_blocked()
        ours, theirs = await pair.open_streams()
        nursery.start_soon(ours.send_all, bytes(2**20))
        size = 0
        while size < 2**20:
            size += len(await theirs.receive_some())
        nursery.cancel_scope.cancel()


async def test_what_many_streams_send_at_once_leaves_in_one_write(
    autojump_clock: MockClock,
) -> None:
    near, far = memory_stream_pair()
    recorder = Recorder(near)
    async with open_pair(recorder, far) as pair:
        streams = [await pair.open_streams() for _ in range(20)]
        await wait_all_tasks_blocked()
        recorder.writes.clear()
        async with trio.open_nursery() as nursery:
            for ours, _ in streams:
                nursery.start_soon(ours.send_all, b"x")
        await wait_all_tasks_blocked()
        [write] = recorder.writes
        assert len([each for each in frames_of(write) if isinstance(each, DataFrame)]) == 20


async def test_streams_that_send_much_take_turns(autojump_clock: MockClock) -> None:
    async with open_raw_server(_4=2**20) as (connection, peer), trio.open_nursery() as nursery:
        await peer.send(WindowUpdateFrame(0, window_increment=2**20))
        await wait_all_tasks_blocked()
        streams = [connection.open_stream(REQUEST) for _ in range(3)]
        for stream in streams:
            nursery.start_soon(stream.send_all, bytes(20 * 2**14))
        sent = dict.fromkeys([stream.stream_id for stream in streams], 0)
        for _ in range(60):
            sent[(await peer.expect(DataFrame)).stream_id] += 1
            # Whoever comes first may fill one write.
            assert max(sent.values()) - min(sent.values()) <= WRITE_SIZE // 2**14 + 1
        assert set(sent.values()) == {20}


async def test_a_stream_that_is_cancelled_ends_nothing_else(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        streams = [await pair.open_streams() for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for _, theirs in streams:
                nursery.start_soon(serve_echo, theirs)
            async with open_endpoint(streams[0][0], Role.CLIENT) as good:
                with trio.CancelScope() as scope:
                    async with open_endpoint(streams[1][0], Role.CLIENT) as cancelled:
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
                assert cancelled.close_code == 1001
                async with open_endpoint(streams[2][0], Role.CLIENT):
                    pass
                await good.send("still")
                assert await good.receive() == "still"
        assert pair.client.stream_count == 0


async def serve_echo(stream: trio.abc.Stream) -> None:
    async with open_endpoint(stream, Role.SERVER) as endpoint:
        await echo(endpoint)


GOING_AWAY = (1001).to_bytes(2, "big")
CLOSE = bytes((0x88, 2)) + GOING_AWAY
MASKED_CLOSE = bytes((0x88, 0x82, 0, 0, 0, 0)) + GOING_AWAY


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("leaving", [True, False])
async def test_a_cancelled_client_ends_its_stream_and_resets_it_after_cancel_timeout(
    answers: bool, leaving: bool, autojump_clock: MockClock
) -> None:
    ended = None

    async def play() -> None:
        nonlocal ended
        await peer.expect(HeadersFrame)
        await peer.send(peer.headers(1, [(":status", "200")]))
        close = await peer.expect(DataFrame)
        assert bytes((0x88, 0x82)) == close.data[:2]
        if answers:
            await peer.send_data(1, CLOSE)
        end = await peer.expect(DataFrame)
        assert (end.data, set(end.flags)) == (b"", {"END_STREAM"})
        ended = trio.current_time()
        await peer.expect_reset(1, ErrorCodes.CANCEL)
        assert trio.current_time() == cancelled + 3

    async with open_raw_server() as (connection, peer), trio.open_nursery() as nursery:
        stream = connection.open_stream(REQUEST)
        nursery.start_soon(play)
        with trio.CancelScope() as scope:
            async with open_endpoint(stream, Role.CLIENT, cancel_timeout=3) as endpoint:
                cancelled = scope.deadline = trio.current_time() + 5
                if leaving:
                    await endpoint.aclose()
                await trio.sleep_forever()
        assert trio.current_time() - cancelled == 3
    # The server is not waited for once it has answered.
    assert ended == (cancelled if answers else cancelled + 3)


async def test_a_client_that_was_not_cancelled_lets_the_server_end_first(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_server() as (connection, peer):
        stream = connection.open_stream(REQUEST)
        async with trio.open_nursery() as nursery:

            async def play() -> None:
                await peer.expect(HeadersFrame)
                await peer.send(peer.headers(1, [(":status", "200")]))
                await peer.expect(DataFrame)
                await peer.send_data(1, CLOSE)
                await trio.sleep(2)
                await peer.send(DataFrame(1, flags=["END_STREAM"]))
                end = await peer.expect(DataFrame)
                assert "END_STREAM" in end.flags
                assert trio.current_time() == 2

            nursery.start_soon(play)
            async with open_endpoint(stream, Role.CLIENT):
                pass
        assert not any(isinstance(frame, RstStreamFrame) for frame in peer.frames)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_cancelled_server_ends_its_stream_and_resets_it_after_cancel_timeout(
    answers: bool, autojump_clock: MockClock
) -> None:
    scope = trio.CancelScope()

    async def handle(stream: Http2Stream, _: Any) -> None:
        with scope:
            stream.send_fields(response_fields(Response(101), opens=True))
            async with open_endpoint(stream, Role.SERVER, cancel_timeout=3):
                await trio.sleep_forever()

    near, far = memory_stream_pair()
    peer = RawPeer(near)
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_connection, far, handle)
            await peer.introduce()
            await peer.ask(1)
            cancelled = trio.current_time()
            scope.cancel()
            close = await peer.expect(DataFrame)
            assert close.data == CLOSE
            if answers:
                await peer.send_data(1, MASKED_CLOSE)
            end = await peer.expect(DataFrame)
            assert (end.data, set(end.flags)) == (b"", {"END_STREAM"})
            assert trio.current_time() == cancelled + (0 if answers else 3)
            await peer.expect_reset(1, ErrorCodes.CANCEL)
            assert trio.current_time() == cancelled + 3
            # What else is on the connection is not touched.
            await peer.send(PingFrame(0, b"12345678"))
            assert "ACK" in (await peer.expect(PingFrame)).flags
            nursery.cancel_scope.cancel()
            await near.aclose()


@pytest.mark.parametrize("ending", ["END_STREAM", "RST_STREAM"])
async def test_the_end_of_a_stream_with_no_close_frame_is_1006(
    ending: str, autojump_clock: MockClock
) -> None:
    seen: list[Any] = []

    async def handler(endpoint: Any) -> None:
        seen.append(endpoint)
        await echo(endpoint)

    async with open_raw_client(handler) as peer:
        await peer.introduce()
        await peer.ask(1)
        if ending == "END_STREAM":
            await peer.send(DataFrame(1, flags=["END_STREAM"]))
        else:
            await peer.send(RstStreamFrame(1, error_code=ErrorCodes.CANCEL))
        await peer.ask(3)
        await trio.sleep(60)
        assert seen[0].close_code == 1006
        assert seen[1].close_code is None


# -- goodbyes -----------------------------------------------------------------------------


async def test_with_the_peer_s_goaway_streams_under_way_go_on_and_no_new_one_begins(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_server() as (connection, peer):
        kept = connection.open_stream(REQUEST)
        lost = connection.open_stream(REQUEST)
        await peer.send(GoAwayFrame(0, last_stream_id=kept.stream_id))
        with pytest.raises(StreamRefused, match="going away"):
            await lost.receive_fields()
        assert connection.going_away
        assert not connection.has_free_stream
        await peer.send(peer.headers(kept.stream_id, [(":status", "200")]))
        assert await kept.receive_fields()
        await peer.send(DataFrame(kept.stream_id, b"still here"))
        assert await kept.receive_some() == b"still here"
        await kept.send_all(b"me too")
        assert (await peer.expect(DataFrame)).data == b"me too"
        assert not connection.is_spent
        await kept.aclose()
        assert connection.is_spent


async def test_what_comes_for_a_stream_that_the_peer_has_not_seen_harms_nobody(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_server() as (connection, peer):
        lost = [connection.open_stream(REQUEST).stream_id for _ in range(3)]
        await peer.send(GoAwayFrame(0, last_stream_id=0))
        await wait_all_tasks_blocked()
        await peer.send(
            peer.headers(lost[0], [(":status", "103")]),
            peer.headers(lost[0], [(":status", "200")]),
            WindowUpdateFrame(lost[0], window_increment=1),
            DataFrame(lost[0], b"x", flags=["END_STREAM"]),
            RstStreamFrame(lost[1]),
            PingFrame(0),
        )
        await peer.expect(PingFrame)
        assert not connection.ended


async def test_a_stream_that_is_reset_gives_up_its_turn(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()
    stalled = StallStream(near, after_sent=0)
    peer = RawPeer(far)
    await peer.send(SettingsFrame(0, settings={4: 2**20, 8: 1}))
    await peer.send(WindowUpdateFrame(0, window_increment=2**20))
    async with open_connection(stalled, Role.CLIENT) as connection:
        await connection.wait_introduced()
        streams = [connection.open_stream(REQUEST) for _ in range(3)]
        async with trio.open_nursery() as nursery:

            async def send(stream: Http2Stream) -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(bytes(2 * WRITE_SIZE))

            for stream in streams:
                nursery.start_soon(send, stream)
            await wait_all_tasks_blocked()
            for stream in streams:
                stream.reset(ErrorCodes.CANCEL)
            stalled.resume()
        assert connection.stream_count == 0


async def test_the_window_of_the_connection_is_given_back(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_CONNECTION_WINDOW", 2**18)
    async with open_pair() as pair:
        for _ in range(3):
            ours, theirs = await pair.open_streams()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.send_all, bytes(STREAM_WINDOW))
                size = 0
                while size < STREAM_WINDOW:
                    size += len(await theirs.receive_some())
            await ours.aclose()


async def test_with_our_goaway_streams_under_way_go_on_and_no_new_one_begins(
    autojump_clock: MockClock,
) -> None:
    connections: list[Http2Connection] = []
    theirs, ours = memory_stream_pair()
    peer = RawPeer(ours)
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await serve_connection(theirs, handle_with(echo), on_open=connections.append)

        nursery.start_soon(serve)
        await peer.introduce()
        await peer.ask(1)
        connections[0].go_away()
        goaway = await peer.expect(GoAwayFrame)
        assert (goaway.last_stream_id, goaway.error_code) == (1, ErrorCodes.NO_ERROR)
        await peer.send(peer.headers(3, CONNECT))
        await peer.expect_reset(3, ErrorCodes.REFUSED_STREAM)
        await peer.send(DataFrame(1, bytes((0x81, 0x81, 0, 0, 0, 0)) + b"x"))
        assert (await peer.expect(DataFrame, 1)).data == b"\x81\x01x"
        nursery.cancel_scope.cancel()
    assert (await peer.expect(DataFrame, 1)).data[2:4] == (1001).to_bytes(2, "big")


async def test_a_server_that_is_cancelled_says_1001_on_each_stream_and_goes_away(
    autojump_clock: MockClock,
) -> None:
    theirs, ours = memory_stream_pair()
    peer = RawPeer(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, theirs, handle_with(echo))
        await peer.introduce()
        for stream_id in (1, 3, 5):
            await peer.ask(stream_id)
        nursery.cancel_scope.cancel()
    rest = await peer.receive_all()
    closes = [frame for frame in rest if isinstance(frame, DataFrame) and frame.data]
    assert [frame.data[2:] for frame in closes] == [(1001).to_bytes(2, "big")] * 3
    assert [type(frame) for frame in rest if isinstance(frame, GoAwayFrame)] == [GoAwayFrame]
    # Ended before they were reset, as the peer did not answer in time.
    for stream_id in (1, 3, 5):
        kinds = [type(frame) for frame in rest if frame.stream_id == stream_id]
        assert kinds[-1] is RstStreamFrame


async def test_a_connection_that_is_left_breaks_what_streams_there_are(
    autojump_clock: MockClock,
) -> None:
    near, far = memory_stream_pair()
    async with open_pair(near, far) as pair:
        ours, _ = await pair.open_streams()
        pair.client.finish()
        with pytest.raises(trio.BrokenResourceError, match="this connection was closed"):
            await ours.receive_some()
        await pair.server.wait_ended()
        assert pair.server.reason == "the connection was lost"


async def test_a_peer_that_takes_nothing_does_not_delay_the_end_for_long(
    autojump_clock: MockClock,
) -> None:
    near, far = memory_stream_pair()
    with trio.fail_after(1000):
        async with open_connection(StallStream(near, after_sent=0), Role.CLIENT):
            await wait_all_tasks_blocked()
            began = trio.current_time()
        assert trio.current_time() - began == GOODBYE_TIMEOUT
    with pytest.raises(trio.ClosedResourceError):
        await near.send_all(b"x")
    await far.aclose()


async def test_the_exception_of_the_body_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    near, _ = memory_stream_pair()
    with pytest.raises(KeyError):
        async with open_connection(near, Role.CLIENT):
            raise KeyError("mine")


async def test_our_own_failure_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()

    def fail(*_: object) -> None:
        raise ZeroDivisionError("ours")

    async def serve() -> None:
        async with open_connection(near, Role.SERVER) as server:
            server.on_request = fail
            peer = RawPeer(far)
            await peer.introduce()
            await peer.send(peer.headers(1, CONNECT))
            await server.wait_ended()
            server.go_away()

    with pytest.raises(ZeroDivisionError):
        await serve()
    with pytest.raises(trio.ClosedResourceError):
        await near.send_all(b"x")


async def test_a_lost_connection_breaks_its_streams(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()
    async with open_pair(near, far) as pair:
        ours, theirs = await pair.open_streams()
        await ours.send_all(b"last")
        await wait_all_tasks_blocked()
        await trio.aclose_forcefully(near)
        assert await theirs.receive_some() == b"last"
        for stream in (ours, theirs):
            with pytest.raises(trio.BrokenResourceError, match="the connection was lost"):
                await stream.receive_some()
        await pair.client.wait_ended()


async def test_a_write_that_fails_loses_the_connection(autojump_clock: MockClock) -> None:
    class Broken(WrappedStream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            raise trio.BrokenResourceError(f"no room for {len(data)} bytes")

    near, _ = memory_stream_pair()
    async with open_connection(Broken(near), Role.CLIENT) as connection:
        await connection.wait_ended()
        assert connection.reason == "the connection was lost"


async def test_a_stream_without_halves_will_do(autojump_clock: MockClock) -> None:
    class Whole(trio.abc.Stream):
        def __init__(self, stream: trio.abc.Stream) -> None:
            self.stream = stream
            self.send_all = stream.send_all  # type: ignore[method-assign]
            self.receive_some = stream.receive_some  # type: ignore[method-assign, assignment]
            self.aclose = stream.aclose  # type: ignore[method-assign]

        async def send_all(self, data: Any) -> None: ...
        async def receive_some(self, max_bytes: int | None = None) -> bytes: ...  # type: ignore[empty-body]
        async def aclose(self) -> None: ...
        async def wait_send_all_might_not_block(self) -> None: ...

    near, far = memory_stream_pair()
    async with open_pair(Whole(near), Whole(far)) as pair:
        ours, theirs = await pair.open_streams()
        await ours.send_all(b"x")
        assert await theirs.receive_some() == b"x"


# -- the peer's windows and settings ------------------------------------------------------


async def test_a_peer_s_small_windows_are_kept_to(autojump_clock: MockClock) -> None:
    async with open_raw_server(_4=10) as (connection, peer), trio.open_nursery() as nursery:
        stream = connection.open_stream(REQUEST)
        nursery.start_soon(stream.send_all, b"0123456789abcdefghij")
        assert (await peer.expect(DataFrame)).data == b"0123456789"
        await peer.send(WindowUpdateFrame(stream.stream_id, window_increment=3))
        assert (await peer.expect(DataFrame)).data == b"abc"
        await peer.send(SettingsFrame(0, settings={4: 14}))
        assert (await peer.expect(DataFrame)).data == b"defg"
        await peer.send(SettingsFrame(0, settings={4: 5}))
        await peer.send(WindowUpdateFrame(stream.stream_id, window_increment=10))
        assert (await peer.expect(DataFrame)).data == b"h"
        await peer.send(WindowUpdateFrame(stream.stream_id, window_increment=100))
        assert (await peer.expect(DataFrame)).data == b"ij"


async def test_the_window_of_the_whole_connection_is_kept_to(autojump_clock: MockClock) -> None:
    async with open_raw_server(_4=2**20) as (connection, peer), trio.open_nursery() as nursery:
        streams = [connection.open_stream(REQUEST) for _ in range(2)]
        for stream in streams:
            nursery.start_soon(stream.send_all, bytes(50_000))
        await wait_all_tasks_blocked()
        with trio.move_on_after(10):
            await peer.receive_all()
        sent = sum(len(frame.data) for frame in peer.frames if isinstance(frame, DataFrame))
        assert sent == 65_535
        await peer.send(WindowUpdateFrame(0, window_increment=2**20))


async def test_a_peer_s_huge_table_of_fields_is_not_filled(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce({1: 2**31 - 1})
        h2 = peer.connection._engine._h2  # type: ignore[union-attr]
        assert h2.encoder.header_table_size == 4096
        for size in (0, 1000, 100, 2**20, 50, 4096):
            await peer.send(SettingsFrame(0, settings={1: size}))
            await peer.expect(SettingsFrame)
        assert h2.encoder.table_size_changes == [0, 4096]
        assert (await peer.ask(1))[":status"] == "200"


async def test_interim_responses_are_passed_over_but_not_without_end(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_server() as (connection, peer):
        stream = connection.open_stream(REQUEST)
        interim = [(":status", "103")]
        for _ in range(MAX_INTERIM_RESPONSES):
            await peer.send(peer.headers(stream.stream_id, interim))
        await peer.send(peer.headers(stream.stream_id, [(":status", "200")]))
        assert await stream.receive_fields() == [(b":status", b"200")]
        other = connection.open_stream(REQUEST)
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            await peer.send(peer.headers(other.stream_id, interim))
        with pytest.raises(trio.BrokenResourceError, match="ENHANCE_YOUR_CALM"):
            await other.receive_fields()
        await peer.send(peer.headers(other.stream_id, interim))


async def test_what_comes_for_a_stream_that_is_gone_harms_nobody(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_server() as (connection, peer):
        gone, other = (connection.open_stream(REQUEST) for _ in range(2))
        await gone.aclose()
        await wait_all_tasks_blocked()
        await peer.send(
            peer.headers(gone.stream_id, [(":status", "200")]),
            DataFrame(gone.stream_id, b"x", flags=["END_STREAM"]),
            WindowUpdateFrame(gone.stream_id, window_increment=1),
            RstStreamFrame(gone.stream_id),
            PingFrame(0),
        )
        await peer.send(peer.headers(other.stream_id, [(":status", "200")]))
        assert await other.receive_fields()
        assert not connection.ended


async def test_padding_is_given_back_at_once(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.ask(1)
        padded = DataFrame(1, b"\x81", pad_length=255, flags=["PADDED"])
        for _ in range(2 * STREAM_WINDOW // 257):
            await peer.send(padded)
            await wait_all_tasks_blocked()
        assert isinstance(await peer.expect(WindowUpdateFrame, 1), WindowUpdateFrame)
