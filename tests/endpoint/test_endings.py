from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, stream_pair
from tests.protocol.wire import BINARY, TEXT
from trio_wsendpoint.endpoint import (
    Endpoint,
    EndpointKeywords,
    begin_drain,
    give_up_slow,
    open_endpoint,
)
from trio_wsendpoint.http2 import Half, Http2Stream
from trio_wsendpoint.protocol import CloseFrame, ControlFrame, Frame, FrameParser, Role

PAGE = Path(__file__).parents[2] / "docs" / "endings.md"
LONG, SHORT = 40.0, 3.0
TIMES = {"0": 0.0, "close_timeout": LONG, "cancel_timeout": SHORT}


class Boom(Exception):
    """What the application raises."""


class Nudge(ControlFrame):
    __slots__ = ()
    opcode = 11


def read_page() -> dict[str, dict[str, str]]:
    rows = [
        [cell.strip().replace("`", "") for cell in line.strip("| ").split(" | ")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("|")
    ]
    head, _, *rest = rows
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rest}


Action = Callable[[Peer], Awaitable[None]]

# -- what the peer does -------------------------------------------------------------------


async def is_good(peer: Peer) -> None:
    await peer.answer_close()


async def is_silent(peer: Peer) -> None:
    await peer.receive_all()


async def reads_nothing(peer: Peer) -> None:
    await trio.sleep_forever()


async def answers_and_stays(peer: Peer) -> None:
    close = await peer.receive_close()
    await peer.send_close(int.from_bytes(close.payload, "big"))
    await peer.receive_all()
    await trio.sleep_forever()


async def parts(peer: Peer) -> None:
    """Say nothing more, and close the stream once the endpoint wants it."""
    await peer.receive_close()
    await peer.stream.aclose()


def closes(code: int | None) -> Action:
    async def peer_closes(peer: Peer) -> None:
        await peer.close(code)

    return peer_closes


async def closes_and_stays(peer: Peer) -> None:
    await peer.send_close(1000)
    await peer.receive_close()
    await trio.sleep_forever()


async def crosses(peer: Peer) -> None:
    await peer.send_close(4002)
    await peer.receive_close()
    await peer.part()


async def ends_the_stream(peer: Peer) -> None:
    assert isinstance(peer.stream, trio.abc.HalfCloseableStream)
    await peer.stream.send_eof()
    await peer.receive_all()
    await peer.stream.aclose()


async def breaks_the_stream(peer: Peer) -> None:
    await peer.stream.aclose()


def says(data: bytes, then: Action) -> Action:
    async def peer_says(peer: Peer) -> None:
        await peer.send(data[0], data[1:])
        await then(peer)

    return peer_says


# -- what the body does -------------------------------------------------------------------

Body = Callable[[Endpoint], Awaitable[None]]


async def waits(endpoint: Endpoint) -> None:
    """Let the peer end it."""


async def sleeps(endpoint: Endpoint) -> None:
    await trio.sleep_forever()


def calls_aclose(*args: object) -> Body:
    async def body(endpoint: Endpoint) -> None:
        await endpoint.aclose(*args)  # type: ignore[arg-type]

    return body


async def closes_late(endpoint: Endpoint) -> None:
    """Close while the peer's close frame is under way."""
    endpoint._core._begin_close(4001, "")
    await endpoint.aclose()


async def drains(endpoint: Endpoint) -> None:
    begin_drain(endpoint, 1012)


async def drains_and_sleeps(endpoint: Endpoint) -> None:
    begin_drain(endpoint, 1012)
    await trio.sleep_forever()


async def is_too_slow(endpoint: Endpoint) -> None:
    give_up_slow(endpoint)


async def floods_and_closes(endpoint: Endpoint) -> None:
    with trio.move_on_after(1):
        while True:
            await endpoint.send(bytes(2**20))
    await endpoint.aclose()


async def leaves_a_message(endpoint: Endpoint) -> None:
    with contextlib.suppress(Boom):
        async with endpoint.open_send_stream("text") as stream:
            await stream.send("half")
            raise Boom


def raises(error: BaseException) -> Body:
    async def body(endpoint: Endpoint) -> None:
        raise error

    return body


