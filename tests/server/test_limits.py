from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.world import (
    HEAD,
    MemoryListener,
    ask,
    assert_alive,
    echo,
    request_bytes,
    serving,
    shake_hands,
    upgrade_bytes,
)
from trio_wsendpoint import Endpoint, Request, Response, serve, serve_listeners
from trio_wsendpoint.protocol import HandshakeError
from trio_wsendpoint.server.limits import Limits

# -- counting -----------------------------------------------------------------------------


def test_without_limits_there_are_none() -> None:
    limits = Limits()
    seats = [limits.take_seat("1.1.1.1") for _ in range(1000)]
    assert limits.connections == 1000
    for seat in seats:
        with seat:
            pass
    assert limits.connections == 0


def test_there_are_no_more_connections_than_there_may_be() -> None:
    limits = Limits(max_connections=2)
    first = limits.take_seat("1.1.1.1")
    limits.take_seat(None)
    for refuse in (limits.check, limits.take_seat):
        with pytest.raises(HandshakeError, match=r"as many connections as it takes$") as caught:
            refuse("2.2.2.2")
        assert caught.value.status_code == 503
    first.leave()
    first.leave()
    assert limits.connections == 1
    limits.take_seat("2.2.2.2")


def test_each_host_has_no_more_than_it_may() -> None:
    limits = Limits(max_connections_per_host=2)
    seats = [limits.take_seat("1.1.1.1") for _ in range(2)]
    with pytest.raises(HandshakeError, match=r"from one address$"):
        limits.check("1.1.1.1")
    for _ in range(3):  # whoever has no address is not counted
        limits.take_seat(None)
    limits.take_seat("2.2.2.2")
    for seat in seats:
        seat.leave()
    limits.take_seat("1.1.1.1")


def test_a_host_that_has_left_is_forgotten() -> None:
    limits = Limits(max_connections_per_host=2)
    for seat in [limits.take_seat(f"1.1.1.{number % 100}") for number in range(200)]:
        seat.leave()
    assert limits._hosts == {}


# -- connections --------------------------------------------------------------------------


async def test_one_connection_too_many_is_refused_until_another_ends(
    autojump_clock: MockClock,
) -> None:
    async with serving(echo, max_connections=2) as listener:
        first, _ = [await shake_hands(listener.dial()) for _ in range(2)]
        answer = await ask(listener.dial(), HEAD)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        await first.close()
        await wait_all_tasks_blocked()
        await assert_alive(listener)


async def health(request: Request) -> Response | None:
    return Response.text("fine") if request.path == "/health" else None


async def test_health_checks_live_while_the_server_is_full(autojump_clock: MockClock) -> None:
    async with serving(echo, max_connections=1, on_request=health) as listener:
        await shake_hands(listener.dial())
        for _ in range(3):
            assert (await ask(listener.dial(), request_bytes("/health"))).body == b"fine"
        assert (await ask(listener.dial(), upgrade_bytes("/health"))).status_code == 503


async def test_who_is_refused_takes_no_seat(autojump_clock: MockClock) -> None:
    async with serving(echo, max_connections=1, on_request=health) as listener:
        for _ in range(3):
            assert (await ask(listener.dial(), upgrade_bytes("/health"))).status_code == 200
            assert (await ask(listener.dial(), upgrade_bytes(origin="x"))).status_code == 403
            assert (await ask(listener.dial(), request_bytes())).status_code == 426
        await assert_alive(listener)


async def test_a_slow_decision_does_not_let_in_more_than_there_may_be(
    autojump_clock: MockClock,
) -> None:
    async def slow(_: Request) -> None:
        await trio.sleep(1)

    codes: list[int] = []

    async def dial(listener: MemoryListener) -> None:
        stream = listener.dial()
        await stream.send_all(HEAD)
        codes.append(int(bytes(await stream.receive_some()).split()[1]))
        await trio.sleep(5)
        await stream.aclose()

    async with (
        serving(echo, max_connections=3, on_request=slow) as listener,
        trio.open_nursery() as nursery,
    ):
        for _ in range(10):
            nursery.start_soon(dial, listener)
    assert sorted(codes) == [101] * 3 + [503] * 7


