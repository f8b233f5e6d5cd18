from __future__ import annotations

import base64
import ssl
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.client.servers import echo, echo_server, exchange, header, read_request, switching
from tests.conftest import TLSContexts
from tests.endpoint.peer import Peer
from tests.protocol.wire import CLOSE, TEXT
from trio_wsendpoint import (
    HandshakeError,
    HandshakeRejected,
    HandshakeTimeout,
    Role,
    accept,
    connect,
    serve_listeners,
)
from trio_wsendpoint.client.dialling import default_ssl_context
from trio_wsendpoint.protocol.handshake import accept_value

Answer = Callable[[trio.abc.Stream, bytes], Awaitable[None]]


async def connect_to(
    answer: Answer, url: str = "ws://example.org/", **options: Any
) -> tuple[bytes, trio.abc.Stream]:
    """Connect in memory to a server that answers so, and leave at once.

    Returns:
        The request, and our end of the stream.
    """
    ours, theirs = memory_stream_pair()
    requests: list[bytes] = []
    caught: list[HandshakeError] = []

    async def run_server() -> None:
        requests.append(await read_request(theirs))
        await answer(theirs, requests[0])

    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_server)
            try:
                async with connect(url, stream=ours, **options):
                    pass
            except HandshakeError as error:  # kept out of the nursery, which would wrap it
                caught.append(error)
            nursery.cancel_scope.cancel()
    if caught:
        raise caught[0]
    return requests[0], ours


async def accept_and_close(stream: trio.abc.Stream, request: bytes, *extra: str) -> None:
    await stream.send_all(switching(request, *extra))
    peer = Peer(stream, Role.SERVER)
    await peer.answer_close()


# -- dialling -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["", "/", "/chat?a=b", "/caf\N{LATIN SMALL LETTER E WITH ACUTE}"]
)
async def test_a_url_is_dialled(path: str) -> None:
    async with (
        echo_server() as port,
        connect(f"ws://127.0.0.1:{port}{path}") as client,
    ):
        await exchange(client)
        assert client.role is Role.CLIENT
        assert client.remote_address == ("127.0.0.1", port)
        assert client.request is not None
        assert client.request.header("Host") == f"127.0.0.1:{port}"
        expected = path.replace("\N{LATIN SMALL LETTER E WITH ACUTE}", "%C3%A9") or "/"
        assert client.request.target == expected
        assert client.response is not None
        assert client.response.status_code == 101


async def test_nobody_to_dial_is_an_error_of_the_system() -> None:
    async with echo_server() as port:
        pass
    with pytest.raises(OSError, match="connect"):
        async with connect(f"ws://127.0.0.1:{port}/"):
            raise AssertionError


async def test_a_unix_socket_can_be_handed_in(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(path)
    listening.listen()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_listeners, echo, [trio.SocketListener(listening)])
        stream = await trio.open_unix_socket(path)
        async with connect("ws://localhost/", stream=stream) as client:
            await exchange(client)
            assert client.remote_address == path
        assert stream.socket.fileno() == -1
        nursery.cancel_scope.cancel()


async def test_dialling_that_is_cancelled_or_too_slow_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    dialled: list[tuple[str, int]] = []

    async def dial(host: str, port: int, **_: object) -> trio.SocketStream:
        dialled.append((host, port))
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(trio, "open_tcp_stream", dial)
    with trio.move_on_after(1) as scope:
        async with connect("ws://example.org/"):
            raise AssertionError
    assert scope.cancelled_caught
    with pytest.raises(HandshakeTimeout):
        async with connect("wss://example.org/", handshake_timeout=3):
            raise AssertionError
    assert trio.current_time() == 4
    assert dialled == [("example.org", 80), ("example.org", 443)]


# -- TLS ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls_is_spoken_with_the_context_given(
    host: str, tls_contexts: TLSContexts
) -> None:
    async with (
        echo_server(ssl_context=tls_contexts.server) as port,
        connect(f"wss://{host}:{port}/", ssl_context=tls_contexts.client) as client,
    ):
        await exchange(client)