def fail(*_: object) -> Frame:
    raise Boom


async def afail(*_: object) -> None:
    raise Boom


@attrs.frozen
class Case:
    """How a row of the page is played.

    Attributes:
        peer: What the peer does.
        body: What the body does before it looks at what the end is like.
        leaves: Whether the body then ends, and the end is looked at from outside.
        cancel_after: Seconds after which all is cancelled from outside.
        kinds: The streams for which it makes sense.
    """

    peer: Action
    body: Body = waits
    leaves: bool = False
    cancel_after: float = float("inf")
    begins: float = 0
    options: EndpointKeywords = attrs.field(factory=lambda: EndpointKeywords())
    kinds: tuple[StreamKind, ...] = STREAM_KINDS


GROUP = ExceptionGroup("the application's own", [Boom(), ExceptionGroup("within", [Boom()])])

CASES = {
    "We call aclose()": Case(is_good, calls_aclose()),
    'We call aclose(4001, "a reason")': Case(is_good, calls_aclose(4001, "a reason")),
    "We call aclose(None)": Case(is_good, calls_aclose(None)),
    "Both sides close at the same time": Case(crosses, closes_late),
    "The body is left normally": Case(is_good, leaves=True),
    "The body raises an exception": Case(is_good, raises(Boom()), leaves=True),
    "The body raises an ExceptionGroup": Case(is_good, raises(GROUP), leaves=True),
    "The body raises KeyboardInterrupt": Case(
        is_good, raises(KeyboardInterrupt()), leaves=True
    ),
    "The body is cancelled from outside": Case(is_good, sleeps, cancel_after=1, begins=1),
    "Cancelled from outside, and the peer does not answer": Case(
        is_silent, sleeps, cancel_after=1, begins=1
    ),
    "The peer closes with 1000": Case(closes(1000)),
    "The peer closes with 1001": Case(closes(1001)),
    "The peer closes with no code": Case(closes(None)),
    "The peer closes with 1000, and raise_on_close is set": Case(
        closes(1000), options={"raise_on_close": True}
    ),
    "The peer closes with 4001": Case(closes(4001)),
    "The peer closes with 1011": Case(closes(1011)),
    "The peer closes, and never closes the stream": Case(closes_and_stays),
    "The stream ends with no close frame": Case(ends_the_stream),
    "The stream breaks": Case(breaks_the_stream),
    "The peer breaks the protocol": Case(says(b"\x03", parts)),
    "The peer sends text that is not UTF-8": Case(says(bytes((TEXT, 0xFF)), parts)),
    "The peer sends a message over max_message_size": Case(
        says(bytes((BINARY, 1, 2, 3)), parts), options={"max_message_size": 2}
    ),
    "The peer breaks the protocol, and never closes the stream": Case(says(b"\x03", is_silent)),
    "The peer leaves max_pings pings unanswered": Case(
        is_silent, options={"max_pings": 2, "ping_interval": 10}, begins=30
    ),
    "on_data_frame raises an exception": Case(
        says(bytes((TEXT,)), parts), options={"on_data_frame": fail}
    ),
    "A handler of control frames raises an exception": Case(
        says(b"\x0b", parts),
        options={
            "parser": FrameParser(frame_types=[Nudge]),
            "control_handlers": {Nudge: afail},
        },
    ),
    "A message is left unfinished in open_send_stream": Case(parts, leaves_a_message),
    "We call aclose(), and the peer never answers": Case(is_silent, calls_aclose()),
    "We call aclose(), and the peer answers but never closes the stream": Case(
        answers_and_stays, calls_aclose()
    ),
    "We call aclose(), and the peer reads no byte": Case(
        reads_nothing, floods_and_closes, begins=1, kinds=("socket",)
    ),
    "Cancelled within aclose(), and the peer does not answer": Case(
        is_silent, calls_aclose(), cancel_after=1, begins=1
    ),
    "Its server drains, and somebody waits to receive": Case(is_good, drains),
    "Its server drains, and cancels it in the end": Case(
        is_good, drains_and_sleeps, cancel_after=1, begins=1
    ),
    "A broadcast closes it because the peer is slow": Case(parts, is_too_slow),
}


