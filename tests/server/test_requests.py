from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.endpoint.peer import Peer, stream_pair
from tests.protocol.wire import TEXT
from tests.server.world import (
    HEAD,
    LOGGER,
    ask,
    assert_alive,
    echo,
    records_of,
    request_bytes,
    serving,
    upgrade_bytes,
)
from trio_wsendpoint import (
    ANY_ORIGIN,
    Accept,
    Endpoint,
    HandshakeError,
    HandshakeRejected,
    Request,
    Response,
    Role,
    accept,
    connect,
)
from trio_wsendpoint.server import Gate, Settings
from trio_wsendpoint.server.accept import LINGER
from trio_wsendpoint.testing import StallStream

Hook = Callable[[Request], Awaitable[Any]]


def answering(answer: Any) -> Hook:
    async def on_request(_: Request) -> Any:
        return answer

    return on_request


def make_gate(**keywords: Any) -> Gate:
    return Settings.parse("serve", keywords).gate


def make_request(method: str = "GET", target: str = "/", **headers: str) -> Request:
    fields = {"Host": "example.org", **headers}
    return Request(target, [(n.replace("_", "-"), v) for n, v in fields.items()], method)


def make_upgrade(target: str = "/", **headers: str) -> Request:
    return make_request(
        target=target,
        Upgrade="websocket",
        Connection="Upgrade",
        Sec_WebSocket_Version="13",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    )


async def decide(request: Request, **keywords: Any) -> tuple[int, str]:
    decision = await make_gate(**keywords).decide(request, trio.current_time() + 1)
    return decision.response.status_code, decision.reason


# -- what it says -------------------------------------------------------------------------


async def test_a_plain_request_is_refused_where_nobody_answers_it() -> None:
    decision = await make_gate().decide(make_request(), trio.current_time() + 1)
    assert decision.response.status_code == 426
    assert decision.agreement is None
    assert decision.seat is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_on_request_sees_requests_of_all_methods(method: str) -> None:
    seen: list[Request] = []

    async def on_request(request: Request) -> Response:
        seen.append(request)
        return Response.text("hello")

    request = make_request(method, "/path?query", Content_Length="3")
    assert (await decide(request, on_request=on_request))[0] == 200
    assert seen == [request]


async def test_on_request_sees_upgrades_that_are_malformed() -> None:
    request = make_upgrade()
    broken = Request("/", [pair for pair in request.headers if "Key" not in pair[0]])
    assert (await decide(broken))[0] == 400
    assert (await decide(broken, on_request=answering(Response.text("no", 404))))[0] == 404


async def test_the_first_answer_that_is_not_none_decides() -> None:
    called: list[int] = []

    def hook(number: int, answer: Any) -> Hook:
        async def on_request(_: Request) -> Any:
            called.append(number)
            return answer

        return on_request

    hooks = [hook(1, None), hook(2, Response(404)), hook(3, Response(500))]
    assert (await decide(make_request(), on_request=hooks))[0] == 404
    assert called == [1, 2]


async def test_where_no_function_answers_the_request_is_one_for_a_websocket() -> None:
    hooks = [answering(None), answering(None)]
    assert (await decide(make_upgrade(), on_request=hooks)) == (101, "")
    assert (await decide(make_request(), on_request=hooks))[0] == 426
    assert (await decide(make_upgrade(), on_request=[])) == (101, "")


async def test_a_plain_request_cannot_be_accepted() -> None:
    status_code, reason = await decide(make_request(), on_request=answering(Accept()))
    assert status_code == 426
    assert "WebSocket endpoint" in reason


async def test_an_accept_adds_headers_and_chooses_the_subprotocol() -> None:
    answer = Accept([("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")], "chat.v1", "context")
    gate = make_gate(on_request=answering(answer), headers={"X-A": "b"}, subprotocols=["x"])
    request = make_upgrade(Sec_WebSocket_Protocol="x, chat.v1")
    decision = await gate.decide(request, trio.current_time() + 1)
    assert decision.agreement is not None
    assert decision.agreement.subprotocol == "chat.v1"
    assert decision.agreement.context == "context"
    assert decision.response.header_values("Set-Cookie") == ["a=b", "c=d"]
    assert decision.response.header("X-A") == "b"
    assert decision.response.header("Sec-WebSocket-Protocol") == "chat.v1"


