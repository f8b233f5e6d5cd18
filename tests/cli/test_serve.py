from __future__ import annotations

import contextlib
import os
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from pathlib import Path

import pytest
import trio
import trustme
import websockets.sync.client
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from tests.cli.shell import TIMEOUT, read_back, run_piped
from tests.hub.redis_server import free_port, needs_redis, redis_server
from trio_wsendpoint import (
    ConnectionClosed,
    Endpoint,
    HandshakeRejected,
    PermessageDeflate,
    Role,
    WebSocketError,
    connect,
    open_endpoint,
)
from trio_wsendpoint.cli import main
from trio_wsendpoint.cli.arguments import parse_arguments
from trio_wsendpoint.cli.console import Console, Lines
from trio_wsendpoint.cli.exits import Exit
from trio_wsendpoint.cli.handlers import open_broadcaster
from trio_wsendpoint.cli.main import execute
from trio_wsendpoint.cli.stopping import draining_on_signals
from trio_wsendpoint.testing import StallStream, open_endpoint_pair


@asynccontextmanager
async def serving(*arguments: str, errors: list[str] | None = None) -> AsyncIterator[str]:
    """Run `serve` in this process; gives the URL that it tells."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as err:
        command = parse_arguments(["serve", "0", *arguments])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(execute, command, Console(0, writing, err.fileno()))
            stream = trio.lowlevel.FdStream(reading)
            line = await anext(Lines(stream.receive_some))
            yield line.decode().removeprefix("listening on ")
            nursery.cancel_scope.cancel()
        await stream.aclose()
        os.close(writing)
        if errors is not None:
            errors.append(read_back(err).decode())


@pytest.mark.parametrize("arguments", [(), ("--echo",), ("--echo", "--compress")])
async def test_it_echoes(arguments: tuple[str, ...]) -> None:
    async with (
        serving(*arguments) as url,
        connect(url, extensions=[PermessageDeflate()]) as endpoint,
    ):
        assert url.startswith("ws://127.0.0.1:")
        await endpoint.send("hello" * 100)
        assert await endpoint.receive() == "hello" * 100
        compressed = endpoint.statistics().sent.size < 500
        assert compressed is ("--compress" in arguments)


async def test_a_client_of_another_library_is_echoed() -> None:
    async with serving() as url:

        def talk() -> str | bytes:
            with websockets.sync.client.connect(url) as websocket:
                websocket.send("hello")
                return websocket.recv()

        assert await trio.to_thread.run_sync(talk) == "hello"


async def test_what_one_sends_to_a_broadcast_all_others_get() -> None:
    async with (
        serving("--broadcast") as url,
        connect(url) as ada,
        connect(url) as bob,
        connect(url) as eve,
    ):
        await eve.ping()
        await ada.send("hello")
        assert await bob.receive() == "hello"
        assert await eve.receive() == "hello"
        await bob.aclose()
        await eve.send(b"\x00")
        assert await ada.receive() == b"\x00"


async def test_a_member_that_is_too_slow_is_shown_out_of_a_broadcast() -> None:
    async with (
        open_broadcaster(None) as broadcaster,
        open_endpoint_pair(max_message_size=None) as (ada, ada_server),
    ):
        near, far = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broadcaster, ada_server)
            async with open_endpoint(StallStream(far, after_sent=0), Role.SERVER) as stalled:

                async def attend() -> None:
                    with pytest.raises(ConnectionClosed, match="1013"):
                        await broadcaster(stalled)

                nursery.start_soon(attend)
                await wait_all_tasks_blocked()
                for _ in range(3):
                    await ada.send(bytes(2**20))
                await stalled.wait_closed()
                assert stalled.close_code == 1013
            await ada.aclose()
            await near.aclose()


@needs_redis
async def test_two_servers_broadcast_through_redis() -> None:
    async with redis_server() as redis:
        arguments = ("--broadcast", "--redis", redis.url)
        async with (
            serving(*arguments) as one,
            serving(*arguments) as other,
            connect(one) as ada,
            connect(other) as bob,
        ):
            with trio.fail_after(TIMEOUT):
                await until_all_are_heard(ada, [bob])
                await until_all_are_heard(bob, [ada])


@needs_redis
async def test_those_in_one_process_hear_each_other_while_redis_is_away() -> None:
    async with (
        redis_server() as redis,
        serving("--broadcast", "--redis", redis.url) as url,
        connect(url) as ada,
        connect(url) as bob,
    ):
        await bob.ping()
        await redis.kill()
        for message in "one", "two":
            await ada.send(message)
            assert await bob.receive() == message


@needs_redis
@pytest.mark.slow
async def test_several_processes_broadcast_through_redis_and_drain(tmp_path: Path) -> None:
    async with redis_server() as redis:
        arguments = ("--broadcast", "--redis", redis.url, "--processes", "2")
        async with (
            process_serving(tmp_path, *arguments) as (process, url),
            AsyncExitStack() as stack,
        ):
            # The system shares connections out; of so many, each process has some.
            ada, *others = [await stack.enter_async_context(connect(url)) for _ in range(16)]
            await until_all_are_heard(ada, others)
            process.send_signal(signal.SIGTERM)
            for endpoint in ada, *others:
                await read_to_the_end(endpoint)
                assert endpoint.close_code == 1012


async def until_all_are_heard(speaker: Endpoint, others: list[Endpoint]) -> None:
    """Send until all others have got one: a room is joined at Redis in a while."""
    async with trio.open_nursery() as nursery:

        async def speak() -> None:
            while True:
                await speaker.send("hello")
                await trio.sleep(0.05)

        nursery.start_soon(speak)
        for other in others:
            assert await other.receive() == "hello"
        nursery.cancel_scope.cancel()


async def test_a_redis_that_is_not_there_is_told() -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    outcome = await run_piped("serve", "0", "--broadcast", "--redis", url)
    assert outcome.exit == Exit.REFUSED
    assert "Redis" in outcome.err


async def test_what_is_no_url_of_a_redis_is_told() -> None:
    outcome = await run_piped("serve", "0", "--broadcast", "--redis", "http://localhost")
    assert outcome.exit == Exit.USAGE
    assert "url must be of the form redis" in outcome.err


async def test_without_hiredis_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_wsendpoint.hub.link.hiredis", None)
    outcome = await run_piped("serve", "0", "--broadcast", "--redis", "redis://localhost")
    assert outcome.exit == Exit.USAGE
    assert "trio-wsendpoint[redis]" in outcome.err


# -- a handler of one's own -------------------------------------------------------------------


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "own_handlers_of_a_test"
    (tmp_path / f"{name}.py").write_text(
        "async def shout(endpoint):\n"
        "    async for message in endpoint:\n"
        "        await endpoint.send(message.upper())\n"
        "async def fail(endpoint):\n"
        "    raise LookupError('a bug')\n"
        "constant = 1\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


async def test_a_function_of_the_current_folder_handles_connections(module: str) -> None:
    async with serving(f"{module}:shout") as url, connect(url) as endpoint:
        await endpoint.send("hello")
        assert await endpoint.receive() == "HELLO"


async def test_a_handler_that_fails_is_told_with_its_traceback(module: str) -> None:
    errors: list[str] = []
    async with serving(f"{module}:fail", errors=errors) as url, connect(url) as endpoint:
        with pytest.raises(ConnectionClosed, match="1011"):
            await endpoint.receive()
    assert "LookupError: a bug" in errors[0]


async def test_frames_are_traced() -> None:
    errors: list[str] = []
    async with serving("--trace", errors=errors) as url, connect(url) as endpoint:
        await endpoint.send("hello")
        await endpoint.receive()
    assert "< TEXT 'hello' [5 bytes]" in errors[0]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing_like_this:handler"], "nothing_like_this:handler: No module named"),
        (["own_handlers_of_a_test:constant"], "has no function 'constant'"),
        (["own_handlers_of_a_test:nothing"], "has no function 'nothing'"),
        (["own_handlers_of_a_test:"], "has no function ''"),
        (["80", "81"], "there can be one port, and one MODULE:HANDLER"),
        (["a:b", "c:d"], "there can be one port, and one MODULE:HANDLER"),
        (["a:b", "--echo"], "MODULE:HANDLER cannot go with --echo"),
        (["a:b", "--exec", "cat"], "MODULE:HANDLER cannot go with --exec"),
        (["--processes", "2", "--broadcast"], "--processes needs --redis with --broadcast"),
        (["--processes", "2", "--unix", "x"], "--processes cannot go with --unix"),
        (["--redis", "redis://localhost"], "--redis is for --broadcast"),
        (["--static", "/nowhere"], "--static: there is no folder '/nowhere'"),
        (["--echo", "--broadcast"], "not allowed with argument --echo"),
        (["--exec", "no-such-program-at-all"], "--exec: there is no program"),
        (["--exec", ""], "--exec: there is no program"),
        (["--exec", "'"], "--exec: No closing quotation"),
        (["--max-size", "0"], "must be a number, at least 1, not '0'"),
        (["--ping-interval", "soon"], "must be seconds, not 'soon'"),
    ],
)
@pytest.mark.usefixtures("module")
def test_what_cannot_be_asked_for_is_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse_arguments(["serve", *arguments])
    assert exit_.value.code == Exit.USAGE
    assert complaint in capsys.readouterr().err


# -- a program for each connection ------------------------------------------------------------


def python(code: str) -> str:
    return f'{sys.executable} -u -c "{code}"'


async def test_lines_of_a_program_are_messages_and_messages_its_lines() -> None:
    code = "import sys; [print(line.strip()[::-1]) for line in sys.stdin]"
    async with serving("--exec", python(code)) as url, connect(url) as endpoint:
        for message in "hello", b"olleh":
            await endpoint.send(message)
        assert [await endpoint.receive(), await endpoint.receive()] == ["olleh", "hello"]


async def test_a_program_that_ends_closes_the_connection() -> None:
    async with serving("--exec", python("print(1)")) as url, connect(url) as endpoint:
        assert [message async for message in endpoint] == ["1"]
    assert endpoint.close_code == 1000


async def test_a_program_that_fails_closes_with_1011() -> None:
    command = python("raise SystemExit(3)")
    async with serving("--exec", command) as url, connect(url) as endpoint:
        with pytest.raises(ConnectionClosed, match="1011: the program ended with 3"):
            await endpoint.receive()


async def test_a_program_that_reads_no_more_may_still_write() -> None:
    code = "import os, sys, time; os.close(0); time.sleep(0.3); print('still here')"
    async with serving("--exec", python(code)) as url, connect(url) as endpoint:
        for _ in range(20):
            await endpoint.send(bytes(10_000))
        assert await endpoint.receive() == "still here"


@pytest.mark.parametrize(
    "code",
    [
        "import time; print(1); time.sleep(1000)",
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(1000)",
    ],
    ids=["until it is told to", "against its will"],
)
async def test_a_program_ends_soon_after_its_connection(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_wsendpoint.cli.programs.GRACE", 0.05)
    noted = tmp_path / "pid"
    code = f"import os; open('{noted}', 'w').write(str(os.getpid())); {code}"
    async with serving("--exec", python(code)) as url:
        async with connect(url) as endpoint:
            assert await endpoint.receive() == "1"
        with trio.fail_after(10):
            while is_running(int(noted.read_text())):  # noqa: ASYNC110
                await trio.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_program_knows_the_request_but_not_its_secrets() -> None:
    code = "import os; print(*(f'{k}={v}' for k, v in os.environ.items()), sep='\\n')"
    headers = {"X-One": "1", "Proxy": "evil", "Authorization": "Basic secret"}
    async with (
        serving("--exec", python(code)) as url,
        connect(f"{url}/path?a=b", headers=headers) as endpoint,
    ):
        told = [message async for message in endpoint]
    expected = {
        "REQUEST_METHOD=GET",
        "REQUEST_URI=/path?a=b",
        "PATH_INFO=/path",
        "QUERY_STRING=a=b",
        "REMOTE_ADDR=127.0.0.1",
        "HTTP_X_ONE=1",
    }
    assert expected <= set(told)
    assert not any(name in str(told) for name in ("HTTP_PROXY", "HTTP_AUTHORIZATION"))


# -- TLS, addresses and the end ---------------------------------------------------------------


async def test_it_speaks_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1")
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    files = ("--tls", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))
    async with serving(*files) as url, connect(url, ssl_context=context) as endpoint:
        assert url.startswith("wss://")
        await endpoint.send("hello")
        assert await endpoint.receive() == "hello"


async def test_a_certificate_that_is_not_there_is_told() -> None:
    outcome = await run_piped("serve", "0", "--tls", "/nowhere")
    assert outcome.exit == Exit.USAGE
    assert "--tls or --key: " in outcome.err


async def test_a_port_that_is_taken_is_told() -> None:
    async with serving() as url:
        outcome = await run_piped("serve", url.rpartition(":")[2])
    assert outcome.exit == Exit.REFUSED
    assert "in use" in outcome.err


async def test_an_ipv6_address_is_told_in_brackets() -> None:
    async with serving("--host", "::1") as url:
        assert url.startswith("ws://[::1]:")
        async with connect(url):
            pass


async def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with serving("--unix", path) as place:
        assert place == path
        async with connect("ws://localhost/", unix_path=path) as endpoint:
            await endpoint.send("hello")
            assert await endpoint.receive() == "hello"


async def test_pages_are_served_beside_the_websocket(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>home")
    async with serving("--static", str(tmp_path)) as url:
        port = int(url.rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            answer = b"".join([data async for data in stream])
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"<p>home")
        async with connect(url) as endpoint:
            await endpoint.send("hello")
            assert await endpoint.receive() == "hello"


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ((), False),
        (("--allow-origin", "*"), True),
        (("--allow-origin", "http://b", "--allow-origin", "http://a"), True),
        (("--allow-origin", "http://b"), False),
    ],
)
async def test_a_page_of_another_origin_may_connect_if_that_is_asked_for(
    arguments: tuple[str, ...], allowed: bool
) -> None:
    async with serving(*arguments) as url:
        refused = pytest.raises(HandshakeRejected, match="403")
        expected: AbstractContextManager[object] = nullcontext() if allowed else refused
        with expected:
            async with connect(url, origin="http://a"):
                pass


async def test_several_processes_share_a_port() -> None:
    code = "import os; print(os.getppid())"
    seen: set[str | bytes] = set()
    async with serving("--processes", "2", "--exec", python(code)) as url:
        with trio.fail_after(TIMEOUT):
            while len(seen) < 2:
                async with connect(url) as endpoint:
                    seen.add(await endpoint.receive())


async def test_a_process_that_ends_by_itself_ends_them_all() -> None:
    code = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as err:
        command = parse_arguments(["serve", "0", "--processes", "2", "--exec", python(code)])
        exits = []

        async def run() -> None:
            exits.append(await execute(command, Console(0, writing, err.fileno())))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            stream = trio.lowlevel.FdStream(reading)
            line = (await anext(Lines(stream.receive_some))).decode()
            with contextlib.suppress(WebSocketError):
                async with connect(line.removeprefix("listening on ")) as endpoint:
                    await endpoint.receive()
        await stream.aclose()
        os.close(writing)
        assert exits == [Exit.ENDED]
        assert "a process has ended with -9" in read_back(err).decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_port_that_is_taken_cannot_be_shared(host: str) -> None:
    async with serving("--host", host) as url:
        port = url.rpartition(":")[2]
        outcome = await run_piped("serve", port, "--host", host, "--processes", "2")
    assert outcome.exit == Exit.REFUSED
    assert "in use" in outcome.err


# -- signals ----------------------------------------------------------------------------------

HANDLERS = """
import trio

