from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, StreamKind, open_scripted, stream_pair
from tests.endpoint.recorder import Failing, Recorder
from tests.protocol.wire import BINARY, CONTINUATION, PING, PONG, TEXT
from trio_wsendpoint import (
    ControlFrame,
    FrameParser,
    HandshakeRejected,
    Instrument,
    PermessageDeflate,
    Role,
    broadcast,
    connect,
    create_message,
    open_endpoint,
)
from trio_wsendpoint.protocol import Message, Response, encode_response


class Nudge(ControlFrame):
    opcode = 11


on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)


@on_both_streams
@pytest.mark.parametrize("role", Role)
async def test_it_is_told_of_a_connection_from_its_beginning_to_its_end(
    kind: StreamKind, role: Role, autojump_clock: MockClock
) -> None:
    recorder = Recorder()
    async with open_scripted(role, kind, instrument=recorder) as (endpoint, peer):
        assert recorder.events == [("connection_opened", role)]
        await trio.sleep(5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.close, 4001)
            await endpoint.wait_closed()
        assert recorder.events[1:] == [("connection_closed", role, 4001, role.other, 5.0)]
    assert len(recorder.events) == 2


@on_both_streams
async def test_a_lost_connection_is_closed_by_nobody(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    recorder = Recorder()
    async with open_scripted(Role.SERVER, kind, instrument=recorder) as (endpoint, peer):
        await peer.aclose()
        await endpoint.wait_closed()
    assert recorder.named("connection_closed") == [
        (Role.SERVER, 1006, None, pytest.approx(0, abs=1))
    ]


@on_both_streams
async def test_it_is_told_of_each_message_and_its_size(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    recorder = Recorder()
    async with open_scripted(Role.SERVER, kind, instrument=recorder) as (endpoint, peer):
        await endpoint.send("caf\u00e9")
        await endpoint.send(b"binary")
        await endpoint.send(Message("text", frame_type=type(await peer.expect(TEXT))))
        broadcast([endpoint], "tick")
        async with endpoint.open_send_stream("binary") as stream:
            await stream.send(b"one")
            broadcast([endpoint], "tock!")
            await stream.send(b"two")
        assert recorder.named("message_sent") == [
            (Role.SERVER, size) for size in (5, 6, 4, 4, 5, 6)
        ]
        await peer.send(TEXT, "caf\u00e9".encode())
        await peer.send(TEXT, b"one", fin=False)
        await peer.send(CONTINUATION, b"two")
        await peer.send(BINARY, bytes(90_000))
        for _ in range(3):
            await endpoint.receive()
        await peer.send(TEXT, b"a str", fin=False)
        async with endpoint.open_receive_stream() as pieces:
            await pieces.receive()
            await peer.send(CONTINUATION, b"eam")
            assert [piece async for piece in pieces] == ["eam"]
        assert recorder.named("message_received") == [
            (Role.SERVER, size) for size in (5, 6, 90_000, 8)
        ]


async def test_a_message_that_lies_there_when_it_is_streamed_is_counted_once(
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder()
    async with open_scripted(Role.SERVER, instrument=recorder) as (endpoint, peer):
        data = peer.frame(BINARY, bytes(90_000))
        await peer.send_raw(data[:50_000])
        await wait_all_tasks_blocked()
        async with endpoint.open_receive_stream() as pieces:
            await peer.send_raw(data[50_000:])
            assert sum([len(piece) async for piece in pieces]) == 90_000
        assert recorder.named("message_received") == [(Role.SERVER, 90_000)]


async def test_a_control_frame_of_ones_own_is_no_message() -> None:
    recorder = Recorder()
    async with open_scripted(
        Role.SERVER, instrument=recorder, parser=FrameParser(frame_types=[Nudge])
    ) as (endpoint, peer):
        await endpoint.send(create_message(Nudge, b""))
        await peer.expect(11)
    assert recorder.named("message_sent") == []


async def test_sizes_are_those_before_compression() -> None:
    recorder = Recorder()
    options: Any = {"extensions": [PermessageDeflate()], "instrument": recorder}
    async with open_scripted(Role.SERVER, **options) as (endpoint, _):
        await endpoint.send("x" * 10_000)
        assert endpoint.statistics().sent.size < 1000
        assert recorder.named("message_sent") == [(Role.SERVER, 10_000)]


@on_both_streams
async def test_it_is_told_of_answered_pings(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    recorder = Recorder()
    async with (
        open_scripted(Role.SERVER, kind, instrument=recorder) as (endpoint, peer),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(endpoint.ping)
        ping = await peer.expect(PING)
        await trio.sleep(0.5)
        await peer.send(PONG, ping.payload)
        await wait_all_tasks_blocked()
        assert recorder.named("ping_answered") == [(Role.SERVER, 0.5)]


async def test_it_is_told_of_those_that_a_broadcast_finds_slow(
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder()
    async with open_scripted(Role.SERVER, "socket", instrument=recorder) as (endpoint, _):
        with trio.move_on_after(1):
            await endpoint.send(bytes(2**22))
        broadcast([endpoint], "tick")
        assert recorder.named("slow_consumer") == [(Role.SERVER,)]


async def test_it_is_told_of_a_handshake_that_the_server_refuses() -> None:
    recorder = Recorder()
    ours, theirs = stream_pair("memory")

    async def refuse() -> None:
        await theirs.receive_some()
        await theirs.send_all(encode_response(Response(403)))
        await theirs.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(HandshakeRejected):
            async with connect("ws://localhost/feed", stream=ours, instrument=recorder):
                raise AssertionError
    [(target, status_code, reason)] = recorder.named("handshake_refused")
    assert (target, status_code) == ("/feed", 403)
    assert "403 Forbidden" in reason


@on_both_streams
async def test_what_it_raises_is_logged_and_harms_nothing(
    kind: StreamKind, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scripted(Role.SERVER, kind, instrument=Failing()) as (endpoint, peer):
        await peer.send(TEXT, b"hello")
        assert await endpoint.receive() == "hello"
        await endpoint.send("hello")
        await peer.expect(TEXT, b"hello")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.close)
            await endpoint.wait_closed()
        assert endpoint.close_code == 1000
    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [str(record.exc_info[1]) for record in failures if record.exc_info] == [
        "no connection_opened",
        "no message_received",
        "no message_sent",
        "no connection_closed",
    ]


async def test_an_instrument_that_does_nothing_is_one() -> None:
    async with open_scripted(Role.SERVER, instrument=Instrument()) as (endpoint, peer):
        await peer.send(TEXT, b"hello")
        await endpoint.send(str(await endpoint.receive()))
        await peer.expect(TEXT, b"hello")


async def test_anything_else_is_refused() -> None:
    ours, _ = stream_pair("memory")
    with pytest.raises(TypeError, match="instrument must be an Instrument or None, not dict"):
        open_endpoint(ours, Role.SERVER, instrument={})  # type: ignore[arg-type]


async def test_it_keeps_no_endpoint_that_has_ended() -> None:
    recorder = Recorder()

    async def come_and_go() -> weakref.ref[trio.abc.Stream]:
        stream, _ = stream_pair("memory")
        async with open_endpoint(stream, Role.SERVER, close_timeout=0, instrument=recorder):
            pass
        return weakref.ref(stream)

    gc.collect()
    gc.disable()
    try:
        reference = await come_and_go()
        await wait_all_tasks_blocked()
        assert reference() is None
    finally:
        gc.enable()
