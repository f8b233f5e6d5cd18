from __future__ import annotations

import base64
import os
import ssl
import tempfile
from pathlib import Path

import pytest
import trio
import trustme

from tests.cli.shell import (
    TIMEOUT,
    Outcome,
    echo,
    open_input,
    read_back,
    run_piped,
    run_process,
    serving,
    stay_silent,
)
from trio_wsendpoint import ANY_ORIGIN, Endpoint, PermessageDeflate, accept, serve_listeners
from trio_wsendpoint.cli.arguments import parse_arguments
from trio_wsendpoint.cli.console import Console
from trio_wsendpoint.cli.exits import Exit
from trio_wsendpoint.cli.main import execute
from trio_wsendpoint.testing import WrappedStream

QUICK = ("--linger", "0.05")


async def test_each_line_is_a_message_and_each_message_a_line() -> None:
    async with serving() as url:
        outcome = await run_piped(
            "connect", url, *QUICK, stdin="hello\n\nGrüße\r\nlast".encode()
        )
    assert outcome == Outcome(Exit.OK, "hello\n\nGrüße\nlast\n".encode(), "")


async def test_input_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"one\ntwo\n")
    async with serving() as url:
        outcome = await run_piped("connect", url, *QUICK, stdin=tmp_path / "input")
    assert outcome.out == b"one\ntwo\n"


async def test_it_runs_as_a_process_of_its_own() -> None:
    async with serving() as url:
        done = await run_process("connect", url, *QUICK, stdin=b"hello\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")


async def test_a_late_answer_is_not_lost_at_the_end_of_input() -> None:
    async def answer_late(endpoint: Endpoint) -> None:
        async for message in endpoint:
            for _ in range(3):
                await trio.sleep(0.2)
                await endpoint.send(message)

    async with serving(answer_late) as url:
        outcome = await run_piped("connect", url, "--linger", "0.5", stdin=b"late\n")
    assert outcome.out == b"late\n" * 3


async def test_binary_lines_are_binary_messages_and_come_out_raw() -> None:
    kinds = []

    async def note(endpoint: Endpoint) -> None:
        async for message in endpoint:
            kinds.append(type(message))
            await endpoint.send(message)

    async with serving(note) as url:
        outcome = await run_piped("connect", url, "--binary", *QUICK, stdin=b"\xff\x00\nab\n")
    assert outcome.out == b"\xff\x00ab"
    assert kinds == [bytes, bytes]


async def test_base64_makes_lines_of_binary_messages() -> None:
    message = bytes(range(256))
    line = base64.b64encode(message) + b"\n"
    async with serving() as url:
        outcome = await run_piped("connect", url, "--base64", *QUICK, stdin=line)
    assert outcome.out == line


@pytest.mark.parametrize(
    ("option", "line", "complaint"),
    [
        ("--json", b"\xff", "line 2 is not UTF-8; --binary sends it as it is"),
        ("--base64", b"a", "line 2 is not Base64"),
    ],
)
async def test_a_line_that_is_no_message_is_told_and_the_connection_closed(
    option: str, line: bytes, complaint: str
) -> None:
    codes = []

    async def note(endpoint: Endpoint) -> None:
        async for _ in endpoint:
            pass
        codes.append(endpoint.close_code)

    async with serving(note) as url:
        outcome = await run_piped("connect", url, option, *QUICK, stdin=b"AAAA\n" + line)
    assert outcome.exit == Exit.USAGE
    assert complaint in outcome.err
    assert codes == [1000]


@pytest.mark.parametrize(
    ("code", "expected"),
    [(1000, Exit.OK), (1001, Exit.OK), (None, Exit.OK), (1011, Exit.ENDED), (4000, Exit.ENDED)],
)
async def test_the_exit_status_tells_how_the_server_closed(
    code: int | None, expected: Exit
) -> None:
    async def close(endpoint: Endpoint) -> None:
        await endpoint.aclose(code)

    reading, writing = os.pipe()
    async with serving(close) as url:
        with os.fdopen(writing, "wb"), os.fdopen(reading, "rb") as stdin:
            console = Console(stdin.fileno(), os.open(os.devnull, os.O_WRONLY), 2)
            assert await execute(parse_arguments(["connect", url]), console) == expected
            os.close(console.stdout)


async def test_a_server_that_closes_while_we_send_is_no_error_of_ours() -> None:
    async def take_one(endpoint: Endpoint) -> None:
        await endpoint.receive()

    async with serving(take_one) as url:
        outcome = await run_piped(
            "connect", url, stdin=b"x" * 60_000 + b"\n" + b"y\n" * 100_000
        )
    assert outcome == Outcome(Exit.OK, b"", "")


