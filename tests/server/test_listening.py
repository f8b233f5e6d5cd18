from __future__ import annotations

import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conftest import TLSContexts
from tests.server.world import HEAD, echo
from trio_wsendpoint import Endpoint, connect, serve, serve_listeners, serve_unix


@asynccontextmanager
async def serving_unix(path: Path, **options: Any) -> AsyncIterator[trio.SocketListener]:
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(serve_unix, echo, path, **options))
        yield listener
        nursery.cancel_scope.cancel()


async def assert_echoes(stream: trio.abc.Stream, url: str = "ws://localhost/") -> None:
    async with connect(url, stream=stream) as client:
        await client.send("x")
        assert await client.receive() == "x"


def leave_dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


# -- Unix sockets -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o660])
async def test_a_unix_socket_is_for_those_whom_its_mode_allows(
    mode: int, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    async with serving_unix(path, mode=mode):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        await assert_echoes(await trio.open_unix_socket(str(path)))
    assert not path.exists()


async def test_by_default_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    async with serving_unix(tmp_path / "socket"):
        assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600


async def test_whoever_connects_by_it_has_no_address_and_is_not_counted_by_one(
    tmp_path: Path,
) -> None:
    seen: list[Any] = []

    async def handler(endpoint: Endpoint) -> None:
        seen.append((endpoint.client_address, repr(endpoint)))
        await echo(endpoint)

    path = tmp_path / "socket"
    async with trio.open_nursery() as nursery:
        run = partial(serve_unix, handler, str(path), max_connections_per_host=1)
        await nursery.start(run)
        streams = [await trio.open_unix_socket(str(path)) for _ in range(3)]
        for stream in streams:
            await stream.send_all(HEAD)
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
        nursery.cancel_scope.cancel()
    for stream in streams:
        await stream.aclose()
    assert [address for address, _ in seen] == [None] * 3
    assert all("server" in text and "open" in text for _, text in seen)


async def test_it_may_be_over_tls(tmp_path: Path, tls_contexts: TLSContexts) -> None:
    path = tmp_path / "socket"
    async with serving_unix(path, ssl_context=tls_contexts.server):
        stream = await trio.open_unix_socket(str(path))
        tls = trio.SSLStream(stream, tls_contexts.client, server_hostname="localhost")
        await assert_echoes(tls, "wss://localhost/")


async def test_a_socket_that_is_dead_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    leave_dead_socket(path)
    async with serving_unix(path):
        await assert_echoes(await trio.open_unix_socket(str(path)))


@pytest.mark.parametrize("backlog", [None, 0])
async def test_a_socket_that_lives_is_left_alone(backlog: int | None, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as waiting:
        living.bind(str(path))
        living.listen(*([] if backlog is None else [backlog]))
        waiting.connect(str(path))
        with pytest.raises(OSError, match="another server listens on this socket"):
            await serve_unix(echo, path)
        assert path.exists()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
async def test_another_kind_of_file_is_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "target")
        leave_dead_socket(tmp_path / "target")
    with pytest.raises(FileExistsError, match="there is a file that is no socket"):
        await serve_unix(echo, path)
    path.lstat()


async def test_a_socket_that_another_server_has_put_in_its_place_is_not_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "socket"
    async with serving_unix(path):
        path.rename(tmp_path / "ours")  # so that its inode is not used again
        leave_dead_socket(path)
    assert path.exists()
    path.unlink()
    async with serving_unix(path):
        path.unlink()
    assert not path.exists()


async def test_a_directory_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await serve_unix(echo, tmp_path / "nowhere" / "socket")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"path": 5}, TypeError, "expected str, bytes or os.PathLike"),
        ({"path": b"socket"}, TypeError, "path must be a str or a path of str, not bytes"),
        ({"path": ""}, ValueError, "path must be one of the file system, not ''"),
        ({"path": "\0abstract"}, ValueError, "path must be one of the file system"),
        ({"mode": "600"}, TypeError, "mode must be an int, not str"),
        ({"mode": True}, TypeError, "mode must be an int, not bool"),
        ({"mode": 0o1600}, ValueError, "mode must be 0o000 to 0o777, not 0o1600"),
        ({"mode": -1}, ValueError, "mode must be 0o000 to 0o777"),
        ({"backlog": "many"}, TypeError, "backlog must be an int or None, not str"),
        ({"handler": print}, TypeError, "handler must be an async function"),
        ({"ssl_context": 5}, TypeError, "ssl_context must be"),
        ({"nonsense": 5}, TypeError, r"serve_unix\(\) got an unexpected"),
    ],
)
async def test_serve_unix_refuses_bad_arguments(
    arguments: dict[str, Any], error: type[Exception], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    with pytest.raises(error, match=f"^{says}"):
        await serve_unix(**{"handler": echo, "path": path, **arguments})
    assert not path.exists()


# -- several processes on one port --------------------------------------------------------


async def test_several_servers_may_share_a_port(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        run = partial(serve, echo, host="127.0.0.1", reuse_port=True, backlog=10)
        (first,) = await nursery.start(run, 0)
        port = first.socket.getsockname()[1]
        (second,) = await nursery.start(run, port)
        assert second.socket.getsockname() == first.socket.getsockname()
        await assert_echoes(await trio.open_tcp_stream("127.0.0.1", port))
        nursery.cancel_scope.cancel()


async def test_by_default_they_may_not() -> None:
    async with trio.open_nursery() as nursery:
        (first,) = await nursery.start(partial(serve, echo, 0, host="127.0.0.1"))
        port = first.socket.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await serve(echo, port, host="127.0.0.1", reuse_port=True)
        nursery.cancel_scope.cancel()


async def test_a_shared_port_is_one_of_all_addresses_by_default() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve, echo, 0, reuse_port=True))
        families = {listener.socket.family for listener in listeners}
        assert socket.AF_INET in families
        assert len(families) == len(listeners)
        nursery.cancel_scope.cancel()