async def echo(endpoint):
    async for message in endpoint:
        await endpoint.send(message)

async def stay(endpoint):
    await endpoint.send("here")
    await endpoint.draining.wait()
    await endpoint.send("draining")
    await trio.sleep_forever()
"""


@asynccontextmanager
async def process_serving(
    folder: Path, *arguments: str
) -> AsyncIterator[tuple[trio.Process, str]]:
    """Run `serve` in a process, where there are `HANDLERS`; gives it and its URL."""
    (folder / "handlers.py").write_text(HANDLERS)
    command = [sys.executable, "-m", "trio_wsendpoint", "serve", "0", *arguments]
    process = await trio.lowlevel.open_process(command, stdout=-1, cwd=folder)
    assert process.stdout is not None
    try:
        with trio.fail_after(TIMEOUT):
            line = await anext(Lines(process.stdout.receive_some))
            yield process, line.decode().removeprefix("listening on ")
            assert await process.wait() == Exit.OK
    finally:
        process.kill()
        await process.stdout.aclose()


async def read_to_the_end(endpoint: Endpoint) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in endpoint:
            pass


async def test_sigint_ends_it_and_says_goodbye_to_its_clients(tmp_path: Path) -> None:
    async with process_serving(tmp_path) as (process, url), connect(url) as endpoint:
        process.send_signal(signal.SIGINT)
        await read_to_the_end(endpoint)
        assert endpoint.close_code == 1001


@pytest.mark.parametrize(
    "arguments",
    [
        ("--echo",),
        ("--broadcast",),
        ("--exec", "cat"),
        ("--static", "."),
        ("handlers:echo",),
        ("--echo", "--processes", "2"),
    ],
    ids=" ".join,
)
async def test_sigterm_drains_it_whatever_it_does(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    async with (
        process_serving(tmp_path, *arguments) as (process, url),
        connect(url) as endpoint,
    ):
        await endpoint.ping()
        process.send_signal(signal.SIGTERM)
        await read_to_the_end(endpoint)
        assert endpoint.close_code == 1012


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_second_signal_ends_draining_at_once(
    tmp_path: Path, sign: signal.Signals, processes: str
) -> None:
    arguments = ("handlers:stay", "--drain-timeout", "inf", "--processes", processes)
    async with (
        process_serving(tmp_path, *arguments) as (process, url),
        connect(url) as endpoint,
    ):
        assert await endpoint.receive() == "here"
        process.send_signal(signal.SIGTERM)
        assert await endpoint.receive() == "draining"
        process.send_signal(sign)
        await read_to_the_end(endpoint)
        assert endpoint.close_code == 1012


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_draining_takes_no_longer_than_it_may(tmp_path: Path, processes: str) -> None:
    arguments = ("handlers:stay", "--drain-timeout", "0.1", "--processes", processes)
    async with (
        process_serving(tmp_path, *arguments) as (process, url),
        connect(url) as endpoint,
    ):
        assert await endpoint.receive() == "here"
        process.send_signal(signal.SIGTERM)
        assert await endpoint.receive() == "draining"
        await read_to_the_end(endpoint)
        assert endpoint.close_code == 1012


@pytest.mark.parametrize("patient", [True, False])
async def test_one_of_many_processes_may_be_told_to_drain_twice(patient: bool) -> None:
    ended = True
    async with draining_on_signals(patient=patient) as drain:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            await drain.wait()
            await wait_all_tasks_blocked()
        ended = False
    assert ended is not patient


def test_a_keyboard_interrupt_before_anything_began_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(trio, "run", interrupt)
    assert main(["serve"]) == Exit.OK
