from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, StreamKind, open_scripted
from tests.protocol.wire import PING, PONG, TEXT
from trio_wsendpoint.endpoint import ConnectionClosedOK, Endpoint
from trio_wsendpoint.endpoint.control import MAX_WAITING
from trio_wsendpoint.endpoint.options import EndpointKeywords
from trio_wsendpoint.protocol import (
    ControlFrame,
    DataFrame,
    Frame,
    FrameParser,
    Message,
    create_message,
)

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)


def waiting(endpoint: Endpoint) -> int:
    """Frames that wait for their handlers."""
    assert endpoint._core.dispatcher is not None
    return len(endpoint._core.dispatcher._queue)


class Nudge(ControlFrame):
    __slots__ = ()
    opcode = 11


class Shout(ControlFrame):
    __slots__ = ()
    opcode = 12


class Note(DataFrame):
    __slots__ = ()
    opcode = 3


PARSER = FrameParser(frame_types=[Nudge, Shout, Note])
Handler = Callable[[Endpoint, Frame], Awaitable[None]]


def options(**handlers: Handler) -> EndpointKeywords:
    types: dict[str, type[ControlFrame]] = {"nudge": Nudge, "shout": Shout}
    return {
        "parser": PARSER,
        "control_handlers": {types[name]: handler for name, handler in handlers.items()},
    }


class Recorder(list[bytes]):
    """A handler that takes its time."""

    async def __call__(self, _: Endpoint, frame: Frame) -> None:
        await trio.sleep(1)
        self.append(frame.payload)


