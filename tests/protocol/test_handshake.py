"""Tests of the opening handshake, without its HTTP."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest

from trio_wsendpoint.protocol import handshake as handshake_module
from trio_wsendpoint.protocol.errors import HandshakeError, HandshakeRejected
from trio_wsendpoint.protocol.extensions import Codec, Extension
from trio_wsendpoint.protocol.fields import Parameters
from trio_wsendpoint.protocol.handshake import (
    Agreement,
    ClientHandshake,
    Headers,
    Request,
    Response,
    ServerHandshake,
    accept_value,
    refusal,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Plain(Extension):
    name = "x-plain"

    def offers(self) -> Sequence[Parameters]:
        return [()]

    def accept(self, offer: Parameters) -> tuple[Parameters, Codec] | None:  # noqa: ARG002
        return (), Codec()

    def confirm(self, answer: Parameters) -> Codec:  # noqa: ARG002
        return Codec()


@pytest.fixture
def negotiation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the simplest negotiation there is, by names alone, in the place of the real one."""

    def format_offers(extensions: Sequence[Extension]) -> str | None:
        return ", ".join(each.name for each in extensions) or None

    def confirm(values: Sequence[str], extensions: Sequence[Extension]) -> tuple[Codec, ...]:
        if set(values) - {each.name for each in extensions}:
            raise HandshakeError("an extension that is not known")
        return tuple(each.confirm(()) for each in extensions if each.name in values)

    def negotiate(
        values: Sequence[str], extensions: Sequence[Extension]
    ) -> tuple[str | None, tuple[Codec, ...]]:
        codecs = confirm(values, extensions)
        return format_offers(extensions) if codecs else None, codecs

    for function in (format_offers, negotiate, confirm):
        monkeypatch.setattr(handshake_module, function.__name__, function)


def make_request(
    *, target: str = "/chat", method: str = "GET", **changes: str | list[str] | None
) -> Request:
    """RFC 6455's example request; a change replaces a header, or drops it if None."""
    headers: dict[str, str | list[str] | None] = {
        "Host": "server.example.com",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Origin": "http://example.com",
        "Sec-WebSocket-Version": "13",
    }
    return Request(target, flatten(headers, changes), method)


def make_response(
    handshake: ClientHandshake, *, status_code: int = 101, **changes: str | list[str] | None
) -> Response:
    """The response that a client wants to see, with headers changed likewise."""
    headers: dict[str, str | list[str] | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept_value(
            handshake.request.header("Sec-WebSocket-Key") or ""
        ),
    }
    return Response(status_code, flatten(headers, changes))


def flatten(
    headers: dict[str, str | list[str] | None], changes: dict[str, str | list[str] | None]
) -> Headers:
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return tuple(
        (name, each)
        for name, value in headers.items()
        if value is not None
        for each in (value if isinstance(value, list) else [value])
    )


def test_the_example_of_rfc_6455_is_answered_as_there() -> None:
    request = make_request(Sec_WebSocket_Protocol="chat, superchat")
    response, agreement = ServerHandshake(subprotocols=["chat"]).respond(request)
    assert response == Response(
        101,
        [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", ACCEPT),
            ("Sec-WebSocket-Protocol", "chat"),
        ],
    )
    assert response.reason_phrase == "Switching Protocols"
    assert agreement == Agreement("chat", (), request, response)


def test_a_client_asks_for_everything_that_section_4_1_wants() -> None:
    handshake = ClientHandshake("example.org:8080", "/feed?a=b")
    request = handshake.request
    key = request.header("Sec-WebSocket-Key")
    assert request == Request(
        "/feed?a=b",
        [
            ("Host", "example.org:8080"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key or ""),
            ("Sec-WebSocket-Version", "13"),
        ],
    )
    assert len(base64.b64decode(key or "", validate=True)) == 16


def test_every_handshake_has_a_key_of_its_own() -> None:
    keys = {ClientHandshake("h").request.header("Sec-WebSocket-Key") for _ in range(10)}
    assert len(keys) == 10


