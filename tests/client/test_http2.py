"""WebSockets over HTTP/2 as a client: `open_http2`, and pools of connections."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import (
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.client.proxies import running_proxy, speak_http
from tests.conftest import TLSContexts
from tests.http2.both import open_both
from tests.http2.raw import RawPeer
from tests.http2.servers import echo, open_server
from trio_wsendpoint import (
    Backoff,
    ConnectionClosedError,
    Endpoint,
    HandshakeError,
    HandshakeRejected,
    HandshakeTimeout,
    Http2Session,
    PermessageDeflate,
    Request,
    Response,
    connect,
    open_http2,
    open_http2_pool,
    reconnecting,
    serve,
)
from trio_wsendpoint.client.http2_pool import Http2Pool
from trio_wsendpoint.client.url import parse_url
from trio_wsendpoint.http2 import Http2Connection, NotOverHttp2
from trio_wsendpoint.http2.connection import PING_TIMEOUT, SILENCE
from trio_wsendpoint.protocol import MAX_BODY_SIZE, ClientHandshake, ServerHandshake

LONG = 60


@asynccontextmanager
async def open_http11_server(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that speaks HTTP/1.1 only, and its port."""
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(
            lambda task_status: serve(
                echo, 0, host="127.0.0.1", ssl_context=context, task_status=task_status
            )
        )
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_scripted_server(
    serve_stream: Callable[[RawPeer], Any],
) -> AsyncIterator[int]:
    """A server that plays what it wants on each connection, and its port."""

    async def play(stream: trio.abc.Stream) -> None:
        async with stream:
            peer = RawPeer(stream)
            await peer.receive_preface()
            await serve_stream(peer)
            await peer.receive_all()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, play, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


# -- one connection -----------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_many_websockets_share_a_connection(scheme: str) -> None:
    connections: list[Http2Connection] = []
    with trio.fail_after(LONG):
        async with (
            open_server(connections=connections) as port,
            open_http2(f"{scheme}://127.0.0.1:{port}") as session,
            session.connect("/one") as one,
            session.connect("/two?x=y") as two,
        ):
            await one.send("1")
            await two.send(b"2")
            assert (await one.receive(), await two.receive()) == ("1", b"2")
            assert one.local_address == two.local_address
            assert one.remote_address == ("127.0.0.1", port)
            assert two.request is not None
            assert two.request.target == "/two?x=y"
    assert len(connections) == 1


@pytest.mark.parametrize("scheme", ["https", "wss", "HTTPS"])
async def test_over_tls_alpn_chooses_http2(scheme: str, tls_contexts: TLSContexts) -> None:
    with trio.fail_after(LONG):
        async with (
            open_server(ssl_context=tls_contexts.server) as port,
            open_http2(
                f"{scheme}://localhost:{port}", ssl_context=tls_contexts.client
            ) as session,
            session.connect() as endpoint,
        ):
            await endpoint.send("hello")
            assert await endpoint.receive() == "hello"


async def test_the_options_of_a_handshake_are_those_of_connect() -> None:
    handshake = ServerHandshake(
        subprotocols=["chat"], headers=[("X", "y")], extensions=[PermessageDeflate()]
    )
    with trio.fail_after(LONG):
        async with (
            open_server(handshake=handshake, extensions=[PermessageDeflate()]) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
            session.connect(
                subprotocols=["other", "chat"],
                headers=[("X-Token", "t")],
                extensions=[PermessageDeflate()],
            ) as endpoint,
        ):
            assert endpoint.subprotocol == "chat"
            assert endpoint.response is not None
            assert endpoint.response.header("X") == "y"
            assert endpoint.request is not None
            assert endpoint.request.header("X-Token") == "t"
            await endpoint.send("compressed " * 100)
            assert await endpoint.receive() == "compressed " * 100


