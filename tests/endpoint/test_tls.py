from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

import attrs
import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.endpoint.peer import Peer
from tests.protocol.wire import TEXT
from trio_wsendpoint.endpoint import (
    ConnectionClosedError,
    ConnectionClosedOK,
    open_endpoint,
    start_tls,
    transport_for,
)
from trio_wsendpoint.endpoint.tls import (
    MAX_CIPHERTEXT,
    TLSStream,
    TLSTransport,
    _pieces,
)
from trio_wsendpoint.endpoint.transport import READ_SIZE
from trio_wsendpoint.protocol import HandshakeError, Role
from trio_wsendpoint.testing import WrappedStream

Whose = Literal["ours", "Trio's"]
AnyTLS: TypeAlias = "TLSStream | trio.SSLStream[trio.SocketStream]"

NAME = "example.org"
LARGE = bytes(range(256)) * 2**13  # 2 MiB
RECORD = 2**14


@attrs.frozen
class Contexts:
    client: ssl.SSLContext
    server: ssl.SSLContext
    authority: trustme.CA


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def contexts(authority: trustme.CA, request: pytest.FixtureRequest) -> Contexts:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(NAME).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    for context in (client, server):
        context.minimum_version = context.maximum_version = request.param
    return Contexts(client, server, authority)


def sockets() -> tuple[trio.SocketStream, trio.SocketStream]:
    left, right = trio.socket.socketpair()
    return trio.SocketStream(left), trio.SocketStream(right)


async def open_ours(stream: trio.SocketStream, contexts: Contexts, role: Role) -> TLSStream:
    tls = await start_tls(
        stream,
        contexts.client if role is Role.CLIENT else contexts.server,
        NAME if role is Role.CLIENT else None,
    )
    assert isinstance(tls, TLSStream)
    return tls


async def open_trios(
    stream: trio.SocketStream, contexts: Contexts, role: Role
) -> trio.SSLStream[trio.SocketStream]:
    tls = trio.SSLStream(
        stream,
        contexts.client if role is Role.CLIENT else contexts.server,
        server_hostname=NAME,
        server_side=role is Role.SERVER,
    )
    await tls.do_handshake()
    return tls