def test_a_client_sends_subprotocols_extensions_and_headers_of_the_application(
    negotiation: None,
) -> None:
    request = ClientHandshake(
        "h", subprotocols=["b", "a"], extensions=[Plain()], headers={"Origin": "http://o"}
    ).request
    assert request.header("Sec-WebSocket-Protocol") == "b, a"
    assert request.header("Sec-WebSocket-Extensions") == "x-plain"
    assert request.headers[-1] == ("Origin", "http://o")


def test_a_host_among_the_headers_replaces_the_host() -> None:
    request = ClientHandshake("h", headers={"host": "other:81"}).request
    assert request.header_values("Host") == ["other:81"]


def test_client_and_server_agree(negotiation: None) -> None:
    client = ClientHandshake("h", subprotocols=["b", "a"], extensions=[Plain()])
    server = ServerHandshake(
        subprotocols=["a", "b"], extensions=[Plain()], headers={"Server": "x"}
    )
    response, servers = server.respond(client.request)
    clients = client.complete(response)
    assert servers is not None
    # The order of the client's list decides.
    assert clients.subprotocol == servers.subprotocol == "b"
    assert len(clients.codecs) == len(servers.codecs) == 1
    assert clients.request is servers.request is client.request
    assert clients.response is servers.response is response
    assert response.header("Server") == "x"
    assert response.header("Sec-WebSocket-Extensions") == "x-plain"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, None),
        ("c", None),
        ("A", None),
        ("c, b", "b"),
        (["c", "a, b"], "a"),
        (",b,,a,", "b"),
        ("b,b", "b"),
    ],
)
def test_a_server_takes_the_first_subprotocol_of_the_client_that_it_speaks(
    wanted: str | list[str] | None, expected: str | None
) -> None:
    request = make_request(Sec_WebSocket_Protocol=wanted)
    response, agreement = ServerHandshake(subprotocols=["a", "b"]).respond(request)
    assert agreement is not None
    assert agreement.subprotocol == response.header("Sec-WebSocket-Protocol") == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "WebSocket"},
        {"Upgrade": ["h2c", "foo, WEBSOCKET"]},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": ["keep-alive", "UPGRADE\t,"]},
        {"target": "/"},
        {"target": "/chat?x=/#"},
        {"target": "HTTP://server.example.com/chat"},
        {"Host": "[::1]:8000"},
        {"Host": "localhost:"},
        {"Sec_WebSocket_Key": "A" * 22 + "=="},
        {"Sec_WebSocket_Extensions": "unknown; a=b"},
    ],
)
def test_a_server_accepts_what_the_rfcs_allow(changes: dict[str, Any]) -> None:
    response, agreement = ServerHandshake().respond(make_request(**changes))
    assert response.status_code == 101
    assert agreement is not None
    assert agreement.codecs == ()