async def test_a_family_that_the_system_lacks_is_left_out_if_there_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_socket = trio.socket.socket
    lacking = {socket.AF_INET6}

    def lack(family: int, *args: int) -> Any:
        if family in lacking:
            raise OSError(97, "Address family not supported by protocol")
        return make_socket(family, *args)

    infos = [
        (family, socket.SOCK_STREAM, 0, "", (host, 0))
        for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
    ]

    async def resolve(*_: object, **__: object) -> Any:
        return infos

    monkeypatch.setattr(trio.socket, "socket", lack)
    monkeypatch.setattr(trio.socket, "getaddrinfo", resolve)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(serve, echo, 0, reuse_port=True))
        assert listener.socket.family == socket.AF_INET
        nursery.cancel_scope.cancel()
    lacking.add(socket.AF_INET)
    with pytest.raises(OSError, match="not supported"):
        await serve(echo, 0, reuse_port=True)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"reuse_port": 1}, TypeError, "reuse_port must be a bool, not int"),
        ({"reuse_port": True, "backlog": 1.5}, TypeError, "backlog must be an int or None"),
    ],
)
async def test_serve_refuses_bad_arguments_of_its_socket(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=f"^{says}"):
        await serve(echo, 0, **arguments)


async def test_a_system_that_cannot_share_ports_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(ValueError, match=r"^reuse_port must be False: "):
        await serve(echo, 0, reuse_port=True)


# -- listeners that are there already -----------------------------------------------------


async def test_listeners_may_be_served_over_tls(tls_contexts: TLSContexts) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        run = partial(serve_listeners, echo, listeners, ssl_context=tls_contexts.server)
        assert await nursery.start(run) == listeners
        async with connect(
            f"wss://localhost:{port}/",
            ssl_context=tls_contexts.client,
            stream=await trio.open_tcp_stream("127.0.0.1", port),
        ) as client:
            await client.send("x")
            assert await client.receive() == "x"
        nursery.cancel_scope.cancel()


async def test_tls_is_not_done_twice(tls_contexts: TLSContexts) -> None:
    (below,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    listener = trio.SSLListener(below, tls_contexts.server)
    with pytest.raises(ValueError, match=r"^ssl_context must be None over a trio\.SSLListener"):
        await serve_listeners(echo, [listener], ssl_context=tls_contexts.server)
    await below.aclose()