def test_every_row_of_the_page_is_played() -> None:
    assert list(read_page()) == list(CASES)


@pytest.mark.parametrize("kind", STREAM_KINDS)
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("row", CASES)
async def test_an_endpoint_ends_as_the_page_says(
    row: str, role: Role, kind: StreamKind, autojump_clock: MockClock
) -> None:
    case, page = CASES[row], read_page()[row]
    if kind not in case.kinds:
        return
    ours, theirs = stream_pair(kind)
    peer = Peer(theirs, role.other, case.options.get("parser"))
    seen: dict[str, str] = {}
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play_peer, case, peer)
            endpoint, took = await play(case, ours, role, seen)
            nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(theirs)
    seen |= {
        "Closed first": name_of_first(endpoint),
        "We send": name_of_close(endpoint.sent_close_frame),
        "Peer sends": name_of_close(endpoint.received_close_frame),
        "Code": str(endpoint.close_code),
    }
    bound = page.pop("Takes at most")
    assert seen == page
    assert took == TIMES[bound]
    assert endpoint.is_closed
    assert_closed(ours)
    if case.peer is not reads_nothing:
        closes = [found for found in peer.frames if isinstance(found, CloseFrame)]
        assert closes == [endpoint.sent_close_frame] * (page["We send"] != "—")
        assert not closes or peer.frames[-1] is closes[-1], "nothing is sent after a close"
    if row == 'We call aclose(4001, "a reason")':
        assert endpoint.close_reason == "a reason"


async def play_peer(case: Case, peer: Peer) -> None:
    try:
        await case.peer(peer)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        assert case.peer is not is_good


async def play(
    case: Case, stream: trio.abc.Stream, role: Role, seen: dict[str, str]
) -> tuple[Endpoint, float]:
    options: EndpointKeywords = {
        "close_timeout": LONG,
        "cancel_timeout": SHORT,
        "ping_interval": float("inf"),
        **case.options,
    }
    began = trio.current_time() + case.begins
    scope = trio.CancelScope(deadline=trio.current_time() + case.cancel_after)
    found: BaseException | None = None
    with scope:
        try:
            async with open_endpoint(stream, role, **options) as endpoint:
                inside = endpoint
                try:
                    await case.body(endpoint)
                finally:
                    if not case.leaves:
                        await look(endpoint, seen)
        except BaseException as error:
            found = error
            if isinstance(error, trio.Cancelled):
                raise
        finally:
            seen["async with"] = name_of_error(found, "returns")
    if case.leaves:
        await look(inside, seen)
    return inside, trio.current_time() - began


async def look(endpoint: Endpoint, seen: dict[str, str]) -> None:
    """What the endpoint's methods do at its end."""

    async def iterate() -> None:
        async for _ in endpoint:
            pass

    for name, method in (
        ("receive", endpoint.receive),
        ("send", lambda: endpoint.send("x")),
        ("async for", iterate),
    ):
        try:
            await method()
        except (Exception, trio.Cancelled) as error:
            seen[name] = type(error).__name__
        else:
            seen[name] = "ends"
    await trio.lowlevel.checkpoint_if_cancelled()


def name_of_error(error: BaseException | None, none: str) -> str:
    if error is None:
        return none
    if isinstance(error, Boom | KeyboardInterrupt) or error is GROUP:
        return "raises it"
    return type(error).__name__


def name_of_close(close: CloseFrame | None) -> str:
    if close is None:
        return "—"
    return str(close.code) if close.payload else "empty"


def name_of_first(endpoint: Endpoint) -> str:
    if endpoint.closed_first is None:
        return "—"
    return "we" if endpoint.closed_first is endpoint.role else "the peer"


def assert_closed(stream: trio.abc.Stream) -> None:
    if isinstance(stream, trio.SocketStream):
        assert stream.socket.fileno() == -1
    elif isinstance(stream, Http2Stream):
        assert stream.sending is stream.receiving is Half.BROKEN
    else:
        assert isinstance(stream, trio.StapledStream)
        with pytest.raises(trio.ClosedResourceError):
            stream.receive_stream.put_data(b"")


def test_the_page_has_no_row_twice() -> None:
    names = re.findall(r"^\| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
    assert len(names) == len(set(names))
