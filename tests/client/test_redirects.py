"""Tests of redirects, over real sockets."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.client.servers import (
    ScriptedServer,
    answers,
    exchange,
    moves,
    opens,
    scripted_server,
)
from tests.conftest import TLSContexts
from trio_wsendpoint import (
    HandshakeRejected,
    HandshakeTimeout,
    connect,
)
from trio_wsendpoint.client.options import parse_options
from trio_wsendpoint.client.redirects import first_hop, next_hop
from trio_wsendpoint.client.url import parse_url
from trio_wsendpoint.protocol import Response


async def rejection(url: str, **options: Any) -> HandshakeRejected:
    """Connect where it is refused, and see how."""
    try:
        async with connect(url, **options):
            raise AssertionError("it was accepted")
    except HandshakeRejected as error:
        return error


# -- where they lead ----------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 A", "302 B", "303 C", "307 D", "308 E"])
async def test_a_redirect_is_followed(status: str) -> None:
    async with (
        scripted_server(opens()) as there,
        scripted_server(moves(f"{there.url}feed?a=b", status)) as here,
        connect(here.url) as client,
    ):
        await exchange(client)
        assert client.request is not None
        assert client.request.target == "/feed?a=b"
        assert client.request.header("Host") == f"127.0.0.1:{there.port}"
        assert client.remote_address == ("127.0.0.1", there.port)


async def test_a_redirect_is_followed_though_its_body_stalls(autojump_clock: MockClock) -> None:
    async def stall(stream: trio.abc.Stream, request: bytes) -> None:
        await stream.send_all(
            b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 9\r\n\r\nno"
        )
        await trio.sleep_forever()

    async with scripted_server(stall, opens()) as server, connect(server.url) as client:
        assert trio.current_time() == 1
        await exchange(client)
    assert server.targets == ["/", "/there"]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/new", "ws://h.example:81/new"),
        ("new", "ws://h.example:81/a/new"),
        ("../new", "ws://h.example:81/new"),
        ("?x=y", "ws://h.example:81/a/b?x=y"),
        ("//other.example/c", "ws://other.example/c"),
        ("ws://other.example", "ws://other.example/"),
        ("http://other.example:82/c", "ws://other.example:82/c"),
        ("HTTPS://Other.Example/c", "wss://other.example/c"),
        ("wss://u:p@other.example/c#part", "wss://other.example/c"),
        ("/c?u=http://a@b/#d", "ws://h.example:81/c?u=http://a@b/"),
        ("/caf\u00c3\u00a9", "ws://h.example:81/caf%C3%A9"),  # UTF-8, read as Latin-1
        ("/caf\u00e9", "ws://h.example:81/caf%C3%A9"),
    ],
)
def test_a_location_is_taken_as_a_browser_takes_it(location: str, expected: str) -> None:
    options = parse_options({}, "connect")
    hops = [first_hop(parse_url("ws://h.example:81/a/b?q"), options)]
    hop = next_hop(hops, Response(302, [("Location", location)]), options)
    assert str(hop.url) == expected


def test_a_zone_is_kept_within_the_origin() -> None:
    options = parse_options({}, "connect")
    hops = [first_hop(parse_url("ws://[fe80::1%25eth0]:81/a"), options)]
    hop = next_hop(hops, Response(302, {"Location": "/b"}), options)
    assert hop.url.host == "fe80::1%eth0"
    assert hop.url.origin == hops[0].url.origin


# -- what is not followed -----------------------------------------------------------------


@pytest.mark.parametrize("status", ["300 A", "304 B", "305 C", "306 D"])
async def test_other_status_codes_are_refusals(status: str) -> None:
    async with scripted_server(moves("/there", status)) as server:
        assert (await rejection(server.url)).status_code == int(status[:3])
    assert len(server.requests) == 1


async def test_a_circle_is_refused_with_the_way_there() -> None:
    async with scripted_server(moves("/b?secret=x"), moves("/")) as server:
        error = await rejection(f"ws://joe:secret@127.0.0.1:{server.port}/")
    assert error.status_code == 302
    assert dict(error.headers)["Location"] == "/"
    here = f"ws://127.0.0.1:{server.port}"
    assert f"it leads back to {here}/ (the way here: {here}/ -> {here}/b?...)" in str(error)
    assert "secret" not in str(error)
    assert len(server.requests) == 2


@pytest.mark.parametrize(("most", "allowed"), [(1, False), (2, True)])
async def test_as_many_are_followed_as_the_limit_says(most: int, allowed: bool) -> None:
    async with scripted_server(moves("/1"), moves("/2"), opens()) as server:
        if allowed:
            async with connect(server.url, max_redirects=most) as client:
                await exchange(client)
        else:
            error = await rejection(server.url, max_redirects=most)
            assert "one more than max_redirects, which is 1" in str(error)
    assert server.targets == ["/", "/1", "/2"][: most + 1]


async def test_by_default_five_are_followed() -> None:
    async with scripted_server(*[moves(f"/{number}") for number in range(9)]) as server:
        await rejection(server.url)
    assert len(server.requests) == 6


async def test_with_no_redirects_the_answer_is_a_plain_refusal() -> None:
    async with scripted_server(moves("/there")) as server:
        error = await rejection(server.url, max_redirects=0)
    assert str(error) == "the server answered 302 Found, not 101 Switching Protocols"


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([], "there is no Location"),
        (["Location: /a", "Location: /b"], "there are several Locations"),
        (["Location: ftp://a/"], "its Location is not valid: url must be of the form"),
        (["Location: ws://[::1/"], "its Location is not valid: Invalid IPv6 URL"),
        (["Location: /a b"], "its Location is not valid: url must not have spaces"),
        (["Location: ws://a..b/"], "its Location is not valid: url must have a host name"),
    ],
)
async def test_a_missing_or_bad_location_is_refused(headers: list[str], says: str) -> None:
    async with scripted_server(answers("307 Moved", *headers)) as server:
        error = await rejection(server.url)
    assert error.status_code == 307
    assert f"{says}" in str(error)
    assert f"(the way here: {server.url})" in str(error)


async def test_it_never_leads_from_wss_to_ws(tls_contexts: TLSContexts) -> None:
    async with scripted_server(
        moves("http://127.0.0.1:1/"), ssl_context=tls_contexts.server
    ) as server:
        error = await rejection(
            f"wss://localhost:{server.port}/", ssl_context=tls_contexts.client
        )
    assert "it leads from wss to ws: ws://127.0.0.1:1/" in str(error)


async def test_on_a_stream_of_ones_own_none_is_followed() -> None:
    async with scripted_server(moves("/there")) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        error = await rejection(server.url, stream=stream)
    assert error.status_code == 302
    assert len(server.requests) == 1


async def test_all_of_them_have_one_handshake_timeout(autojump_clock: MockClock) -> None:
    async def slow(stream: trio.abc.Stream, request: bytes) -> None:
        await trio.sleep(2)
        await moves(f"/{trio.current_time()}")(stream, request)

    async with scripted_server(slow) as server:
        with pytest.raises(HandshakeTimeout):
            async with connect(server.url, handshake_timeout=5):
                raise AssertionError
    assert trio.current_time() == 5
    assert len(server.requests) == 3


async def test_what_the_last_answer_says_is_told_though_the_time_is_over(
    autojump_clock: MockClock,
) -> None:
    async def stall(stream: trio.abc.Stream, request: bytes) -> None:
        await trio.sleep(4.5)
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot")
        await trio.sleep_forever()

    async with scripted_server(stall) as server:
        error = await rejection(server.url, handshake_timeout=5)
    assert (error.status_code, error.body) == (404, b"not")
    assert trio.current_time() == 5


async def test_a_redirect_that_takes_all_the_time_is_a_timeout(
    autojump_clock: MockClock,
) -> None:
    async def stall(stream: trio.abc.Stream, request: bytes) -> None:
        await trio.sleep(4.5)
        await stream.send_all(b"HTTP/1.1 302 A\r\nLocation: /b\r\nContent-Length: 9\r\n\r\nno")
        await trio.sleep_forever()

    async with scripted_server(stall) as server:
        with pytest.raises(HandshakeTimeout):
            async with connect(server.url, handshake_timeout=5):
                raise AssertionError
    assert trio.current_time() == 5


# -- what is said there -------------------------------------------------------------------

SECRETS = {
    "Authorization": "Bearer secret",
    "Cookie": "a=secret",
    "X-Api-Key": "secret",
    "X-Plain": "plain",
}


def seen(server: ScriptedServer) -> list[dict[str, str | None]]:
    return [
        {name: server.headers(name)[number] for name in SECRETS}
        for number in range(len(server.requests))
    ]


async def test_within_the_origin_all_headers_are_sent_again() -> None:
    async with (
        scripted_server(moves("/there"), opens()) as server,
        connect(server.url, headers=SECRETS, sensitive_headers=["x-api-key"]) as client,
    ):
        await exchange(client)
    assert seen(server) == [SECRETS, SECRETS]


async def test_elsewhere_secrets_are_not_sent() -> None:
    async with (
        scripted_server(opens()) as there,
        scripted_server(moves(there.url)) as here,
        connect(here.url, headers=SECRETS, sensitive_headers=["x-aPI-key"]) as client,
    ):
        await exchange(client)
    assert seen(here) == [SECRETS]
    assert seen(there) == [dict.fromkeys(SECRETS) | {"X-Plain": "plain"}]


async def test_what_was_dropped_does_not_return_at_home() -> None:
    script: list[Any] = []

    async def next_answer(stream: trio.abc.Stream, request: bytes) -> None:
        await script.pop(0)(stream, request)

    async with scripted_server(next_answer) as home, scripted_server(next_answer) as away:
        script += [moves(away.url), moves(f"{home.url}again"), opens()]
        url = f"ws://joe:secret@127.0.0.1:{home.port}/"
        async with connect(url, headers={"Host": "alias.example"}) as client:
            await exchange(client)
    assert home.targets == ["/", "/again"]
    assert home.headers("Authorization") == ["Basic am9lOnNlY3JldA==", None]
    assert home.headers("Host") == ["alias.example", f"127.0.0.1:{home.port}"]
    assert away.headers("Authorization") == [None]


async def test_from_ws_to_wss_with_the_context_given(tls_contexts: TLSContexts) -> None:
    async with (
        scripted_server(opens(), ssl_context=tls_contexts.server) as secure,
        scripted_server(moves(f"https://localhost:{secure.port}/")) as plain,
        connect(
            plain.url, ssl_context=tls_contexts.client, headers={"Cookie": "a=b"}
        ) as client,
    ):
        await exchange(client)
    assert plain.headers("Cookie") == ["a=b"]
    assert secure.headers("Cookie") == [None], "another scheme is another origin"


async def test_the_name_for_tls_stays_with_the_host_it_was_given_for(
    tls_contexts: TLSContexts,
) -> None:
    context = tls_contexts.server
    async with AsyncExitStack() as stack:
        secure = await stack.enter_async_context(scripted_server(opens(), ssl_context=context))
        same = await stack.enter_async_context(
            scripted_server(moves(f"wss://127.0.0.1:{secure.port}/"))
        )
        other = await stack.enter_async_context(
            scripted_server(moves(f"wss://localhost:{secure.port}/"))
        )
        connect_to = partial(
            connect, ssl_context=tls_contexts.client, server_hostname="wrong.example"
        )
        with pytest.raises(Exception, match=r"not valid for 'wrong\.example'"):
            async with connect_to(same.url):
                raise AssertionError
        async with connect_to(other.url) as client:
            await exchange(client)


async def test_over_a_unix_socket_it_is_followed_within_the_origin_only(tmp_path: Any) -> None:
    path = str(tmp_path / "socket")
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(path)
    listening.listen()
    script = [moves("/there"), opens(), moves("ws://elsewhere.example/")]

    async def talk(stream: trio.SocketStream) -> None:
        request = await stream.receive_some(2**16)
        async with stream:
            await script.pop(0)(stream, bytes(request))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, talk, [trio.SocketListener(listening)])
        async with connect("ws://localhost/", unix_path=path) as client:
            await exchange(client)
        error = await rejection("ws://localhost/", unix_path=path)
        assert "it leads away from unix_path: ws://elsewhere.example/" in str(error)
        nursery.cancel_scope.cancel()
