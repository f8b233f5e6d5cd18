from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import Final

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from tests.endpoint.peer import stream_pair
from trio_wsendpoint.endpoint import transport as transport_module
from trio_wsendpoint.endpoint.stream_setup import transport_for
from trio_wsendpoint.endpoint.transport import (
    LARGE_WRITE,
    MAX_UNSENT,
    WRITE_SIZE,
    NonblockingTransport,
    SocketTransport,
    StreamTransport,
)
from trio_wsendpoint.protocol import BytesLike
from trio_wsendpoint.testing import WrappedStream


def socket_transport() -> tuple[SocketTransport, trio.abc.Stream]:
    ours, theirs = stream_pair("socket")
    transport = transport_for(ours)
    assert isinstance(transport, SocketTransport)
    return transport, theirs


async def test_without_scattered_reads_a_socket_is_a_stream_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = stream_pair("socket")
    monkeypatch.delattr(os, "readv")
    assert type(transport_for(ours)) is StreamTransport
    await ours.aclose()
    await theirs.aclose()


SIZE: Final = 2**12


async def test_a_read_that_would_block_is_told_from_the_end_of_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport_module.thread_buffer, "view", memoryview(bytearray(SIZE)))
    transport, theirs = socket_transport()
    assert transport.read_nowait() is None
    await theirs.send_all(b"x" * (SIZE + 1))
    assert len(transport.read_nowait() or b"") == SIZE
    assert bytes(transport.read_nowait() or b"") == b"x"
    await theirs.aclose()
    end = transport.read_nowait()
    assert end is not None
    assert len(end) == 0
    await transport.aclose()
    with pytest.raises(OSError, match="Bad file descriptor"):
        transport.read_nowait()


async def test_reading_waits_until_there_is_something() -> None:
    transport, theirs = socket_transport()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, b"x")
        assert bytes(await transport.read()) == b"x"
    await transport.aclose()
    await theirs.aclose()


async def test_a_read_that_was_woken_for_nothing_waits_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport, theirs = socket_transport()
    read_nowait, reads = transport.read_nowait, 0

    def spurious() -> object:
        nonlocal reads
        reads += 1
        return None if reads == 1 else read_nowait()

    monkeypatch.setattr(type(transport), "read_nowait", lambda _: spurious())
    await theirs.send_all(b"x")
    assert bytes(await transport.read()) == b"x"
    await transport.aclose()
    await theirs.aclose()


@pytest.mark.parametrize("size", [0, 3, 7, 10])
async def test_a_read_fills_the_room_first(size: int) -> None:
    transport, theirs = socket_transport()
    room = memoryview(bytearray(size))
    assert transport.read_into_nowait(room) is None
    await theirs.send_all(b"message")
    filled, rest = transport.read_into_nowait(room) or (None, b"")
    assert filled == min(size, 7)
    assert bytes(room[:filled]) + bytes(rest) == b"message"
    await theirs.aclose()
    assert transport.read_into_nowait(room) == (0, b"")
    await transport.aclose()


async def test_the_buffer_of_reads_is_shared_within_a_thread_and_not_between_threads() -> None:
    pairs = [socket_transport() for _ in range(2)]
    for _, theirs in pairs:
        await theirs.send_all(b"x")
    first, second = (transport.read_nowait() for transport, _ in pairs)
    assert isinstance(first, memoryview)
    assert isinstance(second, memoryview)
    assert first.obj is second.obj
    await pairs[0][1].send_all(b"y")
    others: list[object] = []
    thread = threading.Thread(target=lambda: others.append(pairs[0][0].read_nowait()))
    thread.start()
    thread.join()
    assert isinstance(others[0], memoryview)
    assert others[0].obj is not first.obj
    for transport, theirs in pairs:
        await transport.aclose()
        await theirs.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
async def test_a_tcp_socket_tells_what_the_peer_does_not_take() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await trio.testing.open_stream_to_socket_listener(listener)
        theirs = await listener.accept()
    transport = transport_for(ours)
    assert transport.write_nowait([b"x"]) == 1
    assert transport.held_by_system == 0, "it is on its way, whoever may read it"
    while transport.write_nowait([bytes(2**20)]):
        pass
    assert transport.held_by_system > 0
    await transport.aclose()
    assert transport.held_by_system == 0
    await theirs.aclose()


async def test_a_write_says_how_much_the_socket_took() -> None:
    transport, theirs = socket_transport()
    assert transport.write_nowait([b"abc"]) == 3
    assert transport.write_nowait([b"de", bytearray(b"f"), memoryview(b"gh")]) == 5
    assert await theirs.receive_some(100) == b"abcdefgh"
    assert transport.write_nowait([b"x"] * 2000) < 2000, "no more buffers than a system takes"
    big = bytes(2**24)
    taken = transport.write_nowait([big])
    assert 0 < taken < len(big)
    assert transport.write_nowait([big]) == 0
    await transport.aclose()
    with pytest.raises(OSError, match="Bad file descriptor"):
        transport.write_nowait([b"x"])
    await theirs.aclose()


