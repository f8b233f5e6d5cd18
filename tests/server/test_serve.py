from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.conftest import TLSContexts
from tests.endpoint.peer import Peer
from tests.protocol.wire import TEXT
from tests.server.world import (
    HEAD,
    LOGGER,
    TLS_HELLO,
    MemoryListener,
    assert_alive,
    echo,
    records_of,
    serving,
    shake_hands,
)
from trio_wsendpoint import (
    CloseFrame,
    ConnectionClosedOK,
    Endpoint,
    HandshakeRejected,
    Role,
    connect,
    serve,
    serve_listeners,
)

# -- over TCP -----------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
async def test_the_handler_is_called_for_each_connection(
    secure: bool, tls_contexts: TLSContexts
) -> None:
    called: list[Endpoint] = []

    async def handler(endpoint: Endpoint) -> None:
        called.append(endpoint)
        await echo(endpoint)

    server_context = tls_contexts.server if secure else None
    client_context = tls_contexts.client if secure else None
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(serve, handler, 0, host="127.0.0.1", ssl_context=server_context)
        )
        assert [type(listener) for listener in listeners] == [trio.SocketListener]
        port = listeners[0].socket.getsockname()[1]
        url = f"{'wss' if secure else 'ws'}://127.0.0.1:{port}/chat"
        for number in range(3):
            async with connect(url, ssl_context=client_context) as client:
                await client.send(b"x" * 2**17)
                assert await client.receive() == b"x" * 2**17
                assert client.remote_address == ("127.0.0.1", port)
                assert len(called) == number + 1
                assert called[number].remote_address == client.local_address
        assert len(set(called)) == 3
        nursery.cancel_scope.cancel()
    assert listeners[0].socket.fileno() == -1


async def test_host_and_backlog_are_those_of_the_listeners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    open_tcp_listeners = trio.open_tcp_listeners

    async def open_them(port: int, **options: Any) -> list[trio.SocketListener]:
        asked.append((port, options))
        return await open_tcp_listeners(port, **options)

    monkeypatch.setattr(trio, "open_tcp_listeners", open_them)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, echo, 0, host="127.0.0.1", backlog=7))
        nursery.cancel_scope.cancel()
    assert asked == [(0, {"host": "127.0.0.1", "backlog": 7})]


async def test_an_address_that_is_taken_is_an_error_of_the_system() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve, echo, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await serve(echo, port, host="127.0.0.1")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"handler": "echo"}, TypeError, "handler"),
        ({"ssl_context": "x"}, TypeError, "ssl_context"),
        ({"ssl_context": ssl.create_default_context()}, ValueError, "ssl_context"),
        ({"port": "80"}, TypeError, "port"),
        ({"port": True}, TypeError, "port"),
        ({"port": -1}, ValueError, "port"),
        ({"port": 65536}, ValueError, "port"),
        ({"host": 127}, TypeError, "host"),
        ({"max_pings": 0}, ValueError, "max_pings"),
        ({"handshake_timeout": "1"}, TypeError, "handshake_timeout"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols"),
        ({"headers": [("X-A", "a\r\nb: c")]}, ValueError, "headers"),
        ({"headers": [("Upgrade", "x")]}, ValueError, "headers"),
        ({"nonsense": 1}, TypeError, r"serve\(\) got .* 'nonsense'"),
    ],
)
async def test_a_bad_argument_is_refused_before_anything_is_listened_on(
    arguments: dict[str, Any],
    error: type[Exception],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def open_none(*_: object, **__: object) -> None:
        raise AssertionError("it listens")

    monkeypatch.setattr(trio, "open_tcp_listeners", open_none)
    with pytest.raises(error, match=says):
        await serve(**{"handler": echo, "port": 0, **arguments})


async def test_serve_listeners_refuses_bad_arguments_in_its_own_name() -> None:
    listener = MemoryListener()
    with pytest.raises(TypeError, match=r"serve_listeners\(\) got .* 'nonsense'"):
        await serve_listeners(echo, [listener], nonsense=1)  # type: ignore[call-arg]
    assert not listener.is_closed


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"listeners": 5}, TypeError, "listeners"),
        ({"listeners": ["a listener"]}, TypeError, "listeners"),
        ({"listeners": []}, ValueError, "listeners"),
        ({"handler_nursery": "x"}, TypeError, "handler_nursery"),
    ],
)
async def test_serve_listeners_refuses_what_it_cannot_accept_from(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=f"^{says} must"):
        await serve_listeners(**{"handler": echo, "listeners": [MemoryListener()], **arguments})


