from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.conftest import TLSContexts
from tests.endpoint.checkpoints import FOREVER
from tests.endpoint.world import (
    FILLER,
    KINDS,
    Kind,
    Manner,
    ParsingPeer,
    assert_closed,
    make_streams,
    meet_as_client,
    resume,
    vanishing,
)
from trio_wsendpoint import (
    Endpoint,
    HeartbeatTimeout,
    Role,
    connect,
    open_endpoint,
    serve_listeners,
)
from trio_wsendpoint.protocol import ClientHandshake, encode_request
from trio_wsendpoint.server import accept
from trio_wsendpoint.testing import StallStream

PAGE = Path(__file__).parents[2] / "docs" / "cancellation.md"
CLOSE_TIMEOUT: Final = 40.0
CANCEL_TIMEOUT: Final = 3.0
TIMES = {"`close_timeout`": CLOSE_TIMEOUT, "`cancel_timeout`": CANCEL_TIMEOUT}
DELAY: Final = 0.5


class Boom(Exception):
    """What the application raises."""


def read_page() -> dict[str, tuple[int, float]]:
    """For each way to close, the code and the time that it takes at most."""
    found = re.findall(r"^\| (\w.*) \| (\d{4}) \| (`\w+`) \|$", PAGE.read_text(), re.MULTILINE)
    return {cause: (int(code), TIMES[bound]) for cause, code, bound in found}


# -- what happens -------------------------------------------------------------------------


@attrs.define
class Around:
    """What is around the endpoint, for whoever wants to end it from there.

    Attributes:
        begin: To be called when it happens.
    """

    scope: trio.CancelScope
    nursery: trio.Nursery
    begin: Callable[[], None]


Cause: TypeAlias = Callable[[Endpoint, Around], Awaitable[None]]


async def ends(endpoint: Endpoint, around: Around) -> None:
    around.begin()


async def raises(endpoint: Endpoint, around: Around) -> None:
    around.begin()
    raise Boom


async def is_cancelled(endpoint: Endpoint, around: Around) -> None:
    around.begin()
    around.scope.cancel()
    await trio.sleep_forever()


async def expires(endpoint: Endpoint, around: Around) -> None:
    around.begin()
    around.scope.deadline = trio.current_time()
    await trio.sleep_forever()


async def another_fails(endpoint: Endpoint, around: Around) -> None:
    async def fail() -> None:
        around.begin()
        raise Boom

    around.nursery.start_soon(fail)
    await trio.sleep_forever()


async def gives_up(endpoint: Endpoint, around: Around) -> None:
    while not endpoint.is_closed:
        await endpoint.check_heartbeat()
    around.begin()
    await trio.sleep_forever()


CAUSES: dict[str, Cause] = {
    "The body ends": ends,
    "The body raises an exception": raises,
    "A scope around it is cancelled": is_cancelled,
    "A deadline around it expires": expires,
    "Another task of a nursery around it fails": another_fails,
    "The peer leaves `max_pings` pings unanswered": gives_up,
}


def test_every_row_of_the_page_is_played() -> None:
    assert list(read_page()) == list(CAUSES)


@attrs.define
class Ending:
    """An endpoint that comes to its end, and the peer that sees it.

    Attributes:
        kind: What lies between them.
        role: The endpoint's role.
        slow: Seconds after which the peer begins to read what it has not read before.
        manner: What the peer then answers.
        cancellations: Seconds after which scopes around it are cancelled once more.
    """

    kind: Kind
    role: Role
    slow: float = 0.0
    manner: Manner = "reticent"
    cancellations: tuple[float, ...] = ()

    async def play(self, cause: Cause) -> tuple[ParsingPeer, float]:
        """Returns the peer, and the seconds that the end took."""
        ours, theirs = make_streams(self.kind)
        peer = ParsingPeer(theirs, self.role.other)
        peer.manner = self.manner
        with trio.fail_after(FOREVER):
            async with vanishing(theirs, ours), trio.open_nursery() as nursery:
                began = await self._run(cause, ours, peer, nursery)
                took = trio.current_time() - began
                await assert_closed(ours)
                nursery.cancel_scope.cancel()
        return peer, took

    async def _run(
        self, cause: Cause, ours: trio.abc.Stream, peer: ParsingPeer, nursery: trio.Nursery
    ) -> float:
        began = 0.0
        scopes = [trio.CancelScope() for _ in self.cancellations]

        async def read() -> None:
            await trio.sleep(self.slow)
            resume(ours)
            await peer.run()

        def begin() -> None:
            nonlocal began
            began = trio.current_time()
            nursery.start_soon(read)
            for scope, delay in zip(scopes, self.cancellations, strict=True):
                scope.deadline = began + delay

        with suppress_group(), contextlib.ExitStack() as stack:
            for scope in scopes:
                stack.enter_context(scope)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as beside, self._open(ours) as endpoint:
                    if self.slow:
                        with trio.move_on_after(1):
                            await endpoint.send(FILLER)
                    await cause(endpoint, Around(scope, beside, begin))
        return began

    def _open(self, stream: trio.abc.Stream) -> AbstractAsyncContextManager[Endpoint]:
        return open_endpoint(
            stream,
            self.role,
            max_pings=2,
            ping_interval=float("inf"),
            close_timeout=CLOSE_TIMEOUT,
            cancel_timeout=CANCEL_TIMEOUT,
        )