async def test_an_authority_that_is_not_known_is_refused(tls_contexts: TLSContexts) -> None:
    async with echo_server(ssl_context=tls_contexts.server) as port:
        with pytest.raises(HandshakeError, match=r"TLS handshake failed: .*verify failed"):
            async with connect(f"wss://localhost:{port}/"):
                raise AssertionError


async def test_by_default_the_authorities_of_the_system_are_known(
    tls_contexts: TLSContexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ssl.SSLContext] = []

    def make() -> ssl.SSLContext:
        made.append(tls_contexts.client)
        return tls_contexts.client

    monkeypatch.setattr(ssl, "create_default_context", make)
    default_ssl_context.cache_clear()
    try:
        async with echo_server(ssl_context=tls_contexts.server) as port:
            for _ in range(2):
                async with connect(f"wss://localhost:{port}/") as client:
                    await exchange(client)
    finally:
        default_ssl_context.cache_clear()
    assert len(made) == 1, "all connections of a process share it"


@pytest.mark.parametrize("handed_in", ["plain", "TLS"])
async def test_tls_runs_on_a_stream_of_any_kind(
    handed_in: str, tls_contexts: TLSContexts, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()
    stream: trio.abc.Stream = ours
    context: ssl.SSLContext | None = tls_contexts.client
    if handed_in == "TLS":
        stream = trio.SSLStream(ours, tls_contexts.client, server_hostname="localhost")
        context = None

    async def run_server() -> None:
        tls = trio.SSLStream(theirs, tls_contexts.server, server_side=True)
        async with accept(tls) as endpoint:
            await echo(endpoint)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_server)
        async with connect("wss://localhost/", stream=stream, ssl_context=context) as client:
            await exchange(client)
    assert trio.current_time() == 0, "nobody had to wait for a timeout"


# -- the request --------------------------------------------------------------------------


async def test_headers_and_subprotocols_are_sent(autojump_clock: MockClock) -> None:
    request, _ = await connect_to(
        accept_and_close,
        "ws://example.org:81/a?b",
        headers={"X-A": "b"},
        subprotocols=["x", "y"],
    )
    assert request.startswith(b"GET /a?b HTTP/1.1\r\n")
    assert header(request, "Host") == "example.org:81"
    assert header(request, "X-A") == "b"
    assert header(request, "Sec-WebSocket-Protocol") == "x, y"
    assert header(request, "Authorization") is None