async def test_a_rejection_has_its_status_and_body() -> None:
    with trio.fail_after(LONG):
        async with (
            open_server(refusal=Response(403, [("X", "y")], b"keep out\n")) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):
            with pytest.raises(HandshakeRejected) as caught:
                async with session.connect():
                    pass
            assert (caught.value.status_code, caught.value.body) == (403, b"keep out\n")
            assert session.is_open


async def test_a_server_that_takes_no_websockets_over_http2_is_told_apart() -> None:
    async def plain(peer: RawPeer) -> None:
        await peer.send(SettingsFrame(0))

    with trio.fail_after(LONG):
        async with (
            open_scripted_server(plain) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):
            with pytest.raises(NotOverHttp2, match="SETTINGS_ENABLE_CONNECT_PROTOCOL"):
                async with session.connect():
                    pass


@pytest.mark.parametrize("secure", [False, True])
async def test_a_server_that_does_not_speak_http2_is_told_apart(
    secure: bool, tls_contexts: TLSContexts
) -> None:
    server = tls_contexts.server if secure else None
    if server is not None:
        server.set_alpn_protocols(["http/1.1"])
    client = tls_contexts.client if secure else None
    with trio.fail_after(LONG):
        async with open_http11_server(server) as port:
            url = f"{'https' if secure else 'http'}://localhost:{port}"
            with pytest.raises(HandshakeError, match="does not speak HTTP/2"):
                async with open_http2(url, ssl_context=client):
                    pass


async def test_a_silent_server_is_not_waited_for(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()
    with pytest.raises(HandshakeTimeout):
        async with open_http2("http://localhost", stream=near, handshake_timeout=5):
            pass
    # 5 seconds, and one for the goodbye.
    assert trio.current_time() <= 6
    await far.aclose()


async def test_a_handshake_that_gets_no_answer_resets_its_stream(
    autojump_clock: MockClock,
) -> None:
    near, far = memory_stream_pair()
    peer = RawPeer(far)

    async def play() -> None:
        await peer.receive_preface()
        await peer.send(SettingsFrame(0, settings={8: 1}))
        await peer.receive_all()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play)
        async with open_http2("https://localhost", stream=near) as session:
            with pytest.raises(HandshakeTimeout):
                async with session.connect(handshake_timeout=3):
                    pass
            assert trio.current_time() == 3
        await far.send_eof()
    resets = [each for each in peer.frames if isinstance(each, RstStreamFrame)]
    assert [reset.error_code for reset in resets] == [ErrorCodes.CANCEL]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([(":status", "2000")], "malformed: :status"),
        ([(":status", "200"), ("connection", "close")], "only for HTTP/1.1"),
        ([(":status", "200"), ("sec-websocket-protocol", "x")], "none that was asked for"),
    ],
)
async def test_a_wrong_answer_is_told_and_resets_the_stream(
    answer: list[tuple[str, str]], message: str
) -> None:
    resets: list[int] = []

    async def play(peer: RawPeer) -> None:
        await peer.send(SettingsFrame(0, settings={8: 1}))
        request = await peer.expect(HeadersFrame)
        await peer.send(peer.headers(request.stream_id, answer))
        resets.append((await peer.expect(RstStreamFrame)).error_code)

    with trio.fail_after(LONG):
        async with (
            open_scripted_server(play) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):
            with pytest.raises(HandshakeError, match=message):
                async with session.connect():
                    pass
            await wait_until(lambda: bool(resets))
    assert resets == [ErrorCodes.CANCEL]


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.01)


@pytest.mark.parametrize("code", [ErrorCodes.REFUSED_STREAM, ErrorCodes.INTERNAL_ERROR])
async def test_a_stream_that_is_reset_is_no_handshake(code: ErrorCodes) -> None:
    async def play(peer: RawPeer) -> None:
        await peer.send(SettingsFrame(0, settings={8: 1}))
        request = await peer.expect(HeadersFrame)
        await peer.send(RstStreamFrame(request.stream_id, error_code=code))

    with trio.fail_after(LONG):
        async with (
            open_scripted_server(play) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):
            with pytest.raises(HandshakeError, match=code.name) as caught:
                async with session.connect():
                    pass
            refused = code is ErrorCodes.REFUSED_STREAM
            assert caught.value.status_code == (503 if refused else 400)