async def fail(_: Endpoint) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("handler", [fail, echo])
@pytest.mark.parametrize("leave", [trio.aclose_forcefully, trio.StapledStream.aclose])
async def test_a_seat_is_left_however_the_connection_ends(
    handler: Callable[[Endpoint], Awaitable[None]],
    leave: Callable[[Any], Awaitable[None]],
    autojump_clock: MockClock,
) -> None:
    async with serving(handler, max_connections=1) as listener:
        for _ in range(3):
            stream = listener.dial()
            await shake_hands(stream)
            await leave(stream)
            await wait_all_tasks_blocked()


async def test_a_client_that_is_gone_before_its_101_leaves_its_seat(
    autojump_clock: MockClock,
) -> None:
    async with serving(echo, max_connections=1, handshake_timeout=3) as listener:
        for _ in range(3):
            stream = listener.dial()
            await stream.send_all(HEAD)
            await trio.aclose_forcefully(stream)
            await wait_all_tasks_blocked()
        await assert_alive(listener)


async def test_connections_are_counted_by_the_address_of_the_client(
    autojump_clock: MockClock,
) -> None:
    options: dict[str, Any] = {"max_connections_per_host": 2, "trusted_proxies": ["127.0.0.1"]}
    async with trio.open_nursery() as nursery:
        run = partial(serve, echo, 0, host="127.0.0.1", **options)
        listeners = await nursery.start(run)
        port = listeners[0].socket.getsockname()[1]

        async def dial(**headers: str) -> int:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            streams.append(stream)
            await stream.send_all(upgrade_bytes(**headers))
            return int(bytes(await stream.receive_some()).split()[1])

        streams: list[trio.SocketStream] = []
        for address in "203.0.113.1", "203.0.113.2":
            for status_code in 101, 101, 503:
                assert await dial(x_forwarded_for=address) == status_code
        assert await dial() == 101
        nursery.cancel_scope.cancel()
    for stream in streams:
        await trio.aclose_forcefully(stream)


# -- opening handshakes -------------------------------------------------------------------


async def test_no_more_is_accepted_than_there_may_be_handshakes(
    autojump_clock: MockClock,
) -> None:
    async with serving(echo, max_handshakes=2, handshake_timeout=5) as listener:
        halfway = [listener.dial() for _ in range(4)]
        for stream in halfway:
            await stream.send_all(HEAD[:-2])
        await wait_all_tasks_blocked()
        assert listener.accepted == 2
        await halfway[0].send_all(HEAD[-2:])
        await wait_all_tasks_blocked()
        assert listener.accepted == 3
        await trio.sleep(6)
        assert listener.accepted == 4
        await assert_alive(listener)


async def test_a_connection_that_is_open_is_no_handshake(autojump_clock: MockClock) -> None:
    async with serving(echo, max_handshakes=1) as listener:
        for _ in range(3):
            await shake_hands(listener.dial())
        await assert_alive(listener)


@pytest.mark.parametrize("request_", [b"nonsense", request_bytes(), b""])
async def test_a_handshake_that_fails_makes_room(
    request_: bytes, autojump_clock: MockClock
) -> None:
    async with serving(echo, max_handshakes=1, handshake_timeout=5) as listener:
        for _ in range(3):
            stream = listener.dial()
            if request_:
                await stream.send_all(request_)
            await stream.aclose()
        await assert_alive(listener)


async def test_several_listeners_share_the_limit(autojump_clock: MockClock) -> None:
    listeners = [MemoryListener() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, echo, listeners, max_handshakes=1))
        streams = [listener.dial() for listener in listeners for _ in range(2)]
        await wait_all_tasks_blocked()
        # Each may hold one that it has accepted already, and does nothing with.
        assert [listener.accepted for listener in listeners] == [1, 1, 1]
        for number, stream in enumerate(streams, start=1):
            await stream.send_all(HEAD)
            await wait_all_tasks_blocked()
            assert sum(listener.accepted for listener in listeners) <= number + 3
        for stream in streams:
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
        halfway = [listener.dial() for listener in listeners]
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    for stream in halfway:
        assert await stream.receive_some() == b""