async def test_the_subprotocol_that_the_server_chose_is_known() -> None:
    async with (
        echo_server(subprotocols=["two", "three"], headers={"X-From": "server"}) as port,
        connect(f"ws://127.0.0.1:{port}/", subprotocols=["one", "two"]) as client,
    ):
        assert client.subprotocol == "two"
        assert client.response is not None
        assert client.response.header("X-From") == "server"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "Basic " + base64.b64encode(b"user:pass word").decode()),
        ({"authorization": "Bearer x"}, "Bearer x"),
    ],
)
async def test_user_and_password_become_a_header_unless_there_is_one(
    headers: dict[str, str], expected: str, autojump_clock: MockClock
) -> None:
    url = "ws://user:pass%20word@example.org/"
    request, _ = await connect_to(accept_and_close, url, headers=headers)
    assert header(request, "Authorization") == expected
    assert request.lower().count(b"authorization:") == 1
    assert header(request, "Host") == "example.org"


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"url": b"ws://example.org"}, TypeError, "url"),
        ({"url": "http://example.org"}, ValueError, "url"),
        ({"url": "ws://example.org/#x"}, ValueError, "url"),
        ({"url": "ws://example.org/\r\nX: y"}, ValueError, "url"),
        ({"ssl_context": True}, TypeError, "ssl_context"),
        ({"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}, ValueError, "ssl_context"),
        (
            {"url": "wss://h/", "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
            ValueError,
            "ssl_context must be one for a client",
        ),
        ({"stream": object()}, TypeError, "stream"),
        ({"max_pings": 0}, ValueError, "max_pings"),
        ({"ping_interval": "1"}, TypeError, "ping_interval"),
        ({"handshake_timeout": -1}, ValueError, "handshake_timeout"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols"),
        ({"subprotocols": ["a, b"]}, ValueError, "subprotocols"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, ValueError, "headers"),
        ({"headers": {"X-A": "a\0"}}, ValueError, "headers"),
        ({"headers": {"X-A: b\r\nX-B": "a"}}, ValueError, "headers"),
        ({"headers": {"Sec-WebSocket-Key": "x"}}, ValueError, "headers"),
        ({"extensions": [1]}, TypeError, "extensions"),
        ({"nonsense": 1}, TypeError, r"^connect\(\) got .* 'nonsense'"),
    ],
)
async def test_a_bad_argument_is_refused_before_a_byte_is_sent(
    arguments: dict[str, Any], error: type[Exception], says: str, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()
    with pytest.raises(error, match=says):
        async with connect(**{"url": "ws://example.org/", "stream": ours, **arguments}):
            raise AssertionError
    await ours.send_all(b"still open")
    assert await theirs.receive_some() == b"still open"


async def test_a_context_that_tls_already_begun_would_ignore_is_refused(
    tls_contexts: TLSContexts,
) -> None:
    context = tls_contexts.client
    stream = trio.SSLStream(memory_stream_pair()[0], context, server_hostname="localhost")
    with pytest.raises(ValueError, match="ssl_context must be None"):
        async with connect("wss://localhost/", stream=stream, ssl_context=context):
            raise AssertionError


# -- the answer ---------------------------------------------------------------------------


async def test_what_comes_behind_the_answer_is_received(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    peer = Peer(theirs, Role.SERVER)

    async def run_server() -> None:
        frames = peer.frame(TEXT, b"one") + peer.frame(TEXT, b"two") + peer.frame(CLOSE)
        await theirs.send_all(switching(await read_request(theirs)) + frames)
        await peer.receive_close()
        await peer.part()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_server)
        async with connect("ws://example.org/", stream=ours) as client:
            assert [message async for message in client] == ["one", "two"]


@pytest.mark.parametrize("status_code", [301, 302, 401, 404, 426, 503])
async def test_a_server_that_refuses_says_why(
    status_code: int, autojump_clock: MockClock
) -> None:
    async def refuse(stream: trio.abc.Stream, _: bytes) -> None:
        await stream.send_all(
            f"HTTP/1.1 {status_code} No\r\nLocation: ws://elsewhere.example/\r\n"
            "Content-Length: 7\r\n\r\nbecause".encode()
        )

    with pytest.raises(HandshakeRejected, match=str(status_code)) as caught:
        await connect_to(refuse)
    error = caught.value
    assert error.status_code == status_code
    assert error.body == b"because"
    assert dict(error.headers)["Location"] == "ws://elsewhere.example/"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"\x00" * 1000, "not HTTP"),
        (b"\x15\x03\x03\0\2\2\x0a", "TLS, not HTTP; should the URL begin with wss://"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "illegal status line"),
        (b"HTTP/1.0 101 Switching Protocols\r\n\r\n", r"HTTP/1\.0"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "Upgrade"),
        (b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 2**20, "more than 16384 bytes"),
        (b"HTTP/1.1 101 Swi", "closed the connection"),
        (b"", "closed the connection"),
    ],
    ids=["noise", "TLS", "SSH", "HTTP/1.0", "no upgrade", "endless", "half", "nothing"],
)
async def test_a_server_that_answers_wrongly_is_refused(
    answer: bytes, says: str, autojump_clock: MockClock
) -> None:
    async def send(stream: trio.abc.Stream, _: bytes) -> None:
        await stream.send_all(answer)
        await stream.aclose()

    with pytest.raises(HandshakeError, match=says) as caught:
        await connect_to(send)
    assert not isinstance(caught.value, HandshakeTimeout | HandshakeRejected)