async def test_nobody_listening_is_told_in_a_line() -> None:
    outcome = await run_piped("connect", "ws://localhost:1")
    assert outcome.exit == Exit.REFUSED
    assert outcome.err.startswith("trio-wsendpoint: ")
    assert outcome.err.count("\n") == 1


async def test_a_refusal_is_told_with_what_the_server_says() -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 12\r\n\r\nmembers only"
        await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, refuse, 0)
        port = listeners[0].socket.getsockname()[1]
        outcome = await run_piped("connect", f"ws://localhost:{port}")
        nursery.cancel_scope.cancel()
    assert outcome.exit == Exit.REFUSED
    assert "403 Forbidden" in outcome.err
    assert "members only" in outcome.err


async def test_a_server_that_does_not_answer_is_a_timeout() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, stay_silent, 0)
        port = listeners[0].socket.getsockname()[1]
        outcome = await run_piped("connect", f"ws://localhost:{port}", "--timeout", "0.05")
        nursery.cancel_scope.cancel()
    assert outcome.exit == Exit.TIMEOUT


async def test_what_no_pong_answers_is_an_end_of_its_own() -> None:
    async def stay_deaf(stream: trio.SocketStream) -> None:
        class Deaf(WrappedStream):
            async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
                data = await super().receive_some(max_bytes)
                if data.startswith(b"GET"):
                    return data
                await trio.sleep_forever()
                raise AssertionError

        async with accept(Deaf(stream), close_timeout=0.1):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, stay_deaf, 0)
        port = listeners[0].socket.getsockname()[1]
        arguments = ("connect", f"ws://localhost:{port}", "--ping-interval", "0.02")
        outcome = await run_piped(*arguments, "--linger", "30")
        nursery.cancel_scope.cancel()
    assert outcome.exit == Exit.ENDED
    assert "ping" in outcome.err


async def test_one_message_and_its_answer_are_an_exchange() -> None:
    async with serving() as url:
        outcome = await run_piped("connect", url, "--once", stdin=b"hello\nmore\n")
    assert outcome == Outcome(Exit.OK, b"hello\n", "")


async def test_an_exchange_needs_a_line() -> None:
    outcome = await run_piped("connect", "ws://localhost:1", "--once")
    assert outcome.exit == Exit.USAGE
    assert "--once needs a line" in outcome.err


async def test_an_answer_that_does_not_come_is_a_timeout() -> None:
    asked = "--once", "--timeout", "0.1"
    async with serving(stay_silent) as url:
        outcome = await run_piped("connect", url, *asked, stdin=b"hello\n")
    assert outcome.exit == Exit.TIMEOUT
    assert "no answer came in time" in outcome.err


async def test_a_server_that_closes_instead_of_an_answer_is_told() -> None:
    async def close(endpoint: Endpoint) -> None:
        await endpoint.receive()
        await endpoint.aclose(4001, "not now")

    async with serving(close) as url:
        outcome = await run_piped("connect", url, "--once", stdin=b"hello\n")
    assert outcome.exit == Exit.ENDED
    assert "4001: not now" in outcome.err


async def test_frames_are_traced_to_the_standard_error() -> None:
    async with serving() as url:
        outcome = await run_piped("connect", url, "--trace", *QUICK, stdin=b"hello\n")
    assert outcome.out == b"hello\n"
    assert "> TEXT 'hello' [5 bytes]\n" in outcome.err
    assert "< TEXT 'hello' [5 bytes]\n" in outcome.err
    assert "CLOSE 1000" in outcome.err


async def test_what_the_peer_does_wrong_is_told_without_a_trace() -> None:
    async def break_the_rules(stream: trio.SocketStream) -> None:
        async with accept(stream):
            await stream.send_all(b"\x83\x00")  # an opcode that there is not

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, break_the_rules, 0)
        port = listeners[0].socket.getsockname()[1]
        outcome = await run_piped("connect", f"ws://localhost:{port}", "--linger", "5")
        nursery.cancel_scope.cancel()
    assert outcome.exit == Exit.ENDED
    assert "the peer broke the protocol" in outcome.err
    assert "TEXT" not in outcome.err