async def test_a_rejection_keeps_what_came_of_its_body() -> None:
    async def play(peer: RawPeer) -> None:
        await peer.send(SettingsFrame(0, settings={8: 1}))
        for fields in ([(":status", "404")], [(":status", "304")]):
            request = await peer.expect(HeadersFrame)
            await peer.send(peer.headers(request.stream_id, fields))
            await peer.send_data(request.stream_id, b"cut o")
            await peer.send(RstStreamFrame(request.stream_id))

    with trio.fail_after(LONG):
        async with (
            open_scripted_server(play) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):
            for status in (404, 304):
                with pytest.raises(HandshakeRejected) as caught:
                    async with session.connect():
                        pass
                assert caught.value.status_code == status


async def test_of_a_long_rejection_the_beginning_is_kept() -> None:
    refusal = Response(403, (), b"x" * (MAX_BODY_SIZE + 1000))
    with trio.fail_after(LONG):
        async with (
            open_server(refusal=refusal) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):
            with pytest.raises(HandshakeRejected) as caught:
                async with session.connect():
                    pass
            assert caught.value.body == b"x" * MAX_BODY_SIZE


async def test_a_dial_that_takes_too_long_is_given_up(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dial(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", dial)
    with pytest.raises(HandshakeTimeout):
        async with open_http2("http://localhost"):
            pass


async def test_a_server_whose_certificate_is_not_valid_is_refused(
    tls_contexts: TLSContexts,
) -> None:
    with trio.fail_after(LONG):
        async with open_server(ssl_context=tls_contexts.server) as port:
            with pytest.raises(HandshakeError, match="certificate"):
                async with open_http2(f"https://localhost:{port}"):
                    pass


async def test_one_more_than_the_server_allows_waits_for_its_turn() -> None:
    with trio.fail_after(LONG):
        async with (
            open_server(max_streams=1) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):
            async with session.connect():
                with pytest.raises(HandshakeTimeout):
                    async with session.connect(handshake_timeout=0.05):
                        pass
            async with session.connect() as endpoint:
                await endpoint.send("at last")
                assert await endpoint.receive() == "at last"


async def test_a_server_that_goes_away_takes_no_more_but_ends_what_it_has() -> None:
    connections: list[Http2Connection] = []
    with trio.fail_after(LONG):
        async with (
            open_server(connections=connections) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
            session.connect() as endpoint,
        ):
            connections[0].go_away()
            await wait_until(lambda: not session.is_open)
            with pytest.raises(HandshakeError, match="going away"):
                async with session.connect():
                    pass
            await endpoint.send("still")
            assert await endpoint.receive() == "still"


async def test_a_lost_connection_ends_all_that_is_on_it() -> None:
    with trio.fail_after(LONG):
        async with (
            open_server() as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):
            async with session.connect() as endpoint:
                await trio.aclose_forcefully(session._connection._stream)
                with pytest.raises(ConnectionClosedError) as caught:
                    await endpoint.receive()
            assert caught.value.code == 1006
            with pytest.raises(HandshakeError, match="the connection was lost"):
                async with session.connect():
                    pass


async def test_when_the_session_is_left_what_is_open_on_it_breaks() -> None:
    async def talk(
        session: Http2Session, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with session.connect() as endpoint:
            task_status.started()
            with pytest.raises(ConnectionClosedError):
                await endpoint.receive()

    with trio.fail_after(LONG):
        async with (
            open_server() as port,
            trio.open_nursery() as nursery,
            open_http2(f"http://127.0.0.1:{port}") as session,
        ):
            await nursery.start(talk, session)


async def test_the_exception_of_the_body_comes_out_as_it_is() -> None:
    async def fail(port: int) -> None:
        async with open_http2(f"http://127.0.0.1:{port}") as session, session.connect():
            raise KeyError("mine")

    with trio.fail_after(LONG):
        async with open_server() as port:
            with pytest.raises(KeyError):
                await fail(port)


# -- pools --------------------------------------------------------------------------------


async def test_a_pool_shares_one_connection_for_a_server() -> None:
    connections: list[Http2Connection] = []

    async def talk(url: str, pool: Http2Pool) -> None:
        async with connect(url, http2=pool) as endpoint:
            await endpoint.send("hello")
            assert await endpoint.receive() == "hello"

    with trio.fail_after(LONG):
        async with open_server(connections=connections) as port, open_http2_pool() as pool:
            async with trio.open_nursery() as nursery:
                for number in range(30):
                    nursery.start_soon(talk, f"ws://127.0.0.1:{port}/{number}", pool)
            await talk(f"ws://127.0.0.1:{port}/later", pool)
            assert len(connections) == 1
    assert connections[0].ended


async def test_over_tls_a_pool_shares_one_too(tls_contexts: TLSContexts) -> None:
    connections: list[Http2Connection] = []
    with trio.fail_after(LONG):
        async with (
            open_server(ssl_context=tls_contexts.server, connections=connections) as port,
            open_http2_pool(ssl_context=tls_contexts.client) as pool,
            connect(f"wss://localhost:{port}", http2=pool) as one,
            connect(f"wss://localhost:{port}", http2=pool) as two,
        ):
            await one.send("1")
            await two.send("2")
            assert (await one.receive(), await two.receive()) == ("1", "2")
    assert len(connections) == 1


@pytest.mark.parametrize("secure", [False, True])
async def test_a_pool_falls_back_to_http11(secure: bool, tls_contexts: TLSContexts) -> None:
    server = tls_contexts.server if secure else None
    if server is not None:
        server.set_alpn_protocols(["http/1.1"])
    client = tls_contexts.client if secure else None
    with trio.fail_after(LONG):
        async with (
            open_http11_server(server) as port,
            open_http2_pool(ssl_context=client) as pool,
        ):
            url = f"{'wss' if secure else 'ws'}://localhost:{port}"
            for _ in range(2):
                async with connect(url, http2=pool) as endpoint:
                    await endpoint.send("hello")
                    assert await endpoint.receive() == "hello"


async def test_a_pool_asks_by_http11_where_http2_takes_no_websockets() -> None:
    """As a proxy in front of a server may do."""
    seen: list[bytes] = []

    async def play(stream: trio.abc.Stream) -> None:
        async with stream:
            first = bytes(await stream.receive_some(1000))
            seen.append(first[:3])
            if first.startswith(b"PRI"):
                peer = RawPeer(stream)
                await peer.send(SettingsFrame(0))
                await peer.receive_all()
            else:
                await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with trio.fail_after(LONG):
        async with trio.open_nursery() as nursery, open_http2_pool() as pool:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, play, listeners)
            port = listeners[0].socket.getsockname()[1]
            for _ in range(2):
                with pytest.raises(HandshakeRejected, match="403"):
                    async with connect(f"ws://127.0.0.1:{port}", http2=pool):
                        pass
            nursery.cancel_scope.cancel()
    assert seen == [b"PRI", b"GET", b"GET"]


async def test_two_who_find_out_at_once_that_there_is_no_http2_both_fall_back() -> None:
    async def talk(url: str, pool: Http2Pool) -> None:
        async with connect(url, http2=pool) as endpoint:
            await endpoint.send("hello")
            assert await endpoint.receive() == "hello"

    with trio.fail_after(LONG):
        async with (
            open_http11_server() as port,
            open_http2_pool() as pool,
            trio.open_nursery() as nursery,
        ):
            for _ in range(3):
                nursery.start_soon(talk, f"ws://127.0.0.1:{port}", pool)


async def test_a_server_of_http2_that_hangs_up_at_once_is_an_error(
    tls_contexts: TLSContexts,
) -> None:
    tls_contexts.server.set_alpn_protocols(["h2"])

    async def hang_up(stream: trio.abc.Stream) -> None:
        tls = trio.SSLStream(stream, tls_contexts.server, server_side=True)
        await tls.do_handshake()
        await trio.aclose_forcefully(tls)

    with trio.fail_after(LONG):
        async with (
            trio.open_nursery() as nursery,
            open_http2_pool(ssl_context=tls_contexts.client) as pool,
        ):
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, hang_up, listeners)
            port = listeners[0].socket.getsockname()[1]
            with pytest.raises(HandshakeError, match="does not speak HTTP/2"):
                async with connect(f"wss://localhost:{port}", http2=pool):
                    pass
            nursery.cancel_scope.cancel()


async def test_a_pool_opens_one_more_where_all_streams_are_taken() -> None:
    connections: list[Http2Connection] = []
    with trio.fail_after(LONG):
        async with (
            open_server(max_streams=2, connections=connections) as port,
            open_http2_pool() as pool,
            contextlib.AsyncExitStack() as stack,
        ):
            for _ in range(5):
                await stack.enter_async_context(connect(f"ws://127.0.0.1:{port}", http2=pool))
            assert len(connections) == 3


async def test_a_pool_opens_another_when_the_server_goes_away() -> None:
    connections: list[Http2Connection] = []
    with trio.fail_after(LONG):
        async with (
            open_server(connections=connections) as port,
            open_http2_pool() as pool,
        ):
            url = f"ws://127.0.0.1:{port}"
            async with connect(url, http2=pool) as old:
                connections[0].go_away()
                await old.ping()
                async with connect(url, http2=pool) as new:
                    assert len(connections) == 2
                    await old.send("old")
                    await new.send("new")
                    assert (await old.receive(), await new.receive()) == ("old", "new")
            await connections[0].wait_ended()
            assert not connections[1].ended


class PooledServer:
    """A server in memory that a pool dials, and that may die without a word.

    Attributes:
        dials: How often it was dialled.
        pings: How many PINGs it got.
        dead: Whether it does nothing more with the connections that it has.
        farewell: What it sends instead of an answer to PING.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.dials = 0
        self.pings = 0
        self.dead = False
        self.farewell: Frame | None = None

    async def dial(self) -> trio.abc.Stream:
        near, far = memory_stream_pair()
        self.dials += 1
        self.dead = False
        self._nursery.start_soon(self._play, RawPeer(far))
        return near

    async def _play(self, peer: RawPeer) -> None:
        await peer.receive_preface()
        await peer.send(SettingsFrame(0, settings={8: 1}))
        while (frame := await peer.receive()) is not None:
            if isinstance(frame, PingFrame):
                self.pings += 1
                if self.farewell is not None:
                    await peer.send(self.farewell)
            if self.dead:
                continue
            if isinstance(frame, PingFrame):
                await peer.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
            elif isinstance(frame, HeadersFrame):
                await peer.send(peer.headers(frame.stream_id, [(":status", "200")]))
        await peer.stream.aclose()

    async def establish(self, pool: Http2Pool) -> float:
        """Open a WebSocket, close it, and return how long it took."""
        start = trio.current_time()
        url, handshake = parse_url("ws://localhost"), ClientHandshake("localhost", "/")
        stream, _, _ = await pool.establish(url, handshake, self.dial, None)
        took = trio.current_time() - start
        await trio.aclose_forcefully(stream)
        await wait_all_tasks_blocked()
        return took


@asynccontextmanager
async def open_pooled_server() -> AsyncIterator[tuple[PooledServer, Http2Pool]]:
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery, open_http2_pool() as pool:
            yield PooledServer(nursery), pool


async def test_a_pool_asks_a_silent_server_whether_it_is_there(
    autojump_clock: MockClock,
) -> None:
    async with open_pooled_server() as (server, pool):
        await server.establish(pool)
        await trio.sleep(SILENCE - 1)
        assert await server.establish(pool) == 0
        assert server.pings == 0
        await trio.sleep(SILENCE)
        assert await server.establish(pool) == 0
        assert (server.dials, server.pings) == (1, 1)


async def test_a_pool_dials_anew_where_the_server_is_gone_without_a_word(
    autojump_clock: MockClock,
) -> None:
    async with open_pooled_server() as (server, pool):
        await server.establish(pool)
        server.dead = True
        await trio.sleep(SILENCE)
        assert await server.establish(pool) == PING_TIMEOUT
        assert (server.dials, server.pings) == (2, 1)
        # The dead one is not asked again.
        assert await server.establish(pool) == 0
        assert (server.dials, server.pings) == (2, 1)


async def test_a_pool_dials_anew_where_the_server_answers_that_it_goes_away(
    autojump_clock: MockClock,
) -> None:
    async with open_pooled_server() as (server, pool):
        await server.establish(pool)
        server.farewell = GoAwayFrame(0, last_stream_id=1)
        await trio.sleep(SILENCE)
        assert await server.establish(pool) == 0
        assert server.dials == 2


async def test_endpoints_of_a_pool_that_is_cancelled_still_say_goodbye() -> None:
    codes: list[int | None] = []

    async def handler(endpoint: Endpoint) -> None:
        await echo(endpoint)
        codes.append(endpoint.close_code)

    with trio.fail_after(LONG):
        async with open_server(handler) as port:
            with trio.CancelScope() as scope:
                async with (
                    open_http2_pool() as pool,
                    connect(f"ws://127.0.0.1:{port}", http2=pool) as endpoint,
                    connect(f"ws://127.0.0.1:{port}", http2=pool),
                ):
                    scope.cancel()
                    await endpoint.receive()
            assert scope.cancelled_caught
            await wait_until(lambda: len(codes) == 2)
    assert codes == [1001, 1001]


async def test_a_pool_that_was_closed_opens_nothing() -> None:
    with trio.fail_after(LONG):
        async with open_http2_pool() as pool:
            pass
        with pytest.raises(trio.ClosedResourceError, match="pool was closed"):
            async with connect("ws://127.0.0.1:1", http2=pool):
                pass


async def test_the_exception_of_a_pool_s_body_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with open_http2_pool():
            raise KeyError("mine")


async def test_where_nobody_listens_that_is_an_oserror() -> None:
    with trio.fail_after(LONG):
        async with open_http2_pool() as pool:
            with pytest.raises(OSError, match="connect"):
                async with connect("ws://127.0.0.1:1", http2=pool):
                    pass


async def test_a_pool_goes_through_a_proxy() -> None:
    with trio.fail_after(LONG):
        async with (
            open_both() as port,
            running_proxy(speak_http) as proxy,
            open_http2_pool() as pool,
        ):
            url = f"ws://127.0.0.1:{port}/"
            way = f"http://127.0.0.1:{proxy.port}"
            async with connect(url, http2=pool, proxy=way) as one:
                async with connect(url, http2=pool, proxy=way) as two:
                    await two.send("through it")
                    assert await two.receive() == "through it"
                async with connect(url, http2=pool, proxy=None) as three:
                    assert three.local_address != one.local_address
            assert proxy.asked_for == [f"127.0.0.1:{port}"]


async def test_redirects_are_followed_on_the_connections_of_a_pool() -> None:
    async def elsewhere(request: Request) -> Response | None:
        if request.path == "/old":
            return Response.redirect("/new", 307)
        return None

    with trio.fail_after(LONG):
        async with (
            open_both(on_request=elsewhere) as port,
            open_http2_pool() as pool,
            connect(f"ws://127.0.0.1:{port}/old", http2=pool) as endpoint,
        ):
            assert endpoint.request.target == "/new"
            with pytest.raises(HandshakeRejected, match="307"):
                async with connect(f"ws://127.0.0.1:{port}/old", http2=pool, max_redirects=0):
                    pass


async def test_a_client_stays_connected_through_a_pool() -> None:
    async def handler(endpoint: Endpoint) -> None:
        await endpoint.receive()
        await endpoint.aclose(1012 if endpoint.request.target == "/1" else 1000)

    numbers: list[int] = []
    with trio.fail_after(LONG):
        async with open_both(handler) as port, open_http2_pool() as pool:
            targets = iter(["/1", "/1", "/2"])
            async for attempt in reconnecting(
                lambda: f"ws://127.0.0.1:{port}{next(targets)}",
                http2=pool,
                backoff=Backoff(first=0, limit=0),
            ):
                async with attempt as endpoint:
                    numbers.append(attempt.number)
                    await endpoint.send("go on")
                    async for _ in endpoint:
                        pass
    assert numbers == [1, 2, 3]


# -- bad arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "arguments", "error", "message"),
    [
        (b"https://x", {}, TypeError, "url must be a str, not bytes"),
        ("ftp://x", {}, ValueError, "url must be of the form"),
        ("https://x/chat", {}, ValueError, "url must not have a path or query"),
        ("https://x/?q", {}, ValueError, "url must not have a path or query"),
        ("https://u:p@x", {}, ValueError, "url must not have a user name"),
        ("https://x", {"ssl_context": 1}, TypeError, "ssl_context must be an ssl.SSLContext"),
        ("http://x", {"ssl_context": "client"}, ValueError, "begins with https:// or wss://"),
        ("https://x", {"stream": 1}, TypeError, "stream must be a trio.abc.Stream, not int"),
        (
            "https://x",
            {"stream": "memory", "ssl_context": "client"},
            ValueError,
            "ssl_context must be None where there is a stream already",
        ),
        ("https://x", {"handshake_timeout": -1}, ValueError, "handshake_timeout must be at"),
        ("https://x", {"handshake_timeout": "1"}, TypeError, "handshake_timeout must be sec"),
    ],
)
async def test_open_http2_refuses_bad_arguments(
    url: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    if arguments.get("ssl_context") == "client":
        arguments["ssl_context"] = ssl.create_default_context()
    if arguments.get("stream") == "memory":
        arguments["stream"] = memory_stream_pair()[0]
    with pytest.raises(error, match=message):
        async with open_http2(url, **arguments):
            pass


async def test_a_pool_refuses_bad_arguments(tls_contexts: TLSContexts) -> None:
    with pytest.raises(TypeError, match="ssl_context must be"):
        async with open_http2_pool(ssl_context=1):  # type: ignore[arg-type]
            pass
    with pytest.raises(ValueError, match="ssl_context must be one for a client"):
        async with open_http2_pool(ssl_context=tls_contexts.server):
            pass


async def test_connect_refuses_bad_arguments_beside_a_pool() -> None:
    with pytest.raises(TypeError, match="http2 must be a pool of open_http2_pool, not bool"):
        async with connect("ws://x", http2=True):  # type: ignore[arg-type]
            pass
    async with open_http2_pool() as pool:
        with pytest.raises(ValueError, match="stream must be None where http2 is given"):
            async with connect("ws://x", http2=pool, stream=memory_stream_pair()[0]):
                pass


async def test_a_session_refuses_bad_arguments(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()
    await RawPeer(far).send(SettingsFrame(0, settings={8: 1}))
    async with open_http2("http://localhost", stream=near) as session:
        with pytest.raises(ValueError, match="target must be"):
            async with session.connect("chat"):
                pass
        with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
            async with session.connect(x=1):  # type: ignore[call-arg]
                pass
        await far.aclose()
        await wait_all_tasks_blocked()


PROGRAM = """
import sys
sys.modules["h2"] = None
import trio, trio_wsendpoint
async def main():
    for opening in (trio_wsendpoint.open_http2("http://x"), trio_wsendpoint.open_http2_pool()):
        try:
            async with opening:
                pass
        except ImportError as error:
            print(error)
trio.run(main)
"""


def test_without_the_extra_the_error_names_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, stdout=subprocess.PIPE, text=True
    )
    message = "HTTP/2 needs h2: install the extra http2, as in trio-wsendpoint[http2]"
    assert done.stdout.splitlines() == [message] * 2