# -- its handlers -------------------------------------------------------------------------


async def test_a_handler_that_returns_closes_the_connection(autojump_clock: MockClock) -> None:
    async def handler(endpoint: Endpoint) -> None:
        await endpoint.send("bye")

    async with (
        serving(handler) as listener,
        connect("ws://localhost/", stream=listener.dial()) as client,
    ):
        assert await client.receive() == "bye"
        with pytest.raises(ConnectionClosedOK) as caught:
            await client.receive()
        assert caught.value.code == 1000


async def test_a_handler_that_fails_is_logged_once_and_harms_nobody_else(
    log: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    ids: list[int] = []

    async def fail(endpoint: Endpoint) -> None:
        ids.append(endpoint.connection_id)
        if await endpoint.receive() == "fail":
            raise ZeroDivisionError("a fault")
        await endpoint.send("all well")
        await echo(endpoint)

    async with serving(fail) as listener:
        async with connect("ws://localhost/", stream=listener.dial()) as other:
            failing = await shake_hands(listener.dial())
            await failing.send(TEXT, b"fail")
            close = await failing.receive_close()
            assert close.code == 1011
            await failing.part()
            await other.send("x")
            assert await other.receive() == "all well"
        errors = [record for record in log.records if record.levelno >= logging.WARNING]
    (record,) = errors
    assert record.name == LOGGER
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert record.connection_id == ids[-1]  # type: ignore[attr-defined]
    assert record.peer is None  # type: ignore[attr-defined]


async def test_a_failure_is_logged_at_once_and_says_whose_it_was(
    log: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def fail(_: Endpoint) -> None:
        raise ZeroDivisionError

    async with serving(fail, close_timeout=10) as listener:
        stream = listener.dial()
        await stream.send_all(HEAD.replace(b"GET /", b"GET /room/%207?token=secret"))
        peer = Peer(stream, Role.CLIENT)
        assert b"101" in bytes(await stream.receive_some())
        await wait_all_tasks_blocked()
        # The closing handshake has hardly begun.
        (record,) = records_of(log)
        assert (await peer.receive_close()).code == 1011
        assert record.levelno == logging.ERROR
        assert record.getMessage() == (
            f"the handler of connection {record.connection_id} of an unknown address,"
            " /room/%207, failed"
        )
        await peer.part()
        await wait_all_tasks_blocked()
        assert records_of(log) == [record]


async def test_a_group_with_a_failure_is_logged_at_once_and_only_once(
    log: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def handler(endpoint: Endpoint) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(endpoint.receive)

    async with serving(handler) as listener:
        peer = await shake_hands(listener.dial())
        await wait_all_tasks_blocked()
        (record,) = records_of(log)
        assert isinstance(record.exc_info[1], ExceptionGroup)
        await peer.receive_close()
        await peer.part()
        await wait_all_tasks_blocked()
        assert records_of(log) == [record]


async def test_the_record_tells_the_address_of_the_peer(log: pytest.LogCaptureFixture) -> None:
    async def handler(_: Endpoint) -> None:
        raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve, handler, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/") as client:
            with pytest.raises(trio.BrokenResourceError):
                await client.receive()
            address = client.local_address
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    (record,) = records_of(log)
    assert record.peer == address
    assert " of 127.0.0.1, /, failed" in record.getMessage()


async def fail_to_send(endpoint: Endpoint) -> None:
    while True:
        await endpoint.send("x")
        await endpoint.receive()


async def fail_in_a_nursery(endpoint: Endpoint) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_to_send, endpoint)
        nursery.start_soon(endpoint.receive)


@pytest.mark.parametrize("handler", [fail_to_send, fail_in_a_nursery])
async def test_a_handler_that_does_not_catch_the_end_is_one_line(
    handler: Callable[[Endpoint], Awaitable[None]],
    log: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:
    async with serving(handler) as listener:
        peer = await shake_hands(listener.dial())
        await peer.send_close(1001)
        await peer.receive_close()
        await peer.part()
        await wait_all_tasks_blocked()
        (record,) = records_of(log)
    assert record.levelno == logging.INFO
    assert ", /, ended before its handler: " in record.getMessage()
    assert record.exc_info is None
    assert record.connection_id


async def test_a_peer_that_was_given_up_on_is_one_line(
    log: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving(echo, max_pings=1, ping_interval=5) as listener:
        await shake_hands(listener.dial())
        await trio.sleep(100)
        (record,) = records_of(log)
        await assert_alive(listener)
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert "unanswered" in record.getMessage()


async def test_a_handshake_that_a_handler_itself_has_failed_at_is_a_fault_of_it(
    log: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def handler(endpoint: Endpoint) -> None:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        async with connect("ws://backend/", stream=ours):
            raise AssertionError

    async with serving(handler) as listener:
        peer = await shake_hands(listener.dial())
        assert (await peer.receive_close()).code == 1011
        await peer.part()
        await wait_all_tasks_blocked()
        (record,) = records_of(log)
    assert record.levelno == logging.ERROR
    assert isinstance(record.exc_info[1], HandshakeRejected)


async def test_what_fails_beside_the_handler_is_logged_too(
    log: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    async with serving(echo, on_data_frame=fail) as listener:
        peer = await shake_hands(listener.dial())
        await peer.send(TEXT, b"x")
        assert (await peer.receive_close()).code == 1011
        await peer.part()
        await wait_all_tasks_blocked()
        (record,) = records_of(log)
    assert record.levelno == logging.ERROR
    assert isinstance(record.exc_info[1], ZeroDivisionError)


async def test_a_handler_that_fails_when_cancelled_does_not_fail_the_server(
    log: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def fail_in_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async def handler(endpoint: Endpoint) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_in_the_end)
            nursery.start_soon(endpoint.receive)

    async with serving(handler) as listener:
        await shake_hands(listener.dial())
        await wait_all_tasks_blocked()
    (record,) = records_of(log)
    assert record.levelno == logging.ERROR
    assert isinstance(record.exc_info[1], ExceptionGroup)


async def test_a_handler_that_is_interrupted_interrupts_the_server(
    autojump_clock: MockClock,
) -> None:
    async def interrupt() -> None:
        raise KeyboardInterrupt

    async def handler(endpoint: Endpoint) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt)

    async def run() -> None:
        async with serving(handler) as listener:
            await shake_hands(listener.dial())
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await run()
    assert caught.group_contains(KeyboardInterrupt)


async def test_handlers_may_run_in_a_nursery_of_the_caller(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as handlers:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(serve_listeners, echo, [listener], handler_nursery=handlers)
            )
            stream = listener.dial()
            peer = await shake_hands(stream)
            nursery.cancel_scope.cancel()
        assert listener.is_closed
        await peer.send(TEXT, b"x")
        await peer.expect(TEXT, b"x")
        await peer.close()


# -- clients that are none ----------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x00\xff" * 50, b"SSH-2.0-x\r\n", TLS_HELLO, HEAD[:60], HEAD.replace(b"13", b"8")],
    ids=["nothing", "noise", "SSH", "TLS", "half a request", "another version"],
)
async def test_what_is_no_client_is_one_line_at_debug(
    garbage: bytes, log: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving(echo) as listener:
        scanner = listener.dial()
        if garbage:
            await scanner.send_all(garbage)
        await scanner.aclose()
        await wait_all_tasks_blocked()
        (record,) = records_of(log)
        assert record.levelno == logging.DEBUG
        assert record.exc_info is None
        assert record.getMessage().startswith("no connection was opened: ")
        assert len(record.getMessage().splitlines()) == 1
        await assert_alive(listener)
    assert [entry for entry in log.records if entry.levelno > logging.DEBUG] == []


@pytest.mark.parametrize("sent", [b"", HEAD, b"\x00" * 100, TLS_HELLO])
@pytest.mark.parametrize("closing", [trio.aclose_forcefully, trio.SocketStream.send_eof])
async def test_what_is_no_client_of_tls_is_one_line_at_debug(
    sent: bytes,
    closing: Callable[[trio.SocketStream], Awaitable[None]],
    log: pytest.LogCaptureFixture,
    tls_contexts: TLSContexts,
) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(serve, echo, 0, host="127.0.0.1", ssl_context=tls_contexts.server)
        )
        address = listeners[0].socket.getsockname()
        scanner = await trio.open_tcp_stream(*address)
        ours = scanner.socket.getsockname()
        await scanner.send_all(sent or b"")
        await closing(scanner)
        while not (records := records_of(log)):
            await wait_all_tasks_blocked()
        await scanner.aclose()
        async with connect(
            f"wss://127.0.0.1:{address[1]}/", ssl_context=tls_contexts.client
        ) as client:
            await client.send("x")
            assert await client.receive() == "x"
        nursery.cancel_scope.cancel()
    (record,) = records
    assert record.levelno == logging.DEBUG
    assert record.exc_info is None
    assert "TLS" in record.getMessage() or "stream" in record.getMessage()
    assert record.peer == ours


@pytest.mark.parametrize("sent", [b"", HEAD[:-1], b"GET / HT"])
async def test_a_client_that_does_not_finish_is_left_after_the_timeout(
    sent: bytes, log: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving(echo, handshake_timeout=7) as listener:
        stream = listener.dial()
        if sent:
            await stream.send_all(sent)
        start = trio.current_time()
        while await stream.receive_some():
            pass
        assert trio.current_time() - start == 7
        await wait_all_tasks_blocked()
        (record,) = records_of(log)
    assert record.levelno == logging.DEBUG
    assert "7 seconds" in record.getMessage()


# -- its end ------------------------------------------------------------------------------


@pytest.mark.parametrize("deaf", [0, 30])
async def test_cancelled_it_closes_all_endpoints_side_by_side(
    deaf: int, autojump_clock: MockClock
) -> None:
    closes: list[CloseFrame] = []

    async def see_the_close(peer: Peer) -> None:
        close = await peer.receive_close()
        closes.append(close)
        await peer.send_close(close.code)
        await peer.part()

    async with trio.open_nursery() as nursery:
        async with serving(echo, cancel_timeout=2) as listener:
            peers = [await shake_hands(listener.dial()) for _ in range(100)]
            halfway = listener.dial()
            await halfway.send_all(HEAD[:-10])
            await wait_all_tasks_blocked()
            for peer in peers[deaf:]:
                nursery.start_soon(see_the_close, peer)
            start = trio.current_time()
        took = trio.current_time() - start
    assert [close.code for close in closes] == [1001] * (100 - deaf)
    assert took == (2 if deaf else 0)
    assert await halfway.receive_some() == b""


async def test_cancelled_it_does_not_wait_for_peers_that_do_not_read(
    autojump_clock: MockClock,
) -> None:
    async def flood(endpoint: Endpoint) -> None:
        while True:
            await endpoint.send(b"x" * 2**20)

    streams: list[trio.SocketStream] = []
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(serve, flood, 0, host="127.0.0.1", cancel_timeout=3)
        )
        for _ in range(10):
            stream = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
            await stream.send_all(HEAD)
            streams.append(stream)
        await trio.sleep(1)
        start = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - start <= 3
    for stream in streams:
        await stream.aclose()
