"""Tests of `reconnecting`, over real sockets and in virtual time."""

from __future__ import annotations

import gc
import itertools
import logging
import random
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.client.proxies import running_proxy, says, speak_http, speak_socks
from tests.client.servers import (
    Answer,
    answers,
    breaks,
    closes,
    hangs_up,
    moves,
    opens,
    scripted_server,
    stalls,
    switching,
)
from tests.conftest import TLSContexts
from tests.endpoint.checkpoints import Canceller, Moment, at_every_checkpoint
from trio_wsendpoint import (
    Attempt,
    Backoff,
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Endpoint,
    HandshakeError,
    HandshakeRejected,
    HandshakeTimeout,
    HeartbeatTimeout,
    ProxyError,
    Reconnecting,
    Role,
    WebSocketError,
    connect,
    open_endpoint,
    reconnecting,
)

AT_ONCE = Backoff(first=0)
SOON = Backoff(first=1, factor=1)
DONE = closes(1000)


@pytest.fixture(autouse=True)
def longest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No chance: each wait is as long as it may be."""
    monkeypatch.setattr(random, "uniform", max)


async def drain(endpoint: Endpoint) -> list[str | bytes]:
    return [message async for message in endpoint]


async def drain_quietly(endpoint: Endpoint) -> None:
    with suppress(ConnectionClosed):
        await drain(endpoint)


Body: TypeAlias = Callable[[Endpoint], Awaitable[object]]


async def stay(loop: Reconnecting, body: Body = drain) -> list[Attempt]:
    """Stay connected, with such a body; gives the attempts that there were."""
    attempts = []
    async for attempt in loop:
        attempts.append(attempt)
        async with attempt as endpoint:
            await body(endpoint)
    return attempts


async def failing(loop: Reconnecting, body: Body = drain) -> BaseException:
    """Stay connected until that fails, and see how."""
    try:
        await stay(loop, body)
    except BaseException as error:
        return error
    raise AssertionError("it did not fail")


async def wait_closed(endpoint: Endpoint) -> None:
    """Wait for the end, and be told nothing."""
    await trio.sleep(1)
    assert endpoint.is_closed


async def receive(endpoint: Endpoint) -> None:
    await endpoint.receive()


# -- staying connected --------------------------------------------------------------------


async def test_a_connection_that_is_lost_is_made_again(autojump_clock: MockClock) -> None:
    def tell(*messages: str) -> Answer:
        async def handler(endpoint: Endpoint) -> None:
            for message in messages:
                await endpoint.send(message)
            await endpoint.aclose(1012)

        return opens(handler)

    heard: list[str | bytes] = []
    async with scripted_server(tell("one"), breaks, tell("two"), DONE) as server:
        async for attempt in reconnecting(server.url):
            async with attempt as endpoint:
                try:
                    async for message in endpoint:
                        heard.append(message)
                except ConnectionClosed as error:
                    heard.append(str(error.code))
    assert heard == ["one", "1012", "1006", "two", "1012"]
    assert len(server.requests) == 4


@pytest.mark.parametrize("code", [1000, None])
async def test_a_connection_that_is_closed_for_good_ends_the_loop(
    code: int | None, autojump_clock: MockClock
) -> None:
    async with scripted_server(closes(code)) as server:
        await stay(reconnecting(server.url))
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [1000, None])
async def test_it_ends_so_too_if_the_body_was_told(
    code: int | None, autojump_clock: MockClock
) -> None:
    async with scripted_server(closes(code)) as server:
        async for attempt in reconnecting(server.url):
            async with attempt as endpoint:
                await endpoint.receive()
                raise AssertionError
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", ["end", "break", "return", "continue"])
async def test_leaving_the_body_while_it_is_open_ends_the_loop(
    way: str, autojump_clock: MockClock
) -> None:
    codes: list[int | None] = []

    async def note(endpoint: Endpoint) -> None:
        await drain(endpoint)
        codes.append(endpoint.close_code)

    async def run(url: str) -> None:
        async for attempt in reconnecting(url):
            async with attempt as endpoint:
                await endpoint.send("x")
                if way == "break":
                    break
                if way == "return":
                    return
                if way == "continue":
                    continue

    async with scripted_server(opens(note)) as server:
        await run(server.url)
        await wait_all_tasks_blocked()
    assert codes == [1000]
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 1014])
@pytest.mark.parametrize("told", [False, True])
async def test_a_close_that_is_not_for_good_is_looked_up_on_leaving(
    code: int, told: bool, autojump_clock: MockClock
) -> None:
    async with scripted_server(closes(code, "later"), DONE) as server:
        attempts = await stay(reconnecting(server.url), receive if told else wait_closed)
    assert len(server.requests) == 2
    error = attempts[1].previous_error
    assert isinstance(error, ConnectionClosed)
    assert isinstance(error, ConnectionClosedOK) == (code == 1001)
    assert (error.code, error.reason, error.closed_first) == (code, "later", Role.SERVER)
    assert error.received_close_frame is not None
    assert error.__traceback__ is None, "it keeps no frames alive"


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 3000, 4001])
@pytest.mark.parametrize("told", [False, True])
async def test_any_other_close_code_comes_out(
    code: int, told: bool, autojump_clock: MockClock
) -> None:
    async with scripted_server(closes(code, "no")) as server:
        error = await failing(reconnecting(server.url), receive if told else wait_closed)
    assert isinstance(error, ConnectionClosedError)
    assert (error.code, error.reason) == (code, "no")
    assert error.received_close_frame is not None
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [1001, 1011, 1012])
async def test_the_body_may_ask_for_another_connection(
    code: int, autojump_clock: MockClock
) -> None:
    async with scripted_server(opens(), opens(), DONE) as server:
        numbers = []
        async for attempt in reconnecting(server.url):
            async with attempt as endpoint:
                numbers.append(attempt.number)
                if attempt.number < 3:
                    await endpoint.aclose(code)
                if attempt.number != 1:  # where we closed, that raises
                    await drain(endpoint)
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\xff\x00", 1002),
        (b"\x81\x01\xff", 1007),
        (b"\x82\x7f\0" + b"\1" * 7, 1009),
    ],
)
async def test_a_peer_at_fault_comes_out(
    frame: bytes, code: int, autojump_clock: MockClock
) -> None:
    async def misbehave(stream: trio.abc.Stream, request: bytes) -> None:
        await stream.send_all(switching(request) + frame)
        while await stream.receive_some(100):
            pass

    async with scripted_server(misbehave) as server:
        error = await failing(reconnecting(server.url))
    assert isinstance(error, ConnectionClosedError)
    assert error.code == code
    assert error.closed_first is Role.CLIENT


async def test_a_server_that_is_silent_is_left_for_another(autojump_clock: MockClock) -> None:
    async def be_silent(stream: trio.abc.Stream, request: bytes) -> None:
        await stream.send_all(switching(request))
        await trio.sleep_forever()

    async with scripted_server(be_silent, DONE) as server:
        attempts = await stay(reconnecting(server.url, ping_interval=1, max_pings=1))
    assert isinstance(attempts[1].previous_error, HeartbeatTimeout)


# -- dialling -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [answers("429 Slow"), answers("500 X"), answers("503 Y"), answers("599 Z"), hangs_up],
)
async def test_a_dial_that_fails_for_now_is_tried_again(
    answer: Answer, autojump_clock: MockClock
) -> None:
    async with scripted_server(answer, answer, DONE) as server:
        (attempt,) = await stay(reconnecting(server.url))
    assert attempt.number == 3
    assert isinstance(attempt.previous_error, HandshakeError)
    assert trio.current_time() == 0.5 + 1


async def test_a_server_that_takes_too_long_is_tried_again(autojump_clock: MockClock) -> None:
    async with scripted_server(stalls, DONE) as server:
        (attempt,) = await stay(reconnecting(server.url, handshake_timeout=5))
    assert isinstance(attempt.previous_error, HandshakeTimeout)
    assert trio.current_time() == 5 + 0.5


async def test_nobody_who_listens_is_tried_again(autojump_clock: MockClock) -> None:
    async with scripted_server(DONE) as server:
        pass
    error = await failing(reconnecting(server.url, max_attempts=4))
    assert isinstance(error, ConnectError)
    assert trio.current_time() == 0.5 + 1 + 2


class NoResolver(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async def getnameinfo(self, *_: Any, **__: Any) -> Any:
        raise AssertionError


async def test_a_name_that_is_not_known_is_tried_again(autojump_clock: MockClock) -> None:
    trio.socket.set_custom_hostname_resolver(NoResolver())
    error = await failing(reconnecting("ws://example.org/", max_attempts=2))
    assert str(error) == (
        "found no host for example.org:80: Temporary failure in name resolution"
    )
    assert trio.current_time() == 0.5


@pytest.mark.parametrize(
    "answer",
    [
        answers("401 Who"),
        answers("404 Where"),
        answers("200 OK"),
        answers("600 Odd"),
        answers("304 Same"),
        answers("101 Switching Protocols"),
        moves("ftp://h/"),
    ],
)
async def test_any_other_answer_comes_out(answer: Answer, autojump_clock: MockClock) -> None:
    async with scripted_server(answer) as server:
        error = await failing(reconnecting(server.url))
    assert isinstance(error, HandshakeError)
    assert trio.current_time() == 0
    assert len(server.requests) == 1


async def test_tls_that_does_not_verify_comes_out(
    tls_contexts: TLSContexts, autojump_clock: MockClock
) -> None:
    async with scripted_server(DONE, ssl_context=tls_contexts.server) as server:
        error = await failing(reconnecting(f"wss://localhost:{server.port}/"))
    assert "certificate verify failed" in str(error)


@pytest.mark.parametrize(("status", "again"), [("503 Busy", True), ("407 Who", False)])
async def test_a_proxy_that_fails_is_tried_again_where_it_makes_sense(
    status: str, again: bool, autojump_clock: MockClock
) -> None:
    answer = f"HTTP/1.1 {status}\r\nRetry-After: 7\r\n\r\n"
    async with running_proxy(says(answer.encode())) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        error = await failing(reconnecting("ws://h/", proxy=url, max_attempts=2))
    assert isinstance(error, ProxyError)
    assert len(proxy.clients) == 1 + again
    assert trio.current_time() == 7 * again


async def test_each_dial_begins_at_the_original_url(autojump_clock: MockClock) -> None:
    async with scripted_server(moves("/there"), closes(1012), moves("/there"), DONE) as server:
        await stay(reconnecting(server.url))
    assert server.targets == ["/", "/there", "/", "/there"]


async def test_an_attempt_tells_its_number_and_what_went_before(
    autojump_clock: MockClock,
) -> None:
    seen: list[tuple[str, int, type | None]] = []
    script = [answers("503 Busy"), closes(1012), hangs_up, answers("500 X"), DONE]
    async with scripted_server(*script) as server:
        async for attempt in reconnecting(server.url):
            seen.append(("before", attempt.number, type(attempt.previous_error)))
            async with attempt as endpoint:
                seen.append(("inside", attempt.number, type(attempt.previous_error)))
                with_error = attempt
                await drain_quietly(endpoint)
            assert with_error is attempt
    assert seen == [
        ("before", 1, type(None)),
        ("inside", 2, HandshakeRejected),
        ("before", 3, ConnectionClosedError),
        ("inside", 5, HandshakeRejected),
    ]


async def test_an_attempt_that_is_not_entered_does_nothing(autojump_clock: MockClock) -> None:
    async with scripted_server(DONE) as server:
        count = 0
        async for attempt in reconnecting(server.url):
            count += 1
            assert attempt.number == 1
            if count > 3:
                break
        assert not server.requests
        with trio.move_on_after(1):
            async for _ in reconnecting(server.url):
                await trio.sleep(0.1)
        assert not server.requests


async def test_iterating_or_entering_twice_is_an_error(autojump_clock: MockClock) -> None:
    async with scripted_server(closes(1012), opens()) as server:
        loop = reconnecting(server.url)
        first = await anext(aiter(loop))
        with pytest.raises(RuntimeError, match="iterated once"):
            aiter(loop)
        async with first as endpoint:
            with pytest.raises(RuntimeError, match="entered once"):
                await first.__aenter__()
            with pytest.raises(RuntimeError, match="has not been left"):
                await anext(loop)
            await drain_quietly(endpoint)
        with pytest.raises(RuntimeError, match="entered once"):
            await first.__aenter__()
        second, third = await anext(loop), await anext(loop)
        with pytest.raises(RuntimeError, match="before the next one"):
            await second.__aenter__()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(enter, third)
            await wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="has not been left"):
                await anext(loop)  # it is still being entered
        with pytest.raises(StopAsyncIteration):
            await anext(loop)


async def enter(attempt: Attempt) -> None:
    async with attempt:
        pass


async def test_an_attempt_that_failed_tells_at_which_dial(autojump_clock: MockClock) -> None:
    async with scripted_server(hangs_up, answers("401 Who")) as server:
        attempt = await anext(reconnecting(server.url))
        with pytest.raises(HandshakeRejected):
            await enter(attempt)
    assert attempt.number == 2
    assert attempt.previous_error is not None
    assert not isinstance(attempt.previous_error, HandshakeRejected)


# -- whose end it is ----------------------------------------------------------------------


async def test_what_the_body_raises_comes_out(autojump_clock: MockClock) -> None:
    codes: list[int | None] = []

    async def note(endpoint: Endpoint) -> None:
        await drain_quietly(endpoint)
        codes.append(endpoint.close_code)

    for error in (
        KeyError("x"),
        OSError("x"),
        HandshakeRejected.__new__(HandshakeRejected),
        ConnectionClosedError(1006),
        trio.ClosedResourceError("x"),
        ExceptionGroup("x", [KeyError("x"), ConnectionClosedError(1006)]),
    ):
        async with scripted_server(opens(note)) as server:
            caught: BaseException | None = None
            try:
                async for attempt in reconnecting(server.url):
                    async with attempt:
                        raise error
            except BaseException as other:
                caught = other
            assert caught is error
            await wait_all_tasks_blocked()
        assert len(server.requests) == 1
    assert codes == [1011] * 6


async def test_the_end_of_another_endpoint_comes_out(autojump_clock: MockClock) -> None:
    async with scripted_server(closes(1012)) as other, scripted_server(opens()) as server:

        async def use_other(_: Endpoint) -> None:
            async with connect(other.url) as endpoint:
                await endpoint.receive()

        error = await failing(reconnecting(server.url), use_other)
    assert isinstance(error, ConnectionClosedError)
    assert error.code == 1012
    assert len(server.requests) == 1


async def test_it_comes_out_even_if_ours_ended_too(autojump_clock: MockClock) -> None:
    async with scripted_server(closes(1012)) as server:

        async def use_other(_: Endpoint) -> None:
            async with connect(server.url) as endpoint:
                await trio.sleep(1)
                await endpoint.receive()

        error = await failing(reconnecting(server.url), use_other)
    assert isinstance(error, ConnectionClosedError)
    assert len(server.requests) == 2


async def test_what_is_known_on_leaving_counts(autojump_clock: MockClock) -> None:
    async def lose_heart(endpoint: Endpoint) -> None:
        await wait_closed(endpoint)
        raise ConnectionClosedError(1006, "early", connection_id=endpoint.connection_id)

    async with scripted_server(closes(1000)) as server:
        await stay(reconnecting(server.url), lose_heart)
    async with scripted_server(closes(4000)) as server:
        error = await failing(reconnecting(server.url), lose_heart)
    assert isinstance(error, ConnectionClosedError)
    assert error.reason == "early", "but it comes out as it is"


async def test_a_group_of_nothing_but_its_end_counts_as_that(autojump_clock: MockClock) -> None:
    async with scripted_server(closes(1012), DONE) as server:
        async for attempt in reconnecting(server.url):
            async with attempt as endpoint, trio.open_nursery() as nursery:
                async with trio.open_nursery() as inner:
                    inner.start_soon(endpoint.receive)
                    inner.start_soon(endpoint.receive)
                nursery.start_soon(endpoint.receive)
    assert len(server.requests) == 2


async def test_a_group_comes_out_as_it_is_where_it_is_for_good(
    autojump_clock: MockClock,
) -> None:
    async with scripted_server(closes(4000)) as server:

        async def receive_beside(endpoint: Endpoint) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(endpoint.receive)

        error = await failing(reconnecting(server.url), receive_beside)
    assert isinstance(error, ExceptionGroup)
    assert list(map(str, error.exceptions)) == ["closed by the server with 4000"]


async def test_an_error_that_the_loop_itself_survives_does_not_end_it(
    autojump_clock: MockClock,
) -> None:
    async with scripted_server(answers("401 Who"), closes(4000), opens(), DONE) as server:
        errors: list[Exception] = []
        async for attempt in reconnecting(server.url):
            try:
                async with attempt as endpoint:
                    if errors[2:]:
                        await drain(endpoint)
                    elif errors[1:]:
                        raise KeyError
                    else:
                        await endpoint.receive()
            except (WebSocketError, KeyError) as error:
                errors.append(error)
    assert list(map(type, errors)) == [HandshakeRejected, ConnectionClosedError, KeyError]
    assert trio.current_time() == 0.5 + 1 + 2, "but it takes its time"


# -- how long to wait ---------------------------------------------------------------------


async def test_the_waits_grow_up_to_their_limit(autojump_clock: MockClock) -> None:
    times = []

    async def note(stream: trio.abc.Stream, request: bytes) -> None:
        times.append(trio.current_time())

    backoff = Backoff(first=1, factor=3, limit=10)
    async with scripted_server(*[note] * 5, DONE) as server:
        await stay(reconnecting(server.url, backoff=backoff))
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert waits == [1, 3, 9, 10]


@pytest.mark.parametrize(("lasts", "waits"), [(9, [1, 2, 4]), (10, [1, 1, 1])])
async def test_they_begin_anew_after_a_healthy_connection(
    lasts: float, waits: list[float], autojump_clock: MockClock
) -> None:
    opened: list[float] = []

    async def last(endpoint: Endpoint) -> None:
        opened.append(trio.current_time())
        await trio.sleep(lasts)
        await endpoint.aclose(1001)

    async with scripted_server(*[opens(last)] * 4, DONE) as server:
        await stay(reconnecting(server.url, backoff=Backoff(first=1)))
    assert [
        round(after - before - lasts, 3) for before, after in itertools.pairwise(opened)
    ] == waits


async def test_a_connection_is_as_old_as_its_101(autojump_clock: MockClock) -> None:
    async def be_slow(stream: trio.abc.Stream, request: bytes) -> None:
        await trio.sleep(9)
        await closes(1012)(stream, request)

    async with scripted_server(be_slow) as server:
        loop = reconnecting(server.url, backoff=SOON, max_attempts=3)
        assert isinstance(await failing(loop), ConnectionClosedError)
    assert len(server.requests) == 3


@pytest.mark.parametrize("lasts", [9, 11])
async def test_only_dials_in_a_row_count_against_the_most(
    lasts: float, autojump_clock: MockClock
) -> None:
    async def last(endpoint: Endpoint) -> None:
        await trio.sleep(lasts)
        await endpoint.aclose(1013)

    script = [hangs_up, opens(last), hangs_up, hangs_up, answers("503 Busy")]
    async with scripted_server(*script) as server:
        error = await failing(reconnecting(server.url, max_attempts=3))
    assert isinstance(error, HandshakeError)
    assert len(server.requests) == (3 if lasts < 10 else 5)


@pytest.mark.parametrize(
    ("value", "waits"),
    [("7", 7), ("0", 1), ("999999", 3600), ("soon", 1), ("-5", 1), ("7.5", 1)],
)
async def test_retry_after_is_the_least_wait(
    value: str, waits: float, autojump_clock: MockClock
) -> None:
    busy = answers("503 Busy", f"Retry-After: {value}")
    async with scripted_server(busy, DONE) as server:
        await stay(reconnecting(server.url, backoff=SOON))
    assert trio.current_time() == waits


# -- retry --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "waits"), [(True, 1), (0, 0), (5, 5), (2.5, 2.5), (False, None)]
)
async def test_what_is_tried_again_may_be_overridden(
    verdict: bool | float, waits: float | None, autojump_clock: MockClock
) -> None:
    asked: list[WebSocketError] = []

    def retry(error: WebSocketError) -> bool | float:
        asked.append(error)
        return verdict

    async with scripted_server(answers("404 Not Yet"), DONE) as server:
        loop = reconnecting(server.url, retry=retry, backoff=SOON)
        if waits is None:
            assert await failing(loop) is asked[0]
        else:
            await stay(loop)
            assert trio.current_time() == waits
    (error,) = asked
    assert isinstance(error, HandshakeRejected)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (closes(1001), ConnectionClosedOK),
        (closes(1012), ConnectionClosedError),
        (closes(4001), ConnectionClosedError),
        (closes(None), ConnectionClosedOK),
        (breaks, ConnectionClosedError),
        (hangs_up, HandshakeError),
        (answers("503 Busy"), HandshakeRejected),
    ],
)
@pytest.mark.parametrize("again", [False, True])
async def test_it_is_asked_about_every_failure(
    answer: Answer, kind: type[WebSocketError], again: bool, autojump_clock: MockClock
) -> None:
    asked: list[WebSocketError] = []

    def retry(error: WebSocketError) -> bool:
        asked.append(error)
        return again

    async with scripted_server(answer, DONE) as server:
        async for attempt in reconnecting(server.url, retry=retry):
            try:
                async with attempt as endpoint:
                    await drain_quietly(endpoint)
            except WebSocketError:
                break
    assert [type(error) for error in asked] == [kind]
    assert len(server.requests) == 1 + again


async def test_a_close_with_no_code_that_is_not_tried_again_is_no_error(
    autojump_clock: MockClock,
) -> None:
    async with scripted_server(closes(None)) as server:
        await stay(reconnecting(server.url, retry=lambda _: False))
    assert len(server.requests) == 1


async def test_what_retry_raises_comes_out(autojump_clock: MockClock) -> None:
    def retry(error: WebSocketError) -> bool:
        raise KeyError("retry")

    async with scripted_server(hangs_up) as server:
        assert isinstance(await failing(reconnecting(server.url, retry=retry)), KeyError)
    async with scripted_server(closes(1012)) as server:
        assert isinstance(await failing(reconnecting(server.url, retry=retry)), KeyError)


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [(None, TypeError), ("5", TypeError), (-1, ValueError), (float("inf"), ValueError)],
)
async def test_retry_has_to_give_an_answer(
    verdict: Any, kind: type[Exception], autojump_clock: MockClock
) -> None:
    async with scripted_server(hangs_up) as server:
        with pytest.raises(kind, match="what retry returns must be"):
            await stay(reconnecting(server.url, retry=lambda _: verdict))


async def test_even_retry_has_only_so_many_attempts(autojump_clock: MockClock) -> None:
    async with scripted_server(hangs_up) as server:
        await failing(reconnecting(server.url, retry=lambda _: 0, max_attempts=3))
    assert len(server.requests) == 3


# -- what is asked anew for each dial -----------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
async def test_url_and_headers_may_be_functions(
    is_async: bool, autojump_clock: MockClock
) -> None:
    count = 0

    def make_url() -> str:
        nonlocal count
        count += 1
        return f"{server.url}{count}"

    def make_headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {count}"}

    async def make_url_later() -> str:
        await trio.sleep(0.25)
        return make_url()

    async def make_headers_later() -> dict[str, str]:
        await trio.sleep(0.25)
        return make_headers()

    url: Any = make_url_later if is_async else make_url
    headers: Any = make_headers_later if is_async else make_headers
    async with scripted_server(answers("503 Busy"), closes(1012), DONE) as server:
        await stay(reconnecting(url, headers=headers, origin="https://h"))
    assert server.targets == ["/1", "/2", "/3"]
    assert server.headers("Authorization") == ["Bearer 1", "Bearer 2", "Bearer 3"]
    assert server.headers("Origin") == ["https://h"] * 3


async def test_all_else_stays_as_it_was_given(autojump_clock: MockClock) -> None:
    async with (
        scripted_server(closes(1012), DONE) as server,
        running_proxy(speak_http) as proxy,
    ):
        await stay(
            reconnecting(
                server.url,
                headers=lambda: iter([("X-A", "b")]),
                proxy=f"http://joe:secret@127.0.0.1:{proxy.port}",
                subprotocols=iter(["one", "two"]),
                sensitive_headers=iter(["X-A"]),
                server_hostname="fa\xdf.example.",
                user_agent="a test",
            )
        )
    assert server.headers("Sec-WebSocket-Protocol") == ["one, two"] * 2
    assert server.headers("X-A") == ["b", "b"]
    assert server.headers("User-Agent") == ["a test"] * 2
    assert len(proxy.requests) == 2


async def test_the_context_may_be_a_function_and_the_url_ws(
    tls_contexts: TLSContexts, autojump_clock: MockClock
) -> None:
    async def make_context() -> ssl.SSLContext:
        return tls_contexts.client

    async with (
        scripted_server(closes(1012), DONE, ssl_context=tls_contexts.server) as secure,
        scripted_server(moves(f"wss://localhost:{secure.port}/")) as server,
    ):
        await stay(reconnecting(server.url, ssl_context=make_context))
        url = f"wss://localhost:{secure.port}/"
        await stay(reconnecting(lambda: url, ssl_context=tls_contexts.client, max_redirects=0))
    assert len(secure.requests) == 3


@pytest.mark.parametrize("what", ["url", "headers", "ssl_context"])
@pytest.mark.parametrize("kind", [KeyError, HandshakeTimeout, ConnectionClosedError])
async def test_what_these_functions_raise_comes_out(
    what: str, kind: type[Exception], autojump_clock: MockClock
) -> None:
    error = kind(1)

    def fail() -> Any:
        raise error

    keywords: dict[str, Any] = {"url": "ws://127.0.0.1:1/", what: fail}
    assert await failing(reconnecting(**keywords)) is error


@pytest.mark.parametrize(
    ("keywords", "kind", "says"),
    [
        ({"url": lambda: "http://h"}, ValueError, "^url must be of the form"),
        ({"url": lambda: None}, TypeError, "^url must be a str"),
        ({"headers": lambda: {"A": "\n"}}, ValueError, "^headers must have"),
        ({"headers": lambda: None}, TypeError, "^headers must be"),
        ({"ssl_context": lambda: 1}, TypeError, "^ssl_context must be"),
    ],
)
async def test_what_they_return_is_checked(
    keywords: dict[str, Any], kind: type[Exception], says: str, autojump_clock: MockClock
) -> None:
    with pytest.raises(kind, match=says):
        await stay(reconnecting(**{"url": "ws://127.0.0.1:1/", **keywords}))


# -- what is logged -----------------------------------------------------------------------


async def test_each_failed_dial_is_one_line(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.INFO, "trio_wsendpoint.client")
    script = [hangs_up, answers("503 Busy", "Retry-After: 90"), closes(1012, "bye")]
    async with scripted_server(*script, answers("401 Who")) as server:
        await failing(reconnecting(server.url, backoff=SOON))
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("client")]
    assert len(lines) == 4
    assert re.fullmatch("dial 1 failed: the server closed .*; next in 1.0 s", lines[0])
    assert re.fullmatch("dial 2 failed: .* 503 Busy.*; next in 90.0 s", lines[1])
    assert lines[2] == "dial 3 ended: closed by the server with 1012: bye; next in 1.0 s"
    assert re.fullmatch("dial 4 failed: .* 401 Who.*; not tried again", lines[3])


# -- arguments ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "kind", "says"),
    [
        ({"url": "http://h/"}, ValueError, "^url must be"),
        ({"url": None}, TypeError, "^url must be"),
        ({"retry": 1}, TypeError, "^retry must be callable"),
        ({"backoff": 1}, TypeError, "^backoff must be a Backoff"),
        ({"max_attempts": 0}, ValueError, "^max_attempts must be at least 1"),
        ({"max_attempts": 1.5}, TypeError, "^max_attempts must be an int"),
        ({"max_attempts": True}, TypeError, "^max_attempts must be an int"),
        ({"headers": {"A": "\n"}}, ValueError, "^headers must have"),
        ({"headers": 1}, TypeError, "^headers must be"),
        ({"max_pings": 0}, ValueError, "^max_pings must be"),
        ({"stream": memory_stream_pair()[0]}, ValueError, "^stream must be None"),
        ({"nonsense": 1}, TypeError, r"^reconnecting\(\) got .* 'nonsense'"),
        (
            {"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "max_redirects": 0},
            ValueError,
            "^ssl_context needs",
        ),
    ],
)
def test_a_bad_argument_is_refused_at_once(
    keywords: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        reconnecting(**{"url": "ws://h/", **keywords})


# -- cancelled at every checkpoint --------------------------------------------------------


@asynccontextmanager
async def watched_server(*script: Answer) -> AsyncIterator[tuple[str, list[object]]]:
    """A scripted server, and how its connections ended."""
    ends: list[object] = []

    async def note(stream: trio.abc.Stream, request: bytes) -> None:
        await stream.send_all(switching(request))
        async with open_endpoint(stream, Role.SERVER) as endpoint:
            await endpoint.send("hello")
            await drain_quietly(endpoint)
            ends.append(endpoint.close_code)

    async with scripted_server(*script, note) as server:
        yield server.url, ends


SCRIPTS: dict[str, list[Answer]] = {
    "dialling and open": [],
    "after a redirect": [moves("/there")],
    "after a refusal": [answers("503 Busy")],
    "after a close": [closes(1012)],
    "after a break": [breaks],
}


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("script", SCRIPTS)
async def test_cancelled_at_any_checkpoint_it_says_goodbye_where_it_can(
    script: str, moment: Moment, autojump_clock: MockClock
) -> None:
    async def play(canceller: Canceller) -> None:
        async with watched_server(*SCRIPTS[script]) as (url, ends):
            entered: list[Endpoint] = []

            async def operate() -> None:
                async for attempt in reconnecting(url, backoff=SOON):
                    async with attempt as endpoint:
                        if await was_greeted(endpoint):
                            entered.append(endpoint)
                            await trio.sleep(5)

            outcome = await canceller.run(operate)
            assert outcome.raised == canceller.happened
            await trio.sleep(5)
            if entered:
                assert not outcome.raised or ends in ([1001], [1000]), ends
                assert outcome.raised or ends == [1000]
            else:
                assert outcome.raised
                assert ends in ([], [1006], [1001]), "never open, or left at once"
        await assert_nothing_is_left()

    await at_every_checkpoint(moment, play)


@pytest.mark.parametrize("moment", [Moment.BLOCKED, Moment.RESUMED])
@pytest.mark.parametrize("scheme", ["http", "socks5", "socks4"])
async def test_cancelled_at_any_checkpoint_behind_a_proxy_it_leaves_nothing_open(
    scheme: str, moment: Moment, autojump_clock: MockClock
) -> None:
    speak = speak_http if scheme == "http" else speak_socks

    async def play(canceller: Canceller) -> None:
        before = count_descriptors()
        async with running_proxy(speak) as proxy, watched_server() as (url, ends):
            greeted = False

            async def operate() -> None:
                nonlocal greeted
                loop = reconnecting(url, proxy=f"{scheme}://127.0.0.1:{proxy.port}")
                async for attempt in loop:
                    async with attempt as endpoint:
                        greeted = await was_greeted(endpoint)
                        await trio.sleep(5)

            await canceller.run(operate)
            await trio.sleep(5)
            if greeted:
                assert ends in ([1001], [1000])
        assert count_descriptors() == before

    await at_every_checkpoint(moment, play)


async def was_greeted(endpoint: Endpoint) -> bool:
    try:
        return await endpoint.receive() == "hello"
    except ConnectionClosed:
        return False


async def assert_nothing_is_left() -> None:
    """No task of ours is left beside the test's own and those of Trio."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    await wait_all_tasks_blocked()
    assert not any(
        "trio_wsendpoint" in repr(task.coro)
        for nursery in root.child_nurseries
        for task in nursery.child_tasks
    )