@asynccontextmanager
async def tls_pair(
    contexts: Contexts, role: Role = Role.CLIENT, theirs: Whose = "Trio's"
) -> AsyncIterator[tuple[TLSStream, Any]]:
    """Our TLS in this role, and the other end, after the handshake."""
    left, right = sockets()
    made: list[TLSStream] = []
    others: list[AnyTLS] = []

    async def open_other() -> None:
        opening = open_trios if theirs == "Trio's" else open_ours
        others.append(await opening(right, contexts, role.other))

    try:
        with trio.fail_after(1000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(open_other)
                made.append(await open_ours(left, contexts, role))
            yield made[0], others[0]
    finally:
        await trio.aclose_forcefully(left)
        await trio.aclose_forcefully(right)


async def read(stream: trio.abc.Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.receive_some(2**16)
        assert more, len(data)
        data += bytes(more)
    return data


both_roles = pytest.mark.parametrize("role", Role)
all_peers = pytest.mark.parametrize("theirs", ["ours", "Trio's"])


# -- as a stream --------------------------------------------------------------------------


@both_roles
@all_peers
async def test_bytes_go_both_ways_at_once(
    contexts: Contexts, role: Role, theirs: Whose, autojump_clock: MockClock
) -> None:
    received: dict[str, bytes] = {}
    async with tls_pair(contexts, role, theirs) as (our_end, their_end):

        async def receive(name: str, stream: trio.abc.Stream) -> None:
            received[name] = await read(stream, len(LARGE))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(our_end.send_all, LARGE)
            nursery.start_soon(their_end.send_all, LARGE[::-1])
            nursery.start_soon(receive, "ours", our_end)
            nursery.start_soon(receive, "theirs", their_end)
    assert received == {"ours": LARGE[::-1], "theirs": LARGE}


async def test_sending_waits_for_the_socket_and_can_be_cancelled(
    contexts: Contexts, autojump_clock: MockClock
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        with trio.move_on_after(1) as sending:
            await our_end.send_all(LARGE)
        assert sending.cancelled_caught
        assert 0 < our_end.unsent <= RECORD + 256
        with trio.move_on_after(1) as waiting:
            await our_end.wait_send_all_might_not_block()
        assert waiting.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, their_end, len(LARGE))
            await our_end.wait_send_all_might_not_block()
            assert our_end.unsent == 0
            nursery.cancel_scope.cancel()


async def test_a_read_that_was_cancelled_has_lost_nothing(
    contexts: Contexts, autojump_clock: MockClock
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        with trio.move_on_after(1) as scope:
            await our_end.receive_some()
        assert scope.cancelled_caught
        await their_end.send_all(b"x")
        with trio.CancelScope() as scope:
            scope.cancel()
            await our_end.receive_some()
        assert scope.cancelled_caught
        assert await our_end.receive_some() == b"x"
        await their_end.send_all(b"too much")
        assert await our_end.receive_some(3) == b"too"
        assert await our_end.receive_some() == b" much"


# -- its end ------------------------------------------------------------------------------


@both_roles
@all_peers
async def test_closing_is_a_clean_end_for_the_peer(
    contexts: Contexts, role: Role, theirs: Whose, autojump_clock: MockClock
) -> None:
    async with tls_pair(contexts, role, theirs) as (our_end, their_end):
        await our_end.send_all(b"last")
        await our_end.aclose()
        await our_end.aclose()
        assert await their_end.receive_some(100) == b"last"
        assert await their_end.receive_some(100) == b""
        assert our_end.transport_stream.socket.fileno() == -1


@both_roles
@all_peers
async def test_the_close_notify_of_the_peer_is_a_clean_end(
    contexts: Contexts, role: Role, theirs: Whose, autojump_clock: MockClock
) -> None:
    async with tls_pair(contexts, role, theirs) as (our_end, their_end):
        await their_end.send_all(b"last")
        await their_end.aclose()
        assert await our_end.receive_some() == b"last"
        assert await our_end.receive_some() == b""
        assert await our_end.receive_some() == b""
        await our_end.aclose()


@both_roles
async def test_our_half_may_end_before_the_other(
    contexts: Contexts, role: Role, autojump_clock: MockClock
) -> None:
    async with tls_pair(contexts, role, "ours") as (our_end, their_end):
        await our_end.send_all(b"last")
        await our_end.send_eof()
        await our_end.send_eof()
        assert await their_end.receive_some() == b"last"
        assert await their_end.receive_some() == b""
        await their_end.send_all(b"an answer")
        assert await our_end.receive_some() == b"an answer"
        await their_end.aclose()
        assert await our_end.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
            our_end.write_nowait([b"too late"])
        await our_end.aclose()


async def test_a_stream_that_is_cut_off_is_broken(
    contexts: Contexts, autojump_clock: MockClock
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        await their_end.transport_stream.send_eof()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await our_end.receive_some()
        assert isinstance(caught.value.__cause__, ssl.SSLEOFError)


async def test_a_socket_that_fails_is_a_broken_stream(
    contexts: Contexts, autojump_clock: MockClock
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        await our_end.send_all(b"unread, which makes the close a reset")
        await their_end.transport_stream.aclose()
        with pytest.raises(trio.BrokenResourceError, match="the socket failed") as caught:
            await our_end.receive_some()
        assert isinstance(caught.value.__cause__, OSError)


# -- without blocking ---------------------------------------------------------------------


async def test_what_is_no_data_would_block(contexts: Contexts) -> None:
    async with tls_pair(contexts) as (our_end, _):
        assert our_end.may_hold_more, "who knows what came with the handshake"
        for _ in range(2):  # the second time with the session tickets of TLS 1.3, if any
            assert our_end.read_nowait() is None
            assert not bool(our_end.may_hold_more)


async def test_a_write_takes_no_more_than_a_bounded_amount(contexts: Contexts) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        taken = 0
        while count := our_end.write_nowait([memoryview(LARGE)[taken:]]):
            taken += count
        assert MAX_CIPHERTEXT <= our_end.unsent < MAX_CIPHERTEXT + RECORD + 256
        assert our_end.write_nowait([b"x"]) == 0
        received: list[bytes] = []

        async def receive() -> None:
            received.append(await read(their_end, taken))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await our_end.flush()
        assert received == [LARGE[:taken]]


@pytest.mark.parametrize("size", [MAX_CIPHERTEXT, MAX_CIPHERTEXT + 1, len(LARGE)])
@pytest.mark.parametrize("cut", [1, MAX_CIPHERTEXT])
async def test_a_write_goes_on_for_as_long_as_the_socket_takes_it_all(
    contexts: Contexts, size: int, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        written: list[bytes] = []
        monkeypatch.setattr("trio_wsendpoint.endpoint.tls.write_socket", take_all(written))
        assert our_end.write_nowait([LARGE[:cut], LARGE[cut:size]]) == size
        assert our_end.write_nowait([LARGE[:size]]) == size
        assert our_end.unsent == 0
        assert max(map(len, written)) < MAX_CIPHERTEXT + RECORD
        monkeypatch.undo()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(our_end.transport_stream.send_all, b"".join(written))
            assert await read(their_end, 2 * size) == 2 * LARGE[:size]


def take_all(written: list[bytes]) -> Callable[[Any, Sequence[bytes]], int]:
    def write(_: object, buffers: Sequence[bytes]) -> int:
        written.extend(map(bytes, buffers))
        return sum(map(len, buffers))

    return write


class Reads:
    """What is read of the socket, at most some bytes at once and then an error, and of TLS."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tls: TLSStream) -> None:
        self.limit = 2**20
        self.error: OSError | None = None
        self.of_socket = self.of_tls = 0
        self._readv, self._tls = os.readv, tls._tls
        monkeypatch.setattr(os, "readv", self.readv)
        monkeypatch.setattr(tls, "_tls", self)

    def readv(self, fd: int, buffers: Sequence[memoryview]) -> int:
        self.of_socket += 1
        if self.error is not None and self.of_socket > 1:
            raise self.error
        return self._readv(fd, [buffers[0][: self.limit]])

    def read(self, size: int, buffer: memoryview) -> Any:
        self.of_tls += 1
        return self._tls.read(size, buffer)

    def pending(self) -> int:
        return self._tls.pending()


async def test_a_small_message_takes_one_read_of_the_socket_and_one_of_tls(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        assert our_end.read_nowait() is None
        reads = Reads(monkeypatch, our_end)
        await their_end.send_all(b"small")
        assert bytes(our_end.read_nowait() or b"") == b"small"
        assert (reads.of_socket, reads.of_tls) == (1, 1)
        assert not our_end.may_hold_more


async def settle(our_end: TLSStream, their_end: trio.abc.Stream) -> None:
    """Get the session tickets of TLS 1.3, if any, out of the way: Trio sends them with data."""
    assert our_end.read_nowait() is None
    await their_end.send_all(b"x")
    assert bytes(our_end.read_nowait() or b"") == b"x"
    assert not our_end.may_hold_more


async def length_of_record(our_end: TLSStream, their_end: trio.abc.Stream) -> int:
    """How many bytes a full record of the peer has; one was sent, and still waits."""
    await their_end.send_all(bytes(RECORD))
    size = len(await our_end.transport_stream.socket.recv(2**16, socket.MSG_PEEK))
    assert RECORD < size < RECORD + 256
    return size


@pytest.mark.parametrize("into", [False, True])
@pytest.mark.parametrize("more", [0, 1, 100])
async def test_a_read_that_ends_with_a_full_record_or_in_one_looks_for_the_next(
    contexts: Contexts, more: int, into: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        await settle(our_end, their_end)
        reads = Reads(monkeypatch, our_end)
        reads.limit = await length_of_record(our_end, their_end) + more
        await their_end.send_all(LARGE[: RECORD + 1])
        if into:
            room = memoryview(bytearray(3 * RECORD))
            assert our_end.read_into_nowait(room) == (2 * RECORD + 1, b"")
            data = bytes(room[: 2 * RECORD + 1])
        else:
            data = bytes(our_end.read_nowait() or b"")
        assert data == bytes(RECORD) + LARGE[: RECORD + 1]
        assert reads.of_socket == 3 if more == 0 else 2 <= reads.of_socket <= 4
        assert not our_end.may_hold_more


async def test_a_read_ends_where_its_buffer_does(contexts: Contexts) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        assert our_end.read_nowait() is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(their_end.send_all, LARGE)
            await wait_all_tasks_blocked()
            size = len(our_end.read_nowait() or b"")
            assert READ_SIZE <= size <= READ_SIZE + 2 * RECORD
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("into", [False, True])
async def test_a_socket_that_fails_behind_data_fails_the_next_read(
    contexts: Contexts, into: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        await settle(our_end, their_end)
        reads = Reads(monkeypatch, our_end)
        reads.limit = await length_of_record(our_end, their_end)
        reads.error = ConnectionResetError("reset")
        transport = TLSTransport(our_end)
        if into:
            assert our_end.read_into_nowait(memoryview(bytearray(2**16))) == (RECORD, b"")
        else:
            assert len(our_end.read_nowait() or b"") == RECORD
        assert reads.of_socket == 2
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await transport.read()
        assert reads.of_socket == 2


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("into", [False, True])
async def test_an_end_behind_data_is_for_the_next_read(
    contexts: Contexts, clean: bool, into: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        await settle(our_end, their_end)
        reads = Reads(monkeypatch, our_end)
        reads.limit = await length_of_record(our_end, their_end)
        if clean:
            await their_end.aclose()
        else:
            await their_end.transport_stream.send_eof()
        room = memoryview(bytearray(2**16))
        if into:
            assert our_end.read_into_nowait(room) == (RECORD, b"")
        else:
            assert our_end.read_nowait() == bytes(RECORD)
        assert reads.of_socket == 2
        for _ in range(2):
            assert our_end.may_hold_more
            if clean:
                assert our_end.read_into_nowait(room) == (0, b"")
                assert our_end.read_nowait() == b""
            else:
                with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
                    our_end.read_into_nowait(room)
                with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
                    our_end.read_nowait()


@pytest.mark.parametrize("size", [0, 1, 10, 11, 100])
async def test_a_read_fills_the_room_first(
    contexts: Contexts, size: int, autojump_clock: MockClock
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        transport = transport_for(our_end)
        assert isinstance(transport, TLSTransport)
        room = memoryview(bytearray(size))
        for _ in range(2):
            assert transport.read_into_nowait(room) is None
        await their_end.send_all(b"one")
        await their_end.send_all(b" record, and another")
        filled, rest = transport.read_into_nowait(room) or (None, b"")
        assert filled == min(size, 23)
        assert bytes(room[:filled]) + bytes(rest) == b"one record, and another"
        assert transport.read_into_nowait(room) is None
        assert not our_end.may_hold_more
        await our_end.send_eof()
        await their_end.aclose()
        for _ in range(2):
            assert transport.read_into_nowait(room) == (0, b"")


@pytest.mark.parametrize("size", [1, 2])
async def test_what_is_broken_behind_a_full_room_fails_the_next_read(
    contexts: Contexts, size: int, autojump_clock: MockClock
) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        assert our_end.read_nowait() is None
        their_end.transport_stream = holding = Holding(their_end.transport_stream)
        await their_end.send_all(b"x")
        holding.held += b"\x17\x03\x03\x00\x20" + b"garbage." * 4
        await holding.release()
        room = memoryview(bytearray(size))
        assert our_end.read_into_nowait(room) == (1, b"")
        with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
            our_end.read_into_nowait(room)


async def test_a_read_takes_all_that_is_there(contexts: Contexts) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        assert our_end.read_nowait() is None
        for byte in b"many records":
            await their_end.send_all(bytes((byte,)))
        transport = transport_for(our_end)
        assert isinstance(transport, TLSTransport)
        await transport.wait_readable()
        data = transport.read_nowait()
        assert data is not None
        assert bytes(data) == b"many records"


async def test_what_does_not_fit_the_buffer_is_read_next_without_waiting(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr("trio_wsendpoint.endpoint.tls._DECRYPTED_SIZE", 4)
    async with tls_pair(contexts) as (our_end, their_end):
        transport = transport_for(our_end)
        await their_end.send_all(b"one record")
        pieces = [bytes(await transport.read()) for _ in range(3)]
        assert pieces == [b"one ", b"reco", b"rd"]


async def test_a_reset_behind_close_notify_changes_nothing(contexts: Contexts) -> None:
    async with tls_pair(contexts) as (our_end, their_end):
        transport = transport_for(our_end)
        assert our_end.read_nowait() is None
        await our_end.send_all(b"unread, which makes the close a reset")
        await their_end.send_all(b"last")
        await their_end.aclose()
        assert bytes(await transport.read()) == b"last"
        assert bytes(await transport.read()) == b""
        assert bytes(await transport.read()) == b""


async def test_looking_into_tls_is_a_checkpoint(contexts: Contexts) -> None:
    async with tls_pair(contexts) as (our_end, _):
        transport = TLSTransport(our_end)
        assert our_end.may_hold_more
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.wait_readable()
        assert scope.cancelled_caught
        assert our_end.may_hold_more, "nobody has looked yet"


@pytest.mark.parametrize("error", [ssl.SSLWantReadError(), ssl.SSLError("no")])
async def test_a_write_may_need_something_of_the_peer(
    contexts: Contexts, error: ssl.SSLError, autojump_clock: MockClock
) -> None:
    class Renegotiating:
        def write(self, _: object) -> int:
            raise error

    async with tls_pair(contexts) as (our_end, _):
        transport = TLSTransport(our_end)
        our_end._tls = Renegotiating()  # type: ignore[assignment]
        if isinstance(error, ssl.SSLWantReadError):
            start = trio.current_time()
            assert await transport.write_some([b"x"]) == 0
            assert trio.current_time() > start, "it must not spin"
        else:
            with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
                await transport.write_some([b"x"])


@given(
    st.lists(st.integers(0, 3 * RECORD), min_size=1, max_size=12),
    st.integers(0, 9 * RECORD),
    st.integers(0, MAX_CIPHERTEXT),
)
def test_pieces_fill_their_records_and_are_bounded(
    sizes: list[int], start: int, room: int
) -> None:
    buffers = [bytes([number]) * size for number, size in enumerate(sizes)]
    pieces = [bytes(piece) for piece in _pieces(buffers, start, room)]
    assert b"".join(pieces) == b"".join(buffers)[start : start + room]
    assert all(pieces)
    assert all(len(piece) % RECORD == 0 for piece in pieces[:-1])


def test_large_buffers_are_not_copied_but_for_what_fills_a_record_that_was_begun() -> None:
    large = bytes(4 * RECORD)
    head, rest = _pieces([b"head", large], 0, MAX_CIPHERTEXT)
    assert len(head) == RECORD
    assert isinstance(rest, memoryview)
    assert rest.obj is large
    assert len(rest) == 3 * RECORD + 4


# -- below an endpoint --------------------------------------------------------------------


@both_roles
@all_peers
async def test_messages_wait_until_somebody_reads(
    contexts: Contexts, role: Role, theirs: Whose, autojump_clock: MockClock
) -> None:
    sent: list[str] = []

    async def send(name: str, endpoint: Any) -> None:
        for _ in range(3):
            await endpoint.send(LARGE)
        sent.append(name)

    async with (
        tls_pair(contexts, role, theirs) as (left, right),
        open_endpoint(right, role.other, max_message_size=None) as there,
        open_endpoint(left, role, max_message_size=None) as here,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send, "here", here)
        nursery.start_soon(send, "there", there)
        await trio.sleep(1)
        assert not sent
        for _ in range(3):
            assert await here.receive() == LARGE
            assert await there.receive() == LARGE


class Holding(WrappedStream):
    """Holds what is sent until it is released, so that it leaves in one piece."""

    held = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.held += bytes(data)

    async def release(self) -> None:
        held, self.held = self.held, b""
        await self.stream.send_all(held)


@asynccontextmanager
async def open_held(
    contexts: Contexts, role: Role
) -> AsyncIterator[tuple[Any, Peer, Holding, trio.abc.Stream]]:
    """An endpoint over our TLS, and a peer whose ciphertext is held back."""
    async with tls_pair(contexts, role) as (ours, theirs):
        holding = Holding(theirs.transport_stream)
        theirs.transport_stream = holding
        peer = Peer(theirs, role.other)
        async with open_endpoint(ours, role) as endpoint:
            yield endpoint, peer, holding, ours


@both_roles
async def test_a_close_that_comes_with_close_notify_is_not_waited_for_any_longer(
    contexts: Contexts, role: Role, autojump_clock: MockClock
) -> None:
    start = trio.current_time()
    async with open_held(contexts, role) as (endpoint, peer, holding, _):
        await peer.send_close()
        holding.aclose = trio.lowlevel.checkpoint  # type: ignore[method-assign]
        await peer.stream.aclose()  # TLS's end; TCP stays open
        await holding.release()
        with pytest.raises(ConnectionClosedOK):
            await endpoint.receive()
    assert trio.current_time() - start < 0.1


@both_roles
async def test_an_end_with_no_close_notify_breaks_the_connection(
    contexts: Contexts, role: Role, autojump_clock: MockClock
) -> None:
    async with open_held(contexts, role) as (endpoint, peer, holding, _):
        await peer.send(TEXT, b"came through")
        await holding.release()
        await holding.send_eof()
        assert await endpoint.receive() == "came through"
        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.receive()
    assert caught.value.code == 1006
    assert isinstance(caught.value.__cause__, trio.BrokenResourceError)
    assert isinstance(caught.value.__cause__.__cause__, ssl.SSLEOFError)


async def test_an_end_by_close_notify_alone_has_no_cause(
    contexts: Contexts, autojump_clock: MockClock
) -> None:
    async with open_held(contexts, Role.CLIENT) as (endpoint, peer, holding, _):
        holding.aclose = trio.lowlevel.checkpoint  # type: ignore[method-assign]
        await peer.stream.aclose()
        await holding.release()
        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.receive()
    assert caught.value.code == 1006
    assert caught.value.__cause__ is None


@both_roles
@pytest.mark.parametrize("at_once", [True, False])
async def test_garbage_between_records_breaks_the_connection(
    contexts: Contexts, role: Role, at_once: bool, autojump_clock: MockClock
) -> None:
    async with open_held(contexts, role) as (endpoint, peer, holding, _):
        await peer.send(TEXT, b"came through")
        if not at_once:
            await holding.release()
            assert await endpoint.receive() == "came through"
        holding.held += b"\x17\x03\x03\x00\x20" + b"garbage." * 4
        await holding.release()
        if at_once:
            assert await endpoint.receive() == "came through"
        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.receive()
    assert isinstance(caught.value.__cause__, trio.BrokenResourceError)
    assert isinstance(caught.value.__cause__.__cause__, ssl.SSLError)
    assert "TLS failed" in str(caught.value.__cause__)


# -- the handshake ------------------------------------------------------------------------


async def fail_handshakes(
    client: Callable[[trio.SocketStream], Any], server: Callable[[trio.SocketStream], Any]
) -> dict[str, str]:
    """What each side says that went wrong."""
    said: dict[str, str] = {}

    async def run(
        name: str, handshake: Callable[[trio.SocketStream], Any], end: trio.SocketStream
    ) -> None:
        try:
            stream = await handshake(end)
            await stream.receive_some(1)
        except (HandshakeError, trio.BrokenResourceError) as error:
            said[name] = str(error)
        await trio.aclose_forcefully(end)

    left, right = sockets()
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "client", client, left)
            nursery.start_soon(run, "server", server, right)
    return said


@pytest.mark.parametrize(
    ("trusting", "name", "reason"),
    [(False, NAME, "certificate verify failed"), (True, "example.com", "Hostname mismatch")],
)
async def test_a_certificate_that_is_not_valid_is_refused(
    contexts: Contexts, trusting: bool, name: str, reason: str, autojump_clock: MockClock
) -> None:
    context = contexts.client if trusting else ssl.create_default_context()
    said = await fail_handshakes(
        lambda stream: start_tls(stream, context, name),
        lambda stream: start_tls(stream, contexts.server),
    )
    assert said["client"].startswith("the TLS handshake failed")
    assert reason in said["client"]
    assert "alert" in said["server"], "the client said why"


async def test_no_version_in_common_is_a_failed_handshake(
    contexts: Contexts, authority: trustme.CA, autojump_clock: MockClock
) -> None:
    version = contexts.client.minimum_version
    other = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(NAME).configure_cert(other)
    if version is ssl.TLSVersion.TLSv1_2:
        other.minimum_version = ssl.TLSVersion.TLSv1_3
    else:
        other.maximum_version = ssl.TLSVersion.TLSv1_2
    said = await fail_handshakes(
        lambda stream: start_tls(stream, contexts.client, NAME),
        lambda stream: start_tls(stream, other),
    )
    assert set(said) == {"client", "server"}
    assert all(text.startswith("the TLS handshake failed") for text in said.values())


@pytest.mark.parametrize("garbage", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00"])
@both_roles
async def test_what_is_no_tls_is_a_failed_handshake(
    contexts: Contexts, role: Role, garbage: bytes, autojump_clock: MockClock
) -> None:
    left, right = sockets()
    await right.send_all(garbage or b"?")
    await right.send_eof()
    with pytest.raises(HandshakeError, match="the TLS handshake failed"):
        await open_ours(left, contexts, role)
    await trio.aclose_forcefully(left)
    await right.aclose()


async def test_a_handshake_that_is_cancelled_leaves_the_socket_to_the_caller(
    contexts: Contexts, autojump_clock: MockClock
) -> None:
    left, right = sockets()
    with trio.move_on_after(1) as scope:
        await open_ours(left, contexts, Role.CLIENT)
    assert scope.cancelled_caught
    assert left.socket.fileno() != -1
    await left.aclose()
    await right.aclose()


@pytest.mark.parametrize("known", [True, False])
async def test_a_client_may_have_to_show_a_certificate(
    contexts: Contexts, authority: trustme.CA, known: bool, autojump_clock: MockClock
) -> None:
    contexts.server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(contexts.server)
    if known:
        authority.issue_cert("client@example.org").configure_cert(contexts.client)
        async with tls_pair(contexts, theirs="ours") as (our_end, their_end):
            await our_end.send_all(b"x")
            assert await their_end.receive_some() == b"x"
        return
    said = await fail_handshakes(
        lambda stream: start_tls(stream, contexts.client, NAME),
        lambda stream: start_tls(stream, contexts.server),
    )
    assert "peer did not return a certificate" in said["server"]
    assert "alert" in said["client"]


async def test_what_is_no_plain_socket_gets_tls_of_trio(
    contexts: Contexts, autojump_clock: MockClock
) -> None:
    left, right = memory_stream_pair()
    made: dict[Role, trio.abc.Stream] = {}

    async def start(role: Role, stream: trio.abc.Stream) -> None:
        if role is Role.CLIENT:
            made[role] = await start_tls(stream, contexts.client, NAME)
        else:
            made[role] = await start_tls(stream, contexts.server)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start, Role.CLIENT, left)
        nursery.start_soon(start, Role.SERVER, right)
    assert all(isinstance(stream, trio.SSLStream) for stream in made.values())
    await made[Role.CLIENT].aclose()
    assert await made[Role.SERVER].receive_some() == b""
