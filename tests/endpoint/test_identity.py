from __future__ import annotations

import ssl
from functools import partial
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock, memory_stream_pair

from tests.conftest import TLSContexts, make_tls_contexts
from trio_wsendpoint import (
    Accept,
    ConnectionClosedOK,
    Endpoint,
    Request,
    Role,
    connect,
    open_endpoint,
    serve,
    serve_listeners,
)
from trio_wsendpoint.endpoint import tls_info
from trio_wsendpoint.endpoint.stream_setup import show_address
from trio_wsendpoint.testing import open_endpoint_pair

# -- what it says of itself ---------------------------------------------------------------


async def test_its_repr_tells_what_it_is_and_where_it_stands(autojump_clock: MockClock) -> None:
    async with open_endpoint_pair(path="/room?token=secret") as (client, server):
        assert repr(server) == f"<Endpoint {server.connection_id}: server, /room, open>"
        assert repr(client) == f"<Endpoint {client.connection_id}: client, /room, open>"
        await client.aclose(4000)
    assert repr(client).endswith("client, /room, closed with 4000>")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_its_repr_tells_the_peer(host: str) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host=host)
    port = listener.socket.getsockname()[1]
    async with listener, await trio.open_tcp_stream(host, port) as stream:
        accepted = await listener.accept()
        async with open_endpoint(stream, Role.CLIENT) as endpoint:
            shown = f"[{host}]" if ":" in host else host
            assert f"client, to {shown}:{port}, open>" in repr(endpoint)
            await trio.aclose_forcefully(accepted)


@pytest.mark.parametrize(
    ("address", "shown"),
    [("/run/socket", "a Unix socket"), (b"\0abstract", "a Unix socket"), (7, "7")],
)
def test_an_address_is_shown_as_people_write_it(address: object, shown: str) -> None:
    assert show_address(address) == shown


@pytest.fixture
def alpn_contexts() -> TLSContexts:
    contexts = make_tls_contexts()
    for context in contexts.server, contexts.client:
        context.set_alpn_protocols(["http/1.1"])
    return contexts


@pytest.mark.parametrize("own_tls", [True, False])
async def test_it_tells_what_tls_agreed_on(own_tls: bool, alpn_contexts: TLSContexts) -> None:
    tls_contexts = alpn_contexts
    seen: list[Any] = []

    async def handler(endpoint: Endpoint) -> None:
        seen.append((endpoint.tls, endpoint.request.tls, endpoint.request.client_address))

    async with trio.open_nursery() as nursery:
        if own_tls:
            run = partial(serve, handler, 0, host="127.0.0.1", ssl_context=tls_contexts.server)
        else:
            (below,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            listener = trio.SSLListener(below, tls_contexts.server)
            run = partial(serve_listeners, handler, [listener])
        (listening,) = await nursery.start(run)
        sock = listening.socket if own_tls else below.socket
        url = f"wss://127.0.0.1:{sock.getsockname()[1]}/"
        async with connect(url, ssl_context=tls_contexts.client) as client:
            tls = client.tls
            with pytest.raises(ConnectionClosedOK):
                await client.receive()
            assert client.tls == tls
        nursery.cancel_scope.cancel()
    assert tls is not None
    assert tls.version.startswith("TLSv1.")
    assert tls.alpn_protocol == "http/1.1"
    assert tls.peer_certificate is not None
    ((servers, of_request, address),) = seen
    assert servers == of_request
    assert (servers.cipher, servers.peer_certificate) == (tls.cipher, None)
    assert address == "127.0.0.1"


async def test_a_server_that_asks_for_a_certificate_knows_whose_it_is() -> None:
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context = ssl.create_default_context()
    for context, name in (server_context, "127.0.0.1"), (client_context, "ada@example.org"):
        authority.issue_cert(name).configure_cert(context)
        authority.configure_trust(context)

    async def on_request(request: Request) -> Accept:
        assert request.tls is not None
        certificate = request.tls.peer_certificate
        assert certificate is not None
        return Accept(context=certificate["subjectAltName"][0][1])

    async def handler(endpoint: Endpoint) -> None:
        await endpoint.send(endpoint.context)

    async with trio.open_nursery() as nursery:
        options = {"on_request": on_request, "ssl_context": server_context}
        run = partial(serve, handler, 0, host="127.0.0.1", **options)  # type: ignore[arg-type]
        (listener,) = await nursery.start(run)
        url = f"wss://127.0.0.1:{listener.socket.getsockname()[1]}/"
        async with connect(url, ssl_context=client_context) as client:
            assert await client.receive() == "ada@example.org"
        nursery.cancel_scope.cancel()


async def test_before_its_handshake_tls_has_agreed_on_nothing(
    tls_contexts: TLSContexts, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()
    stream = trio.SSLStream(ours, tls_contexts.client, server_hostname="localhost")
    assert tls_info(stream) is None
    await trio.aclose_forcefully(theirs)