@pytest.mark.parametrize(
    ("changes", "status_code", "words"),
    [
        ({"method": "POST"}, 405, "the method must be GET"),
        ({"method": "get"}, 405, "the method must be GET"),
        ({"target": "*"}, 400, "request target"),
        ({"target": "server.example.com:80"}, 400, "request target"),
        ({"target": "ftp://server.example.com/"}, 400, "request target"),
        ({"Host": None}, 400, "Host is missing"),
        ({"Host": ["a", "a"]}, 400, "Host is there more than once"),
        ({"Host": ""}, 400, "Host is not valid"),
        ({"Host": "a, b"}, 400, "Host is not valid"),
        ({"Host": "user@a"}, 400, "Host is not valid"),
        ({"Host": "a/b"}, 400, "Host is not valid"),
        ({"Host": "a:b"}, 400, "Host is not valid"),
        ({"Host": "[::1"}, 400, "Host is not valid"),
        ({"Upgrade": None}, 426, "Upgrade lacks websocket"),
        ({"Upgrade": "h2c"}, 426, "Upgrade lacks websocket"),
        ({"Upgrade": "websockets"}, 426, "Upgrade lacks websocket"),
        ({"Connection": None}, 400, "Connection lacks Upgrade"),
        ({"Connection": "keep-alive"}, 400, "Connection lacks Upgrade"),
        ({"Connection": "no upgrade"}, 400, "Connection lacks Upgrade"),
        ({"Sec_WebSocket_Version": None}, 400, "Sec-WebSocket-Version is missing"),
        ({"Sec_WebSocket_Version": ["13", "13"]}, 400, "more than once"),
        ({"Sec_WebSocket_Version": "8"}, 426, "Sec-WebSocket-Version is not 13"),
        ({"Sec_WebSocket_Version": "13, 8"}, 426, "Sec-WebSocket-Version is not 13"),
        ({"Sec_WebSocket_Version": "013"}, 426, "Sec-WebSocket-Version is not 13"),
        ({"Sec_WebSocket_Key": None}, 400, "Sec-WebSocket-Key is missing"),
        ({"Sec_WebSocket_Key": [KEY, KEY]}, 400, "more than once"),
        ({"Sec_WebSocket_Key": ""}, 400, "16 bytes in base64"),
        ({"Sec_WebSocket_Key": KEY[:-1]}, 400, "16 bytes in base64"),
        ({"Sec_WebSocket_Key": KEY + KEY}, 400, "16 bytes in base64"),
        ({"Sec_WebSocket_Key": "A" * 24}, 400, "16 bytes in base64"),
        ({"Sec_WebSocket_Key": "*" + KEY[1:]}, 400, "16 bytes in base64"),
        ({"Sec_WebSocket_Key": "é" + KEY[1:]}, 400, "16 bytes in base64"),
        ({"Sec_WebSocket_Protocol": ""}, 400, "list of tokens"),
        ({"Sec_WebSocket_Protocol": " , "}, 400, "list of tokens"),
        ({"Sec_WebSocket_Protocol": "a b"}, 400, "list of tokens"),
        ({"Sec_WebSocket_Protocol": '"a"'}, 400, "list of tokens"),
    ],
)
def test_a_server_refuses_what_breaks_section_4_2_1(
    changes: dict[str, Any], status_code: int, words: str
) -> None:
    response, agreement = ServerHandshake(subprotocols=["a"]).respond(make_request(**changes))
    assert agreement is None
    assert response.status_code == status_code
    assert words in response.body.decode()
    assert response.header("Sec-WebSocket-Accept") is None


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"Upgrade": None}, {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}),
        (
            {"Sec_WebSocket_Version": "14"},
            {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
        ),
        ({"method": "PUT"}, {"Allow": "GET"}),
        ({"Host": None}, {}),
    ],
)
def test_a_refusal_says_what_would_be_right(
    changes: dict[str, Any], headers: dict[str, str]
) -> None:
    response, _ = ServerHandshake().respond(make_request(**changes))
    assert dict(response.headers) == headers


def test_the_answer_to_head_has_no_body() -> None:
    response, agreement = ServerHandshake().respond(make_request(method="HEAD"))
    assert (response.status_code, response.body, agreement) == (405, b"", None)


