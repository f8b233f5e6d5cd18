from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.endpoint.recorder import Recorder
from tests.protocol.wire import TEXT
from tests.server.world import (
    MemoryListener,
    ask,
    echo,
    records_of,
    request_bytes,
    shake_hands,
    upgrade_bytes,
)
from trio_wsendpoint import (
    ConnectionClosedError,
    Endpoint,
    HandshakeRejected,
    Request,
    Response,
    Server,
    ServerStatistics,
    broadcast,
    connect,
    open_http2,
    open_server,
    serve,
    serve_listeners,
)
from trio_wsendpoint.testing import WrappedStream

CODE = 1012


class Draining:
    """A server in memory that the test has drain.

    Attributes:
        listener: Where it listens.
        event: Has it drain.
        done: When it returned, or None.
    """

    def __init__(self) -> None:
        self.listener = MemoryListener()
        self.event = trio.Event()
        self.done: float | None = None

    async def run(self, handler: Any, *, task_status: Any, **options: Any) -> None:
        listeners = [self.listener]
        options = {"drain": self.event, **options}
        await serve_listeners(handler, listeners, task_status=task_status, **options)
        assert self.listener.is_closed
        self.done = trio.current_time()


@asynccontextmanager
async def draining(handler: Any = echo, **options: Any) -> AsyncIterator[Draining]:
    options.setdefault("ping_interval", float("inf"))
    server = Draining()
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(server.run, handler, **options))
            yield server
    assert server.done is not None


# -- idle endpoints -----------------------------------------------------------------------


async def test_a_server_with_no_connection_returns_at_once(autojump_clock: MockClock) -> None:
    async with draining() as server:
        start = trio.current_time()
        server.event.set()
    assert server.done == start


async def test_one_that_is_told_before_it_begins_returns_too(autojump_clock: MockClock) -> None:
    drain = trio.Event()
    drain.set()
    await serve(echo, 0, host="127.0.0.1", drain=drain)