async def test_the_context_is_that_of_the_request_unless_an_accept_has_one() -> None:
    async def note(request: Request) -> None:
        request.context["user"] = "ada"

    gate = make_gate(on_request=note)
    decision = await gate.decide(make_upgrade(), trio.current_time() + 1)
    assert decision.agreement is not None
    assert decision.agreement.context == {"user": "ada"}
    gate = make_gate(on_request=[note, answering(Accept(context=0))])
    decision = await gate.decide(make_upgrade(), trio.current_time() + 1)
    assert decision.agreement is not None
    assert decision.agreement.context == 0


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"headers": {"Upgrade": "x"}}, ValueError, "headers must not have Upgrade"),
        ({"headers": {"Sec-WebSocket-Accept": "x"}}, ValueError, "headers must not have Sec-"),
        ({"headers": {"X": "a\nb"}}, ValueError, "headers must have"),
        ({"headers": "X: y"}, TypeError, "headers must be"),
        ({"subprotocol": b"x"}, TypeError, "subprotocol must be a str or None, not bytes"),
    ],
)
def test_an_accept_with_a_bad_argument_is_refused(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=f"^{says}"):
        Accept(**arguments)


# -- the order of its checks --------------------------------------------------------------


async def test_a_page_of_another_origin_is_refused_whatever_on_request_says() -> None:
    request = make_upgrade(Origin="https://evil.org")
    assert (await decide(request))[0] == 403
    assert (await decide(request, on_request=answering(Accept())))[0] == 403
    assert (await decide(request, origins=["https://evil.org"]))[0] == 101
    assert (await decide(request, origins=ANY_ORIGIN))[0] == 101
    assert (await decide(make_upgrade(Origin="https://example.org")))[0] == 101


async def test_the_origin_of_a_plain_request_is_no_matter() -> None:
    request = make_request(Origin="https://evil.org")
    assert (await decide(request))[0] == 426
    assert (await decide(request, on_request=answering(Response(200))))[0] == 200


async def test_the_websockets_own_rules_come_before_the_origin_and_that_before_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = make_upgrade(Origin="https://evil.org", Sec_WebSocket_Protocol="x")
    wrong = Request("/", [*request.headers, ("Sec-WebSocket-Version", "13")])
    assert (await decide(wrong, require_subprotocol=True))[0] == 400
    assert not caplog.records
    assert (await decide(request, require_subprotocol=True))[0] == 403


async def test_a_foreign_page_is_logged_with_how_to_allow_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await decide(make_upgrade("/a?secret", Origin="https://evil.org\x80" + "x" * 500))
    (record,) = records_of(caplog)
    message = record.getMessage()
    assert record.levelno == logging.WARNING
    assert "'https://evil.org\\x80xx" in message
    assert "'example.org'" in message
    assert "origins=[...]" in message
    assert "secret" not in message
    assert len(message) < 400
    assert record.connection_id is None


# -- subprotocols -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"), [("b, a", "b"), ("c, a", "a"), ("c", None), (None, None)]
)
async def test_the_subprotocol_is_the_one_that_the_client_wants_most(
    offered: str | None, chosen: str | None
) -> None:
    headers = {} if offered is None else {"Sec_WebSocket_Protocol": offered}
    gate = make_gate(subprotocols=["a", "b"])
    decision = await gate.decide(make_upgrade(**headers), trio.current_time() + 1)
    assert decision.response.header("Sec-WebSocket-Protocol") == chosen
    status_code, reason = await decide(
        make_upgrade(**headers), subprotocols=["a", "b"], require_subprotocol=True
    )
    assert status_code == (101 if chosen else 400)
    assert ("subprotocol" in reason) is (chosen is None)


