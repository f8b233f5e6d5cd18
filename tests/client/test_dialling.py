"""Tests of where is dialled, and of what is said of ourselves, over real sockets."""

from __future__ import annotations

import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from trio.testing import memory_stream_pair

from tests.client.servers import echo, echo_server, exchange, opens, scripted_server
from tests.conftest import TLSContexts
from trio_wsendpoint import ConnectError, HandshakeError, __version__, connect, serve_listeners


async def serve_unix(path: Path, nursery: trio.Nursery) -> None:
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(path))
    listening.listen()
    await nursery.start(serve_listeners, echo, [trio.SocketListener(listening)])


# -- Unix sockets -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
async def test_a_unix_socket_is_dialled_by_its_path(
    kind: type[str | Path], tmp_path: Path
) -> None:
    async with trio.open_nursery() as nursery:
        await serve_unix(tmp_path / "socket", nursery)
        path = kind(tmp_path / "socket")
        async with connect("ws://any.example/feed", unix_path=path) as client:
            await exchange(client)
            assert client.request is not None
            assert client.request.header("Host") == "any.example"
            assert client.request.target == "/feed"
        nursery.cancel_scope.cancel()


async def test_no_unix_socket_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with pytest.raises(ConnectError) as caught:
        async with connect("ws://h/", unix_path=path):
            raise AssertionError
    assert str(caught.value) == f"could not connect to {path}: No such file or directory"
    assert isinstance(caught.value.__cause__, FileNotFoundError)


# -- names for TLS ------------------------------------------------------------------------


@pytest.fixture
def named(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext, ssl.SSLContext, list[Any]]:
    """Contexts of a server that is called so, and of a client; and the names asked for."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(request.param).configure_cert(server)
    asked: list[Any] = []
    server.sni_callback = lambda _, name, __: asked.append(name)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client, asked


@pytest.mark.parametrize("named", ["name.example"], indirect=True)
@pytest.mark.parametrize("given", ["name.example", "Name.Example.", "n\uff41me.example"])
async def test_another_name_may_be_asked_for_and_verified(
    given: str, named: tuple[ssl.SSLContext, ssl.SSLContext, list[Any]]
) -> None:
    server, client, asked = named
    async with (
        echo_server(ssl_context=server) as port,
        connect(
            f"wss://127.0.0.1:{port}/", ssl_context=client, server_hostname=given
        ) as endpoint,
    ):
        await exchange(endpoint)
        assert endpoint.request is not None
        assert endpoint.request.header("Host") == f"127.0.0.1:{port}"
    assert asked == ["name.example"]


@pytest.mark.parametrize("named", ["name.example"], indirect=True)
async def test_a_name_that_is_not_the_server_s_is_refused(
    named: tuple[ssl.SSLContext, ssl.SSLContext, list[Any]],
) -> None:
    server, client, _ = named
    async with echo_server(ssl_context=server) as port:
        with pytest.raises(HandshakeError, match=r"not valid for 'other\.example'"):
            async with connect(
                f"wss://127.0.0.1:{port}/", ssl_context=client, server_hostname="other.example"
            ):
                raise AssertionError


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::1%zone"])
async def test_an_address_may_be_verified_too(address: str) -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(address.partition("%")[0]).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with (
        echo_server(ssl_context=server) as port,
        connect(
            f"wss://localhost:{port}/", ssl_context=client, server_hostname=address
        ) as endpoint,
    ):
        await exchange(endpoint)


class Everywhere(trio.abc.HostnameResolver):
    """Finds all names on this machine, and keeps them."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def getaddrinfo(
        self, host: Any, port: Any, *_: Any, **__: Any
    ) -> list[tuple[Any, ...]]:
        self.asked.append(host if isinstance(host, str) else host.decode())
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def getnameinfo(self, *_: Any) -> tuple[str, str]:
        raise AssertionError


@pytest.mark.parametrize("named", ["name.example"], indirect=True)
async def test_a_trailing_dot_is_for_the_resolver_and_the_host_header_only(
    named: tuple[ssl.SSLContext, ssl.SSLContext, list[Any]],
) -> None:
    server, client, asked = named
    resolver = Everywhere()
    trio.socket.set_custom_hostname_resolver(resolver)
    async with (
        echo_server(ssl_context=server) as port,
        connect(f"wss://name.example.:{port}/", ssl_context=client) as endpoint,
    ):
        await exchange(endpoint)
        assert endpoint.request is not None
        assert endpoint.request.header("Host") == f"name.example.:{port}"
    assert resolver.asked[-1] == "name.example."
    assert asked == ["name.example"]


