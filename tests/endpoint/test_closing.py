"""How an endpoint tells that it is over, and what it does to its stream then."""

from __future__ import annotations

import os
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import (
    STREAM_KINDS,
    Peer,
    StreamKind,
    open_scripted,
    stream_pair,
)
from tests.protocol.wire import BINARY, CLOSE, TEXT
from trio_wsendpoint.endpoint import ConnectionClosedError, open_endpoint
from trio_wsendpoint.endpoint.core import EndpointCore
from trio_wsendpoint.protocol import Role
from trio_wsendpoint.testing import CutStream, open_endpoint_pair

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)


# -- wait_closed --------------------------------------------------------------------------


@on_both_streams
async def test_a_task_that_only_holds_an_endpoint_learns_that_the_peer_has_closed(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.close)
        await endpoint.wait_closed()
        assert endpoint.close_code == 1000


async def test_waiting_for_the_end_takes_no_messages(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, peer):
        await peer.send(TEXT, b"one")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.close)
            await endpoint.wait_closed()
        assert [message async for message in endpoint] == ["one"]


async def test_several_tasks_may_wait_for_the_end(autojump_clock: MockClock) -> None:
    async with open_endpoint_pair() as (client, server), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(server.wait_closed)
        await wait_all_tasks_blocked()
        await client.aclose()
        await server.wait_closed()
    await server.wait_closed()


# -- closed_cleanly -----------------------------------------------------------------------


async def test_a_closing_handshake_that_was_completed_is_clean(
    autojump_clock: MockClock,
) -> None:
    async with open_endpoint_pair() as (client, server):
        await client.aclose(4000)
        await server.wait_closed()
        assert client.closed_cleanly
        assert server.closed_cleanly


async def test_an_end_that_the_peer_did_not_answer_is_not_clean(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (endpoint, _):
        assert endpoint.closed_cleanly is False
        await endpoint.aclose()
        assert not endpoint.closed_cleanly


async def test_an_end_with_no_close_frame_is_not_clean(autojump_clock: MockClock) -> None:
    async with open_scripted() as (endpoint, peer):
        await peer.aclose()
        await endpoint.wait_closed()
        assert not endpoint.closed_cleanly


async def test_a_close_frame_that_could_not_be_written_is_not_clean(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket", close_timeout=1) as (endpoint, peer):
        with trio.move_on_after(1):
            await endpoint.send(bytes(2**24))
        await peer.send_close()
        await endpoint.wait_closed()
        assert endpoint.received_close_frame is not None
        assert not endpoint.closed_cleanly


# -- the stream ---------------------------------------------------------------------------


async def test_a_client_ends_its_half_though_another_process_holds_its_socket(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = stream_pair("socket")
    assert isinstance(ours, trio.SocketStream)
    duplicate = os.dup(ours.socket.fileno())  # as a child that was forked has one
    peer = Peer(theirs, Role.SERVER)
    try:
        async with open_endpoint(ours, Role.CLIENT) as endpoint:
            await peer.send_close()
            await peer.expect(CLOSE)
            await theirs.send_eof()  # type: ignore[attr-defined]
            await endpoint.wait_closed()
        with trio.fail_after(10):
            assert await peer.receive_all() == []
        assert peer.at_end
    finally:
        os.close(duplicate)
        await theirs.aclose()


# -- the truth at once --------------------------------------------------------------------


async def test_a_send_whose_own_write_fails_raises_and_says_why(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer):
        await peer.aclose()
        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.send("x")
    assert caught.value.code == 1006
    assert caught.value.reason.startswith("the stream broke: ")
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_send_whose_write_fails_in_the_writer_task_raises_too(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted(wrap=partial(CutStream, after_sent=1000)) as (endpoint, _):
        with pytest.raises(ConnectionClosedError) as caught:
            await endpoint.send("x" * 2**17)
    assert caught.value.reason == "the stream broke: the connection was cut"


async def test_a_pong_whose_own_write_fails_raises(autojump_clock: MockClock) -> None:
    async with open_scripted(kind="socket") as (endpoint, peer):
        await peer.aclose()
        with pytest.raises(ConnectionClosedError, match="the stream broke"):
            await endpoint.pong()


@on_both_streams
async def test_after_a_loss_send_says_why_though_nobody_receives(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        await peer.aclose()
        await endpoint.wait_closed()
        with pytest.raises(ConnectionClosedError, match=r"1006: the stream (ended|broke)"):
            await endpoint.send("x")


async def test_a_send_that_waits_as_the_endpoint_is_closed_says_so(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_scripted(kind="socket", close_timeout=1) as (endpoint, _),
        trio.open_nursery() as nursery,
    ):
        outcomes: list[type[Exception]] = []

        async def send() -> None:
            try:
                await endpoint.send(bytes(2**24))
            except Exception as error:
                outcomes.append(type(error))

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        await endpoint.aclose()
        await wait_all_tasks_blocked()
        assert outcomes == [trio.ClosedResourceError]


def test_an_error_is_kept_without_the_frames_of_its_traceback() -> None:
    core = EndpointCore.__new__(EndpointCore)
    core.stream_error = None
    cause = OSError("of the system")
    with pytest.raises(trio.BrokenResourceError) as caught:
        raise trio.BrokenResourceError("of the stream") from cause
    error = caught.value
    core.note_stream_error(error)
    assert error.__traceback__ is None
    assert error.__cause__ is cause
    core.note_stream_error(OSError("a later one"))
    assert str(core.stream_error) == "of the stream"


# -- the look-ahead -----------------------------------------------------------------------


@on_both_streams
async def test_an_endpoint_reads_no_further_ahead_than_it_may(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, max_look_ahead=5000) as (endpoint, peer):
        for _ in range(10):
            await peer.send(BINARY, bytes(1000))
            await trio.sleep(1)
        assert 5000 <= endpoint.statistics().received.waiting < 7000
        assert [len(await endpoint.receive()) for _ in range(10)] == [1000] * 10


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (None, TypeError), (True, TypeError), (1.5, TypeError)]
)
def test_a_look_ahead_is_a_number_of_bytes(size: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^max_look_ahead must be "):
        open_endpoint(
            stream_pair("memory")[0],
            Role.CLIENT,
            max_look_ahead=size,  # type: ignore[arg-type]
        )