async def test_the_request_has_what_was_asked_for() -> None:
    seen = {}

    async def note(endpoint: Endpoint) -> None:
        assert endpoint.request is not None
        for name in "X-One", "Origin", "Authorization":
            seen[name] = endpoint.request.header(name)
        seen["subprotocol"] = endpoint.subprotocol

    async with serving(
        note, subprotocols=["chat"], extensions=[PermessageDeflate()], origins=ANY_ORIGIN
    ) as url:
        asked = ["-H", "X-One: 1", "--origin", "http://here", "--user", "ada:secret"]
        more = ["--subprotocol", "news", "--subprotocol", "chat", "--compress"]
        outcome = await run_piped("connect", url, *asked, *more, *QUICK)
    assert outcome.exit == Exit.OK
    assert seen == {
        "X-One": "1",
        "Origin": "http://here",
        "Authorization": "Basic YWRhOnNlY3JldA==",
        "subprotocol": "chat",
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-H", "nothing"], "--header must be like 'Name: value', not 'nothing'"),
        (["--user", ":secret"], "--user must be like 'name:password', not ':secret'"),
        (["--cacert", "/nowhere"], "--cacert, --cert or --key: "),
        (["--cert", "/nowhere"], "--cacert, --cert or --key: "),
        (["--proxy", "ftp://proxy"], "proxy"),
        (["--origin", "nowhere"], "origin must be of the form scheme://host[:port]"),
        (["--unix", "/nowhere"], "No such file"),
        (["--ping-interval", "0"], "ping_interval must be more than 0 seconds"),
        (["-H", "Upgrade: else"], "headers"),
    ],
)
async def test_what_cannot_be_asked_for_is_told(arguments: list[str], complaint: str) -> None:
    outcome = await run_piped("connect", "ws://localhost:1", *arguments)
    assert outcome.exit in (Exit.USAGE, Exit.REFUSED)
    assert complaint in outcome.err


async def test_a_url_that_is_none_is_told() -> None:
    outcome = await run_piped("connect", "http://localhost")
    assert outcome.exit == Exit.USAGE
    assert "url must be of the form" in outcome.err


# -- TLS and Unix sockets ---------------------------------------------------------------------


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


async def test_a_certificate_that_nobody_trusts_is_refused(context: ssl.SSLContext) -> None:
    async with serving(scheme="wss", ssl_context=context) as url:
        outcome = await run_piped("connect", url)
    assert outcome.exit == Exit.REFUSED
    assert "the TLS handshake failed" in outcome.err


async def test_any_certificate_is_taken_if_that_is_asked_for(context: ssl.SSLContext) -> None:
    async with serving(scheme="wss", ssl_context=context) as url:
        outcome = await run_piped("connect", url, "--insecure", *QUICK, stdin=b"hello\n")
    assert outcome.out == b"hello\n"


async def test_an_authority_is_trusted_and_a_certificate_shown(
    authority: trustme.CA, context: ssl.SSLContext, tmp_path: Path
) -> None:
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own = authority.issue_cert("ada@example.org")
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    files = [f"--{name}={tmp_path / name}.pem" for name in ("cert", "key")]
    files.append(f"--cacert={tmp_path / 'ca.pem'}")
    async with serving(scheme="wss", ssl_context=context) as url:
        outcome = await run_piped("connect", url, *files, *QUICK, stdin=b"hello\n")
    assert outcome == Outcome(Exit.OK, b"hello\n", "")


async def test_http2_is_spoken_with_a_server_that_does(context: ssl.SSLContext) -> None:
    seen = []

    async def note(endpoint: Endpoint) -> None:
        assert endpoint.tls is not None
        seen.append(endpoint.tls.alpn_protocol)
        await echo(endpoint)

    async with serving(note, scheme="wss", ssl_context=context, http2=True) as url:
        arguments = ("connect", url, "--http2", "--insecure", *QUICK)
        outcome = await run_piped(*arguments, stdin=b"hello\n")
        assert outcome == Outcome(Exit.OK, b"hello\n", "")
        outcome = await run_piped(*arguments, "--reconnect", stdin=b"again\n")
        assert outcome == Outcome(Exit.OK, b"again\n", "")
    assert seen == ["h2", "h2"]


async def test_the_extra_that_http2_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ImportError("it needs the extra http2")

    monkeypatch.setattr("trio_wsendpoint.cli.dialling.open_http2_pool", fail)
    outcome = await run_piped("connect", "wss://localhost:1", "--http2")
    assert outcome == Outcome(Exit.USAGE, b"", "trio-wsendpoint: it needs the extra http2\n")