async def test_an_interrupt_wakes_a_reader_and_does_not_disturb_a_writer() -> None:
    transport, theirs = socket_transport()
    while transport.write_nowait([bytes(2**20)]):
        pass
    results: list[object] = []

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await transport.wait_readable()
        results.append("woken")

    async def write() -> None:
        count = 0
        while not count:
            count = await transport.write_some([b"x"])
        results.append(count)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        transport.interrupt()
        await wait_all_tasks_blocked()
        assert results == ["woken"]
        reader = transport_for(theirs)
        assert isinstance(reader, SocketTransport)
        while reader.read_nowait() is not None:
            pass
    assert results == ["woken", 1]
    await transport.aclose()
    await theirs.aclose()


async def test_a_writer_is_told_that_the_socket_was_closed() -> None:
    transport, theirs = socket_transport()
    while transport.write_nowait([bytes(2**20)]):
        pass
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await transport.write_some([b"x"])

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        await transport.aclose()
    await theirs.aclose()


class Whole(trio.abc.Stream):
    """A stream that has no halves."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise NotImplementedError

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


async def test_the_sending_half_is_ended_where_there_are_halves() -> None:
    ours, theirs = memory_stream_pair()
    assert await StreamTransport(ours).send_eof()
    assert await theirs.receive_some() == b""
    assert not await StreamTransport(Whole()).send_eof()


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        ([10], 10),
        ([10, 20], 30),
        ([WRITE_SIZE], WRITE_SIZE),
        ([WRITE_SIZE + 1], WRITE_SIZE),
        ([10, WRITE_SIZE, 10], WRITE_SIZE),
        ([10] * 100, 1000),
        ([WRITE_SIZE // 2] * 3, WRITE_SIZE),
    ],
)
async def test_a_stream_is_written_in_steps(sizes: list[int], taken: int) -> None:
    ours, theirs = memory_stream_pair()
    data = os.urandom(sum(sizes))
    buffers: list[bytes] = []
    for size in sizes:
        start = sum(map(len, buffers))
        buffers.append(data[start : start + size])
    transport = StreamTransport(WrappedStream(ours))
    assert transport.held_by_system == 0
    assert await transport.write_some(buffers) == taken
    received = await theirs.receive_some(2**20)
    assert received == data[:taken]


async def test_what_reads_and_writes_without_blocking_must_be_told_how() -> None:
    ours, theirs = stream_pair("socket")
    assert isinstance(ours, trio.SocketStream)
    transport = NonblockingTransport(ours, ours)
    with pytest.raises(NotImplementedError):
        transport.read_nowait()
    with pytest.raises(NotImplementedError):
        transport.read_into_nowait(memoryview(b""))
    with pytest.raises(NotImplementedError):
        transport.write_nowait([b""])
    await ours.aclose()
    await theirs.aclose()


# -- large writes -------------------------------------------------------------------------


UNSENT: Final = trio.socket.IPPROTO_TCP, trio.socket.TCP_NOTSENT_LOWAT


async def tcp_transport() -> tuple[SocketTransport, trio.SocketStream, trio.SocketStream]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ours = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    theirs = await listener.accept()
    await listener.aclose()
    transport = transport_for(ours)
    assert isinstance(transport, SocketTransport)
    return transport, ours, theirs


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much the system may hold unsent, at each write."""
    seen: list[int] = []
    write = transport_module.write_socket

    def spy(socket: trio.socket.SocketType, buffers: Sequence[BytesLike]) -> int:
        if socket.family == trio.socket.AF_INET:
            seen.append(socket.getsockopt(*UNSENT))
        return write(socket, buffers)

    monkeypatch.setattr(transport_module, "write_socket", spy)
    return seen


@pytest.mark.parametrize(
    ("sizes", "limit"),
    [
        ([LARGE_WRITE - 1], 2**14),
        ([10, LARGE_WRITE - 11], 2**14),
        ([LARGE_WRITE], LARGE_WRITE),
        ([10, LARGE_WRITE], LARGE_WRITE + 10),
        ([10 * MAX_UNSENT], MAX_UNSENT),
    ],
)
async def test_the_system_is_asked_to_take_a_large_write_whole_and_only_that(
    sizes: list[int], limit: int, limits: list[int]
) -> None:
    transport, ours, theirs = await tcp_transport()
    assert transport.write_nowait([bytes(size) for size in sizes])
    assert limits == [limit]
    assert ours.socket.getsockopt(*UNSENT) == 2**14
    await trio.aclose_forcefully(ours)
    await theirs.aclose()


async def test_a_limit_of_the_applications_own_is_kept(limits: list[int]) -> None:
    transport, ours, theirs = await tcp_transport()
    ours.setsockopt(*UNSENT, 2**15)
    assert transport.write_nowait([bytes(LARGE_WRITE)])
    assert limits == [2**15]
    assert ours.socket.getsockopt(*UNSENT) == 2**15
    await trio.aclose_forcefully(ours)
    await theirs.aclose()


async def test_the_limit_is_taken_back_when_the_write_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(transport_module, "write_socket", fail)
    transport, ours, theirs = await tcp_transport()
    with pytest.raises(BrokenPipeError):
        transport.write_nowait([bytes(LARGE_WRITE)])
    assert ours.socket.getsockopt(*UNSENT) == 2**14
    await trio.aclose_forcefully(ours)
    await theirs.aclose()


async def test_a_large_write_works_where_there_is_no_such_limit() -> None:
    transport, theirs = socket_transport()
    assert 0 < transport.write_nowait([bytes(LARGE_WRITE)]) <= LARGE_WRITE
    await transport.aclose()
    await theirs.aclose()
