"""Peers that mean harm: bounded in memory and time, and only their own connection ends."""

from __future__ import annotations

import hpack
import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from tests.http2.raw import CONNECT, GET, RawPeer, open_raw_client
from trio_wsendpoint import Endpoint
from trio_wsendpoint.http2.connection import MAX_REPLIES
from trio_wsendpoint.http2.engine import STREAM_WINDOW
from trio_wsendpoint.http2.guard import (
    MAX_BLOCK_SIZE,
    MAX_CONTINUATIONS,
    MAX_FRAME_SIZE,
    MAX_IDLE_FRAMES,
    MAX_RESETS,
    MAX_SETTINGS,
    MAX_SETTINGS_FRAMES,
    PERIOD,
)
from trio_wsendpoint.http2.serving import MAX_LINGERING

CALM = ErrorCodes.ENHANCE_YOUR_CALM


async def flood(peer: RawPeer, frame: Frame, count: int) -> None:
    """Send a frame so often, and read nothing meanwhile."""
    await peer.send_bytes(frame.serialize() * count)


async def test_more_than_200_resets_in_10_seconds_end_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        for number in range(MAX_RESETS + 1):
            stream_id = 2 * number + 1
            await peer.send(peer.headers(stream_id, CONNECT), RstStreamFrame(stream_id))
        await peer.expect_goaway(CALM)


