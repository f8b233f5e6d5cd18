"""Tests of errors that a person can act on."""

from __future__ import annotations

import copy
import datetime
import pickle
import re
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trustme

import trio_wsendpoint
from tests.client.servers import echo_server, exchange
from tests.conftest import TLSContexts
from trio_wsendpoint import (
    CloseFrame,
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    HandshakeRejected,
    HandshakeTimeout,
    HeartbeatTimeout,
    LookAheadFull,
    ProxyError,
    Response,
    Role,
    WebSocketError,
    connect,
)

RESPONSE = Response(503, {"Retry-After": "5"}, b"busy")
CLOSED: dict[str, Any] = {
    "sent_close_frame": CloseFrame.create(1001, "bye"),
    "received_close_frame": CloseFrame.create(1001, "bye"),
    "closed_first": Role.SERVER,
    "connection_id": 7,
}
ERRORS: list[WebSocketError] = [
    HandshakeError("why", 426, temporary=True),
    HandshakeRejected(RESPONSE),
    HandshakeRejected(RESPONSE, "and why"),
    HandshakeTimeout(5),
    ConnectionClosed(1001, "bye", **CLOSED),
    ConnectionClosedOK(1001, "bye", **CLOSED),
    ConnectionClosedError(1006, "lost"),
    HeartbeatTimeout(1002, "silent", **CLOSED),
    LookAheadFull(10),
    ConnectError(111, "could not connect"),
    ConnectError(None, "could not connect"),
    ConnectError("a message alone"),
    ProxyError(111, "it refused", proxy="http://h:1", response=RESPONSE, temporary=True),
]


def attributes(error: BaseException) -> dict[str, Any]:
    names = [name for name in dir(error) if not name.startswith("__")]
    values = {name: getattr(error, name, None) for name in names}
    return {name: value for name, value in values.items() if not callable(value)}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_errors_survive_copy_and_pickle_with_their_attributes(
    error: WebSocketError, duplicate: Callable[[WebSocketError], WebSocketError]
) -> None:
    error.add_note("a note")
    again = duplicate(error)
    assert again is not error
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert attributes(again) == attributes(error)


def test_every_error_that_is_exported_is_a_websocket_error() -> None:
    exported = [getattr(trio_wsendpoint, name) for name in trio_wsendpoint.__all__]
    errors = [each for each in exported if isinstance(each, type)]
    assert {each for each in errors if issubclass(each, Exception)} == {
        WebSocketError,
        *map(type, ERRORS),
    }
    assert all(isinstance(error, WebSocketError) for error in ERRORS)
    assert not issubclass(trio.ClosedResourceError, WebSocketError)


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (WebSocketError("x"), False),
        (HandshakeError("x"), False),
        (HandshakeTimeout(1), True),
        (ConnectError(111, "x"), True),
        (ProxyError(None, "x"), False),
        (HeartbeatTimeout(1002), True),
        *[(HandshakeRejected(Response(code)), False) for code in (200, 302, 401, 428, 600)],
        *[(HandshakeRejected(Response(code)), True) for code in (429, 500, 503, 599)],
        *[(ConnectionClosedError(code), False) for code in (1000, 1002, 1005, 1010, 1015)],
        *[(ConnectionClosedError(code), True) for code in (1001, 1006, 1011, 1012, 1013, 1014)],
    ],
    ids=repr,
)
def test_an_error_tells_whether_it_may_be_over_soon(
    error: WebSocketError, temporary: bool
) -> None:
    assert error.temporary is temporary


async def failure(url: str, **options: Any) -> WebSocketError:
    try:
        async with connect(url, **options) as endpoint:
            await exchange(endpoint)
    except WebSocketError as error:
        return error
    raise AssertionError("it did not fail")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_nobody_who_listens_is_told_in_one_line(host: str) -> None:
    async with echo_server() as port:
        pass
    error = await failure(f"ws://{host}:{port}/")
    assert isinstance(error, ConnectError)
    assert str(error) == f"could not connect to {host}:{port}: Connection refused"
    cause = error.__cause__
    assert isinstance(cause, ConnectionRefusedError)
    assert error.errno == cause.errno
    seen: list[BaseException | None] = [error, cause, cause.__cause__, cause.__context__]
    assert not any(isinstance(each, BaseExceptionGroup) for each in seen)
    assert error.__context__ in (None, cause)


async def test_a_local_address_that_does_not_fit_is_told_so() -> None:
    async with echo_server() as port:
        error = await failure(f"ws://127.0.0.1:{port}/", local_address="::1")
    assert isinstance(error, ConnectError)
    assert "local_address='::1' is incompatible" in str(error)


async def test_connect_is_not_awaited() -> None:
    with pytest.raises(TypeError, match=r"async with connect\(\.\.\.\) as endpoint"):
        await connect("ws://h/")


async def test_connect_is_entered_once() -> None:
    async with echo_server() as port:
        connecting = connect(f"ws://127.0.0.1:{port}/")
        async with connecting as endpoint:
            await exchange(endpoint)
        with pytest.raises(RuntimeError, match="entered once"):
            await connecting.__aenter__()


@pytest.mark.parametrize("name", ["ping_interval", "handshake_timeout", "close_timeout"])
def test_no_limit_of_time_is_infinity_not_none(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be seconds, not None; math\.inf"):
        connect("ws://h/", **{name: None})  # type: ignore[arg-type]


# -- TLS ----------------------------------------------------------------------------------


def make_client(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_certificate_that_is_required_is_named_in_the_message(
    version: ssl.TLSVersion, tls_contexts: TLSContexts
) -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.maximum_version = version
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    authority.issue_cert("localhost").configure_cert(server)
    async with echo_server(ssl_context=server) as port:
        url = f"wss://localhost:{port}/"
        error = await failure(url, ssl_context=make_client(authority))
    if version is ssl.TLSVersion.TLSv1_3:
        assert "alert 'certificate required'" in str(error)
    else:
        assert "alert 'handshake failure'" in str(error)
    assert not error.temporary


@pytest.mark.parametrize(
    ("expires", "says"),
    [(None, "unknown ca"), (datetime.timedelta(days=-1), "certificate expired")],
)
async def test_a_certificate_of_ours_that_is_refused_is_named_in_the_message(
    expires: datetime.timedelta | None, says: str
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    authority.issue_cert("localhost").configure_cert(server)
    client = make_client(authority)
    now = datetime.datetime.now(datetime.UTC)
    if expires is None:
        other.issue_cert("client").configure_cert(client)
    else:
        authority.issue_cert("client", not_after=now + expires).configure_cert(client)
    async with echo_server(ssl_context=server) as port:
        error = await failure(f"wss://localhost:{port}/", ssl_context=client)
    assert f"alert {says!r}" in str(error)
    assert not error.temporary


async def test_a_server_s_certificate_that_has_expired_is_named_in_the_message() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    authority.issue_cert("localhost", not_after=yesterday).configure_cert(server)
    async with echo_server(ssl_context=server) as port:
        error = await failure(f"wss://localhost:{port}/", ssl_context=make_client(authority))
    assert re.search("the TLS handshake failed: .*certificate has expired", str(error))
    assert not error.temporary


async def test_a_hang_up_in_the_tls_handshake_may_be_over_soon() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some(10_000)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, hang_up, 0)
        port = listeners[0].socket.getsockname()[1]
        error = await failure(f"wss://127.0.0.1:{port}/")
        nursery.cancel_scope.cancel()
    assert "the TLS handshake failed: " in str(error)
    assert error.temporary
