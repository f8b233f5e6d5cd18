"""A server that speaks HTTP/2 beside HTTP/1.1: one gate and one handler for both."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.conftest import TLSContexts
from tests.http2.both import open_both
from tests.http2.raw import CONNECT, GET, RawPeer
from tests.http2.servers import echo
from trio_wsendpoint import (
    ANY_ORIGIN,
    Accept,
    Endpoint,
    HandshakeRejected,
    PermessageDeflate,
    Request,
    Response,
    Router,
    connect,
    open_http2,
    open_http2_pool,
    serve,
    serve_listeners,
)
from trio_wsendpoint.http2 import PREFACE
from trio_wsendpoint.http2.serving import IDLE_TIMEOUT

LONG = 60


class Listener(trio.abc.Listener[trio.abc.Stream]):
    """A listener whose streams are in memory."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](10)

    def dial(self) -> RawPeer:
        ours, theirs = memory_stream_pair()
        self._send.send_nowait(theirs)
        return RawPeer(ours)

    async def accept(self) -> trio.abc.Stream:
        return await self._receive.receive()

    async def aclose(self) -> None:
        self._receive.close()


@asynccontextmanager
async def open_raw_client(handler: Any = echo, **options: Any) -> AsyncIterator[RawPeer]:
    """A client that sends what it wants to a server."""
    listener = Listener()
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                await serve_listeners(handler, [listener], http2=True, **options)

            nursery.start_soon(start)
            yield listener.dial()
            nursery.cancel_scope.cancel()


# -- both at once -------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
async def test_both_are_spoken_on_one_port(secure: bool, tls_contexts: TLSContexts) -> None:
    server = tls_contexts.server if secure else None
    client = tls_contexts.client if secure else None
    client_of_http11 = tls_contexts.client if secure else None
    versions: list[str] = []

    async def handler(endpoint: Endpoint) -> None:
        versions.append(endpoint.request.http_version)
        assert endpoint.tls == endpoint.request.tls
        assert (endpoint.tls is not None) == secure
        await echo(endpoint)

    with trio.fail_after(LONG):
        async with open_both(handler, ssl_context=server) as port:
            url = f"{'wss' if secure else 'ws'}://localhost:{port}/chat"
            async with (
                open_http2_pool(ssl_context=client) as pool,
                connect(url, http2=pool) as endpoint,
            ):
                await endpoint.send("by HTTP/2")
                assert await endpoint.receive() == "by HTTP/2"
            if client_of_http11 is not None:
                client_of_http11.set_alpn_protocols(["http/1.1"])
            async with connect(url, ssl_context=client_of_http11) as endpoint:
                await endpoint.send("by HTTP/1.1")
                assert await endpoint.receive() == "by HTTP/1.1"
    assert versions == ["2", "1.1"]


@pytest.mark.parametrize("data", [b"P", b"PRI * HTTP/2.0\r\n\r\n", b"PUT / HTTP/1.1\r\n\r\n"])
async def test_what_is_neither_is_refused_as_ever(
    data: bytes, autojump_clock: MockClock
) -> None:
    async with open_raw_client(handshake_timeout=5) as peer:
        await peer.send_bytes(data)
        assert isinstance(peer.stream, trio.abc.HalfCloseableStream)
        await peer.stream.send_eof()
        answer = b""
        async for part in peer.stream:
            answer += part
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505"))