def test_a_refusal_can_be_made_of_any_handshake_error() -> None:
    assert refusal(HandshakeError("too much", 431)) == Response(431, (), b"too much\n")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Upgrade": "WebSocket"},
        {"Connection": "foo, upgrade"},
        {"Connection": ["foo", "UPGRADE"]},
        {"Sec_WebSocket_Protocol": "a"},
    ],
)
def test_a_client_accepts_what_section_4_1_allows(changes: dict[str, Any]) -> None:
    handshake = ClientHandshake("h", subprotocols=["b", "a"])
    agreement = handshake.complete(make_response(handshake, **changes))
    assert agreement.subprotocol == changes.get("Sec_WebSocket_Protocol")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Upgrade": None}, "Upgrade is not websocket"),
        ({"Upgrade": "h2c"}, "Upgrade is not websocket"),
        ({"Upgrade": "h2c, websocket"}, "Upgrade is not websocket"),
        ({"Connection": None}, "Connection lacks Upgrade"),
        ({"Connection": "close"}, "Connection lacks Upgrade"),
        ({"Sec_WebSocket_Accept": None}, "Sec-WebSocket-Accept is missing"),
        ({"Sec_WebSocket_Accept": [ACCEPT, ACCEPT]}, "more than once"),
        ({"Sec_WebSocket_Accept": ACCEPT}, "does not answer"),
        ({"Sec_WebSocket_Accept": ""}, "does not answer"),
        ({"Sec_WebSocket_Protocol": "c"}, "none that was asked for"),
        ({"Sec_WebSocket_Protocol": "A"}, "none that was asked for"),
        ({"Sec_WebSocket_Protocol": "a, b"}, "none that was asked for"),
        ({"Sec_WebSocket_Protocol": ""}, "none that was asked for"),
        ({"Sec_WebSocket_Protocol": ["a", "a"]}, "more than once"),
    ],
)
def test_a_client_refuses_a_101_that_breaks_section_4_1(
    changes: dict[str, Any], words: str
) -> None:
    handshake = ClientHandshake("h", subprotocols=["a", "b"], extensions=[Plain()])
    with pytest.raises(HandshakeError, match=words) as caught:
        handshake.complete(make_response(handshake, **changes))
    assert not isinstance(caught.value, HandshakeRejected)


def test_extensions_that_break_the_negotiation_are_a_400(negotiation: None) -> None:
    request = make_request(Sec_WebSocket_Extensions="x-other")
    response, agreement = ServerHandshake(extensions=[Plain()]).respond(request)
    assert agreement is None
    assert (response.status_code, response.body) == (400, b"an extension that is not known\n")


def test_an_extension_that_was_not_offered_fails_the_handshake(negotiation: None) -> None:
    handshake = ClientHandshake("h", extensions=[Plain()])
    with pytest.raises(HandshakeError, match="an extension that is not known"):
        handshake.complete(make_response(handshake, Sec_WebSocket_Extensions="x-other"))


def test_the_accept_value_is_compared_with_its_case() -> None:
    handshake = ClientHandshake("h")
    response = make_response(handshake)
    swapped = (response.header("Sec-WebSocket-Accept") or "").swapcase()
    with pytest.raises(HandshakeError, match="does not answer"):
        handshake.complete(make_response(handshake, Sec_WebSocket_Accept=swapped))


@pytest.mark.parametrize("status_code", [200, 301, 401, 403, 426, 500])
def test_any_other_status_code_is_a_rejection_with_all_that_it_said(status_code: int) -> None:
    handshake = ClientHandshake("h")
    response = attrs.evolve(make_response(handshake, status_code=status_code), body=b"no")
    with pytest.raises(HandshakeRejected, match=f"{status_code} .*, not 101") as caught:
        handshake.complete(response)
    assert caught.value.response is response
    assert caught.value.status_code == status_code
    assert caught.value.headers == response.headers
    assert caught.value.body == b"no"


def client(**options: Any) -> ClientHandshake:
    return ClientHandshake(**{"host": "h", **options})


def server(**options: Any) -> ServerHandshake:
    return ServerHandshake(**options)