@contextlib.contextmanager
def suppress_group() -> Any:
    try:
        yield
    except* (Boom, HeartbeatTimeout):
        pass


on_all_streams = pytest.mark.parametrize("kind", KINDS)
in_both_roles = pytest.mark.parametrize("role", Role)
from_all_causes = pytest.mark.parametrize("cause", CAUSES)


@on_all_streams
@in_both_roles
@from_all_causes
async def test_a_peer_that_answers_gets_the_right_code_at_once(
    cause: str, role: Role, kind: Kind, autojump_clock: MockClock
) -> None:
    peer, took = await Ending(kind, role).play(CAUSES[cause])
    assert peer.close_code == read_page()[cause][0]
    assert took == 0
    peer.frames()


@on_all_streams
@in_both_roles
@from_all_causes
async def test_a_peer_that_answers_nothing_gets_the_right_code_and_is_left_in_time(
    cause: str, role: Role, kind: Kind, autojump_clock: MockClock
) -> None:
    peer, took = await Ending(kind, role, manner="mute").play(CAUSES[cause])
    assert (peer.close_code, took) == read_page()[cause]


@on_all_streams
@in_both_roles
@from_all_causes
async def test_a_peer_that_begins_to_read_in_time_gets_all_that_was_sent_and_the_right_code(
    cause: str, role: Role, kind: Kind, autojump_clock: MockClock
) -> None:
    peer, took = await Ending(kind, role, slow=DELAY).play(CAUSES[cause])
    assert peer.messages == [FILLER]
    assert peer.close_code == read_page()[cause][0]
    assert took == DELAY
    peer.frames()


@on_all_streams
@in_both_roles
@from_all_causes
async def test_a_peer_that_never_reads_holds_nothing_up(
    cause: str, role: Role, kind: Kind, autojump_clock: MockClock
) -> None:
    peer, took = await Ending(kind, role, slow=1000).play(CAUSES[cause])
    assert not peer.data
    assert took == read_page()[cause][1]


@on_all_streams
@pytest.mark.parametrize("cancellations", [(1.0,), (1.0, 2.0)])
@pytest.mark.parametrize("slow", [0.0, 1000.0])
@from_all_causes
async def test_cancelled_while_it_closes_it_keeps_to_its_code_and_is_done_in_time(
    cause: str,
    slow: float,
    cancellations: tuple[float, ...],
    kind: Kind,
    autojump_clock: MockClock,
) -> None:
    ending = Ending(kind, Role.SERVER, slow, "mute", cancellations)
    peer, took = await ending.play(CAUSES[cause])
    code, bound = read_page()[cause]
    assert peer.close_code == (None if slow else code)
    assert took == (CANCEL_TIMEOUT if bound == CANCEL_TIMEOUT else 1 + CANCEL_TIMEOUT)


@on_all_streams
async def test_cancelled_shortly_before_its_time_is_over_it_has_cancel_timeout_from_then_on(
    kind: Kind, autojump_clock: MockClock
) -> None:
    ending = Ending(kind, Role.SERVER, 0.0, "mute", (CLOSE_TIMEOUT - 1,))
    peer, took = await ending.play(ends)
    assert peer.close_code == 1000
    assert took == CLOSE_TIMEOUT - 1 + CANCEL_TIMEOUT


# -- the opening handshake ----------------------------------------------------------------

REQUEST = encode_request(ClientHandshake("localhost", "/").request)
BAD_REQUEST = REQUEST.replace(b"Upgrade: websocket", b"Upgrade: something")


def client_of(stream: trio.abc.Stream, contexts: TLSContexts) -> Any:
    return connect("ws://localhost/", stream=stream)


def tls_client_of(stream: trio.abc.Stream, contexts: TLSContexts) -> Any:
    return connect("wss://localhost/", stream=stream, ssl_context=contexts.client)


def server_of(stream: trio.abc.Stream, contexts: TLSContexts) -> Any:
    return accept(stream)