async def test_the_application_may_choose_the_subprotocol_itself() -> None:
    asked: list[Any] = []

    def select(request: Request, offered: tuple[str, ...]) -> str | None:
        asked.append((request, offered))
        return offered[-1] if offered else None

    gate = make_gate(subprotocols=["a"], select_subprotocol=select)
    request = make_upgrade(Sec_WebSocket_Protocol="a, b")
    decision = await gate.decide(request, trio.current_time() + 1)
    assert decision.response.header("Sec-WebSocket-Protocol") == "b"
    assert asked == [(request, ("a", "b"))]
    decision = await gate.decide(make_upgrade(), trio.current_time() + 1)
    assert decision.response.header("Sec-WebSocket-Protocol") is None
    keywords = {"select_subprotocol": select, "require_subprotocol": True}
    assert (await decide(make_upgrade(), **keywords))[0] == 400
    assert (await decide(request, on_request=answering(Accept((), "a")), **keywords))[0] == 101
    assert asked[3:] == [], "an Accept has chosen"


def fail_to_select(*_: object) -> str:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "keywords",
    [
        {"on_request": answering(Accept(subprotocol="c"))},
        {"select_subprotocol": lambda *_: "c"},
        {"select_subprotocol": lambda *_: 5},
        {"select_subprotocol": fail_to_select},
    ],
)
async def test_a_subprotocol_that_was_not_offered_is_a_fault_of_the_server(
    keywords: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    request = make_upgrade(Sec_WebSocket_Protocol="a, b")
    assert await decide(request, **keywords) == (500, "the server has failed")
    (record,) = records_of(caplog)
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "subprotocol" in record.getMessage()


# -- functions that fail ------------------------------------------------------------------


async def raise_one(_: Request) -> None:
    raise ZeroDivisionError("a fault")


async def raise_a_handshake_error(_: Request) -> None:
    raise HandshakeError("of a connection of its own", 404)


async def raise_a_group(_: Request) -> None:
    async def fail_later() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_later)


async def accept_wrongly(_: Request) -> Accept:
    return Accept({"Upgrade": "x"})


