from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trio_wsendpoint.endpoint import ConnectionClosedError, open_endpoint
from trio_wsendpoint.protocol import PermessageDeflate, Role
from trio_wsendpoint.testing import (
    CutStream,
    SplitStream,
    StallStream,
    WrappedStream,
    open_endpoint_pair,
)

# -- a pair of endpoints ------------------------------------------------------------------


async def test_a_pair_is_a_client_and_a_server_that_are_connected(
    autojump_clock: MockClock,
) -> None:
    async with open_endpoint_pair() as (client, server):
        assert (client.role, server.role) == (Role.CLIENT, Role.SERVER)
        await client.send("question")
        assert await server.receive() == "question"
        await server.send(b"answer")
        assert await client.receive() == b"answer"
    assert client.close_code == server.close_code == 1000
    assert trio.current_time() == 0


async def test_a_pair_takes_options_for_both_and_for_each(autojump_clock: MockClock) -> None:
    async with open_endpoint_pair(
        max_message_size=10,
        client_options={"max_message_size": 5},
        server_options={"raise_on_close": True},
    ) as (client, server):
        await client.send("x" * 10)
        assert await server.receive() == "x" * 10
        await server.send("x" * 6)
        with pytest.raises(ConnectionClosedError, match="1009"):
            await client.receive()


async def test_a_pair_has_seen_an_opening_handshake(autojump_clock: MockClock) -> None:
    async with open_endpoint_pair(
        path="/attic?key=1",
        headers={"Cookie": "a=b"},
        subprotocols=["chat.v2", "chat.v1"],
        extensions=[PermessageDeflate()],
        server_options={"extensions": []},
    ) as (client, server):
        assert server.request is client.request
        assert server.request.target == "/attic?key=1"
        assert server.request.header("Cookie") == "a=b"
        assert client.response.status_code == 101
        assert client.subprotocol == server.subprotocol == "chat.v2"
        assert client.response.header("Sec-WebSocket-Extensions") is None
        assert server.context is server.request.context
        await client.send("x" * 1000)
        assert await server.receive() == "x" * 1000
        assert client.statistics().sent.size > 1000


async def test_a_pair_compresses_if_both_want_to(autojump_clock: MockClock) -> None:
    async with open_endpoint_pair(extensions=[PermessageDeflate()]) as (client, server):
        await client.send("x" * 1000)
        assert await server.receive() == "x" * 1000
        assert client.statistics().sent.size < 100


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"path": "no slash"}, "target"), ({"headers": {"Upgrade": "x"}}, "headers")],
)
async def test_a_pair_refuses_bad_arguments(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says} must"):
        await open_endpoint_pair(**arguments).__aenter__()


# -- streams ------------------------------------------------------------------------------


async def test_a_wrapped_stream_passes_all_on() -> None:
    ours, theirs = memory_stream_pair()
    stream = WrappedStream(ours)
    await stream.wait_send_all_might_not_block()
    await stream.send_all(b"one")
    assert await theirs.receive_some() == b"one"
    await stream.send_eof()
    assert await theirs.receive_some() == b""
    await theirs.send_all(b"two")
    assert await stream.receive_some(2) == b"tw"
    assert await stream.receive_some() == b"o"
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await ours.receive_some()


async def test_a_wrapped_stream_without_halves_ignores_the_end_of_one() -> None:
    class Whole(trio.abc.Stream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            raise NotImplementedError

        async def wait_send_all_might_not_block(self) -> None:
            raise NotImplementedError

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            raise NotImplementedError

        async def aclose(self) -> None:
            raise NotImplementedError

    await WrappedStream(Whole()).send_eof()


@pytest.mark.parametrize(
    ("size", "max_bytes", "pieces"),
    [
        (1, None, [b"a", b"b", b"c"]),
        (2, None, [b"ab", b"c"]),
        (2, 1, [b"a", b"b", b"c"]),
        (9, None, [b"abc"]),
    ],
)
async def test_a_split_stream_hands_out_small_pieces(
    size: int, max_bytes: int | None, pieces: list[bytes]
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"abc")
    stream = SplitStream(ours, size)
    assert [await stream.receive_some(max_bytes) for _ in pieces] == pieces


async def test_a_stalled_stream_goes_on_when_it_is_told_to(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    stream = StallStream(ours, after_received=3, after_sent=4)
    await theirs.send_all(b"abcdef")
    assert await stream.receive_some(2) == b"ab"
    assert await stream.receive_some() == b"c"
    await stream.send_all(b"12")
    async with trio.open_nursery() as nursery:
        results: list[bytes] = []

        async def receive() -> None:
            results.append(bytes(await stream.receive_some()))

        nursery.start_soon(receive)
        nursery.start_soon(stream.send_all, b"3456")
        await wait_all_tasks_blocked()
        assert results == []
        assert await theirs.receive_some() == b"1234"
        stream.resume()
        await wait_all_tasks_blocked()
        assert results == [b"def"]
        assert await theirs.receive_some() == b"56"
    await stream.send_all(b"7")
    await theirs.send_all(b"g")
    assert await stream.receive_some() == b"g"


async def test_a_stalled_stream_loses_nothing_when_it_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = memory_stream_pair()
    stream = StallStream(ours, after_received=0)
    await theirs.send_all(b"x")
    with trio.move_on_after(1) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught
    stream.resume()
    assert await stream.receive_some() == b"x"


async def test_a_stream_can_be_stalled_at_any_time(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    stream = StallStream(ours)
    await stream.send_all(b"1")
    assert await theirs.receive_some() == b"1"
    got: list[bytes] = []

    async def receive() -> None:
        got.append(bytes(await stream.receive_some()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        stream.stall()
        await theirs.send_all(b"abc")
        nursery.start_soon(stream.send_all, b"2")
        await trio.sleep(1)
        assert got == []
        with trio.move_on_after(1) as scope:
            await theirs.receive_some()
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()
    with trio.move_on_after(1) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught
    stream.resume()
    assert await stream.receive_some(2) == b"ab"
    assert await stream.receive_some() == b"c"
    await stream.send_all(b"3")
    assert await theirs.receive_some() == b"3"


@pytest.mark.parametrize("after", [0, 2])
async def test_a_cut_stream_breaks_both_ways(after: int) -> None:
    ours, theirs = memory_stream_pair()
    stream = CutStream(ours, after_sent=after)
    with pytest.raises(trio.BrokenResourceError, match="cut"):
        await stream.send_all(b"abc")
    assert b"".join([bytes(data) async for data in theirs]) == b"ab"[:after]
    with pytest.raises(trio.BrokenResourceError):
        await theirs.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"d")

    ours, theirs = memory_stream_pair()
    stream = CutStream(ours, after_received=2)
    await theirs.send_all(b"abc")
    assert await stream.receive_some(100) == b"ab"
    with pytest.raises(trio.BrokenResourceError, match="cut"):
        await stream.receive_some(100)


@pytest.mark.parametrize("after", range(11))
async def test_an_endpoint_notices_a_cut_at_any_byte_of_a_frame(
    after: int, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()
    async with (
        open_endpoint(CutStream(ours, after_sent=after), Role.CLIENT) as client,
        open_endpoint(theirs, Role.SERVER) as server,
    ):
        await client.send("hello")
        with pytest.raises(ConnectionClosedError, match="1006"):
            await server.receive()
        with pytest.raises(ConnectionClosedError, match="1006"):
            await client.receive()
