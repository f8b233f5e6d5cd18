from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import anyio.abc
import anyio.streams.tls
import pytest
import trio
from anyio.streams.stapled import StapledByteStream
from trio.testing import memory_stream_pair

from tests.conftest import TLSContexts
from trio_wsendpoint import (
    ConnectionClosedError,
    Endpoint,
    Role,
    accept,
    connect,
    from_anyio_stream,
    open_endpoint,
)

SocketPair = tuple[anyio.abc.SocketStream, anyio.abc.SocketStream]


@pytest.fixture
async def pair() -> AsyncIterator[SocketPair]:
    """Two connected streams of anyio's."""
    given, taken = anyio.create_memory_object_stream[anyio.abc.SocketStream](1)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
        given,
        taken,
    ):
        tasks.start_soon(listener.serve, given.send)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        dialled = await anyio.connect_tcp("127.0.0.1", port)
        accepted = await taken.receive()
        tasks.cancel_scope.cancel()
    async with dialled, accepted:
        yield dialled, accepted


async def echo(stream: anyio.abc.ByteStream) -> None:
    async with accept(from_anyio_stream(stream)) as endpoint:
        async for message in endpoint:
            await endpoint.send(message)


async def test_messages_cross_sockets_of_anyio(pair: SocketPair, nursery: trio.Nursery) -> None:
    near, far = pair
    nursery.start_soon(echo, far)
    async with connect("ws://localhost/", stream=from_anyio_stream(near)) as endpoint:
        for message in "hello", bytes(3_000_00):
            await endpoint.send(message)
            assert await endpoint.receive() == message
    assert endpoint.close_code == 1000


async def test_messages_cross_tls_of_anyio(
    pair: SocketPair,
    nursery: trio.Nursery,
    tls_contexts: TLSContexts,
    autojump_clock: trio.testing.MockClock,
) -> None:
    near, far = pair
    wrap = anyio.streams.tls.TLSStream.wrap

    async def serve_tls() -> None:
        await echo(await wrap(far, server_side=True, ssl_context=tls_contexts.server))

    nursery.start_soon(serve_tls)
    tls = await wrap(near, hostname="localhost", ssl_context=tls_contexts.client)
    began = trio.current_time()
    async with connect("ws://localhost/", stream=from_anyio_stream(tls)) as endpoint:
        await endpoint.send("hello")
        assert await endpoint.receive() == "hello"
    assert endpoint.close_code == 1000
    # Nobody has waited for an end of one half, which TLS of anyio's cannot tell.
    assert trio.current_time() == began


async def test_an_end_of_the_stream_is_told_as_trio_tells_it(pair: SocketPair) -> None:
    near, far = map(from_anyio_stream, pair)
    await cast("trio.abc.HalfCloseableStream", far).send_eof()
    assert await near.receive_some(10) == b""
    await near.wait_send_all_might_not_block()
    await near.send_all(memoryview(b"hello"))
    assert await far.receive_some() == b"hello"
    await trio.aclose_forcefully(near)
    await far.aclose()
    for stream in near, far:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"?")


async def test_a_broken_stream_is_told_as_trio_tells_it(pair: SocketPair) -> None:
    class Broken(anyio.abc.ByteReceiveStream):
        async def receive(self, max_bytes: int = 65536) -> bytes:  # noqa: ARG002
            raise anyio.BrokenResourceError

        async def aclose(self) -> None:
            pass

    _, far = pair
    stream = from_anyio_stream(StapledByteStream(far, Broken()))
    assert not isinstance(stream, trio.abc.HalfCloseableStream)
    with pytest.raises(ConnectionClosedError):
        async with open_endpoint(stream, Role.SERVER) as endpoint:
            await endpoint.receive()


@pytest.mark.parametrize("opening", ["open_endpoint", "accept", "connect"])
async def test_a_stream_of_anyio_is_refused_with_the_way_out(
    pair: SocketPair, opening: str
) -> None:
    wrong: Any = pair[0]
    openings: dict[str, Any] = {
        "open_endpoint": lambda: open_endpoint(wrong, Role.CLIENT),
        "accept": lambda: accept(wrong),
        "connect": lambda: connect("ws://localhost", stream=wrong),
    }
    with pytest.raises(
        TypeError,
        match=r"stream must be a trio.abc.Stream, not SocketStream; from_anyio_stream makes",
    ):
        async with openings[opening]():
            pass  # pragma: no cover


@pytest.mark.parametrize("wrong", [None, "stream", Endpoint])
async def test_what_is_no_stream_at_all_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"stream must be a trio.abc.Stream, not \w+$"):
        async with accept(wrong):
            pass  # pragma: no cover


def test_a_stream_of_trio_needs_no_wrapping() -> None:
    stream, _ = memory_stream_pair()
    with pytest.raises(TypeError, match=r"stream must be an anyio.abc.ByteStream, not Stapled"):
        from_anyio_stream(cast("Any", stream))


def test_without_anyio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anyio.abc", None)
    with pytest.raises(ImportError, match=r"trio-wsendpoint\[anyio\]"):
        from_anyio_stream(cast("Any", None))
