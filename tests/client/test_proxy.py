"""Tests of proxies, over real sockets."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from tests.client.proxies import (
    RunningProxy,
    Speak,
    hang_up,
    running_proxy,
    says,
    speak_http,
    speak_socks,
    stall,
)
from tests.client.servers import echo_server, exchange, moves, opens, scripted_server
from tests.conftest import TLSContexts
from trio_wsendpoint import (
    ConnectError,
    HandshakeTimeout,
    ProxyError,
    WebSocketError,
    connect,
)
from trio_wsendpoint.client.proxy import Proxy, parse_proxy, proxy_of_environment
from trio_wsendpoint.client.url import parse_url

SOCKS = ["socks4", "socks4a", "socks5", "socks5h"]
SCHEMES = ["http", *SOCKS]
CREDENTIALS = ("joe", "s@crt")
UMLAUT = "\N{LATIN SMALL LETTER A WITH DIAERESIS}"


def speak_for(scheme: str) -> Speak:
    return speak_http if scheme.startswith("http") else speak_socks


async def failure(url: str, **options: Any) -> WebSocketError:
    """Connect where it fails, and see how."""
    try:
        async with connect(url, **options):
            raise AssertionError("it was accepted")
    except WebSocketError as error:
        return error


# -- through a proxy ----------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_proxy_leads_to_the_server(scheme: str) -> None:
    async with (
        echo_server() as port,
        running_proxy(speak_for(scheme)) as proxy,
        connect(
            f"ws://127.0.0.1:{port}/", proxy=f"{scheme}://127.0.0.1:{proxy.port}"
        ) as client,
    ):
        await exchange(client)
        assert client.remote_address == ("127.0.0.1", proxy.port)
        assert proxy.asked_for == [f"127.0.0.1:{port}"]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_tls_runs_through_a_proxy_to_the_server(
    scheme: str, tls_contexts: TLSContexts
) -> None:
    async with (
        echo_server(ssl_context=tls_contexts.server) as port,
        running_proxy(speak_for(scheme)) as proxy,
        connect(
            f"wss://localhost:{port}/",
            proxy=f"{scheme}://127.0.0.1:{proxy.port}",
            ssl_context=tls_contexts.client,
        ) as client,
    ):
        await exchange(client)


@pytest.mark.parametrize("secure", [False, True])
async def test_the_proxy_itself_is_spoken_to_over_tls(
    secure: bool, tls_contexts: TLSContexts
) -> None:
    context = tls_contexts.server if secure else None
    async with (
        echo_server(ssl_context=context) as port,
        running_proxy(speak_http, ssl_context=tls_contexts.server) as proxy,
        connect(
            f"{'wss' if secure else 'ws'}://localhost:{port}/",
            proxy=f"https://localhost:{proxy.port}",
            proxy_ssl_context=tls_contexts.client,
            ssl_context=tls_contexts.client if secure else None,
        ) as client,
    ):
        await exchange(client)
        assert client.remote_address == ("127.0.0.1", proxy.port)


@pytest.mark.parametrize("scheme", ["http", "socks4a", "socks5h"])
async def test_the_proxy_looks_the_name_up_where_its_scheme_says_so(scheme: str) -> None:
    hosts = {"xn--fa-hia.example": "127.0.0.1"}
    async with (
        echo_server() as port,
        running_proxy(speak_for(scheme), hosts=hosts) as proxy,
        connect(
            f"ws://fa\N{LATIN SMALL LETTER SHARP S}.example:{port}/",
            proxy=f"{scheme}://127.0.0.1:{proxy.port}",
        ) as client,
    ):
        await exchange(client)
        assert proxy.asked_for == [f"xn--fa-hia.example:{port}"]


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_the_name_is_looked_up_here_where_the_scheme_says_so(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = trio.socket.getaddrinfo

    async def choose(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "unknown.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        known = "127.0.0.1" if host == "known.example" else host
        return await look_up(known, *args, **kwargs)

    monkeypatch.setattr(trio.socket, "getaddrinfo", choose)
    async with echo_server() as port, running_proxy(speak_socks) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        async with connect(f"ws://known.example:{port}/", proxy=url) as client:
            await exchange(client)
        error = await failure("ws://unknown.example/", proxy=url)
    assert proxy.asked_for == [f"127.0.0.1:{port}"]
    assert isinstance(error, ConnectError)
    assert not isinstance(error, ProxyError)
    assert str(error) == "found no host for unknown.example:80: Name or service not known"


async def test_an_http_proxy_is_told_who_asks_and_for_what() -> None:
    async with (
        echo_server() as port,
        running_proxy(speak_http, hosts={"::1": "127.0.0.1"}) as proxy,
        connect(
            f"ws://[::1]:{port}/",
            proxy=f"http://127.0.0.1:{proxy.port}",
            user_agent="a test",
            headers={"Cookie": "secret"},
        ) as client,
    ):
        await exchange(client)
    assert proxy.requests == [
        f"CONNECT [::1]:{port} HTTP/1.1\r\nHost: [::1]:{port}\r\n"
        "User-Agent: a test\r\n\r\n".encode()
    ]


async def test_an_http_proxy_need_not_be_told_who_asks() -> None:
    async with running_proxy(speak_http) as proxy:
        await failure(
            "ws://127.0.0.1:1/", proxy=f"http://127.0.0.1:{proxy.port}", user_agent=None
        )
    assert b"User-Agent" not in proxy.requests[0]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_proxy_gets_its_credentials(scheme: str) -> None:
    async with (
        echo_server() as port,
        running_proxy(speak_for(scheme), credentials=CREDENTIALS) as proxy,
        connect(
            f"ws://127.0.0.1:{port}/", proxy=f"{scheme}://joe:s%40crt@127.0.0.1:{proxy.port}"
        ) as client,
    ):
        await exchange(client)


async def test_a_redirect_goes_through_the_proxy_too() -> None:
    async with (
        scripted_server(opens()) as there,
        scripted_server(moves(there.url)) as here,
        running_proxy(speak_http) as proxy,
        connect(here.url, proxy=f"http://127.0.0.1:{proxy.port}") as client,
    ):
        await exchange(client)
    assert proxy.asked_for == [f"127.0.0.1:{here.port}", f"127.0.0.1:{there.port}"]


async def test_a_proxy_is_dialled_from_the_local_address() -> None:
    async with (
        echo_server() as port,
        running_proxy(speak_http) as proxy,
        connect(
            f"ws://127.0.0.1:{port}/",
            proxy=f"http://127.0.0.1:{proxy.port}",
            local_address="127.0.0.2",
        ) as client,
    ):
        await exchange(client)
    assert proxy.clients == ["127.0.0.2"]


# -- proxies that fail --------------------------------------------------------------------

TEMPORARY, FOR_GOOD = True, False


@pytest.mark.parametrize(
    ("scheme", "speak", "reason", "temporary"),
    [
        ("http", hang_up, "closed the connection", TEMPORARY),
        ("http", says(b"HTTP/1.1 200"), "closed the connection", TEMPORARY),
        ("http", says(b"HTTP/1.1 503 Busy\r\n\r\n"), "answered 503 Busy$", TEMPORARY),
        ("http", says(b"HTTP/1.1 429 Slow\r\n\r\n"), "answered 429 Slow$", TEMPORARY),
        ("http", says(b"HTTP/1.1 403 No\r\n\r\n"), "answered 403 No$", FOR_GOOD),
        ("http", says(b"HTTP/1.1 302 A\r\nLocation: /\r\n\r\n"), "answered 302 A$", FOR_GOOD),
        ("http", says(b"SSH-2.0-OpenSSH\r\n\r\n"), "illegal status line", FOR_GOOD),
        ("http", says(b"\x15\x03\x01\0\2\2\x0a"), "should the URL begin with https", FOR_GOOD),
        ("http", says(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 X"), "more than its", FOR_GOOD),
        ("http", says(b"H" * 2**15), "more than 16384 bytes", FOR_GOOD),
        ("https", says(b"HTTP/1.1 400 No\r\n\r\n"), "begin with http://", FOR_GOOD),
        ("https", hang_up, "the TLS handshake failed", TEMPORARY),
        ("socks4", hang_up, "closed", TEMPORARY),
        ("socks4", says(b"\0\x5b" + bytes(6)), "rejected or failed", TEMPORARY),
        ("socks4", says(b"\0\x5d" + bytes(6)), "different user-ids", FOR_GOOD),
        ("socks4", says(b"HTTP/1.1 400 No\r\n"), "reply", FOR_GOOD),
        ("socks5", hang_up, "closed", TEMPORARY),
        ("socks5", says(b"\5\0", b"\5\5\0\1" + bytes(6)), "refused", TEMPORARY),
        ("socks5", says(b"\5\0", b"\5\4\0\1" + bytes(6)), "unreachable", TEMPORARY),
        ("socks5", says(b"\5\0", b"\5\2\0\1" + bytes(6)), "not allowed", FOR_GOOD),
        ("socks5", says(b"\5\xff"), "authentication methods", FOR_GOOD),
        ("socks5", says(b"HTTP/1.1 400 No\r\n"), "version", FOR_GOOD),
    ],
)
async def test_a_proxy_that_refuses_lies_or_hangs_up_is_named(
    scheme: str, speak: Speak, reason: str, temporary: bool
) -> None:
    async with running_proxy(speak) as proxy:
        url = f"{scheme}://joe:hidden@localhost:{proxy.port}"
        error = await failure("ws://127.0.0.1:1/", proxy=url)
    assert isinstance(error, ProxyError)
    with pytest.raises(ProxyError, match=reason):
        raise error
    assert str(error).startswith(f"the proxy {scheme}://localhost:{proxy.port} ")
    assert error.proxy == f"{scheme}://localhost:{proxy.port}"
    assert error.temporary is temporary
    assert "hidden" not in f"{error!r}{error}"


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_proxy_that_cannot_reach_the_server_says_so(scheme: str) -> None:
    async with running_proxy(speak_for(scheme)) as proxy:
        error = await failure("ws://127.0.0.1:1/", proxy=f"{scheme}://127.0.0.1:{proxy.port}")
    assert isinstance(error, ProxyError)
    assert error.temporary


async def test_what_an_http_proxy_answers_is_kept() -> None:
    async with running_proxy(speak_http, credentials=CREDENTIALS) as proxy:
        error = await failure("ws://127.0.0.1:1/", proxy=f"http://127.0.0.1:{proxy.port}")
    assert isinstance(error, ProxyError)
    assert "answered 407 Proxy Authentication Required" in str(error)
    assert error.response is not None
    assert error.response.status_code == 407
    assert error.response.header("Proxy-Authenticate") == 'Basic realm="x"'
    assert not error.temporary


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_a_socks_proxy_that_wants_credentials_is_not_asked_again(scheme: str) -> None:
    async with running_proxy(speak_socks, credentials=CREDENTIALS) as proxy:
        for user in ("", "joe:wrong@", "eve:s%40crt@"):
            url = f"{scheme}://{user}127.0.0.1:{proxy.port}"
            if scheme == "socks4" and user.startswith("joe"):
                continue  # it knows no passwords
            error = await failure("ws://127.0.0.1:1/", proxy=url)
            assert isinstance(error, ProxyError)
            assert not error.temporary
            assert error.response is None


@pytest.mark.parametrize("scheme", [*SCHEMES, "https"])
async def test_a_proxy_that_is_not_there_is_told_in_one_line(scheme: str) -> None:
    async with running_proxy(stall) as proxy:
        pass
    where = f"127.0.0.1:{proxy.port}"
    error = await failure("ws://127.0.0.1:1/", proxy=f"{scheme}://joe:hidden@{where}")
    assert isinstance(error, ProxyError)
    assert str(error) == (
        f"the proxy {scheme}://{where} cannot be reached:"
        f" could not connect to {where}: Connection refused"
    )
    assert error.temporary
    assert isinstance(error.__cause__, ConnectionRefusedError)
    assert error.errno == error.__cause__.errno


@pytest.mark.parametrize("scheme", [*SCHEMES, "https"])
async def test_a_proxy_that_stalls_takes_no_longer_than_a_server_may(
    scheme: str, autojump_clock: MockClock
) -> None:
    async with running_proxy(stall) as proxy:
        with pytest.raises(HandshakeTimeout):
            async with connect(
                "ws://127.0.0.1:1/",
                proxy=f"{scheme}://127.0.0.1:{proxy.port}",
                handshake_timeout=5,
            ):
                raise AssertionError
    assert trio.current_time() == 5


@pytest.mark.parametrize("scheme", ["socks5", "http"])
async def test_cancelled_while_the_proxy_thinks_nothing_is_left_open(
    scheme: str, autojump_clock: MockClock
) -> None:
    left: list[bytes] = []

    async def wait_for_end(_: RunningProxy, stream: trio.abc.Stream) -> None:
        await stream.receive_some(2**16)
        left.append(bytes(await stream.receive_some(2**16)))

    async with running_proxy(wait_for_end) as proxy:
        with trio.move_on_after(1):
            await failure("ws://127.0.0.1:1/", proxy=f"{scheme}://127.0.0.1:{proxy.port}")
        await trio.sleep(1)
    assert left == [b""]


@pytest.mark.parametrize("scheme", SOCKS)
async def test_without_python_socks_an_error_names_the_extra_and_nobody_is_dialled(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    monkeypatch.delitem(sys.modules, "trio_wsendpoint.client.socks", raising=False)
    async with scripted_server(opens()) as server, running_proxy(speak_socks) as proxy:
        with pytest.raises(ImportError, match=r"pip install 'trio-wsendpoint\[proxy\]'"):
            async with connect(server.url, proxy=f"{scheme}://127.0.0.1:{proxy.port}"):
                raise AssertionError
    assert not server.requests
    assert not proxy.clients


async def test_an_http_proxy_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    async with (
        echo_server() as port,
        running_proxy(speak_http) as proxy,
        connect(f"ws://127.0.0.1:{port}/", proxy=f"http://127.0.0.1:{proxy.port}") as client,
    ):
        await exchange(client)


# -- which proxy --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", Proxy("http", "h", 80)),
        ("HTTPS://H/", Proxy("https", "h", 443)),
        ("socks5h://h", Proxy("socks5h", "h", 1080)),
        ("socks4a://[::1]:9", Proxy("socks4a", "::1", 9)),
        (
            "http://joe:%C3%A4@h:3128",
            Proxy("http", "h", 3128, "joe", UMLAUT),
        ),
    ],
)
def test_the_url_of_a_proxy_is_taken_to_pieces(url: str, expected: Proxy) -> None:
    assert parse_proxy(url) == expected
    assert UMLAUT not in f"{expected!r}{expected}"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("h:3128", "form"),
        ("http://", "form"),
        ("http://h/path", "form"),
        ("ftp://joe:hidden@h", "begin with one of"),
        ("http://h:0", "port"),
        ("http://a..b", "host name"),
        ("http://h\n", "control characters"),
        ("http://%FF@h", "UTF-8"),
        ("socks5://joe:%C3%A4@h", "ASCII user name"),
        ("socks5://joe:" + "x" * 256 + "@h", "255 characters"),
        ("socks4://j%00e@h", "ASCII user name"),
    ],
)
def test_a_bad_url_of_a_proxy_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=rf"^proxy must .*{says}") as caught:
        connect("ws://h/", proxy=url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("proxy", [1, b"http://h", ("h", 80)])
def test_a_proxy_that_is_no_str_is_refused(proxy: Any) -> None:
    with pytest.raises(TypeError, match=r"^proxy must be a str"):
        connect("ws://h/", proxy=proxy)


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, "ws://h/", None),
        ({"http_proxy": "http://p:1"}, "ws://h/", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "ws://h/", "http://p:1"),
        ({"http_proxy": "http://p:1"}, "wss://h/", None),
        ({"https_proxy": "http://p:1"}, "wss://h/", "http://p:1"),
        ({"HTTPS_PROXY": "socks5://p:1"}, "wss://h/", "socks5://p:1"),
        ({"https_proxy": "http://p:1"}, "ws://h/", None),
        ({"all_proxy": "http://p:1"}, "ws://h/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "wss://h/", "http://p:1"),
        ({"all_proxy": "http://p:1", "http_proxy": "http://q:1"}, "ws://h/", "http://q:1"),
        ({"http_proxy": "p:1"}, "ws://h/", "http://p:1"),
        ({"http_proxy": ""}, "ws://h/", None),
        ({"http_proxy": "http://p:1", "no_proxy": "h"}, "ws://h/", None),
        ({"http_proxy": "http://p:1", "NO_PROXY": "example.org"}, "ws://a.example.org/", None),
        ({"http_proxy": "http://p:1", "no_proxy": "example.org"}, "ws://example.org./", None),
        ({"http_proxy": "http://p:1", "no_proxy": "h:81"}, "ws://h:81/", None),
        ({"http_proxy": "http://p:1", "no_proxy": "h:81"}, "ws://h/", "http://p:1"),
        ({"http_proxy": "http://p:1", "no_proxy": "::1"}, "ws://[::1]/", None),
        ({"http_proxy": "http://p:1", "no_proxy": "*"}, "ws://h/", None),
        ({"http_proxy": "http://p:1", "no_proxy": "other"}, "ws://h/", "http://p:1"),
    ],
)
def test_the_environment_is_read_as_the_standard_library_does(
    variables: dict[str, str], url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_of_environment(parse_url(url))
    assert (None if proxy is None else str(proxy)) == expected


async def test_by_default_the_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with echo_server() as port, running_proxy(speak_http) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        async with connect(f"ws://127.0.0.1:{port}/") as client:
            await exchange(client)
        async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as client:
            await exchange(client)
    assert len(proxy.asked_for) == 1


async def test_a_bad_proxy_in_the_environment_is_no_direct_dial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "gopher://joe:hidden@h")
    async with scripted_server(opens()) as server:
        with pytest.raises(
            ValueError, match=r"^the proxy that the environment names"
        ) as caught:
            async with connect(server.url):
                raise AssertionError
    assert "hidden" not in str(caught.value)
    assert not server.requests


async def test_the_environment_says_nothing_of_a_stream_or_a_unix_socket(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert "404" in str(await failure("ws://h/", stream=ours))
    assert "/no/such/socket" in str(await failure("ws://h/", unix_path="/no/such/socket"))


# -- a proxy that others wrote ------------------------------------------------------------


@contextlib.asynccontextmanager
async def running_pproxy(credentials: str = "") -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "pproxy"]
    listening = f"http+socks4+socks5://127.0.0.1:{port}/{credentials}"
    process = await trio.lowlevel.open_process(
        [*command, "-l", listening], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with trio.fail_after(30):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await trio.sleep(0.05)
        yield port
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("pproxy"), reason="pproxy is not installed")
async def test_pproxy_leads_to_the_server(tls_contexts: TLSContexts) -> None:
    async with (
        running_pproxy() as proxy,
        echo_server() as port,
        echo_server(ssl_context=tls_contexts.server) as secure_port,
    ):
        for scheme in ("http", "socks4", "socks5", "socks5h"):  # it knows no SOCKS 4a
            options: dict[str, Any] = {"proxy": f"{scheme}://127.0.0.1:{proxy}"}
            async with connect(f"ws://127.0.0.1:{port}/", **options) as client:
                await exchange(client)
            options["ssl_context"] = tls_contexts.client
            async with connect(f"wss://localhost:{secure_port}/", **options) as client:
                await exchange(client)


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("pproxy"), reason="pproxy is not installed")
async def test_pproxy_insists_on_its_credentials() -> None:
    async with running_pproxy("#joe:s@crt") as proxy, echo_server() as port:
        for scheme in ("http", "socks5", "socks5h"):
            wrong = f"{scheme}://joe:wrong@127.0.0.1:{proxy}"
            assert isinstance(await failure(f"ws://127.0.0.1:{port}/", proxy=wrong), ProxyError)
        # Once it knows who we are, it asks no more.
        right = f"{scheme}://joe:s%40crt@127.0.0.1:{proxy}"
        async with connect(f"ws://127.0.0.1:{port}/", proxy=right) as client:
            await exchange(client)
