"""Every fault of a stream and of a peer, at every byte of a conversation.

Each ends in the error of `docs/endings.md`, in its time; what arrived whole before it was
received, in order; the stream is closed and no task is left.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from tests.endpoint.peer import Peer
from tests.protocol.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from trio_wsendpoint import connect
from trio_wsendpoint.endpoint import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeTimeout,
    HeartbeatTimeout,
    open_endpoint,
)
from trio_wsendpoint.protocol import (
    ClientHandshake,
    HandshakeError,
    RequestReader,
    Role,
    ServerHandshake,
    encode_request,
    encode_response,
)
from trio_wsendpoint.server import accept
from trio_wsendpoint.testing import CutStream, SplitStream, StallStream, WrappedStream

both_roles = pytest.mark.parametrize("role", Role)
INTERVAL, PINGS = 10, 2
CLOSE_TIMEOUT, CANCEL_TIMEOUT, HANDSHAKE_TIMEOUT = 40, 3, 7
GIVEN_UP = INTERVAL * (PINGS + 1)

CONVERSATION: tuple[tuple[int, bytes, bool, str | bytes | None], ...] = (
    (TEXT, "één".encode(), True, "één"),
    (PING, b"?", True, None),
    (BINARY, b"in ", False, None),
    (PONG, b"!", True, None),
    (CONTINUATION, b"two", True, b"in two"),
    (TEXT, b"", True, ""),
    (BINARY, bytes(130), True, bytes(130)),
    (CLOSE, b"\x03\xe8", True, None),
)
MESSAGES = [message for *_, message in CONVERSATION if message is not None]


class Ledger(WrappedStream):
    """A stream that knows whether it was closed."""

    closed = False

    async def aclose(self) -> None:
        self.closed = True
        await self.stream.aclose()


@attrs.define
class Outcome:
    """How an endpoint ended."""

    received: list[str | bytes] = attrs.field(factory=list)
    error: Exception | None = None
    left: Exception | None = None
    ended: float = 0
    closed: float = 0
    code: int | None = None


def wire(peer: Peer) -> tuple[bytes, list[int]]:
    """The conversation in bytes, and where each of its messages is complete."""
    data, ends = b"", []
    for opcode, payload, fin, message in CONVERSATION:
        data += peer.frame(opcode, payload, fin=fin)
        if message is not None:
            ends.append(len(data))
    return data, ends


LENGTHS = {role: len(wire(Peer(memory_stream_pair()[0], role.other))[0]) for role in Role}


async def run_endpoint(stream: trio.abc.Stream, role: Role, outcome: Outcome) -> None:
    """Receive all that comes, and note how it ends."""
    ledger = Ledger(stream)
    try:
        async with open_endpoint(
            ledger,
            role,
            max_pings=PINGS,
            ping_interval=INTERVAL,
            close_timeout=CLOSE_TIMEOUT,
            cancel_timeout=CANCEL_TIMEOUT,
        ) as endpoint:
            try:
                while True:
                    outcome.received.append(await endpoint.receive())
            except ConnectionClosed as error:
                outcome.error = error
            finally:
                outcome.ended = trio.current_time()
                outcome.code = endpoint.close_code
    except HeartbeatTimeout as error:
        outcome.left = error
    outcome.closed = trio.current_time()
    assert ledger.closed


Wrap = Callable[[trio.abc.Stream], trio.abc.Stream]
Script = Callable[[Peer], Awaitable[None]]


async def play(role: Role, script: Script, wrap: Wrap = lambda stream: stream) -> Outcome:
    """Let an endpoint talk with a scripted peer until it has ended."""
    outcome = Outcome()
    ours, theirs = memory_stream_pair()
    peer = Peer(theirs, role.other)
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(script, peer)
            await run_endpoint(wrap(ours), role, outcome)
            nursery.cancel_scope.cancel()
    assert trio.lowlevel.current_statistics().tasks_living == before
    await peer.aclose()
    return outcome


def says(count: int, then: Script) -> Script:
    async def script(peer: Peer) -> None:
        with suppress(trio.BrokenResourceError):
            await peer.send_raw(wire(peer)[0][:count])
        await then(peer)

    return script


async def ends_its_half(peer: Peer) -> None:
    assert isinstance(peer.stream, trio.abc.HalfCloseableStream)
    await peer.stream.send_eof()
    await peer.receive_all()
    await peer.stream.aclose()


async def vanishes(peer: Peer) -> None:
    await peer.stream.aclose()


async def stays(peer: Peer) -> None:
    await peer.receive_all()
    await trio.sleep_forever()


async def parts(peer: Peer) -> None:
    await peer.receive_close()
    await peer.part()


def whole(role: Role, count: int) -> list[str | bytes]:
    """The messages that are complete after so many bytes."""
    _, ends = wire(Peer(memory_stream_pair()[0], role.other))
    return MESSAGES[: sum(end <= count for end in ends)]


# -- at every byte that the peer sends ----------------------------------------------------


@both_roles
@pytest.mark.parametrize("then", [ends_its_half, vanishes])
async def test_the_stream_ends_at_every_byte(
    then: Script, role: Role, autojump_clock: MockClock
) -> None:
    for count in range(LENGTHS[role]):
        began = trio.current_time()
        outcome = await play(role, says(count, then))
        assert outcome.received == whole(role, count)
        assert isinstance(outcome.error, ConnectionClosedError)
        assert outcome.code == 1006
        assert outcome.closed == began


@both_roles
async def test_the_stream_is_reset_at_every_byte(role: Role, autojump_clock: MockClock) -> None:
    for count in range(LENGTHS[role]):
        began = trio.current_time()
        outcome = await play(
            role,
            says(LENGTHS[role], stays),
            lambda stream, count=count: CutStream(stream, after_received=count),  # type: ignore[misc]
        )
        assert outcome.received == whole(role, count)
        assert isinstance(outcome.error, ConnectionClosedError)
        assert isinstance(outcome.error.__cause__, trio.BrokenResourceError)
        assert outcome.code == 1006
        assert outcome.closed == began


@both_roles
async def test_the_stream_stalls_at_every_byte(role: Role, autojump_clock: MockClock) -> None:
    for count in range(LENGTHS[role]):
        began = trio.current_time()
        outcome = await play(
            role,
            says(LENGTHS[role], stays),
            lambda stream, count=count: StallStream(stream, after_received=count),  # type: ignore[misc]
        )
        assert outcome.received == whole(role, count)
        assert isinstance(outcome.left, HeartbeatTimeout)
        assert outcome.code == 1002
        # The first interval may have seen the bytes before the fault.
        assert GIVEN_UP <= outcome.ended - began <= GIVEN_UP + INTERVAL
        assert outcome.closed - outcome.ended <= CANCEL_TIMEOUT


@both_roles
async def test_the_whole_conversation_ends_well(role: Role, autojump_clock: MockClock) -> None:
    outcome = await play(role, says(LENGTHS[role], parts))
    assert outcome.received == MESSAGES
    assert isinstance(outcome.error, ConnectionClosedOK)
    assert outcome.code == 1000
    assert outcome.closed == 0


# -- however the bytes are cut ------------------------------------------------------------


@both_roles
@pytest.mark.parametrize("seed", range(20))
async def test_segments_are_split_and_joined_at_random(
    seed: int, role: Role, autojump_clock: MockClock
) -> None:
    chance = random.Random(seed)

    async def script(peer: Peer) -> None:
        data, _ = wire(peer)
        while data:
            size = chance.choice((1, 2, 3, 7, 50, 200))
            await peer.send_raw(data[:size])
            data = data[size:]
            if chance.random() < 0.5:
                await trio.sleep(0.1)
        await parts(peer)

    outcome = await play(role, script, lambda stream: SplitStream(stream, chance.randint(1, 9)))
    assert outcome.received == MESSAGES
    assert isinstance(outcome.error, ConnectionClosedOK)


# -- at every byte that we send -----------------------------------------------------------


async def talk(stream: trio.abc.Stream, role: Role, heard: list[str | bytes]) -> None:
    """Send three messages, and receive what comes all the same."""
    async with open_endpoint(
        stream,
        role,
        max_pings=PINGS,
        ping_interval=INTERVAL,
        close_timeout=CLOSE_TIMEOUT,
        cancel_timeout=CANCEL_TIMEOUT,
    ) as endpoint:
        for message in ("one", b"two", "three"):
            await endpoint.send(message)
        async for message in endpoint:
            heard.append(message)


SAID = 3 * (2 + 4) + len("onetwothree")


@both_roles
@pytest.mark.parametrize("fault", [CutStream, StallStream])
async def test_what_we_send_breaks_off_at_every_byte(
    fault: type[CutStream] | type[StallStream], role: Role, autojump_clock: MockClock
) -> None:
    for count in range(SAID if role is Role.CLIENT else SAID - 12):
        began = trio.current_time()
        heard: list[str | bytes] = []
        ours, theirs = memory_stream_pair()
        peer = Peer(theirs, role.other)
        await peer.send(TEXT, b"hello")
        stalls = fault is StallStream
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.fail_after(100):
            if stalls:
                with pytest.raises(HeartbeatTimeout):
                    await talk(StallStream(ours, after_sent=count), role, heard)
            else:
                with pytest.raises(ConnectionClosedError):
                    await talk(CutStream(ours, after_sent=count), role, heard)
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert heard == ["hello"] if stalls else heard in ([], ["hello"])  # a reset may eat it
        taken = trio.current_time() - began
        assert taken <= (GIVEN_UP + INTERVAL + CANCEL_TIMEOUT if stalls else CANCEL_TIMEOUT)


# -- peers that do not close as they should -----------------------------------------------


@both_roles
@pytest.mark.parametrize("answers", [True, False])
async def test_a_peer_that_does_not_close_takes_close_timeout(
    answers: bool, role: Role, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()
    peer = Peer(theirs, role.other)
    stream = Ledger(ours)
    async with trio.open_nursery() as nursery:

        async def script() -> None:
            await peer.receive_close()
            if answers:
                await peer.send_close()
            await trio.sleep_forever()

        nursery.start_soon(script)
        async with open_endpoint(
            stream, role, ping_interval=math.inf, close_timeout=CLOSE_TIMEOUT
        ) as endpoint:
            await endpoint.aclose()
            assert trio.current_time() == CLOSE_TIMEOUT
            assert stream.closed
            assert (endpoint.received_close_frame is not None) is answers
        nursery.cancel_scope.cancel()
    assert trio.current_time() == CLOSE_TIMEOUT


@both_roles
async def test_what_the_peer_sends_behind_its_close_is_never_received(
    role: Role, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        data, _ = wire(peer)
        await peer.send_raw(data + peer.frame(TEXT, b"behind") * 10_000 + b"\xff" * 1000)
        await parts(peer)

    outcome = await play(role, script)
    assert outcome.received == MESSAGES
    assert isinstance(outcome.error, ConnectionClosedOK)
    assert outcome.closed == 0


# -- the opening handshake ----------------------------------------------------------------

URL = "ws://localhost/"
REQUEST = encode_request(ClientHandshake("localhost", "/").request)


async def be_server(stream: trio.abc.Stream) -> None:
    async with accept(stream, handshake_timeout=HANDSHAKE_TIMEOUT):
        raise AssertionError("the handshake was not complete")


async def be_client(stream: trio.abc.Stream) -> None:
    async with connect(URL, stream=stream, handshake_timeout=HANDSHAKE_TIMEOUT):
        raise AssertionError("the handshake was not complete")


async def response_to(stream: trio.abc.Stream) -> bytes:
    """Read a client's request, and return the whole response."""
    reader = RequestReader()
    request = None
    while request is None:
        request = reader.receive_data(await stream.receive_some())
    return encode_response(ServerHandshake().respond(request)[0])


@pytest.mark.parametrize("fault", ["ends", "vanishes", "stalls"])
@both_roles
async def test_the_opening_handshake_breaks_off_at_every_byte(
    role: Role, fault: str, autojump_clock: MockClock
) -> None:
    run = be_server if role is Role.SERVER else be_client
    count = total = 0
    while count <= total:
        began = trio.current_time()
        ours, theirs = memory_stream_pair()
        stream = Ledger(ours)
        before = trio.lowlevel.current_statistics().tasks_living

        async def script(theirs: trio.StapledStream = theirs, count: int = count) -> None:  # type: ignore[type-arg]
            nonlocal total
            data = REQUEST if role is Role.SERVER else await response_to(theirs)
            total = len(data) - 1
            await theirs.send_all(data[:count])
            if fault == "ends":
                await theirs.send_eof()
            elif fault == "vanishes":
                await theirs.aclose()

        with trio.fail_after(100):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(script)
                error = HandshakeTimeout if fault == "stalls" else HandshakeError
                with pytest.raises(error):
                    await run(stream)
        assert stream.closed
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert trio.current_time() - began <= (HANDSHAKE_TIMEOUT if fault == "stalls" else 1)
        count += 1
    assert count > 100