async def test_a_preface_in_pieces_is_one(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r":
            await peer.send_bytes(bytes([byte]))
            await wait_all_tasks_blocked()
        await peer.send_bytes(b"\n" + SettingsFrame(0).serialize())
        assert (await peer.ask(1, [*CONNECT, ("origin", "https://localhost")]))[
            ":status"
        ] == "200"


async def test_a_silent_client_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with open_raw_client(handshake_timeout=5) as peer:
        await peer.send_bytes(b"PRI * HTTP/2.0\r\n")
        await peer.receive_all()
        assert trio.current_time() == 5


async def test_without_http2_it_is_not_spoken(autojump_clock: MockClock) -> None:
    async with (
        open_both(http2=False) as port,
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
    ):
        await stream.send_all(PREFACE)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 ")


# -- the gate -----------------------------------------------------------------------------


async def test_hooks_and_routes_need_not_know(autojump_clock: MockClock) -> None:
    seen: list[Request] = []

    async def note(request: Request) -> None:
        seen.append(request)

    router = Router()

    @router.route("/rooms/<name>")
    async def room(endpoint: Endpoint, name: str) -> None:
        await endpoint.send(f"this is {name}")

    async with open_raw_client(router, on_request=note) as peer:
        await peer.introduce()
        fields = [
            (name, "/rooms/blue?x=y" if name == ":path" else value) for name, value in CONNECT
        ]
        assert (await peer.ask(1, fields))[":status"] == "200"
        assert b"this is blue" in (await peer.expect(DataFrame, 1)).data
        assert (await peer.ask(3, CONNECT))[":status"] == "404"
    request = seen[0]
    assert (request.method, request.target, request.path) == (
        "GET",
        "/rooms/blue?x=y",
        "/rooms/blue",
    )
    assert (request.http_version, request.host, request.is_websocket) == (
        "2",
        "localhost",
        True,
    )


async def test_what_a_hook_accepts_and_answers_is_sent(autojump_clock: MockClock) -> None:
    contexts: list[Any] = []

    async def hook(request: Request) -> Response | Accept | None:
        if request.path == "/page":
            return Response.html("<p>hello")
        return Accept([("Set-Cookie", "a=b")], "chat", "a user")

    async def handler(endpoint: Endpoint) -> None:
        contexts.append(endpoint.context)

    async with open_raw_client(handler, on_request=hook, subprotocols=["chat"]) as peer:
        await peer.introduce()
        answer = await peer.ask(1, [*CONNECT, ("sec-websocket-protocol", "chat")])
        assert answer[":status"] == "200"
        assert answer["sec-websocket-protocol"] == "chat"
        assert answer["set-cookie"] == "a=b"
        assert answer["server"].startswith("trio_wsendpoint")
        answer = await peer.ask(3, GET, "END_STREAM")
        assert (answer[":status"], answer["content-type"]) == (
            "200",
            "text/html; charset=utf-8",
        )
        assert await peer.data_of(3) == b"<p>hello"
        head = [(":method", "HEAD"), *GET[1:]]
        answer = await peer.ask(5, head, "END_STREAM")
        assert (answer[":status"], answer["content-length"]) == ("200", "8")
    assert contexts == ["a user"]


async def test_a_plain_request_that_nobody_answers_gets_a_404(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        answer = await peer.ask(1, GET, "END_STREAM")
        assert answer[":status"] == "404"
        assert "date" in answer
        assert b"this is a WebSocket endpoint" in await peer.data_of(1)


async def test_a_page_of_elsewhere_is_refused(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        assert (await peer.ask(1, [*CONNECT, ("origin", "https://evil.example")]))[
            ":status"
        ] == "403"
        assert (await peer.ask(3, [*CONNECT, ("origin", "https://localhost")]))[
            ":status"
        ] == "200"
    async with open_raw_client(origins=ANY_ORIGIN) as peer:
        await peer.introduce()
        assert (await peer.ask(1, [*CONNECT, ("origin", "https://evil.example")]))[
            ":status"
        ] == "200"
    assert "evil.example" in caplog.text


async def test_a_wrong_version_is_refused(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        answer = await peer.ask(1, [*CONNECT[:-1], ("sec-websocket-version", "8")])
        assert (answer[":status"], answer["sec-websocket-version"]) == ("426", "13")
        assert "upgrade" not in answer


async def test_the_limit_counts_endpoints_of_all_connections() -> None:
    with trio.fail_after(LONG):
        async with (
            open_both(max_connections=2) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
            session.connect(),
        ):
            async with connect(f"ws://127.0.0.1:{port}"):
                with pytest.raises(HandshakeRejected, match="503"):
                    async with session.connect():
                        pass
            async with session.connect() as endpoint:
                await endpoint.send("room again")
                assert await endpoint.receive() == "room again"


async def test_a_hook_that_takes_too_long_is_answered_for(autojump_clock: MockClock) -> None:
    async def sleeps(_: Request) -> None:
        await trio.sleep_forever()

    async with open_raw_client(on_request=sleeps, handshake_timeout=5) as peer:
        await peer.introduce()
        assert (await peer.ask(1))[":status"] == "503"
        assert b"too long" in await peer.data_of(1)
        assert trio.current_time() == 5


async def test_requests_of_http2_are_counted_among_the_handshakes(
    autojump_clock: MockClock,
) -> None:
    under_way = 0

    async def slow(_: Request) -> None:
        nonlocal under_way
        under_way += 1
        assert under_way == 1
        await trio.sleep(2)
        under_way -= 1

    async with open_raw_client(on_request=slow, max_handshakes=1, handshake_timeout=5) as peer:
        await peer.introduce()
        await peer.send(*(peer.headers(stream_id, CONNECT) for stream_id in (1, 3, 5, 7)))
        answers = [peer.decode(await peer.expect(HeadersFrame)) for _ in range(4)]
        # Two are in time, one is begun too late, and one is not begun.
        assert sorted(answer[":status"] for answer in answers) == ["200", "200", "503", "503"]
        assert trio.current_time() == 5


async def test_a_connection_has_no_more_streams_than_it_may(autojump_clock: MockClock) -> None:
    async with open_raw_client(max_streams=2) as peer:
        await peer.send_bytes(PREFACE + SettingsFrame(0).serialize())
        settings = (await peer.receive()).settings  # type: ignore[union-attr]
        assert settings[3] == 2
        assert settings[8] == 1


async def test_the_address_of_a_client_is_that_of_the_trusted_proxy_s_header() -> None:
    seen: list[Any] = []

    async def handler(endpoint: Endpoint) -> None:
        seen.append((endpoint.client_address, endpoint.remote_address[0]))

    with trio.fail_after(LONG):
        async with (
            open_both(handler, trusted_proxies=["127.0.0.1"]) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
            session.connect(headers=[("X-Forwarded-For", "203.0.113.7")]) as endpoint,
        ):
            async for _ in endpoint:
                pass
    assert seen == [("203.0.113.7", "127.0.0.1")]


async def test_compression_is_agreed_on() -> None:
    deflate = [PermessageDeflate()]
    with trio.fail_after(LONG):
        async with (
            open_both(extensions=deflate) as port,
            open_http2(f"http://127.0.0.1:{port}") as session,
            session.connect(extensions=deflate) as endpoint,
        ):
            await endpoint.send("compressed " * 1000)
            assert await endpoint.receive() == "compressed " * 1000
            assert endpoint.statistics().sent.size < 1000


# -- handlers -----------------------------------------------------------------------------


async def test_a_handler_that_fails_ends_its_stream_and_no_other(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(endpoint: Endpoint) -> None:
        async for message in endpoint:
            if message == "f":
                raise ZeroDivisionError
            await endpoint.send(message)

    async with open_raw_client(handler) as peer:
        await peer.introduce()
        for stream_id in (1, 3):
            await peer.ask(stream_id)
        await peer.send(DataFrame(1, bytes((0x81, 0x81, 0, 0, 0, 0)) + b"f"))
        close = await peer.expect(DataFrame, 1)
        assert close.data[2:] == (1011).to_bytes(2, "big")
        await peer.send(DataFrame(3, bytes((0x81, 0x81, 0, 0, 0, 0)) + b"g"))
        assert (await peer.expect(DataFrame, 3)).data == b"\x81\x01g"
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "failed" in record.getMessage()


async def test_a_client_that_resets_before_its_answer_runs_no_handler(
    autojump_clock: MockClock,
) -> None:
    async def slow(_: Request) -> None:
        await trio.sleep(1)

    ran: list[Endpoint] = []

    async def handler(endpoint: Endpoint) -> None:
        ran.append(endpoint)

    async with open_raw_client(handler, on_request=slow, max_connections=1) as peer:
        await peer.introduce()
        await peer.send(peer.headers(1, CONNECT), RstStreamFrame(1))
        await trio.sleep(2)
        assert not ran
        assert (await peer.ask(3))[":status"] == "200"
    assert len(ran) == 1


async def test_a_server_that_is_cancelled_says_goodbye_to_all(
    autojump_clock: MockClock,
) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        for stream_id in (1, 3, 5):
            await peer.ask(stream_id)
    rest = await peer.receive_all()
    kinds = [type(frame) for frame in rest]
    closes = [frame.data[2:] for frame in rest if isinstance(frame, DataFrame) and frame.data]
    assert closes == [(1001).to_bytes(2, "big")] * 3
    assert kinds.count(GoAwayFrame) == 1


@pytest.mark.parametrize("drains", [True, False])
async def test_goaway_and_all_goodbyes_come_before_the_end(
    drains: bool, autojump_clock: MockClock
) -> None:
    code = (1012 if drains else 1001).to_bytes(2, "big")
    drain = trio.Event()
    async with open_raw_client(drain=drain) as peer:
        await peer.introduce()
        for stream_id in (1, 3, 5):
            await peer.ask(stream_id)
        if drains:
            drain.set()
            goaway = await peer.expect(GoAwayFrame)
            assert (goaway.error_code, goaway.last_stream_id) == (0, 5)
            # No message was on its way in front of it.
            assert not any(isinstance(frame, DataFrame) for frame in peer.frames)
            # What comes too late was not looked at: it may be tried again elsewhere.
            await peer.send(peer.headers(7, CONNECT))
            closed: dict[int, bytes] = {}
            while len(closed) < 3:
                frame = await peer.expect(DataFrame)
                closed.setdefault(frame.stream_id, frame.data)
            await peer.expect_reset(7, ErrorCodes.REFUSED_STREAM)
            for stream_id in closed:
                await peer.send_data(stream_id, bytes((0x88, 0x82, 0, 0, 0, 0)) + code)
                assert await peer.data_of(stream_id) == b""
                await peer.send(DataFrame(stream_id, flags=["END_STREAM"]))
            assert list(closed.values()) == [bytes((0x88, 2)) + code] * 3
            assert not any(
                isinstance(frame, RstStreamFrame) and frame.stream_id < 7
                for frame in await peer.receive_all()
            )
            # The end came with that of the last stream.
            assert trio.current_time() == 0
    if not drains:
        rest = await peer.receive_all()
        closes = [frame for frame in rest if isinstance(frame, DataFrame) and frame.data]
        assert [frame.data[2:] for frame in closes] == [code] * 3
        [goaway] = [frame for frame in rest if isinstance(frame, GoAwayFrame)]
        resets = [frame for frame in rest if isinstance(frame, RstStreamFrame)]
        assert len(resets) == 3
        assert rest.index(goaway) < rest.index(resets[0])


async def test_one_that_comes_while_it_drains_is_sent_away(autojump_clock: MockClock) -> None:
    drain = trio.Event()
    done = trio.Event()

    async def busy(_: Endpoint) -> None:
        await done.wait()

    listener = Listener()
    async with trio.open_nursery() as nursery:

        async def start() -> None:
            await serve_listeners(busy, [listener], http2=True, drain=drain)

        nursery.start_soon(start)
        first, late = listener.dial(), listener.dial()
        await first.introduce()
        await first.ask(1)
        await wait_all_tasks_blocked()
        drain.set()
        await first.expect(GoAwayFrame)
        await late.send_bytes(PREFACE)
        await late.send(SettingsFrame(0))
        goaway = await late.expect(GoAwayFrame)
        assert (goaway.error_code, goaway.last_stream_id) == (0, 0)
        await late.receive_all()
        assert trio.current_time() == 0
        await late.stream.aclose()
        await first.stream.aclose()
        done.set()


async def test_a_connection_with_no_stream_is_closed_in_time(autojump_clock: MockClock) -> None:
    async with open_raw_client() as peer:
        await peer.introduce()
        await peer.receive_all()
        assert IDLE_TIMEOUT <= trio.current_time() <= IDLE_TIMEOUT + 2


# -- options ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"http2": 1}, TypeError, "http2"),
        ({"max_streams": 0}, ValueError, "max_streams must be at least 1, not 0"),
        ({"max_streams": "9"}, TypeError, "max_streams must be an int, not str"),
    ],
)
async def test_bad_options_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await serve(echo, 0, **options)


PROGRAM = """
import sys
sys.modules["h2"] = None
import trio, trio_wsendpoint
async def handler(endpoint): pass
try:
    trio.run(lambda: trio_wsendpoint.serve(handler, 0, http2=True))
except ImportError as error:
    print(error)
"""


def test_without_the_extra_the_error_names_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, stdout=subprocess.PIPE, text=True
    )
    message = "HTTP/2 needs h2: install the extra http2, as in trio-wsendpoint[http2]"
    assert done.stdout.splitlines() == [message]
