from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from trio.testing import MockClock

from tests.server.world import ask, records_of, request_bytes, serving, upgrade_bytes
from trio_wsendpoint import (
    Accept,
    ConnectionClosed,
    Endpoint,
    HandshakeRejected,
    Request,
    Response,
    Router,
    connect,
)
from trio_wsendpoint.testing import open_endpoint_pair


async def say(endpoint: Endpoint, **values: object) -> None:
    await endpoint.send(repr(values))


async def show(request: Request, **values: object) -> Response:
    return Response.text(f"{request.method} {values}")


@pytest.fixture
def router() -> Router:
    router = Router()
    router.route("/")(say)
    router.route("/rooms/<int:room>")(say)
    router.route("/files/<path:name>")(say)
    router.route("/slash/")(say)
    router.page("/")(show)
    router.page("/health")(show)
    router.page("/users/<name>", methods=["GET", "POST"])(show)
    router.page("/pages/")(show)
    return router


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/", {}),
        ("/rooms/7", {"room": 7}),
        ("/rooms/7?query", {"room": 7}),
        ("/files/a/b%20c", {"name": "a/b c"}),
    ],
)
async def test_a_handler_gets_the_values_in_its_path(
    path: str, values: dict[str, Any], router: Router, autojump_clock: MockClock
) -> None:
    async with (
        serving(router) as listener,
        connect(f"ws://localhost{path}", stream=listener.dial()) as client,
    ):
        assert await client.receive() == repr(values)


@pytest.mark.parametrize(
    ("method", "path", "status_code", "body"),
    [
        ("GET", "/health", 200, "GET {}"),
        ("HEAD", "/health", 200, ""),
        ("GET", "/", 200, "GET {}"),
        ("GET", "/users/%C3%A9?x=y", 200, "GET {'name': 'é'}"),
        ("POST", "/users/ada", 200, "POST {'name': 'ada'}"),
        ("GET", "/nowhere", 404, "there is nothing here\n"),
        ("GET", "/rooms/seven", 404, "there is nothing here\n"),
        ("PUT", "/users/ada", 405, "not with this method\n"),
        ("GET", "/rooms/7", 426, None),
    ],
)
async def test_a_plain_request_gets_a_page_or_an_error(
    method: str,
    path: str,
    status_code: int,
    body: str | None,
    router: Router,
    autojump_clock: MockClock,
) -> None:
    async with serving(router) as listener:
        answer = await ask(listener.dial(), request_bytes(path, method))
    assert answer.status_code == status_code
    if body is not None:
        assert answer.body == body.encode()
    if status_code == 405:
        assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    ("path", "status_code"), [("/nowhere", 404), ("/rooms/x", 404), ("/health", 400)]
)
async def test_a_websocket_without_a_route_is_refused_before_it_is_one(
    path: str, status_code: int, router: Router, autojump_clock: MockClock
) -> None:
    async with serving(router) as listener:
        with pytest.raises(HandshakeRejected) as caught:
            async with connect(f"ws://localhost{path}", stream=listener.dial()):
                pass
    assert caught.value.status_code == status_code


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/pages", "/pages/"),
        ("/pages?a=b&c=%20", "/pages/?a=b&c=%20"),
        ("//pages", "/pages/"),
        ("//evil.org/..//pages", None),
    ],
)
async def test_a_path_that_lacks_only_its_slash_is_redirected_on_the_same_host(
    path: str, location: str | None, router: Router, autojump_clock: MockClock
) -> None:
    async with serving(router) as listener:
        answer = await ask(listener.dial(), request_bytes(path))
    if location is not None:
        assert answer.status_code == 308
        assert answer.headers["location"] == location
    else:
        assert not answer.headers.get("location", "").startswith("//")


async def test_a_websocket_is_redirected_likewise(
    router: Router, autojump_clock: MockClock
) -> None:
    async with serving(router) as listener:
        answer = await ask(listener.dial(), upgrade_bytes("/slash"))
    assert (answer.status_code, answer.headers["location"]) == (308, "/slash/")


# -- beside on_request --------------------------------------------------------------------


