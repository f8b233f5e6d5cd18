"""Whatever a client sends, each part of the gate has an answer to it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_wsendpoint import Endpoint, Request, Response, Router, basic_auth
from trio_wsendpoint.server.origins import ForeignOrigin, check_origin, to_origins
from trio_wsendpoint.server.proxied import Proxies

VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
VALUES = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"])) | st.text(
    st.sampled_from('https://example.org:8*[]"=;, for1.%')
)


def run(coroutine: object) -> object:
    """Run what waits for nothing."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


@given(VALUES, VALUES, st.sampled_from([None, ("https://*.example.org",)]))
def test_an_origin_is_allowed_or_not(
    origin: str, host: str, allowed: tuple[str, ...] | None
) -> None:
    request = Request("/", [("Host", host), ("Origin", origin)])
    try:
        check_origin(request, to_origins(allowed))
    except ForeignOrigin:
        pass
    else:
        assert "://" in origin


@given(VALUES, st.sampled_from(["X-Forwarded-For", "Forwarded"]))
def test_an_address_is_found_or_not(value: str, header: str) -> None:
    proxies = Proxies(["10.0.0.0/8"], header)
    address = proxies.client_address(("10.0.0.1", 1), Request("/", [(header, value)]))
    assert isinstance(address, str)


@given(VALUES)
@example("Basic ////")
def test_credentials_are_right_or_not(value: str) -> None:
    answer = run(basic_auth(("ada", "secret"))(Request("/", [("Authorization", value)])))
    assert isinstance(answer, Response)


async def handler(endpoint: Endpoint, **values: object) -> None:
    raise NotImplementedError


async def page(request: Request, **values: object) -> Response:
    return Response.text("page")


@pytest.fixture(scope="module")
def router() -> Router:
    router = Router()
    router.route("/rooms/<int:room>/")(handler)
    router.page("/users/<name>")(page)
    router.page("/numbers/<float:number>/")(page)
    return router


@given(
    st.text(VISIBLE).map("/{}".format)
    | st.sampled_from(["/rooms/", "/users/", "/numbers/"]).flatmap(
        lambda start: st.text(VISIBLE).map(start.__add__)
    )
    | st.text(VISIBLE, min_size=1),
    st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "BREW"]),
    st.booleans(),
)
@example("//evil.org/rooms/1", "GET", True)
@example("/\\evil.org/rooms/1", "GET", True)
@example("/rooms/%31?x=//evil.org/%00", "GET", True)
@example("/rooms/%ff%00%0d%0a", "GET", False)
@example("*", "OPTIONS", False)
def test_a_path_leads_somewhere_or_nowhere(
    router: Router, target: str, method: str, upgrades: bool
) -> None:
    headers = {"Upgrade": "websocket"} if upgrades else {}
    answer = run(router.on_request(Request(target, headers, method)))
    assert isinstance(answer, Response | None)
    location = answer.header("Location") if isinstance(answer, Response) else None
    if location is not None:
        assert location.startswith("/")
        assert not location.startswith(("//", "/\\"))
