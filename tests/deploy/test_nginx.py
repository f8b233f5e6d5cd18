"""Behind a real nginx as a reverse proxy over TLS."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
import trio
import trustme

from tests.server.world import Answer, parse_answer, request_bytes
from trio_wsendpoint import (
    ConnectionClosed,
    Endpoint,
    HandshakeRejected,
    Request,
    Response,
    connect,
    serve,
    serve_unix,
)

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="needs nginx"),
]

Way = Literal["TCP", "Unix"]
both_ways = pytest.mark.parametrize("way", ["TCP", "Unix"])

CONFIGURATION = """
daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {directory}/certificate.pem;
        ssl_certificate_key {directory}/key.pem;
        location / {{
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""


@attrs.frozen
class Proxy:
    """An nginx, and how to reach what is behind it."""

    port: int
    ssl_context: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}"

    async def dial(self, address: str = "127.0.0.2") -> trio.SocketStream:
        """Connect from an address of loopback other than nginx's own."""
        sock = trio.socket.socket()
        await sock.bind((address, 0))
        await sock.connect(("127.0.0.1", self.port))
        return trio.SocketStream(sock)

    @asynccontextmanager
    async def connect(
        self, target: str = "/", address: str = "127.0.0.2", **options: Any
    ) -> AsyncIterator[Endpoint]:
        async with connect(
            self.url + target,
            ssl_context=self.ssl_context,
            stream=await self.dial(address),
            **options,
        ) as endpoint:
            yield endpoint

    async def ask(self, request: bytes) -> Answer:
        stream = trio.SSLStream(
            await self.dial(),
            self.ssl_context,
            server_hostname="localhost",
            https_compatible=True,
        )
        await stream.send_all(request)
        data = b"".join([bytes(piece) async for piece in stream])
        await trio.aclose_forcefully(stream)
        return parse_answer(data)


@asynccontextmanager
async def running_nginx(directory: Path, upstream: str) -> AsyncIterator[Proxy]:
    assert NGINX is not None
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
    with (directory / "certificate.pem").open("wb") as file:
        for blob in certificate.cert_chain_pems:
            file.write(blob.bytes())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = directory / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(directory=directory, port=port, upstream=upstream)
    )
    process = await trio.lowlevel.open_process(
        [NGINX, "-p", str(directory), "-c", str(configuration)], stderr=subprocess.DEVNULL
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    proxy = Proxy(port, context)
    try:
        with trio.fail_after(60):
            await wait_until_it_listens(proxy, process)
            yield proxy
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


async def wait_until_it_listens(proxy: Proxy, process: trio.Process) -> None:
    while True:
        assert process.poll() is None, "nginx does not run"
        try:
            stream = await proxy.dial()
        except OSError:
            await trio.sleep(0.05)
        else:
            await stream.aclose()
            return


def let_others_in(directory: Path) -> None:
    """Let nginx, which drops its privileges, reach the socket all the same."""
    for each in (directory, *directory.parents[:2]):
        each.chmod(0o755)


@asynccontextmanager
async def behind_nginx(
    handler: Any, way: Way, directory: Path, **options: Any
) -> AsyncIterator[Proxy]:
    let_others_in(directory)
    path = directory / "socket"
    async with trio.open_nursery() as nursery:
        if way == "Unix":
            run = partial(serve_unix, mode=0o666, trusted_proxies=["unix"], **options)
            await nursery.start(run, handler, path)
            upstream = f"unix:{path}"
        else:
            run = partial(serve, host="127.0.0.1", trusted_proxies=["127.0.0.1"], **options)
            (listener,) = await nursery.start(run, handler, 0)
            upstream = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        async with running_nginx(directory, upstream) as proxy:
            yield proxy
        nursery.cancel_scope.cancel()


async def tell_address(endpoint: Endpoint) -> None:
    await endpoint.send(str(endpoint.client_address))
    async for message in endpoint:
        await endpoint.send(message)


@both_ways
async def test_the_address_is_the_clients_whatever_it_says_itself(
    way: Way, tmp_path: Path
) -> None:
    async with behind_nginx(tell_address, way, tmp_path) as proxy:
        for address in "127.0.0.2", "127.0.0.3":
            async with proxy.connect(address=address) as client:
                assert await client.receive() == address
        made_up = {"X-Forwarded-For": "203.0.113.1"}
        async with proxy.connect(headers=made_up) as client:
            assert await client.receive() == "127.0.0.2"
            await client.send(b"x" * 300_000)
            assert await client.receive() == b"x" * 300_000


@both_ways
async def test_limits_are_those_of_each_client(way: Way, tmp_path: Path) -> None:
    async with (
        behind_nginx(tell_address, way, tmp_path, max_connections_per_host=2) as proxy,
        proxy.connect(),
        proxy.connect(headers={"X-Forwarded-For": "203.0.113.1"}),
    ):
        with pytest.raises(HandshakeRejected) as caught:
            async with proxy.connect(headers={"X-Forwarded-For": "203.0.113.2"}):
                pass
        assert caught.value.status_code == 503
        assert caught.value.response.header("Retry-After")
        async with proxy.connect(address="127.0.0.3") as client:
            assert await client.receive() == "127.0.0.3"


async def test_the_101_and_the_origin_are_right(tmp_path: Path) -> None:
    async with behind_nginx(
        tell_address, "TCP", tmp_path, subprotocols=["chat"], headers={"X-A": "b"}
    ) as proxy:
        own = {"Origin": f"https://localhost:{proxy.port}"}
        async with proxy.connect(headers=own, subprotocols=["chat"]) as client:
            assert client.response.status_code == 101
            assert client.response.header("X-A") == "b"
            assert client.subprotocol == "chat"
        for foreign in "https://evil.example", "https://localhost", "null":
            with pytest.raises(HandshakeRejected, match="403"):
                async with proxy.connect(headers={"Origin": foreign}):
                    pass


@both_ways
async def test_close_codes_pass_in_both_directions(way: Way, tmp_path: Path) -> None:
    ended: list[Any] = []

    async def handler(endpoint: Endpoint) -> None:
        if endpoint.request.path == "/server":
            await endpoint.aclose(4003, "members only")
            return
        try:
            await endpoint.receive()
        except ConnectionClosed as error:
            ended.append((error.code, error.reason))

    async with behind_nginx(handler, way, tmp_path) as proxy:
        async with proxy.connect("/server") as client:
            with pytest.raises(
                ConnectionClosed, match="closed by the server with 4003: members"
            ):
                await client.receive()
        async with proxy.connect("/client") as client:
            await client.aclose(4001, "enough")
        with trio.fail_after(10):
            while not ended:  # noqa: ASYNC110
                await trio.sleep(0.01)
    assert ended == [(4001, "enough")]


@both_ways
async def test_pages_pass(way: Way, tmp_path: Path) -> None:
    async def page(request: Request) -> Response:
        if request.method == "POST":
            return Response.text("no", 401, {"WWW-Authenticate": "Bearer"})
        return Response.html(f"<p>{request.path} for {request.client_address}" + "x" * 100_000)

    async with behind_nginx(tell_address, way, tmp_path, on_request=page) as proxy:
        answer = await proxy.ask(request_bytes("/%C3%A9", connection="close"))
        assert answer.status_code == 200
        assert answer.body.startswith("<p>/é for 127.0.0.2".encode())
        length = len(answer.body)
        answer = await proxy.ask(request_bytes("/%C3%A9", "HEAD", connection="close"))
        assert (answer.status_code, answer.body) == (200, b"")
        assert int(answer.headers["content-length"]) == length
        data = request_bytes(method="POST", content_length="50000", connection="close")
        answer = await proxy.ask(data + bytes(50_000))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