@pytest.mark.parametrize(
    ("extra", "accept", "says"),
    [
        ([], accept_value("another key"), "Sec-WebSocket-Accept"),
        (["Sec-WebSocket-Protocol: chat"], None, "Sec-WebSocket-Protocol"),
        (["Sec-WebSocket-Extensions: permessage-deflate"], None, "permessage-deflate"),
    ],
)
async def test_an_answer_to_another_question_is_refused(
    extra: list[str], accept: str | None, says: str, autojump_clock: MockClock
) -> None:
    async def send(stream: trio.abc.Stream, request: bytes) -> None:
        await stream.send_all(switching(request, *extra, accept=accept))

    with pytest.raises(HandshakeError, match=says):
        await connect_to(send)


@pytest.mark.parametrize(
    ("scheme", "says"),
    [("wss", "should the URL begin with ws://"), ("ws", "the URL should begin with wss://")],
)
async def test_a_server_that_speaks_tls_is_not_one_that_does_not(
    scheme: str, says: str, tls_contexts: TLSContexts
) -> None:
    context = tls_contexts.server if scheme == "ws" else None
    async with echo_server(ssl_context=context) as port:
        with pytest.raises(HandshakeError, match=says) as caught:
            async with connect(f"{scheme}://localhost:{port}/"):
                raise AssertionError
    assert not isinstance(caught.value, HandshakeTimeout)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Swi"])
async def test_a_server_that_resets_the_connection_is_no_hanging_matter(
    scheme: str, answer: bytes
) -> None:
    async def reset(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        if answer:
            await stream.send_all(answer)
        linger = struct.pack("ii", 1, 0)
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, reset, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(HandshakeError) as caught:
            async with connect(f"{scheme}://127.0.0.1:{port}/"):
                raise AssertionError
        nursery.cancel_scope.cancel()
    assert not isinstance(caught.value, HandshakeTimeout)


async def test_a_failed_handshake_closes_the_stream(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(HandshakeRejected):
        async with connect("ws://example.org/", stream=ours):
            raise AssertionError
    await read_request(theirs)
    assert await theirs.receive_some() == b""


@pytest.mark.parametrize("url", ["ws://localhost/", "wss://localhost/"])
@pytest.mark.parametrize("dialled", [False, True])
async def test_a_server_that_never_answers_is_left_in_time(
    url: str, dialled: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    ours: trio.abc.Stream
    theirs: trio.abc.Stream
    if dialled:
        left, right = trio.socket.socketpair()
        ours, theirs = trio.SocketStream(left), trio.SocketStream(right)
    else:
        ours, theirs = memory_stream_pair()

    async def dial(host: str, port: int, **_: object) -> trio.abc.Stream:
        return ours

    monkeypatch.setattr(trio, "open_tcp_stream", dial)
    with pytest.raises(HandshakeTimeout, match="5 seconds"):
        async with connect(url, stream=None if dialled else ours, handshake_timeout=5):
            raise AssertionError
    assert trio.current_time() == 5
    while await theirs.receive_some():
        pass  # and then the end, as the stream was closed
    await theirs.aclose()


@pytest.mark.parametrize("url", ["ws://localhost/", "wss://localhost/"])
async def test_a_handshake_that_is_cancelled_closes_the_stream(
    url: str, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()

    async def run() -> None:
        async with connect(url, stream=ours):
            raise AssertionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    while await theirs.receive_some():
        pass
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")


async def test_the_timeout_does_not_bind_the_endpoint(autojump_clock: MockClock) -> None:
    async def wait(stream: trio.abc.Stream, request: bytes) -> None:
        await trio.sleep(4)
        await stream.send_all(switching(request))
        await Peer(stream, Role.SERVER).answer_close()

    ours, theirs = memory_stream_pair()

    async def run_server() -> None:
        await wait(theirs, await read_request(theirs))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_server)
        async with connect(
            "ws://example.org/", stream=ours, handshake_timeout=5, ping_interval=float("inf")
        ):
            await trio.sleep(100)