async def test_idle_endpoints_are_closed_at_once(
    autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    async with draining() as server:
        peers = [await shake_hands(server.listener.dial()) for _ in range(5)]
        await wait_all_tasks_blocked()
        start = trio.current_time()
        server.event.set()
        for peer in peers:
            close = await peer.receive_close()
            assert int.from_bytes(close.payload, "big") == CODE
            await peer.send_close(CODE)
            await peer.part()
    assert server.done == start
    assert {record.levelno for record in log.records} == {logging.DEBUG}


async def test_an_answer_under_way_is_not_lost(autojump_clock: MockClock) -> None:
    async def answer(endpoint: Endpoint) -> None:
        async for message in endpoint:
            await trio.sleep(5)
            await endpoint.send(message)

    async with draining(answer) as server:
        peer = await shake_hands(server.listener.dial())
        await peer.send(TEXT, b"one")
        await peer.send(TEXT, b"two")
        await wait_all_tasks_blocked()
        server.event.set()
        await peer.expect(TEXT, b"one")
        await peer.expect(TEXT, b"two")
        await peer.answer_close()
    assert server.done == 10


@pytest.mark.parametrize("code", [1001, 4000])
async def test_the_code_may_be_another(code: int, autojump_clock: MockClock) -> None:
    async with (
        draining(drain_code=code) as server,
        connect("ws://localhost", stream=server.listener.dial()) as client,
    ):
        server.event.set()
        with pytest.raises(Exception, match=str(code)):
            await client.receive()


async def test_handlers_that_only_send_are_told_by_an_event(autojump_clock: MockClock) -> None:
    async def tick(endpoint: Endpoint) -> None:
        while not endpoint.draining.is_set():
            await endpoint.send("tick")
            with trio.move_on_after(1):
                await endpoint.draining.wait()
        await endpoint.aclose(1001, "enough")

    async with draining(tick) as server:
        peer = await shake_hands(server.listener.dial())
        await trio.sleep(2.5)
        server.event.set()
        close = await peer.receive_close()
        assert close.payload == (1001).to_bytes(2, "big") + b"enough"
        await peer.send_close(1001)
        await peer.part()
    assert server.done == 2.5


async def test_what_a_handler_does_with_a_closed_endpoint_is_no_error(
    autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    async def insist(endpoint: Endpoint) -> None:
        while True:
            await endpoint.receive()

    async def insist_in_a_group(endpoint: Endpoint) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(insist, endpoint)

    for handler in (insist, insist_in_a_group):
        async with draining(handler) as server:
            peer = await shake_hands(server.listener.dial())
            await wait_all_tasks_blocked()
            server.event.set()
            await peer.answer_close()
    assert {record.levelno for record in log.records} == {logging.DEBUG}


async def test_a_closed_resource_of_another_kind_is_an_error(
    autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    async def fail(endpoint: Endpoint) -> None:
        raise trio.ClosedResourceError("a file of mine")

    recorder = Recorder()
    async with draining(fail, instrument=recorder) as server:
        peer = await shake_hands(server.listener.dial())
        await peer.answer_close()
        server.event.set()
    assert [record.levelno for record in records_of(log) if record.levelno > logging.INFO] == [
        logging.ERROR
    ]
    [(_, error)] = recorder.named("handler_failed")
    assert str(error) == "a file of mine"


# -- what does not come to an end ---------------------------------------------------------


async def test_what_is_left_at_the_end_of_the_time_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    async def stay(endpoint: Endpoint) -> None:
        await trio.sleep_forever()

    async with draining(stay, drain_timeout=7) as server:
        peer = await shake_hands(server.listener.dial())
        await wait_all_tasks_blocked()
        server.event.set()
        close = await peer.receive_close()
        assert trio.current_time() == 7
        assert int.from_bytes(close.payload, "big") == CODE
        await peer.send_close(CODE)
        await peer.part()
    assert server.done == 7


async def test_a_closing_handshake_that_is_not_answered_is_cut_short(
    autojump_clock: MockClock,
) -> None:
    async with draining(drain_timeout=7, close_timeout=100, cancel_timeout=2) as server:
        await shake_hands(server.listener.dial())
        await wait_all_tasks_blocked()
        server.event.set()
    assert server.done == 9


async def test_cancelled_while_it_drains_it_closes_with_the_same_code(
    autojump_clock: MockClock,
) -> None:
    async def stay(endpoint: Endpoint) -> None:
        await trio.sleep_forever()

    event, listener = trio.Event(), MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, stay, [listener], drain=event))
        peer = await shake_hands(listener.dial())
        event.set()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            close = await peer.receive_close()
            assert int.from_bytes(close.payload, "big") == CODE
            await peer.aclose()


# -- handshakes ---------------------------------------------------------------------------


async def test_a_handshake_under_way_is_answered_with_503(autojump_clock: MockClock) -> None:
    recorder = Recorder()

    async def decide(request: Request) -> Response | None:
        await trio.sleep(3)
        return Response.text("well") if request.path == "/health" else None

    answers: dict[str, int] = {}

    async def send(stream: trio.abc.Stream, name: str, request: bytes) -> None:
        answers[name] = (await ask(stream, request)).status_code

    async with (
        draining(on_request=decide, instrument=recorder) as server,
        trio.open_nursery() as nursery,
    ):
        late = server.listener.dial()
        nursery.start_soon(send, server.listener.dial(), "websocket", upgrade_bytes("/x"))
        nursery.start_soon(send, server.listener.dial(), "page", request_bytes("/health"))
        await wait_all_tasks_blocked()
        server.event.set()
        await wait_all_tasks_blocked()
        nursery.start_soon(send, late, "late", upgrade_bytes())
    assert answers == {"websocket": 503, "page": 200, "late": 503}
    assert [refused[:2] for refused in recorder.named("handshake_refused")] == [
        ("/", 503),
        ("/x", 503),
    ]


async def test_a_connection_without_a_request_holds_nothing_up(
    autojump_clock: MockClock,
) -> None:
    async with draining(handshake_timeout=500) as server:
        stream = server.listener.dial()
        await wait_all_tasks_blocked()
        server.event.set()
        assert await stream.receive_some() == b""
    assert server.done == 1


class TellingStream(WrappedStream):
    """Sets an event when something is written."""

    def __init__(self, stream: trio.abc.Stream, event: trio.Event) -> None:
        super().__init__(stream)
        self.event = event

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.event.set()
        await wait_all_tasks_blocked()
        await super().send_all(data)


async def test_one_that_opens_at_the_last_moment_is_drained(autojump_clock: MockClock) -> None:
    async with draining() as server:
        ours, theirs = memory_stream_pair()
        # The event is set as the 101 is written, when the decision has been made.
        server.listener.hand_in(TellingStream(theirs, server.event))
        peer = await shake_hands(ours)
        await peer.answer_close()
        assert int.from_bytes(peer.frames[-1].payload, "big") == CODE


async def test_handlers_in_a_nursery_of_the_applications_are_drained_too(
    autojump_clock: MockClock,
) -> None:
    event, listener = trio.Event(), MemoryListener()

    async def stay(endpoint: Endpoint) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as handlers:
        async with trio.open_nursery() as nursery:
            run = partial(
                serve_listeners, handler_nursery=handlers, drain=event, drain_timeout=5
            )
            await nursery.start(run, stay, [listener])
            peer = await shake_hands(listener.dial())
            event.set()
            await peer.answer_close()
        assert trio.current_time() == 5
        assert not handlers.cancel_scope.cancel_called


# -- open_server --------------------------------------------------------------------------


def url_of(server: Server) -> str:
    host, port = server.listeners[0].socket.getsockname()[:2]
    return f"ws://{host}:{port}"


async def test_a_server_that_is_held_tells_how_it_stands() -> None:
    async with open_server(echo, 0, host="127.0.0.1") as server:
        assert server.statistics() == ServerStatistics(0, 0, 0)
        assert server.endpoints == frozenset()
        async with connect(url_of(server)) as client:
            await client.send("hello")
            await client.receive()
            assert server.statistics() == ServerStatistics(1, 0, 1)
            [endpoint] = server.endpoints
            assert endpoint.request.path == "/"
            await endpoint.send("from outside")
            assert await client.receive() == "from outside"


async def test_to_drain_it_returns_when_all_is_done() -> None:
    async with open_server(echo, 0, host="127.0.0.1") as server:
        url = url_of(server)
        async with connect(url) as client:
            await client.send("hello")
            await client.receive()
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(server.drain)
                with pytest.raises(ConnectionClosedError) as caught:
                    await client.receive()
        assert caught.value.code == CODE
        assert server.statistics() == ServerStatistics(0, 0, 1)
        with pytest.raises(OSError, match="connect"):
            await connect(url).__aenter__()
        await server.drain()


async def test_a_wait_for_draining_that_is_cancelled_lets_it_go_on() -> None:
    async def leave_at_last(endpoint: Endpoint) -> None:
        await endpoint.draining.wait()
        await may_leave.wait()

    may_leave = trio.Event()
    async with (
        open_server(leave_at_last, 0, host="127.0.0.1") as server,
        connect(url_of(server)) as client,
    ):
        with trio.move_on_after(0.01) as scope:
            await server.drain()
        assert scope.cancelled_caught
        may_leave.set()
        await client.wait_closed()
        await server.drain()


async def test_to_leave_it_cancels_what_is_left() -> None:
    async with trio.open_nursery() as nursery:
        got = trio.Event()

        async def stay(url: str) -> None:
            async with connect(url) as client:
                await client.send("hello")
                await client.receive()
                got.set()
                with pytest.raises(Exception, match="1001"):
                    await client.receive()

        async with open_server(echo, 0, host="127.0.0.1") as server:
            nursery.start_soon(stay, url_of(server))
            await got.wait()


async def test_an_exception_of_the_application_leaves_it_as_it_is() -> None:
    with pytest.raises(ValueError, match=r"^mine$"):
        async with open_server(echo, 0, host="127.0.0.1"):
            raise ValueError("mine")
    with pytest.raises(KeyboardInterrupt):
        async with open_server(echo, 0, host="127.0.0.1"):
            raise KeyboardInterrupt
    with trio.move_on_after(0) as scope:
        async with open_server(echo, 0, host="127.0.0.1"):
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_it_drains_by_an_event_too() -> None:
    drain = trio.Event()
    async with open_server(echo, 0, host="127.0.0.1", drain=drain) as server:
        async with connect(url_of(server)) as client:
            drain.set()
            with pytest.raises(ConnectionClosedError, match=str(CODE)):
                await client.receive()
        await server.drain()


# -- bad arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"drain": True}, TypeError, "drain must be a trio.Event or None, not bool"),
        ({"drain_timeout": -1}, ValueError, "drain_timeout must be at least 0 seconds"),
        ({"drain_timeout": None}, TypeError, "drain_timeout must be seconds, not None"),
        ({"drain_code": "1012"}, TypeError, "drain_code must be an int, not str"),
        ({"drain_code": True}, TypeError, "drain_code must be an int, not bool"),
        ({"drain_code": 1006}, ValueError, "drain_code: .*1006"),
        ({"max_pings": 0}, ValueError, "max_pings must be at least 1"),
    ],
)
async def test_bad_options_are_refused(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await serve(echo, 0, **options)
    with pytest.raises(error, match=says):
        await open_server(echo, 0, **options).__aenter__()


async def test_bad_addresses_are_refused() -> None:
    with pytest.raises(ValueError, match="port must be 0 to 65535, not 65536"):
        await open_server(echo, 65536).__aenter__()


# -- HTTP/2 -------------------------------------------------------------------------------


async def test_endpoints_on_http2_are_drained_and_their_connections_closed() -> None:
    recorder = Recorder()
    with trio.fail_after(60):
        async with open_server(
            echo, 0, host="127.0.0.1", http2=True, instrument=recorder
        ) as server:
            _, port = server.listeners[0].socket.getsockname()[:2]
            async with (
                open_http2(f"http://127.0.0.1:{port}") as session,
                session.connect() as first,
                session.connect() as second,
            ):
                await first.send("hello")
                assert await first.receive() == "hello"
                assert broadcast(server.endpoints, "tick").sent == 2
                assert await first.receive() == await second.receive() == "tick"
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(server.drain)
                    for endpoint in (first, second):
                        with pytest.raises(ConnectionClosedError, match=str(CODE)):
                            await endpoint.receive()
                        await endpoint.wait_closed()
    assert len(recorder.named("connection_closed")) == 2


async def test_a_refusal_on_http2_is_told_to_the_instrument() -> None:
    recorder = Recorder()

    async def refuse(_: Request) -> Response:
        return Response.text("no", 403)

    with trio.fail_after(60):
        async with open_server(
            echo, 0, host="127.0.0.1", http2=True, on_request=refuse, instrument=recorder
        ) as server:
            _, port = server.listeners[0].socket.getsockname()[:2]
            async with open_http2(f"http://127.0.0.1:{port}") as session:
                with pytest.raises(HandshakeRejected):
                    await session.connect("/x").__aenter__()
    assert [told[:2] for told in recorder.named("handshake_refused")] == [("/x", 403)]