@on_both_streams
async def test_frames_are_handled_one_after_the_other_in_their_order(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    record = Recorder()
    async with open_scripted(kind=kind, **options(nudge=record, shout=record)) as (_, peer):
        for number in range(10):
            await peer.send(Nudge.opcode if number % 3 else Shout.opcode, bytes((number,)))
        await trio.sleep(5.5)
        assert record == [bytes((number,)) for number in range(5)]
        await trio.sleep(5)
        assert record == [bytes((number,)) for number in range(10)]


@on_both_streams
async def test_a_handler_does_not_hold_up_reading(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, **options(nudge=Recorder())) as (endpoint, peer):
        began = trio.current_time()
        await peer.send_raw(
            peer.frame(Nudge.opcode) + peer.frame(PING) + peer.frame(TEXT, b"x")
        )
        assert await endpoint.receive() == "x"
        await peer.expect(PONG)
        assert trio.current_time() == began


@on_both_streams
async def test_a_handler_may_use_the_endpoint(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async def answer(endpoint: Endpoint, frame: Frame) -> None:
        await endpoint.send(create_message(Shout, frame.payload))
        await endpoint.send(await endpoint.receive())

    async with open_scripted(kind=kind, **options(nudge=answer)) as (_, peer):
        await peer.send(Nudge.opcode, b"x")
        await peer.expect(Shout.opcode, b"x")
        await peer.send(TEXT, b"y")
        await peer.expect(TEXT, b"y")


@on_both_streams
async def test_a_handler_may_close_the_endpoint(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async def close(endpoint: Endpoint, frame: Frame) -> None:
        await endpoint.aclose(4001)

    async with open_scripted(kind=kind, **options(nudge=close)) as (endpoint, peer):
        await peer.send(Nudge.opcode)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.answer_close)
            with pytest.raises(trio.ClosedResourceError):
                await endpoint.receive()
        assert endpoint.close_code == 4001


@on_both_streams
async def test_a_flood_of_frames_stops_the_reading_until_they_are_handled(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    record = Recorder()
    total = MAX_WAITING * 3
    async with open_scripted(kind=kind, **options(nudge=record)) as (endpoint, peer):
        for _ in range(3):
            await trio.sleep(0.1)
            await peer.send_raw(peer.frame(Nudge.opcode, b"x") * MAX_WAITING)
        await peer.send(TEXT, b"behind them")
        await wait_all_tasks_blocked()
        assert endpoint._core.reader.paused
        assert waiting(endpoint) <= MAX_WAITING + MAX_WAITING
        assert await endpoint.receive() == "behind them"
        assert trio.current_time() >= MAX_WAITING
        await trio.sleep(total)
        assert len(record) == total


async def test_frames_that_wait_for_their_handler_count_as_waiting(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(**options(nudge=Recorder())) as (endpoint, peer):
        assert endpoint.statistics().received.waiting == 0
        await peer.send_raw(peer.frame(Nudge.opcode, b"x") * 10)
        await wait_all_tasks_blocked()
        assert waiting(endpoint) == 9
        assert endpoint.statistics().received.waiting > 9
        await trio.sleep(20)
        assert endpoint.statistics().received.waiting == 0


async def test_a_receiver_in_place_waits_for_room_too(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with open_scripted(kind="socket", **options(nudge=record)) as (endpoint, peer):
        await peer.send_raw(peer.frame(Nudge.opcode, b"x") * MAX_WAITING * 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.receive)
            await wait_all_tasks_blocked()
            await peer.send(TEXT, b"behind them")
            await wait_all_tasks_blocked()
            assert nursery.child_tasks
            await trio.sleep(MAX_WAITING + 2)
            assert not nursery.child_tasks


@on_both_streams
async def test_a_flood_of_frames_while_we_close_takes_bounded_memory(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, **options(nudge=Recorder())) as (endpoint, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.aclose)
            close = await peer.receive_close()
            for _ in range(100):
                await peer.send_raw(peer.frame(Nudge.opcode, b"x") * MAX_WAITING)
                await wait_all_tasks_blocked()
            assert waiting(endpoint) <= 3 * MAX_WAITING
            await peer.send(close.opcode, close.payload)
            await peer.part()
        assert endpoint.received_close_frame is not None


@on_both_streams
async def test_frames_without_a_handler_are_dropped(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    record = Recorder()
    async with open_scripted(kind=kind, **options(nudge=record)) as (endpoint, peer):
        await peer.send(Shout.opcode, b"1")
        await peer.send(Nudge.opcode, b"2")
        await trio.sleep(2)
        assert record == [b"2"]
    async with open_scripted(kind=kind, parser=PARSER) as (endpoint, peer):
        await peer.send_raw(peer.frame(Shout.opcode) * 1000 + peer.frame(TEXT, b"x"))
        assert await endpoint.receive() == "x"


async def test_a_handler_is_cancelled_when_the_endpoint_is_left(
    autojump_clock: MockClock,
) -> None:
    states: list[str] = []

    async def hang(endpoint: Endpoint, frame: Frame) -> None:
        try:
            await trio.sleep_forever()
        finally:
            states.append("cancelled")

    async with open_scripted(**options(nudge=hang)) as (endpoint, peer):
        await peer.send(Nudge.opcode)
        await peer.close()
        with pytest.raises(ConnectionClosedOK):
            await endpoint.receive()
        assert states == []
    assert states == ["cancelled"]


@on_both_streams
async def test_custom_frames_are_sent_and_received(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, parser=PARSER) as (endpoint, peer):
        await endpoint.send(create_message(Note, b"data"))
        await endpoint.send(create_message(Nudge, b"control"))
        await peer.expect(Note.opcode, b"data")
        await peer.expect(Nudge.opcode, b"control")
        await peer.send(Note.opcode, b"1")
        await peer.send(Note.opcode, b"2")
        message = await endpoint.receive_message()
        assert (message.frame_type, message.payload) == (Note, b"1")
        assert message.frames == (Note(b"1"),)
        assert await endpoint.receive() == b"2"


@on_both_streams
async def test_messages_have_their_frames(kind: StreamKind, autojump_clock: MockClock) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send(TEXT, b"a", fin=False)
        await peer.send(0, b"b")
        message = await endpoint.receive_message()
        assert [(frame.opcode, frame.fin, frame.payload) for frame in message.frames] == [
            (1, False, b"a"),
            (0, True, b"b"),
        ]
        for opcode, payload in ((1, "x"), (2, b"x")):
            await peer.send(opcode, b"x")
            message = await endpoint.receive_message()
            assert isinstance(message, Message)
            assert message.payload == payload
            assert [frame.opcode for frame in message.frames] == [opcode]


@on_both_streams
async def test_on_data_frame_sees_each_frame_and_may_replace_it(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    seen: list[bytes] = []

    def hook(frame: Frame) -> Frame | None:
        seen.append(frame.payload)
        return type(frame)(b"") if frame.payload == b"drop" else None

    async with open_scripted(kind=kind, on_data_frame=hook) as (endpoint, peer):
        await peer.send(TEXT, b"keep ", fin=False)
        await peer.send(0, b"drop", fin=False)
        await peer.send(0, b"this")
        assert await endpoint.receive() == "keep this"
        assert seen == [b"keep ", b"drop", b"this"]