@pytest.mark.parametrize(
    "hook",
    [
        raise_one,
        raise_a_handshake_error,
        raise_a_group,
        accept_wrongly,
        answering("a str"),
        answering(True),
        answering((200, "text")),
        answering(Response(101)),
    ],
)
@pytest.mark.parametrize("request_", [make_request(), make_upgrade()])
async def test_a_function_that_fails_is_logged_and_the_client_told_no_more_than_that(
    hook: Hook,
    request_: Request,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:
    gate = make_gate(on_request=hook)
    decision = await gate.decide(request_, trio.current_time() + 1)
    assert decision.response.status_code == 500
    assert decision.response.body == b"the server has failed\n"
    assert decision.agreement is None
    (record,) = records_of(caplog)
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.getMessage() == "on_request failed, at GET / of an unknown address"
    assert (record.connection_id, record.peer) == (None, None)


async def test_a_function_that_hangs_is_cancelled_and_the_client_told_503(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def hang(_: Request) -> None:
        await trio.sleep_forever()

    gate = make_gate(on_request=hang)
    decision = await gate.decide(make_request(), trio.current_time() + 7)
    assert trio.current_time() == 7
    assert decision.response.status_code == 503
    assert decision.response.header("Retry-After") is not None
    (record,) = records_of(caplog)
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("on_request took longer than handshake_timeout, at ")


async def test_a_gate_that_is_cancelled_is_cancelled(autojump_clock: MockClock) -> None:
    async def hang(_: Request) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(1) as scope:
        await make_gate(on_request=hang).decide(make_request(), 5)
    assert scope.cancelled_caught


# -- what every answer has ----------------------------------------------------------------


async def test_every_answer_names_the_server_and_the_date() -> None:
    for request in make_request(), make_request("PUT"):
        decision = await make_gate().decide(request, trio.current_time() + 1)
        server = decision.response.header("Server")
        assert server is not None
        assert server.startswith("trio_wsendpoint/")
        parsedate_to_datetime(decision.response.header("Date") or "")
    decision = await make_gate().decide(make_upgrade(), trio.current_time() + 1)
    assert decision.response.header("Server") == server
    assert decision.response.header("Date") is None


@pytest.mark.parametrize(
    ("keywords", "server"),
    [
        ({"server_header": None}, None),
        ({"server_header": "ours"}, "ours"),
        ({"headers": {"server": "theirs"}}, "theirs"),
        ({"on_request": answering(Accept({"SERVER": "accepted"}))}, "accepted"),
    ],
)
async def test_the_name_of_the_server_can_be_another_or_none(
    keywords: dict[str, Any], server: str | None
) -> None:
    decision = await make_gate(**keywords).decide(make_upgrade(), trio.current_time() + 1)
    assert decision.response.header("Server") == server


async def test_headers_of_the_101_are_none_of_a_plain_response() -> None:
    gate = make_gate(headers={"Server": "theirs", "X-A": "b"}, server_header="ours")
    decision = await gate.decide(make_request(), trio.current_time() + 1)
    assert decision.response.header_values("Server") == ["ours"]
    assert decision.response.header("X-A") is None


async def test_a_response_may_have_its_own_date_and_server() -> None:
    response = Response(200, {"Date": "today", "Server": "other"})
    gate = make_gate(on_request=answering(response))
    decision = await gate.decide(make_request(), trio.current_time() + 1)
    assert sorted(decision.response.headers) == [("Date", "today"), ("Server", "other")]


# -- over HTTP/1.1 ------------------------------------------------------------------------


async def page(request: Request) -> Response | None:
    return Response.html(f"<p>{request.path}") if request.path != "/ws" else None


async def test_pages_and_websockets_share_a_port(autojump_clock: MockClock) -> None:
    async with serving(echo, on_request=page) as listener:
        answer = await ask(listener.dial(), request_bytes("/a"))
        assert (answer.status_code, answer.body) == (200, b"<p>/a")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["connection"] == "close"
        assert answer.headers["content-length"] == "5"
        async with connect("ws://localhost/ws", stream=listener.dial()) as client:
            await client.send("x")
            assert await client.receive() == "x"


async def test_head_gets_the_headers_of_get(autojump_clock: MockClock) -> None:
    async with serving(echo, on_request=page) as listener:
        answer = await ask(listener.dial(), request_bytes("/a", "HEAD"))
    assert (answer.status_code, answer.body) == (200, b"")
    assert answer.headers["content-length"] == "5"


async def test_the_body_of_a_request_is_not_read_nor_in_the_way(
    autojump_clock: MockClock,
) -> None:
    async with serving(echo, on_request=page) as listener:
        data = request_bytes("/a", "POST", content_length="100000") + b"x" * 100_000
        answer = await ask(listener.dial(), data)
    assert answer.body == b"<p>/a"


async def test_a_websocket_that_gets_a_response_is_rejected_by_it(
    autojump_clock: MockClock,
) -> None:
    challenge = {"WWW-Authenticate": "Bearer"}
    hook = answering(Response.json({"error": "token"}, 401, challenge))
    async with serving(echo, on_request=hook) as listener:
        with pytest.raises(HandshakeRejected) as caught:
            async with connect("ws://localhost/", stream=listener.dial()):
                pass
    assert caught.value.status_code == 401
    assert caught.value.body == b'{"error": "token"}'
    assert caught.value.response.header("www-authenticate") == "Bearer"


async def test_the_handler_finds_what_was_noted(autojump_clock: MockClock) -> None:
    async def on_request(request: Request) -> Accept:
        return Accept({"Set-Cookie": "seen=1"}, context=request.header("X-User"))

    async def handler(endpoint: Endpoint) -> None:
        await endpoint.send(f"{endpoint.context} at {endpoint.request.path}")

    async with (
        serving(handler, on_request=on_request) as listener,
        connect(
            "ws://localhost/a?b", stream=listener.dial(), headers={"X-User": "ada"}
        ) as client,
    ):
        assert await client.receive() == "ada at /a"
        assert client.response.header("Set-Cookie") == "seen=1"
        assert client.context is None


async def test_a_function_that_hangs_costs_handshake_timeout_and_harms_nobody_else(
    autojump_clock: MockClock,
) -> None:
    async def hang(request: Request) -> None:
        if request.path == "/hang":
            await trio.sleep_forever()

    async def see_503(stream: trio.abc.Stream) -> None:
        assert (await ask(stream, upgrade_bytes("/hang"))).status_code == 503
        assert trio.current_time() == 5

    async with (
        serving(echo, on_request=hang, handshake_timeout=5) as listener,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(see_503, listener.dial())
        await assert_alive(listener)
        assert trio.current_time() == 0


async def test_the_time_of_on_request_is_what_the_request_has_left(
    autojump_clock: MockClock,
) -> None:
    async def on_request(_: Request) -> Response:
        await trio.sleep(2)
        return Response.text("in time")

    async with serving(echo, on_request=on_request, handshake_timeout=5) as listener:
        for before, status_code in (2, 200), (4, 503):
            stream = listener.dial()
            await stream.send_all(HEAD[:10])
            await trio.sleep(before)
            assert (await ask(stream, HEAD[10:])).status_code == status_code


async def test_accept_raises_what_on_request_has_answered(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(request_bytes("/path?secret=1"))
    await theirs.send_eof()
    with pytest.raises(HandshakeError, match=r"^GET /path got a 418$") as caught:
        async with accept(ours, on_request=answering(Response(418))):
            raise AssertionError("it was accepted")
    assert caught.value.status_code == 418


async def test_a_request_that_gets_a_page_is_one_line_at_debug(
    log: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving(echo, on_request=page) as listener:
        await ask(listener.dial(), request_bytes("/a?secret=1"))
        await wait_all_tasks_blocked()
    (record,) = records_of(log, LOGGER)
    assert record.levelno == logging.DEBUG
    assert record.getMessage() == "no connection was opened: GET /a got a 200"


async def test_a_large_page_is_sent_whole_to_who_takes_it_in_time(
    autojump_clock: MockClock,
) -> None:
    body = "x" * 3_000_000
    async with serving(echo, on_request=answering(Response.text(body))) as listener:
        answer = await ask(listener.dial(), request_bytes())
        assert len(answer.body) == len(body)


@pytest.mark.parametrize("where", ["before the response", "within it", "behind it"])
async def test_a_client_that_does_not_take_its_page_is_left_in_time(
    where: str, autojump_clock: MockClock
) -> None:
    hook = answering(Response.text("x" * 100))
    ours, theirs = stream_pair("memory")
    after = {"before the response": 0, "within it": 50, "behind it": 10_000}[where]
    await theirs.send_all(request_bytes())
    start = trio.current_time()
    with pytest.raises(HandshakeError):
        async with accept(
            StallStream(ours, after_sent=after), on_request=hook, handshake_timeout=3
        ):
            raise AssertionError("it was accepted")
    assert trio.current_time() - start == (LINGER if where == "behind it" else 3)
    await theirs.aclose()


async def test_health_checks_of_http_1_0_are_answered(autojump_clock: MockClock) -> None:
    async with serving(echo, on_request=page) as listener:
        answer = await ask(listener.dial(), b"OPTIONS /health HTTP/1.0\r\n\r\n")
        assert answer.status_code == 200
        answer = await ask(listener.dial(), HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer.status_code == 200
    async with serving(echo) as listener:
        answer = await ask(listener.dial(), HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert (answer.status_code, answer.body) == (400, b"HTTP/1.0 instead of HTTP/1.1\n")


async def test_a_request_with_a_body_is_no_websocket(autojump_clock: MockClock) -> None:
    async with serving(echo) as listener:
        data = upgrade_bytes(content_length="5") + b"12345"
        assert (await ask(listener.dial(), data)).status_code == 400


async def test_what_is_no_http_is_not_seen_by_on_request(autojump_clock: MockClock) -> None:
    async def on_request(_: Request) -> None:
        raise AssertionError

    async with serving(echo, on_request=on_request, server_header="x") as listener:
        answer = await ask(listener.dial(), b"GET / HTTP/1.1\r\nX\r\n\r\n")
        assert answer.status_code == 400
        assert answer.headers["server"] == "x"


async def test_what_comes_behind_a_request_that_is_decided_on_slowly_is_not_lost(
    autojump_clock: MockClock,
) -> None:
    async def slow(_: Request) -> None:
        await trio.sleep(1)

    async with serving(echo, on_request=slow) as listener:
        stream = listener.dial()
        peer = Peer(stream, Role.CLIENT)
        await stream.send_all(HEAD + peer.frame(TEXT, b"early"))
        data = b""
        while not data.endswith(b"early"):
            data += bytes(await stream.receive_some())
        assert data.startswith(b"HTTP/1.1 101 ")
        await peer.close()