async def test_a_unix_socket_is_dialled(tmp_path: Path) -> None:
    socket = trio.socket.socket(trio.socket.AF_UNIX)
    await socket.bind(str(tmp_path / "socket"))
    socket.listen()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_listeners, echo, [trio.SocketListener(socket)])
        arguments = ["connect", "ws://here/", "--unix", str(tmp_path / "socket"), *QUICK]
        outcome = await run_piped(*arguments, stdin=b"hello\n")
        nursery.cancel_scope.cancel()
    assert outcome.out == b"hello\n"


# -- proxies, and connections that are lost ---------------------------------------------------


async def test_a_proxy_leads_there() -> None:
    async def tunnel(stream: trio.SocketStream) -> None:
        request = (await stream.receive_some()).decode()
        asked.append(request.split()[:2])
        host, _, port = request.split()[1].rpartition(":")
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        async with (
            await trio.open_tcp_stream(host, int(port)) as server,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(copy, stream, server)
            await copy(server, stream)
            nursery.cancel_scope.cancel()

    async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
        async for data in source:
            await target.send_all(data)

    asked: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, tunnel, 0)
        proxy = f"http://localhost:{listeners[0].socket.getsockname()[1]}"
        async with serving() as url:
            outcome = await run_piped(
                "connect", url, "--proxy", proxy, *QUICK, stdin=b"hello\n"
            )
        nursery.cancel_scope.cancel()
    assert outcome == Outcome(Exit.OK, b"hello\n", "")
    assert asked == [["CONNECT", url.removeprefix("ws://")]]


async def test_no_proxy_is_used_if_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://localhost:1")
    monkeypatch.setenv("all_proxy", "http://localhost:1")
    async with serving() as url:
        outcome = await run_piped("connect", url, "--proxy", "", *QUICK, stdin=b"hello\n")
    assert outcome == Outcome(Exit.OK, b"hello\n", "")


async def test_a_connection_that_is_lost_is_made_again() -> None:
    heard: list[str | bytes] = []

    async def lose_the_first(endpoint: Endpoint) -> None:
        async for message in endpoint:
            heard.append(message)
            await endpoint.send(message)
            if len(heard) == 1:
                await endpoint.aclose(1012)
                return

    async with serving(lose_the_first) as url, trio.open_nursery() as nursery:
        reading, writing = os.pipe()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            console = Console(reading, out.fileno(), err.fileno())
            command = parse_arguments(["connect", url, "--reconnect", *QUICK])
            exits = []
            ended = trio.Event()

            async def run() -> None:
                exits.append(await execute(command, console))
                ended.set()

            nursery.start_soon(run)
            os.write(writing, b"one\n")
            with trio.fail_after(TIMEOUT):
                while b"one" not in read_back(out):  # noqa: ASYNC110
                    await trio.sleep(0.01)
                os.write(writing, b"two\n")
                os.close(writing)
                await ended.wait()
            os.close(reading)
            assert read_back(out) == b"one\ntwo\n"
            assert "next in" in read_back(err).decode()
    assert exits == [Exit.OK]
    assert heard == ["one", "two"]


# -- pipes that end ---------------------------------------------------------------------------


async def test_it_leaves_quietly_when_nobody_reads_its_output_any_more() -> None:
    async def talk(endpoint: Endpoint) -> None:
        while True:
            await endpoint.send("more")

    reading, writing = os.pipe()
    os.close(reading)
    async with serving(talk) as url, open_input(b"") as stdin:
        console = Console(stdin, writing, 2)
        command = parse_arguments(["connect", url, "--linger", "30"])
        with trio.fail_after(10):
            assert await execute(command, console) == Exit.OK
    os.close(writing)


async def test_a_slow_reader_of_its_output_holds_up_the_server() -> None:
    sent = 0

    async def talk(endpoint: Endpoint) -> None:
        nonlocal sent
        while True:
            await endpoint.send(bytes(10_000))
            sent += 10_000

    reading, writing = os.pipe()
    async with serving(talk) as url, open_input(b"") as stdin, trio.open_nursery() as nursery:
        command = parse_arguments(["connect", url, "--linger", "30"])
        nursery.start_soon(execute, command, Console(stdin, writing, 2))
        before = -1
        while before != sent:
            before = sent
            await trio.sleep(0.3)
        assert sent > 0
        nursery.cancel_scope.cancel()
    os.close(reading)
    os.close(writing)


async def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str, **__: object) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr("trio_wsendpoint.cli.dialling.connect", fail)
    with pytest.raises(ExceptionGroup):
        await run_piped("connect", "ws://localhost")
