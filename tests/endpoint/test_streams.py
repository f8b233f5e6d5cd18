from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, open_scripted
from tests.protocol.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from trio_wsendpoint.endpoint import (
    ConnectionClosedError,
    ConnectionClosedOK,
    Endpoint,
    EndpointOptions,
    SendStream,
)
from trio_wsendpoint.protocol import (
    BinaryFrame,
    ContinuationFrame,
    ControlFrame,
    DataFrame,
    Frame,
    FrameParser,
    PingFrame,
    Role,
    TextFrame,
    create_message,
)
from trio_wsendpoint.testing import StallStream

LOOK_AHEAD = EndpointOptions().max_look_ahead

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)


class Boom(Exception):
    """What the application raises."""


class Note(DataFrame):
    __slots__ = ()
    opcode = 3


class Nudge(ControlFrame):
    __slots__ = ()
    opcode = 11


PARSER = FrameParser(frame_types=[Note, Nudge])


def shape(frames: list[Frame]) -> list[tuple[type[Frame], bytes, bool]]:
    return [(type(frame), frame.payload, frame.fin) for frame in frames]


async def receive_frames(peer: Peer, count: int) -> list[tuple[type[Frame], bytes, bool]]:
    return shape([await peer.receive_frame() for _ in range(count)])


# -- out ----------------------------------------------------------------------------------