@pytest.mark.parametrize(
    ("opens", "said", "reads"),
    [
        (client_of, b"", False),
        (client_of, b"", True),
        (client_of, b"HTTP/1.1 101 ", True),
        (tls_client_of, b"", False),
        (tls_client_of, b"", True),
        (server_of, b"", True),
        (server_of, REQUEST[:20], True),
        (server_of, REQUEST, False),
        (server_of, BAD_REQUEST, True),
    ],
)
@on_all_streams
async def test_cancelled_in_the_opening_handshake_the_stream_is_closed_at_once(
    opens: Callable[..., Any],
    said: bytes,
    reads: bool,
    kind: Kind,
    tls_contexts: TLSContexts,
    autojump_clock: MockClock,
) -> None:
    if not reads and kind in ("socket", "http2"):
        return  # these take a whole handshake at once
    ours, theirs = make_streams(kind)

    async def peer() -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            if said:
                await theirs.send_all(said)
            if reads:
                resume(ours)
            while reads and await theirs.receive_some(100):
                pass

    with trio.fail_after(FOREVER):
        async with theirs, trio.open_nursery() as nursery:
            nursery.start_soon(peer)
            scopes = trio.CancelScope(), trio.CancelScope()
            for scope in scopes:
                scope.deadline = trio.current_time() + DELAY
            with scopes[0], scopes[1]:
                async with opens(ours, tls_contexts):
                    raise AssertionError("it cannot get so far")
            assert trio.current_time() == scopes[0].deadline
            assert scopes[0].cancelled_caught
            await assert_closed(ours)
            if not reads:
                nursery.cancel_scope.cancel()


# -- servers ------------------------------------------------------------------------------


SPEECH: Final = "s" * 2000


class Listener(trio.abc.Listener[trio.abc.Stream]):
    """Hands out streams that are made in memory."""

    def __init__(self) -> None:
        self._dial, self._accepted = trio.open_memory_channel[trio.abc.Stream](2000)

    def put(self, stream: trio.abc.Stream) -> None:
        self._dial.send_nowait(stream)

    async def accept(self) -> trio.abc.Stream:
        return await self._accepted.receive()

    async def aclose(self) -> None:
        await self._accepted.aclose()


@attrs.define
class Served:
    """A client of a server that is cancelled, and what became of it."""

    met: list[ParsingPeer] = attrs.field(factory=list)
    ended: float = -1.0

    async def run(self, stream: trio.abc.Stream) -> None:
        async with stream:
            await meet_as_client(stream, self.met)
            self.ended = trio.current_time()

    @property
    def close_code(self) -> int | None:
        return self.met[0].close_code if self.met else None


async def stays_silent(stream: trio.abc.Stream) -> None:
    """Open the connection, and take no more than its stream does."""
    async with stream:
        await stream.send_all(REQUEST)
        await trio.sleep_forever()


async def stays_halfway(stream: trio.abc.Stream) -> None:
    async with stream:
        await stream.send_all(REQUEST[:20])
        await trio.sleep_forever()


async def speaks(endpoint: Endpoint) -> None:
    await endpoint.send(SPEECH)
    await trio.sleep_forever()


async def test_a_server_that_is_cancelled_with_1000_endpoints_closes_all_of_them_side_by_side(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.WARNING)
    listener = Listener()
    clients = [Served() for _ in range(1000)]
    async with trio.open_nursery() as nursery:
        for client in clients:
            ours, theirs = memory_stream_pair()
            listener.put(ours)
            nursery.start_soon(client.run, theirs)
        for bad in [stays_silent, stays_halfway] * 20:
            ours, theirs = memory_stream_pair()
            listener.put(StallStream(ours, after_sent=1000))
            nursery.start_soon(bad, theirs)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as servers:
                await servers.start(run_server, speaks, listener)
                await wait_all_tasks_blocked()
                began = trio.current_time()
                scope.cancel()
        took = trio.current_time() - began
        nursery.cancel_scope.cancel()
    assert took == CANCEL_TIMEOUT
    assert {client.close_code for client in clients} == {1001}
    assert {client.ended for client in clients} == {began}
    assert all(client.met[0].messages == [SPEECH] for client in clients)
    assert not caplog.records


async def run_server(
    handler: Callable[[Endpoint], Awaitable[None]],
    listener: Listener,
    task_status: trio.TaskStatus[Any],
) -> None:
    await serve_listeners(
        handler,
        [listener],
        task_status=task_status,
        cancel_timeout=CANCEL_TIMEOUT,
        close_timeout=CLOSE_TIMEOUT,
    )


async def returns(endpoint: Endpoint) -> None:
    await endpoint.receive()


async def fails(endpoint: Endpoint) -> None:
    await endpoint.receive()
    raise Boom


@pytest.mark.parametrize(("handler", "code"), [(returns, 1000), (fails, 1011)])
async def test_when_its_handler_ends_a_connection_is_closed_with_the_right_code(
    handler: Callable[[Endpoint], Awaitable[None]], code: int, autojump_clock: MockClock
) -> None:
    listener = Listener()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_server, handler, listener)
        ours, theirs = memory_stream_pair()
        listener.put(ours)
        client = Served()
        await client.run(theirs)
        assert client.close_code == code
        nursery.cancel_scope.cancel()