@pytest.mark.parametrize("make", [client, server])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"subprotocols": "chat"}, TypeError),
        ({"subprotocols": b"chat"}, TypeError),
        ({"subprotocols": None}, TypeError),
        ({"subprotocols": ["a", 1]}, TypeError),
        ({"subprotocols": [""]}, ValueError),
        ({"subprotocols": ["a b"]}, ValueError),
        ({"subprotocols": ["a\r\nX: y"]}, ValueError),
        ({"subprotocols": ["a", "b", "a"]}, ValueError),
        ({"extensions": Plain()}, TypeError),
        ({"extensions": [Plain]}, TypeError),
        ({"extensions": ["x-plain"]}, TypeError),
        ({"headers": 1}, TypeError),
        ({"headers": {"X": "a\r\nY: b"}}, ValueError),
        ({"headers": {"X": "a\0"}}, ValueError),
        ({"headers": {"X Y": "a"}}, ValueError),
        ({"headers": {"upgrade": "websocket"}}, ValueError),
        ({"headers": {"Connection": "close"}}, ValueError),
        ({"headers": {"Content-Length": "1"}}, ValueError),
        ({"headers": {"Transfer-Encoding": "chunked"}}, ValueError),
        ({"headers": {"SEC-WEBSOCKET-KEY": KEY}}, ValueError),
        ({"headers": {"Sec-WebSocket-Protocol": "a"}}, ValueError),
    ],
)
def test_a_bad_option_is_refused_at_once_and_by_name(
    make: Callable[..., object], options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"^{next(iter(options))} must"):
        make(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"host": None}, TypeError),
        ({"host": ""}, ValueError),
        ({"host": "a b"}, ValueError),
        ({"host": "a\r\nX: y"}, ValueError),
        ({"host": "::1"}, ValueError),
        ({"target": b"/"}, TypeError),
        ({"target": ""}, ValueError),
        ({"target": "chat"}, ValueError),
        ({"target": "/a b"}, ValueError),
        ({"target": "/ä"}, ValueError),
        ({"target": "/\r\n"}, ValueError),
        ({"headers": [("Host", "a"), ("host", "b")]}, ValueError),
        ({"headers": {"Host": "a b"}}, ValueError),
    ],
)
def test_a_bad_option_of_the_client_is_refused_at_once_and_by_name(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"^{next(iter(options))} must"):
        client(**options)


# -- its steps, and HTTP/2 ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"http_version": "1.0"}, "HTTP/1.0 instead of HTTP/1.1"),
        ({"headers": {"Content-Length": "5"}}, "a request with a body"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "a request with a body"),
    ],
)
def test_a_request_that_can_ask_for_no_websocket_is_refused(
    changes: dict[str, Any], says: str
) -> None:
    request = make_request()
    headers = (*request.headers, *changes.pop("headers", {}).items())
    with pytest.raises(HandshakeError, match=f"^{says}$") as caught:
        ServerHandshake().check(attrs.evolve(request, headers=headers, **changes))
    assert caught.value.status_code == 400


def test_a_request_with_an_empty_body_is_one_without() -> None:
    request = make_request()
    ServerHandshake().check(
        attrs.evolve(request, headers=(*request.headers, ("Content-Length", "0")))
    )


def make_connect(**changes: Any) -> Request:
    request = Request(
        "/chat",
        [
            ("host", "example.org"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat.v2, chat.v1"),
        ],
        http_version="2",
        protocol="websocket",
    )
    return attrs.evolve(request, **changes)


def test_an_extended_connect_of_http_2_gets_a_200_and_no_upgrade() -> None:
    handshake = ServerHandshake(subprotocols=["chat.v1"], headers={"X-A": "b"})
    response, agreement = handshake.respond(make_connect())
    assert response == Response(200, [("Sec-WebSocket-Protocol", "chat.v1"), ("X-A", "b")])
    assert agreement is not None
    assert agreement.subprotocol == "chat.v1"


@pytest.mark.parametrize(
    ("changes", "status_code"),
    [
        ({"method": "GET", "protocol": None}, 404),
        ({"protocol": "other"}, 404),
        ({"headers": {"sec-websocket-version": "8"}}, 426),
        ({"headers": ()}, 400),
    ],
)
def test_a_request_of_http_2_that_is_none_for_a_websocket_is_refused(
    changes: dict[str, Any], status_code: int
) -> None:
    with pytest.raises(HandshakeError) as caught:
        ServerHandshake().check(make_connect(**changes))
    assert caught.value.status_code == status_code


def test_an_agreement_has_what_its_response_was_to_have_besides() -> None:
    handshake = ServerHandshake(headers={"X-A": "b"})
    agreement = handshake.agree(make_request(), "chat", [("Set-Cookie", "c=d")], "context")
    assert agreement.response.header_values("X-A") == ["b"]
    assert agreement.response.header_values("Set-Cookie") == ["c=d"]
    assert agreement.response.header("Sec-WebSocket-Protocol") == "chat"
    assert (agreement.subprotocol, agreement.context) == ("chat", "context")