async def test_200_resets_in_10_seconds_are_no_harm(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        for number in range(3 * MAX_RESETS):
            if number % MAX_RESETS == 0:
                await trio.sleep(PERIOD)
            stream_id = 2 * number + 1
            await peer.send(peer.headers(stream_id, CONNECT), RstStreamFrame(stream_id))
            await wait_all_tasks_blocked()
        assert (await peer.ask(100_001))[":status"] == "200"


async def test_a_peer_that_has_us_reset_streams_is_counted_too(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        for number in range(MAX_RESETS + 1):
            stream_id = 2 * number + 1
            await peer.send(
                peer.headers(stream_id, CONNECT),
                WindowUpdateFrame(stream_id, window_increment=2**31 - 1),
            )
        await peer.expect_goaway(CALM)


async def test_malformed_requests_are_counted_too(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        for number in range(MAX_RESETS + 1):
            await peer.send(peer.headers(2 * number + 1, [(":method", "GET")], "END_STREAM"))
        await peer.expect_goaway(CALM)


@pytest.mark.parametrize(
    ("frame", "limit"),
    [
        (SettingsFrame(0, settings={4: 70_000}), MAX_SETTINGS_FRAMES),
        (SettingsFrame(0, flags=["ACK"]), MAX_SETTINGS_FRAMES),
        (PingFrame(0), MAX_IDLE_FRAMES),
        (PingFrame(0, flags=["ACK"]), MAX_IDLE_FRAMES),
        (PriorityFrame(1), MAX_IDLE_FRAMES),
        (DataFrame(1), MAX_IDLE_FRAMES),
        (DataFrame(1, flags=["PADDED"], pad_length=3), MAX_IDLE_FRAMES),
        (WindowUpdateFrame(0, window_increment=1), MAX_IDLE_FRAMES),
        (WindowUpdateFrame(1, window_increment=1), MAX_IDLE_FRAMES),
        (ExtensionFrame(0xBE, 0), MAX_IDLE_FRAMES),
        (GoAwayFrame(0), MAX_IDLE_FRAMES),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Frame) else "",
)
async def test_a_flood_of_frames_that_carry_nothing_ends_the_connection(
    frame: Frame, limit: int, autojump_clock: MockClock
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        assert (await peer.ask(1))[":status"] == "200"
        await flood(peer, frame, limit - 2)
        await wait_all_tasks_blocked()
        await trio.sleep(PERIOD)
        await flood(peer, frame, limit)
        await wait_all_tasks_blocked()
        assert (await peer.ask(3))[":status"] == "200"
        await flood(peer, frame, 1)
        await peer.expect_goaway(CALM)


async def test_window_updates_are_earned_by_data(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.ask(1)
        ping = bytes((0x89, 0x80, 0, 0, 0, 0))
        for _ in range(MAX_IDLE_FRAMES + 10):
            await peer.send(DataFrame(1, ping))
            frame = await peer.expect(DataFrame, 1)
            await peer.send(WindowUpdateFrame(1, window_increment=len(frame.data)))
            await peer.send(WindowUpdateFrame(0, window_increment=len(frame.data)))


async def test_a_frame_that_claims_to_be_huge_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.send_bytes(bytes((0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1)))
        await peer.expect_goaway(ErrorCodes.FRAME_SIZE_ERROR)


async def test_a_header_of_endless_continuations_ends_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.send(HeadersFrame(1, b"x"))
        for _ in range(MAX_CONTINUATIONS):
            await peer.send(ContinuationFrame(1, b""))
        await peer.expect_goaway(CALM)


async def test_a_header_too_large_to_decode_ends_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.send(HeadersFrame(1, b"x" * MAX_FRAME_SIZE))
        await peer.send(ContinuationFrame(1, b"x" * (MAX_BLOCK_SIZE - MAX_FRAME_SIZE + 1)))
        await peer.expect_goaway(CALM)


async def test_a_header_bomb_ends_the_connection(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        large = ("x", "y" * 4000)
        data = hpack.Encoder().encode([*CONNECT, large])
        # One byte for all of the field, which is in the table by now.
        bomb = data + b"\xbe" * 20_000
        await peer.send(HeadersFrame(1, bomb, flags=["END_HEADERS"]))
        await peer.expect_goaway(CALM)


async def test_fields_larger_than_our_limit_are_answered_with_431(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        large = [("x", "y" * 10_000), ("z", "y" * 10_000)]
        assert (await peer.ask(1, [*CONNECT, *large]))[":status"] == "431"
        many = [("x", "y")] * 150
        assert (await peer.ask(3, [*CONNECT, *many]))[":status"] == "431"
        assert (await peer.ask(5))[":status"] == "200"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([ContinuationFrame(1, b"")], ErrorCodes.PROTOCOL_ERROR),
        ([HeadersFrame(1, b"x"), PingFrame(0)], ErrorCodes.PROTOCOL_ERROR),
        ([HeadersFrame(1, b"\xff\xff\xff", flags=["END_HEADERS"])], ErrorCodes.PROTOCOL_ERROR),
        ([PushPromiseFrame(1, 2, flags=["END_HEADERS"])], ErrorCodes.PROTOCOL_ERROR),
        ([DataFrame(7, b"x")], ErrorCodes.PROTOCOL_ERROR),
        ([WindowUpdateFrame(0, window_increment=2**31 - 1)], ErrorCodes.FLOW_CONTROL_ERROR),
        ([SettingsFrame(0, settings={4: 2**31})], ErrorCodes.FLOW_CONTROL_ERROR),
        ([SettingsFrame(0, settings={5: 1})], ErrorCodes.PROTOCOL_ERROR),
        ([SettingsFrame(0, settings=dict.fromkeys(range(9, 80), 1))], CALM),
    ],
    ids=lambda value: "" if isinstance(value, int) else type(value[0]).__name__,
)
async def test_a_frame_that_breaks_the_protocol_ends_the_connection(
    frames: list[Frame], code: ErrorCodes, autojump_clock: MockClock
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.send(*frames)
        await peer.expect_goaway(code)


async def test_malformed_frames_end_the_connection(autojump_clock: MockClock) -> None:
    for malformed in (
        bytes((0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5)),  # SETTINGS
        bytes((0, 0, 3, 7, 0, 0, 0, 0, 0, 1, 2, 3)),  # GOAWAY
        bytes((0, 0, 3, 6, 0, 0, 0, 0, 0, 1, 2, 3)),  # PING
        bytes((0, 0, 1, 0, 8, 0, 0, 0, 1, 9)),  # DATA that is padded with more than it has
    ):
        async with open_raw_client() as peer:
            await peer.introduce()
            await peer.ask(1)
            await peer.send_bytes(malformed)
            goaway = await peer.expect(GoAwayFrame)
            assert goaway.error_code in (ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FRAME_SIZE_ERROR)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxx"]
)
async def test_what_is_not_http2_is_told_so(data: bytes, autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.send_bytes(data + bytes(20))
        await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_settings_that_nobody_knows_are_not_kept(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        for start in range(256, 256 + 150 * MAX_SETTINGS, MAX_SETTINGS):
            numbers = range(start, start + MAX_SETTINGS)
            payload = b"".join(number.to_bytes(2, "big") + bytes(4) for number in numbers)
            await peer.send_bytes(
                len(payload).to_bytes(3, "big") + b"\x04" + bytes(5) + payload
            )
            await peer.expect(SettingsFrame)
        assert (await peer.ask(1))[":status"] == "200"
        assert peer.connection is not None
        assert len(peer.connection._engine._h2.remote_settings) < 20


async def test_data_beyond_a_stream_s_window_ends_the_connection(
    autojump_clock: MockClock,
) -> None:
    async def never_receives(_: object) -> None:
        await trio.sleep_forever()

    async with open_raw_client(never_receives) as peer:
        await peer.introduce()
        await peer.ask(1)
        message = bytes((0x82, 0xFE)) + (2**14 - 8).to_bytes(2, "big") + bytes(2**14 - 4)
        for _ in range(100):
            await peer.send(DataFrame(1, message))
        await peer.expect_goaway(ErrorCodes.FLOW_CONTROL_ERROR)


async def test_one_who_takes_no_answers_gets_to_send_no_more(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client(streams=lockstep_stream_pair()) as peer:
        await peer.introduce()
        await peer.ask(1)
        sent = 0
        ping = PingFrame(0).serialize() * 100
        with trio.move_on_after(1000) as scope:
            while True:
                await peer.send_bytes(ping)
                sent += len(ping)
                await trio.sleep(PERIOD / 5)  # as many as there may be
        assert scope.cancelled_caught
        assert MAX_REPLIES <= sent < 2 * MAX_REPLIES


async def test_more_streams_than_there_may_be_end_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client(max_streams=3) as peer:
        await peer.introduce()
        for stream_id in (1, 3, 5):
            assert (await peer.ask(stream_id))[":status"] == "200"
        await peer.send(peer.headers(7, CONNECT))
        await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_streams_that_end_make_no_more_tasks_than_there_may_be(
    autojump_clock: MockClock,
) -> None:
    running = 0

    async def lingers(endpoint: Endpoint) -> None:
        nonlocal running
        running += 1
        async for _ in endpoint:
            pass
        with trio.CancelScope(shield=True):
            await trio.sleep(30)
        running -= 1

    async with open_raw_client(lingers, max_streams=3) as peer:
        await peer.introduce()
        close = DataFrame(1, bytes((0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8)), flags=["END_STREAM"])
        for stream_id in range(1, 2 * (3 + MAX_LINGERING), 2):
            await peer.send(peer.headers(stream_id, CONNECT))
            close.stream_id = stream_id
            await peer.send(close)
            await peer.data_of(stream_id)
        assert running == 3 + MAX_LINGERING
        await peer.send(peer.headers(1001, CONNECT))
        await peer.expect_reset(1001, ErrorCodes.REFUSED_STREAM)
        await trio.sleep(40)
        assert (await peer.ask(1003))[":status"] == "200"


async def test_plain_requests_with_bodies_that_nobody_reads_hold_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        for stream_id in range(1, 100, 2):
            post = [(":method", "POST"), *GET[1:]]
            await peer.send(peer.headers(stream_id, post))
            await peer.send(DataFrame(stream_id, bytes(2**14)))
            await peer.expect(HeadersFrame, stream_id)
        assert STREAM_WINDOW < 50 * 2**14 < MAX_REPLIES * 1000