@on_both_streams
@pytest.mark.parametrize(
    ("kind_of_message", "frame_type"),
    [("text", TextFrame), ("binary", BinaryFrame), (TextFrame, TextFrame), (Note, Note)],
)
@pytest.mark.parametrize("role", Role)
async def test_each_chunk_is_a_fragment_and_leaving_sends_the_final_one(
    kind_of_message: object,
    frame_type: type[Frame],
    role: Role,
    kind: StreamKind,
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(role, kind, parser=PARSER) as (endpoint, peer):
        async with endpoint.open_send_stream(kind_of_message) as stream:  # type: ignore[arg-type]
            await stream.send(b"one ")
            await stream.send(bytearray(b"two"))
            await stream.send(memoryview(b""))
        assert await receive_frames(peer, 4) == [
            (frame_type, b"one ", False),
            (ContinuationFrame, b"two", False),
            (ContinuationFrame, b"", False),
            (ContinuationFrame, b"", True),
        ]
        assert endpoint.statistics().sent.messages == 1
        await endpoint.send("next")
        await peer.expect(TEXT, b"next")


async def test_a_stream_that_sends_nothing_is_an_empty_message(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        async with endpoint.open_send_stream("text"):
            pass
        assert await receive_frames(peer, 1) == [(TextFrame, b"", True)]


async def test_text_may_be_str_or_bytes_cut_inside_a_character(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        async with endpoint.open_send_stream("text") as stream:
            await stream.send("ü")
            await stream.send("€".encode()[:1])
            await stream.send("€".encode()[1:2])
            await stream.send("€".encode()[2:])
            await stream.send("")
        frames = await receive_frames(peer, 6)
        assert b"".join(payload for _, payload, _ in frames).decode() == "ü€"


@pytest.mark.parametrize(
    ("kind_of_message", "chunk", "error", "says"),
    [
        ("text", 5, TypeError, "chunk must be str or bytes-like, not int"),
        ("binary", "x", TypeError, "chunk must be bytes-like, not str"),
        ("text", "\ud800", ValueError, "chunk must be encodable as UTF-8"),
        ("text", b"\xff", ValueError, "chunk makes the text invalid"),
    ],
)
async def test_a_bad_chunk_is_refused_and_the_message_can_go_on(
    kind_of_message: str,
    chunk: object,
    error: type[Exception],
    says: str,
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        async with endpoint.open_send_stream(kind_of_message) as stream:  # type: ignore[arg-type]
            await stream.send(b"a")
            with pytest.raises(error, match=says):
                await stream.send(chunk)  # type: ignore[arg-type]
            await stream.send(b"b")
        frames = await receive_frames(peer, 3)
        assert [payload for _, payload, _ in frames] == [b"a", b"b", b""]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("x", TypeError),
        (None, TypeError),
        (int, TypeError),
        (ContinuationFrame, ValueError),
        (PingFrame, TypeError),
    ],
)
async def test_a_bad_kind_is_refused_at_once(kind: object, error: type[Exception]) -> None:
    async with open_scripted() as (endpoint, _):
        manager = endpoint.open_send_stream(kind)  # type: ignore[arg-type]
        with pytest.raises(error, match="kind must be"):
            await manager.__aenter__()
        await endpoint.send("still good")


@on_both_streams
async def test_control_frames_go_between_the_fragments(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, parser=PARSER) as (endpoint, peer):
        async with endpoint.open_send_stream("binary") as stream:
            await stream.send(b"1")
            await peer.expect(BINARY, b"1")
            await peer.send(PING, b"p")
            await peer.expect(PONG, b"p")
            await endpoint.check_heartbeat()
            await peer.expect(PING)
            await endpoint.pong(b"alive")
            await peer.expect(PONG, b"alive")
            await endpoint.send(create_message(Nudge, b"n"))
            await peer.expect(Nudge.opcode, b"n")
        await peer.expect(CONTINUATION, b"")


@on_both_streams
async def test_other_senders_wait_until_the_stream_is_left(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        async with endpoint.open_send_stream("binary") as stream:
            await stream.send(b"1")
            nursery.start_soon(endpoint.send, "between?")
            await wait_all_tasks_blocked()
            await stream.send(b"2")
        assert await receive_frames(peer, 4) == [
            (BinaryFrame, b"1", False),
            (ContinuationFrame, b"2", False),
            (ContinuationFrame, b"", True),
            (TextFrame, b"between?", True),
        ]


async def abandon(
    endpoint: Endpoint, body: Callable[[SendStream], object], kind: str = "text"
) -> None:
    async with endpoint.open_send_stream(kind) as stream:  # type: ignore[arg-type]
        await stream.send(b"half")
        result = body(stream)
        if result is not None:
            await result  # type: ignore[misc]


async def sleep(_: object) -> None:
    await trio.sleep_forever()


def boom(_: object) -> None:
    raise Boom


@on_both_streams
async def test_left_by_an_exception_the_endpoint_is_closed_with_1011(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        with pytest.raises(Boom):
            await abandon(endpoint, boom)
        assert endpoint.is_closed
        with pytest.raises(ConnectionClosedError, match="a message was left unfinished"):
            await endpoint.send("x")
        assert await receive_frames(peer, 1) == [(TextFrame, b"half", False)]
        close = await peer.receive_close()
        assert (close.code, close.reason) == (1011, "a message was left unfinished")
        assert not await peer.receive_all()


@on_both_streams
async def test_cancelled_midway_the_endpoint_is_closed_with_1011(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        with trio.move_on_after(1) as scope:
            await abandon(endpoint, sleep)
        assert scope.cancelled_caught
        assert (await peer.receive_close()).code == 1011
        assert all(not frame.fin for frame in peer.frames[:-1])


async def test_text_that_ends_inside_a_character_is_never_sent_as_a_message(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        with pytest.raises(ValueError, match="chunk makes the text invalid"):
            await abandon(endpoint, lambda stream: stream.send(b"\xc3"))
        assert (await peer.receive_close()).code == 1011
        assert all(not frame.fin for frame in peer.frames[:-1])


async def test_left_by_an_exception_before_anything_was_sent_the_endpoint_stays_good(
    autojump_clock: MockClock,
) -> None:
    async def leave(endpoint: Endpoint) -> None:
        async with endpoint.open_send_stream("text"):
            raise Boom

    async with open_scripted() as (endpoint, peer):
        with pytest.raises(Boom):
            await leave(endpoint)
        await endpoint.send("next")
        await peer.expect(TEXT, b"next")


class Stalled(StallStream):
    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream, after_sent=0)


@on_both_streams
async def test_a_chunk_whose_sending_was_cancelled_may_be_sent_again(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    euro = "€".encode()
    async with open_scripted(kind=kind, wrap=Stalled) as (endpoint, peer):
        async with endpoint.open_send_stream("text") as stream:
            with trio.move_on_after(1) as scope:
                await stream.send("x" * 2**20)
            assert not scope.cancelled_caught, "it was added whole"
            for _ in range(2):
                with trio.move_on_after(1) as scope:
                    await stream.send(euro[:2])
                assert scope.cancelled_caught
            if isinstance(peer.opposite, Stalled):
                peer.opposite.resume()
            await peer.expect(TEXT, b"x" * 2**20)
            await stream.send(euro[:2])
            await stream.send(euro[2:])
        frames = await receive_frames(peer, 3)
        assert [payload for _, payload, _ in frames] == [euro[:2], euro[2:], b""]


async def test_a_binary_chunk_may_be_sent_again_too(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, peer):
        async with endpoint.open_send_stream("binary") as stream:
            with trio.CancelScope() as scope:
                scope.cancel()
                await stream.send(b"x")
            assert scope.cancelled_caught
            await stream.send(b"x")
        frames = await receive_frames(peer, 2)
        assert [payload for _, payload, _ in frames] == [b"x", b""]


async def test_a_send_stream_that_was_left_takes_no_more(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, peer):
        async with endpoint.open_send_stream("binary") as stream:
            pass
        with pytest.raises(trio.ClosedResourceError, match="the stream was left"):
            await stream.send(b"x")
        await endpoint.send("next")
        assert await receive_frames(peer, 2) == [
            (BinaryFrame, b"", True),
            (TextFrame, b"next", True),
        ]


async def test_two_tasks_cannot_send_on_one_stream(autojump_clock: MockClock) -> None:
    async with open_scripted(wrap=Stalled) as (endpoint, peer):
        async with (
            endpoint.open_send_stream("binary") as stream,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(stream.send, bytes(2**20))
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await stream.send(b"x")
            assert isinstance(peer.opposite, Stalled)
            peer.opposite.resume()
        frames = await receive_frames(peer, 2)
        assert [len(payload) for _, payload, _ in frames] == [2**20, 0]


@on_both_streams
async def test_the_endpoint_may_be_closed_while_a_message_is_streamed_out(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:

        async def close(_: SendStream) -> None:
            nursery.start_soon(endpoint.aclose, 4001)
            await wait_all_tasks_blocked()

        with pytest.raises(trio.ClosedResourceError):
            await abandon(endpoint, close)
        await peer.answer_close()
        await wait_all_tasks_blocked()
        assert endpoint.sent_close_frame == endpoint.received_close_frame
        assert endpoint.close_code == 4001


@on_both_streams
async def test_a_stream_whose_connection_ends_raises(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):

        async def end(_: SendStream) -> None:
            await peer.close(1000)
            await trio.sleep(1)

        with pytest.raises(ConnectionClosedError):
            await abandon(endpoint, end)
        assert endpoint.close_code == 1000


async def test_no_stream_is_opened_on_an_endpoint_that_is_closed(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.answer_close)
            await endpoint.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await endpoint.open_send_stream("text").__aenter__()
        with pytest.raises(trio.ClosedResourceError):
            await endpoint.open_receive_stream().__aenter__()


@on_both_streams
async def test_opening_a_send_stream_may_be_cancelled(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async def stream_one(endpoint: Endpoint) -> None:
        async with endpoint.open_send_stream("binary"):
            raise AssertionError("there is no room")

    async with open_scripted(kind=kind, wrap=Stalled) as (endpoint, peer):
        with trio.move_on_after(1):
            await endpoint.send(bytes(2**20))
        with trio.move_on_after(1) as scope:
            await stream_one(endpoint)
        assert scope.cancelled_caught
        if isinstance(peer.opposite, Stalled):
            peer.opposite.resume()
        await peer.expect(BINARY)
        await endpoint.send("next")
        await peer.expect(TEXT, b"next")


# -- in -----------------------------------------------------------------------------------


@on_both_streams
async def test_a_message_comes_piece_by_piece_as_it_arrives(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send(BINARY, b"one ", fin=False)
        async with endpoint.open_receive_stream() as stream:
            assert stream.kind == "binary"
            assert await stream.receive() == b"one "
            data = peer.frame(CONTINUATION, b"two three")
            await peer.send_raw(data[:-5])
            assert await stream.receive() == b"two "
            await peer.send_raw(data[-5:])
            assert await stream.receive() == b"three"
            with pytest.raises(trio.EndOfChannel):
                await stream.receive()
            with pytest.raises(trio.EndOfChannel):
                await stream.receive()
        await peer.send(TEXT, b"next")
        assert await endpoint.receive() == "next"


@on_both_streams
@pytest.mark.parametrize(
    ("opcode", "kind_of_message", "payload"),
    [(TEXT, "text", "x"), (BINARY, "binary", b"x"), (3, Note, b"x")],
)
@pytest.mark.parametrize("early", [True, False])
async def test_a_stream_has_the_kind_of_its_message(
    opcode: int,
    kind_of_message: object,
    payload: object,
    early: bool,
    kind: StreamKind,
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind=kind, parser=PARSER) as (endpoint, peer):
        await peer.send(opcode, b"x")
        if early:
            await trio.sleep(1)
        async with endpoint.open_receive_stream() as stream:
            assert stream.kind == kind_of_message
            assert [piece async for piece in stream] == [payload]


@on_both_streams
async def test_text_pieces_are_never_cut_inside_a_character(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    text = "aü€𝄞" * 10
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:

        async def drip() -> None:
            for byte in peer.frame(TEXT, text.encode()):
                await peer.send_raw(bytes((byte,)))
                await wait_all_tasks_blocked()

        nursery.start_soon(drip)
        async with endpoint.open_receive_stream() as stream:
            pieces = [piece async for piece in stream]
        assert all(isinstance(piece, str) and piece for piece in pieces)
        assert "".join(map(str, pieces)) == text
        assert len(pieces) == len(text)


@on_both_streams
async def test_a_huge_frame_passes_in_bounded_memory(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    size, chunk = 2**25, bytes(2**16)
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:

        async def flood() -> None:
            await peer.send_raw(b"\x82\x7f" + size.to_bytes(8, "big"))
            for _ in range(size // len(chunk)):
                await peer.send_raw(chunk)
                if kind == "memory":
                    await wait_all_tasks_blocked()

        nursery.start_soon(flood)
        total = largest = 0
        async with endpoint.open_receive_stream() as stream:
            async for piece in stream:
                total += len(piece)
                largest = max(largest, endpoint.statistics().received.waiting)
        assert total == size
        assert largest < LOOK_AHEAD + 2**18


@on_both_streams
@pytest.mark.parametrize("when", ["at once", "midway", "late"])
async def test_left_early_the_rest_is_skipped_and_the_next_message_received(
    when: str, kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        start, rest = (
            peer.frame(BINARY, b"a", fin=False),
            peer.frame(CONTINUATION, bytes(10**6)),
        )
        await peer.send_raw(start)
        if when == "late":
            await peer.send_raw(rest[:1000])
        async with endpoint.open_receive_stream() as stream:
            assert bytes(await stream.receive())[:1] == b"a"  # type: ignore[arg-type]
            if when == "midway":
                await peer.send_raw(rest[:1000])
                await stream.receive()
        with pytest.raises(trio.ClosedResourceError, match="the stream was left"):
            await stream.receive()

        async def send_rest() -> None:
            await peer.send_raw(rest if when == "at once" else rest[1000:])
            await peer.send(TEXT, b"next")

        nursery.start_soon(send_rest)
        assert await endpoint.receive() == "next"
        assert endpoint.statistics().received.waiting < 10_000


@on_both_streams
async def test_what_was_read_ahead_is_skipped_up_to_the_next_message(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send(BINARY, b"a", fin=False)
        async with endpoint.open_receive_stream():
            for _ in range(3):
                await peer.send(CONTINUATION, b"b", fin=False)
                await trio.sleep(1)
            await peer.send_raw(peer.frame(CONTINUATION, b"c") + peer.frame(TEXT, b"next"))
            await trio.sleep(1)
        assert await endpoint.receive() == "next"


@on_both_streams
async def test_one_stream_after_the_other(kind: StreamKind, autojump_clock: MockClock) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        for number in range(3):
            await peer.send(TEXT, b"1", fin=False)
            async with endpoint.open_receive_stream() as stream:
                assert await stream.receive() == "1"
            await peer.send_raw(
                peer.frame(CONTINUATION, b"rest") + peer.frame(BINARY, bytes((number,)))[:1]
            )
            with trio.move_on_after(1):
                await endpoint.open_receive_stream().__aenter__()
            await peer.send_raw(peer.frame(BINARY, bytes((number,)))[1:])
            async with endpoint.open_receive_stream() as stream:
                assert [piece async for piece in stream] == [bytes((number,))]


@on_both_streams
async def test_cancelled_while_it_waits_for_a_piece_a_stream_loses_nothing(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send(BINARY, b"a", fin=False)
        async with endpoint.open_receive_stream() as stream:
            assert await stream.receive() == b"a"
            for _ in range(3):
                with trio.move_on_after(1) as scope:
                    await stream.receive()
                assert scope.cancelled_caught
                await peer.send(CONTINUATION, b"b", fin=False)
                assert await stream.receive() == b"b"


async def test_a_message_that_was_begun_whole_may_go_on_as_a_stream(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket", max_message_size=10) as (endpoint, peer):
        await peer.send(TEXT, "ü".encode() + b"\xe2", fin=False)
        with trio.move_on_after(1) as scope:
            await endpoint.receive()
        assert scope.cancelled_caught
        async with endpoint.open_receive_stream() as stream:
            assert await stream.receive() == "ü"
            await peer.send(CONTINUATION, b"\x82\xac" + b"x" * 100)
            assert "".join([str(piece) async for piece in stream]) == "€" + "x" * 100


# A stream whose entering was cancelled as its message began leaves it in pieces; the tests
# bring that about by asking the connection for pieces when nobody is there to take them.


@pytest.mark.parametrize(("opcode", "payload"), [(TEXT, "aü€"), (BINARY, "aü€".encode())])
async def test_cancelled_at_its_entry_a_stream_leaves_the_message_to_the_next_receiver(
    opcode: int, payload: str | bytes, autojump_clock: MockClock
) -> None:
    data = "aü€".encode()
    async with open_scripted() as (endpoint, peer):
        await trio.sleep(1)
        with trio.move_on_after(1) as scope:
            await endpoint.open_receive_stream().__aenter__()
        assert scope.cancelled_caught
        endpoint._core.connection.stream_message()
        await peer.send(opcode, data[:2], fin=False)
        await wait_all_tasks_blocked()
        for _ in range(2):
            with trio.move_on_after(1) as scope:
                await endpoint.receive()
            assert scope.cancelled_caught
        await peer.send(CONTINUATION, data[2:])
        await peer.send(TEXT, b"next")
        message = await endpoint.receive_message()
        assert message.payload == payload
        assert await endpoint.receive() == "next"


async def test_what_was_left_in_pieces_may_be_streamed_after_all(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        endpoint._core.connection.stream_message()
        await peer.send(BINARY, b"a", fin=False)
        with trio.move_on_after(1) as scope:
            await endpoint.receive()
        assert scope.cancelled_caught
        async with endpoint.open_receive_stream() as stream:
            assert await stream.receive() == b"a"
            await peer.send(CONTINUATION, b"b")
            assert [piece async for piece in stream] == [b"b"]


async def test_what_was_left_in_pieces_may_be_skipped(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, peer):
        endpoint._core.connection.stream_message()
        await peer.send(BINARY, b"a", fin=False)
        with trio.move_on_after(1):
            await endpoint.receive()
        async with endpoint.open_receive_stream():
            pass
        await peer.send(CONTINUATION, b"b")
        await peer.send(TEXT, b"next")
        assert await endpoint.receive() == "next"


@pytest.mark.parametrize("text", ["x" * 8, "€" * 3])
async def test_what_was_left_in_pieces_is_refused_where_it_is_too_big(
    text: str, autojump_clock: MockClock
) -> None:
    async with open_scripted(max_message_size=8) as (endpoint, peer):
        endpoint._core.connection.stream_message()
        await peer.send(TEXT, text.encode(), fin=False)
        for _ in range(3):
            await peer.send(CONTINUATION, b"y", fin=False)
        await peer.send_raw(peer.frame(CONTINUATION, b"z") + peer.frame(TEXT, b"next"))
        await wait_all_tasks_blocked()
        with pytest.raises(ConnectionClosedError, match="1009"):
            await endpoint.receive()
        with pytest.raises(ConnectionClosedError, match="1009"):
            await endpoint.receive()
        assert (await peer.receive_close()).reason == "a message of more than 8 bytes"


async def test_what_was_left_in_pieces_is_no_message_if_the_connection_ends(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, peer):
        endpoint._core.connection.stream_message()
        await peer.send(TEXT, b"half", fin=False)
        await peer.send_close()
        with pytest.raises(ConnectionClosedOK):
            await endpoint.receive()
        await peer.receive_close()
        await peer.part()


@on_both_streams
@pytest.mark.parametrize("how", ["close", "end", "break", "error"])
async def test_a_connection_that_ends_midway_is_never_a_clean_end(
    how: str, kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send(TEXT, b"half", fin=False)
        async with endpoint.open_receive_stream() as stream:
            assert await stream.receive() == "half"
            if how == "close":
                await peer.send(CLOSE, b"\x03\xe8")
            elif how == "end":
                assert isinstance(peer.stream, trio.abc.HalfCloseableStream)
                await peer.stream.send_eof()
            elif how == "break":
                await peer.aclose()
            else:
                await peer.send(CONTINUATION, b"\xff")
            for _ in range(2):
                with pytest.raises(ConnectionClosedError) as caught:
                    await stream.receive()
            assert not isinstance(caught.value, trio.EndOfChannel)
        await peer.aclose()


@on_both_streams
async def test_closed_by_another_task_a_stream_raises(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send(TEXT, b"half", fin=False)
        async with endpoint.open_receive_stream() as stream, trio.open_nursery() as nursery:
            assert await stream.receive() == "half"
            nursery.start_soon(endpoint.aclose)
            nursery.start_soon(peer.answer_close)
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive()


@on_both_streams
async def test_no_stream_is_opened_at_the_end(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.close)
        with pytest.raises(ConnectionClosedOK):
            await endpoint.open_receive_stream().__aenter__()


@on_both_streams
async def test_other_receivers_wait_until_the_stream_is_left(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        results: list[object] = []

        async def receive() -> None:
            results.append(await endpoint.receive())

        await peer.send(TEXT, b"1", fin=False)
        async with endpoint.open_receive_stream() as stream:
            nursery.start_soon(receive)
            await peer.send_raw(peer.frame(CONTINUATION, b"2") + peer.frame(TEXT, b"next"))
            assert [piece async for piece in stream] == ["1", "2"]
            await wait_all_tasks_blocked()
            assert results == []
        await wait_all_tasks_blocked()
        assert results == ["next"]


@on_both_streams
async def test_two_tasks_cannot_receive_from_one_stream(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.send(TEXT, b"1", fin=False)
        async with endpoint.open_receive_stream() as stream:
            assert await stream.receive() == "1"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.receive)
                await wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await stream.receive()
                await peer.send(CONTINUATION, b"2")


@on_both_streams
@pytest.mark.parametrize("how", ["closed", "left"])
@pytest.mark.parametrize("takeover", [False, True])
async def test_whoever_receives_from_a_stream_is_told_when_another_task_leaves_it(
    how: str, takeover: bool, kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        results: list[object] = []
        await peer.send(TEXT, b"1", fin=False)
        async with endpoint.open_receive_stream() as stream:
            assert await stream.receive() == "1"
            if takeover:
                await trio.sleep(1)

            async def receive() -> None:
                try:
                    results.append(await stream.receive())
                except trio.ClosedResourceError as error:
                    results.append(type(error))

            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            if how == "closed":
                await stream.aclose()
        await peer.send(CONTINUATION, b"2", fin=False)
        await peer.send_raw(peer.frame(CONTINUATION, b"3") + peer.frame(TEXT, b"next"))
        assert await endpoint.receive() == "next"
        assert results == [trio.ClosedResourceError]


async def test_a_stream_may_be_closed_by_hand(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, peer):
        await peer.send(TEXT, b"1", fin=False)
        async with endpoint.open_receive_stream() as stream:
            await stream.aclose()
            await stream.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive()
        await peer.send(CONTINUATION, b"2")
        await peer.send(TEXT, b"next")
        assert await endpoint.receive() == "next"