async def test_on_request_comes_before_the_routes(
    router: Router, autojump_clock: MockClock
) -> None:
    async def on_request(request: Request) -> Response | Accept | None:
        if request.query == "stop":
            return Response.text("stopped", 403)
        return Accept({"X-A": "b"}, context="noted") if request.is_websocket else None

    async with serving(router, on_request=on_request) as listener:
        assert (await ask(listener.dial(), request_bytes("/health?stop"))).status_code == 403
        assert (await ask(listener.dial(), request_bytes("/health"))).status_code == 200
        answer = await ask(listener.dial(), upgrade_bytes("/nowhere"))
        assert answer.status_code == 404, "an Accept makes no route"
        async with connect("ws://localhost/rooms/7", stream=listener.dial()) as client:
            assert client.response.header("X-A") == "b"
            assert await client.receive() == "{'room': 7}"


async def test_a_page_that_fails_is_logged_and_answered_with_500(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    router = Router()

    @router.page("/fails")
    async def fails(_: Request) -> Response:
        raise ZeroDivisionError

    @router.page("/nothing")
    async def nothing(_: Request) -> Response:
        return "text"  # type: ignore[return-value]

    async with serving(router) as listener:
        for path in "/fails", "/nothing":
            assert (await ask(listener.dial(), request_bytes(path))).status_code == 500
    assert [record.levelno for record in records_of(caplog)] == [logging.ERROR] * 2


async def test_a_connection_that_was_accepted_without_the_routes_is_closed_where_there_is_none(
    router: Router, autojump_clock: MockClock
) -> None:
    async with open_endpoint_pair(path="/nowhere") as (client, server):
        await router(server)
        with pytest.raises(ConnectionClosed, match="1008: no such path"):
            await client.receive()
    async with open_endpoint_pair(path="/rooms/7") as (client, server):
        await router(server)
        assert await client.receive() == "{'room': 7}"


async def test_a_router_is_not_taken_for_an_on_request(router: Router) -> None:
    with pytest.raises(TypeError, match=r"router\.on_request is for on_request="):
        await router(Request("/"))  # type: ignore[arg-type]


# -- its routes ---------------------------------------------------------------------------


def test_what_is_decorated_stays_what_it_is() -> None:
    router = Router()
    assert router.route("/")(say) is say
    assert router.page("/")(show) is show


async def test_options_are_those_of_the_map(autojump_clock: MockClock) -> None:
    from werkzeug.routing import BaseConverter

    class Upper(BaseConverter):
        regex = "[A-Z]+"

    router = Router(converters={"upper": Upper}, strict_slashes=False)
    router.page("/<upper:name>/")(show)
    async with serving(router) as listener:
        assert (await ask(listener.dial(), request_bytes("/ABC"))).status_code == 200
        assert (await ask(listener.dial(), request_bytes("/abc"))).status_code == 404


def plain(_: Endpoint) -> None: ...
async def nothing_taken(_: Endpoint) -> None: ...
async def too_much(_: Endpoint, room: int, other: int) -> None: ...


@pytest.mark.parametrize(
    ("rule", "function", "error", "says"),
    [
        ("/<int:room>", plain, TypeError, "what a route leads to must be an async function"),
        (
            "/<int:room>",
            nothing_taken,
            TypeError,
            "what a route leads to must take ",
        ),
        ("/<int:room>", too_much, TypeError, "what a route leads to must take "),
        ("rooms", nothing_taken, ValueError, "URL rule 'rooms' must start with a slash"),
        ("/<colour:room>", say, ValueError, "rule must be one that werkzeug knows"),
        (5, say, TypeError, "rule must be a str, not int"),
    ],
)
@pytest.mark.parametrize("kind", ["route", "page"])
def test_a_bad_route_is_refused_at_once(
    rule: Any, function: Callable[..., Any], error: type[Exception], says: str, kind: str
) -> None:
    router = Router()
    with pytest.raises(error, match=f"^{says}"):
        getattr(router, kind)(rule)(function)
    assert list(router._map.iter_rules()) == []


def test_without_werkzeug_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "werkzeug.routing", None)
    with pytest.raises(ImportError, match=r"pip install 'trio_wsendpoint\[router\]'"):
        Router()