@pytest.mark.parametrize("named", ["xn--fa-hia.example"], indirect=True)
async def test_the_owner_of_a_name_is_the_one_that_browsers_go_to(
    named: tuple[ssl.SSLContext, ssl.SSLContext, list[Any]],
) -> None:
    server, client, asked = named
    resolver = Everywhere()
    trio.socket.set_custom_hostname_resolver(resolver)
    async with (
        echo_server(ssl_context=server) as port,
        connect(f"wss://fa\xdf.example:{port}/", ssl_context=client) as endpoint,
    ):
        await exchange(endpoint)
    assert resolver.asked[-1] == "xn--fa-hia.example"
    assert asked == ["xn--fa-hia.example"]


# -- our own address ----------------------------------------------------------------------


async def test_a_local_address_may_be_chosen() -> None:
    async with (
        echo_server() as port,
        connect(f"ws://127.0.0.1:{port}/", local_address="127.0.0.3") as client,
    ):
        await exchange(client)
        assert client.local_address[0] == "127.0.0.3"


# -- headers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            f"trio_wsendpoint/{__version__} Python/{sys.version_info[0]}.{sys.version_info[1]}",
        ),
        ({"user_agent": "mine/1"}, "mine/1"),
        ({"user_agent": None}, None),
        ({"headers": {"user-agent": "theirs"}}, "theirs"),
        ({"headers": {"User-Agent": "theirs"}, "user_agent": "mine/1"}, "theirs"),
    ],
)
async def test_the_user_agent_is_told_unless_there_is_none(
    options: dict[str, Any], expected: str | None
) -> None:
    async with (
        scripted_server(opens()) as server,
        connect(server.url, **options) as client,
    ):
        await exchange(client)
    assert server.headers("User-Agent") == [expected]
    assert server.requests[0].lower().count(b"user-agent:") == (expected is not None)


@pytest.mark.parametrize("origin", ["https://example.org", "http://h:81", "null", "app://x"])
async def test_the_origin_is_sent(origin: str) -> None:
    async with (
        scripted_server(opens()) as server,
        connect(server.url, origin=origin, headers=iter([("X-A", "b")])) as client,
    ):
        await exchange(client)
    assert server.headers("Origin") == [origin]
    assert server.headers("X-A") == ["b"]


# -- arguments ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"user_agent": 1}, TypeError, "^user_agent must be a str"),
        ({"user_agent": "a\nb"}, ValueError, "^user_agent must be Latin-1"),
        ({"origin": 1}, TypeError, "^origin must be a str"),
        ({"origin": "https://h/"}, ValueError, "^origin must be of the form"),
        ({"origin": "h"}, ValueError, "^origin must be of the form"),
        (
            {"origin": "https://h", "headers": {"oRIGIN": "https://h"}},
            ValueError,
            "^headers must not have Origin",
        ),
        ({"max_redirects": -1}, ValueError, "^max_redirects must be at least 0"),
        ({"max_redirects": 1.0}, TypeError, "^max_redirects must be an int"),
        ({"max_redirects": True}, TypeError, "^max_redirects must be an int"),
        ({"sensitive_headers": "Cookie"}, TypeError, "^sensitive_headers must be an iterable"),
        ({"sensitive_headers": 1}, TypeError, "^sensitive_headers must be an iterable"),
        ({"sensitive_headers": [1]}, TypeError, "^sensitive_headers must be an iterable"),
        ({"proxy_ssl_context": 1}, TypeError, "^proxy_ssl_context must be an ssl"),
        (
            {"proxy_ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
            ValueError,
            "^proxy_ssl_context must be one for a client",
        ),
        ({"unix_path": 1}, TypeError, "^unix_path must be a str or a path"),
        (
            {"unix_path": "/s", "proxy": "http://h"},
            ValueError,
            "^proxy must be None where unix",
        ),
        (
            {"unix_path": "/s", "local_address": "::1"},
            ValueError,
            "^local_address must be None",
        ),
        ({"server_hostname": 1}, TypeError, "^server_hostname must be a str"),
        ({"server_hostname": ""}, ValueError, "^server_hostname must have a host name"),
        ({"server_hostname": "a..b"}, ValueError, "^server_hostname must have a host name"),
        ({"local_address": 1}, TypeError, "^local_address must be a str"),
        ({"local_address": "::1]:80"}, ValueError, "^local_address must be an IP address"),
        ({"local_address": "localhost"}, ValueError, "^local_address must be an IP address"),
    ],
)
def test_a_bad_argument_is_refused_at_once(
    options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        connect("ws://h/", **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"unix_path": "/s"}, "^unix_path must be None where stream is given"),
        ({"proxy": "http://h"}, "^proxy must be None where stream is given"),
        ({"local_address": "::1"}, "^local_address must be None where stream is given"),
    ],
)
def test_what_a_stream_makes_useless_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        connect("ws://h/", stream=memory_stream_pair()[0], **options)


def test_so_is_a_name_for_tls_that_has_begun(tls_contexts: TLSContexts) -> None:
    stream = trio.SSLStream(memory_stream_pair()[0], tls_contexts.client, server_hostname="h")
    with pytest.raises(ValueError, match="server_hostname must be None where stream"):
        connect("wss://h/", stream=stream, server_hostname="h")