@pytest.mark.parametrize("code", [1000, 1012])
async def test_left_in_the_middle_of_anything_trio_stays_intact(
    code: int, autojump_clock: MockClock
) -> None:
    async with watched_server(answers("503 Busy"), hangs_up, closes(1012)) as (url, ends):
        async for attempt in reconnecting(url, backoff=SOON):
            with trio.CancelScope() as scope:
                async with attempt as endpoint:
                    if await was_greeted(endpoint):
                        scope.cancel()
                        await trio.sleep_forever()
            if scope.cancelled_caught:
                break
        with trio.move_on_after(1) as after:
            await trio.sleep_forever()
        assert after.cancelled_caught
        await trio.sleep(1)
    assert ends == [1001]


# -- for a long time ----------------------------------------------------------------------


def count_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def measure() -> tuple[int, int, int]:
    """Tasks that live, descriptors that are open, and blocks of memory."""
    gc.collect()
    tasks = trio.lowlevel.current_statistics().tasks_living
    return tasks, count_descriptors(), sys.getallocatedblocks()


@pytest.mark.slow
async def test_ten_thousand_attempts_leave_nothing_behind(autojump_clock: MockClock) -> None:
    rounds = 10_000
    measured: list[tuple[int, int, int]] = []
    async with scripted_server(DONE) as server:
        pass
    nobody = server.url
    dialled = 0

    def make_url() -> str:
        nonlocal dialled
        dialled += 1
        if dialled in (rounds // 2, rounds):
            measured.append(measure())
        return nobody if dialled <= rounds else done

    async with scripted_server(DONE) as server:
        done = server.url
        (attempt,) = await stay(reconnecting(make_url))
    assert attempt.number == rounds + 1
    assert isinstance(attempt.previous_error, ConnectError)
    assert trio.current_time() > 60 * (rounds - 10)
    (*before, blocks), (*after, more_blocks) = measured
    assert after == before
    assert more_blocks < blocks + 1000


@pytest.mark.slow
async def test_nor_do_many_connections(autojump_clock: MockClock) -> None:
    measured: list[tuple[int, int, int]] = []
    async with scripted_server(closes(1012)) as server:
        async for attempt in reconnecting(server.url, backoff=AT_ONCE):
            async with attempt as endpoint:
                await drain_quietly(endpoint)
            if attempt.number in (500, 1000):
                await wait_all_tasks_blocked()
                measured.append(measure())
            if attempt.number == 1000:
                break
    (*before, blocks), (*after, more_blocks) = measured
    assert after == before
    assert more_blocks < blocks + 5000
