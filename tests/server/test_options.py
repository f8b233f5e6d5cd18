from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import memory_stream_pair

from tests.server.world import MemoryListener, echo
from trio_wsendpoint import Response, accept, serve, serve_listeners, serve_unix
from trio_wsendpoint.endpoint import HandshakeKeywords
from trio_wsendpoint.server import ServerKeywords, ServerOptions


async def later(_: object) -> None: ...
def plain(_: object) -> Response:
    return Response(200)


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"on_request": 5}, TypeError, "on_request must be an async function, not 5"),
    ({"on_request": plain}, TypeError, "on_request must be an async function, not "),
    ({"on_request": [later, plain]}, TypeError, "on_request must be an async function, not "),
    ({"on_request": "later"}, TypeError, "on_request must be an async function, not 'l'"),
    ({"origins": "https://a.org"}, TypeError, "origins must be an iterable"),
    ({"origins": ["a.org"]}, ValueError, "origins must be of the form"),
    ({"select_subprotocol": 5}, TypeError, "select_subprotocol must be a function, not 5"),
    ({"select_subprotocol": plain}, TypeError, "select_subprotocol must take the request and"),
    ({"require_subprotocol": 1}, TypeError, ".*require_subprotocol.* must be <class 'bool'>"),
    ({"trusted_proxies": ["x"]}, ValueError, "trusted_proxies must be networks"),
    ({"forwarded_header": "Via"}, ValueError, "forwarded_header must be"),
    ({"server_header": b"x"}, TypeError, "server_header must be a str or None, not bytes"),
    ({"server_header": "a\nb"}, ValueError, "headers must have .* 'server_header' has not"),
]
BAD_LIMITS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({name: value}, error, f"{name} must be ")
    for name in ("max_connections", "max_connections_per_host", "max_handshakes")
    for value, error in ((0, ValueError), ("5", TypeError), (True, TypeError))
]


@pytest.mark.parametrize(("arguments", "error", "says"), [*BAD, *BAD_LIMITS])
async def test_a_bad_option_is_refused_before_anything_is_listened_on(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    listener = MemoryListener()
    with pytest.raises(error, match=f"^{says}"):
        await serve_listeners(echo, [listener], **arguments)
    assert not listener.is_closed
    with pytest.raises(error, match=f"^{says}"):
        await serve(echo, 0, **arguments)
    with pytest.raises(error, match=f"^{says}"):
        await serve_unix(echo, "/nowhere/socket", **arguments)


@pytest.mark.parametrize(("arguments", "error", "says"), BAD)
async def test_a_bad_option_is_refused_before_anything_is_read(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"x")
    with pytest.raises(error, match=f"^{says}"):
        await accept(ours, **arguments).__aenter__()
    assert await ours.receive_some() == b"x"


@pytest.mark.parametrize("name", ["max_connections", "max_handshakes"])
async def test_accept_knows_no_limits_on_numbers(name: str) -> None:
    ours, _ = memory_stream_pair()
    with pytest.raises(TypeError, match=rf"^accept\(\) got an unexpected .* '{name}'$"):
        await accept(ours, **{name: 5}).__aenter__()  # type: ignore[arg-type]


def test_each_option_is_a_keyword_and_the_other_way_round() -> None:
    keywords = ServerKeywords.__annotations__.keys() - HandshakeKeywords.__annotations__.keys()
    fields = {each.name for each in ServerOptions.__attrs_attrs__ if each.init}
    assert keywords == fields


SERVERS: list[Callable[[Any], Awaitable[None]]] = [
    partial(serve, port=0),
    partial(serve_unix, path="/nowhere/socket"),
    partial(serve_listeners, listeners=[MemoryListener()]),
]


@pytest.mark.parametrize("handler", [plain, 5, trio.sleep_forever])
@pytest.mark.parametrize("server", SERVERS)
async def test_a_handler_of_another_shape_is_refused_at_once(
    handler: Any, server: Callable[[Any], Awaitable[None]]
) -> None:
    with pytest.raises(TypeError, match=r"^handler must (be an async function|take the endp)"):
        await server(handler)
