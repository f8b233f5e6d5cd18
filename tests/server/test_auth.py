from __future__ import annotations

import base64
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.server.world import ask, request_bytes, serving
from trio_wsendpoint import (
    Accept,
    Endpoint,
    HandshakeRejected,
    Request,
    Response,
    basic_auth,
    connect,
)


def encode(credentials: str | bytes) -> str:
    data = credentials.encode() if isinstance(credentials, str) else credentials
    return f"Basic {base64.b64encode(data).decode()}"


async def authenticate(check: Any, *values: str) -> tuple[int | None, dict[str, Any]]:
    request = Request("/", [("Authorization", value) for value in values])
    answer = await basic_auth(check)(request)
    assert not isinstance(answer, Accept)
    return answer.status_code if answer else None, request.context


async def later(username: str, password: str) -> bool:
    await trio.lowlevel.checkpoint()
    return (username, password) == ("ada", "sécret:x")


def at_once(username: str, password: str) -> bool:
    return (username, password) == ("ada", "sécret:x")


CHECKS = [("ada", "sécret:x"), at_once, later]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("scheme", ["Basic ", "BASIC ", "basic  "])
async def test_the_right_user_goes_on_and_is_noted(check: Any, scheme: str) -> None:
    value = encode("ada:sécret:x").replace("Basic ", scheme)
    assert await authenticate(check, value) == (None, {"username": "ada"})


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["Basic"],
        ["Basic "],
        [encode("ada:wrong")],
        [encode("eve:sécret:x")],
        [encode("ada")],
        [encode(b"ada:s\xe9cret:x")],
        ["Basic YWRhOnPDqWNyZXQ6e"],
        ["Basic YWRh?"],
        ["Bearer YWRhOnNlY3JldA=="],
        [encode("ada:sécret:x"), encode("ada:sécret:x")],
        [f"{encode('ada:sécret:x')}, {encode('ada:sécret:x')}"],
    ],
)
async def test_anybody_else_gets_a_401(check: Any, values: list[str]) -> None:
    assert await authenticate(check, *values) == (401, {})


async def test_a_browser_is_told_what_to_ask_for() -> None:
    answer = await basic_auth(("a", "b"), 'the "room"')(Request("/"))
    assert isinstance(answer, Response)
    assert answer.header("WWW-Authenticate") == (
        'Basic realm="the \\"room\\"", charset="UTF-8"'
    )


async def test_a_check_that_gives_no_bool_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="check must return True or False, not 'ada'"):
        await authenticate(lambda username, _: username, encode("ada:x"))


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((5,), TypeError, "check must be a function, not 5"),
        ((lambda _: True,), TypeError, "check must take a user name and a password"),
        ((("a", "b", "c"),), TypeError, "check must be a function, or a pair of"),
        ((("a", b"b"),), TypeError, "check must be a function, or a pair of"),
        ((("a:b", "c"),), ValueError, "check must not have a colon in its user name"),
        ((("a", "b"), 5), TypeError, "realm must be a str, not int"),
        ((("a", "b"), "é"), ValueError, "realm must be in visible ASCII"),
        ((("a", "b"), "a\r\nb"), ValueError, "realm must be in visible ASCII"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: tuple[Any, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=f"^{says}"):
        basic_auth(*arguments)


async def test_a_server_lets_only_users_in_and_the_handler_knows_who(
    autojump_clock: MockClock,
) -> None:
    async def page(request: Request) -> Response | None:
        return Response.text(request.context["username"]) if request.path == "/me" else None

    async def handler(endpoint: Endpoint) -> None:
        await endpoint.send(endpoint.context["username"])

    hooks = [basic_auth(("ada", "secret")), page]
    async with serving(handler, on_request=hooks) as listener:
        assert (await ask(listener.dial(), request_bytes("/me"))).status_code == 401
        right = request_bytes("/me", authorization=encode("ada:secret"))
        assert (await ask(listener.dial(), right)).body == b"ada"
        async with connect("ws://ada:secret@localhost/", stream=listener.dial()) as client:
            assert await client.receive() == "ada"
        with pytest.raises(HandshakeRejected, match="401"):
            async with connect("ws://ada:wrong@localhost/", stream=listener.dial()):
                pass
