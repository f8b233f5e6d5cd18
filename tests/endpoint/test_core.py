from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import STREAM_KINDS, Peer, StreamKind, open_scripted, stream_pair
from tests.protocol.wire import PING, PONG, TEXT
from trio_wsendpoint.endpoint import (
    ConnectionClosedError,
    Endpoint,
    HeartbeatTimeout,
    open_endpoint,
)
from trio_wsendpoint.protocol import CloseFrame, ControlFrame, FrameParser, Role
from trio_wsendpoint.testing import WrappedStream

on_both_streams = pytest.mark.parametrize("kind", STREAM_KINDS)


class Boom(Exception):
    """What the application raises."""


class Nudge(ControlFrame):
    __slots__ = ()
    opcode = 11


PARSER = FrameParser(frame_types=[Nudge])


@on_both_streams
async def test_no_task_is_left_behind(kind: StreamKind, autojump_clock: MockClock) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_scripted(kind=kind, ping_interval=1) as (endpoint, peer):
        await peer.send_raw(peer.frame(TEXT) + peer.frame(PING))
        await peer.expect(PONG)
        await endpoint.receive()
        assert trio.lowlevel.current_statistics().tasks_living > before
    of_http2 = 8 if kind == "http2" else 0
    assert trio.lowlevel.current_statistics().tasks_living == before + of_http2


@on_both_streams
async def test_no_task_is_started_once_the_endpoint_has_ended(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    started: list[str] = []

    async def task(name: str) -> None:
        started.append(name)

    async with open_scripted(kind=kind) as (endpoint, _):
        endpoint._core.start_task(partial(task, "in time"), "task")
        await endpoint.aclose()
        endpoint._core.start_task(partial(task, "ended before it began"), "task")
        endpoint._core.end_tasks()
        endpoint._core.start_task(partial(task, "too late"), "task")
        await wait_all_tasks_blocked()
    assert started == ["in time"]


@on_both_streams
async def test_an_exception_leaves_as_it_is(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    cause, error = KeyError(), Boom()
    error.__cause__ = cause

    async def run() -> None:
        async with open_scripted(kind=kind, close_timeout=0):
            raise error

    with pytest.raises(Boom) as caught:
        await run()
    assert caught.value is error
    assert caught.value.__cause__ is cause


@on_both_streams
async def test_the_body_may_cancel_itself(kind: StreamKind, autojump_clock: MockClock) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer):
        with trio.move_on_after(1) as scope:
            await endpoint.receive()
        assert scope.cancelled_caught
        await endpoint.send("still good")
        await peer.expect(TEXT, b"still good")


@on_both_streams
@pytest.mark.parametrize("timeout", [0, 2])
async def test_an_endpoint_that_is_cancelled_before_it_begins_says_goodbye(
    timeout: float, kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    peer = Peer(theirs, Role.SERVER)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_endpoint(ours, Role.CLIENT, cancel_timeout=timeout):
            pass
    assert trio.current_time() == timeout
    found = await peer.receive_all()
    if timeout or kind == "socket":
        assert [type(frame) for frame in found] == [CloseFrame]
    await peer.aclose()


@on_both_streams
async def test_cancelled_twice_an_endpoint_takes_no_longer(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair(kind)
    began = trio.current_time()
    with trio.move_on_after(1) as outer, trio.CancelScope() as inner:
        async with open_endpoint(ours, Role.CLIENT, cancel_timeout=5) as endpoint:
            inner.cancel()
            await endpoint.aclose()
    assert outer.cancelled_caught
    assert trio.current_time() - began == 5
    await trio.aclose_forcefully(theirs)


async def test_cancelled_while_it_says_goodbye_an_endpoint_takes_no_longer(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = stream_pair("memory")
    began = trio.current_time()
    with trio.move_on_after(3) as outer, trio.move_on_after(1):
        async with open_endpoint(ours, Role.CLIENT, cancel_timeout=5):
            await trio.sleep_forever()
    assert outer.cancelled_caught
    assert trio.current_time() - began == 6
    await trio.aclose_forcefully(theirs)


async def test_an_exception_of_the_body_outlives_a_cancellation_while_closing(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = stream_pair("memory")

    async def run() -> None:
        with trio.move_on_after(1):
            async with open_endpoint(ours, Role.CLIENT):
                raise Boom

    with pytest.raises(Boom):
        await run()
    await trio.aclose_forcefully(theirs)


@pytest.mark.parametrize("kind", STREAM_KINDS)
def test_an_interrupt_while_the_endpoint_closes_ends_it_in_time(kind: StreamKind) -> None:
    clock = MockClock(autojump_threshold=0)

    @trio.lowlevel.enable_ki_protection  # so that it is the main task that is interrupted
    async def interrupt() -> None:
        await trio.sleep(1)
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        ours, theirs = stream_pair(kind)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt)
            try:
                async with open_endpoint(ours, Role.CLIENT, cancel_timeout=5):
                    await endpoint_left()
            except KeyboardInterrupt:
                assert trio.current_time() == began + 6
                raise
            finally:
                await trio.aclose_forcefully(theirs)

    async def endpoint_left() -> None:
        raise Boom

    began = clock.current_time()
    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main, clock=clock)
    assert caught.group_contains(KeyboardInterrupt, depth=1)


# -- several things at once ---------------------------------------------------------------


async def handler_fails(endpoint: Endpoint, frame: object) -> None:
    raise Boom


def options(handler: Callable[..., object] = handler_fails) -> dict[str, object]:
    return {"parser": PARSER, "control_handlers": {Nudge: handler}}


async def test_the_exception_of_the_body_goes_before_that_of_a_handler(
    autojump_clock: MockClock,
) -> None:
    async def run() -> None:
        async with open_scripted(**options()) as (_, peer):  # type: ignore[arg-type]
            await peer.send(Nudge.opcode)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError

    with pytest.raises(KeyError):
        await run()


@pytest.mark.parametrize("grouped", [False, True])
async def test_that_of_a_handler_goes_before_the_mere_end_of_the_connection(
    grouped: bool, autojump_clock: MockClock
) -> None:
    end = ConnectionClosedError(1011)

    async def run() -> None:
        async with open_scripted(**options()) as (_, peer):  # type: ignore[arg-type]
            await peer.send(Nudge.opcode)
            try:
                await trio.sleep_forever()
            finally:
                raise ExceptionGroup("tasks", [end]) if grouped else end

    with pytest.raises(Boom):
        await run()


async def test_that_of_a_handler_goes_before_a_cancellation(autojump_clock: MockClock) -> None:
    ours, theirs = stream_pair("memory")
    peer = Peer(theirs, Role.SERVER)

    async def run() -> None:
        with trio.move_on_after(1):
            async with open_endpoint(ours, Role.CLIENT, **options()):  # type: ignore[arg-type]
                await peer.send(Nudge.opcode)
                await trio.sleep_forever()

    with pytest.raises(Boom):
        await run()
    await peer.aclose()


async def test_a_heartbeat_timeout_goes_before_the_end_that_it_made(
    autojump_clock: MockClock,
) -> None:
    async def run() -> None:
        async with open_scripted(max_pings=1, ping_interval=1) as (endpoint, _):
            with trio.CancelScope(shield=True):
                await endpoint.receive()

    with pytest.raises(HeartbeatTimeout, match="1 pings went unanswered"):
        await run()


async def test_what_a_handler_with_a_nursery_of_its_own_raises_at_the_end_is_not_wrapped(
    autojump_clock: MockClock,
) -> None:
    group = ExceptionGroup("the handler's own", [Boom()])

    async def handler(endpoint: Endpoint, frame: object) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise group

    async def run() -> None:
        async with open_scripted(**options(handler)) as (_, peer):  # type: ignore[arg-type]
            await peer.send(Nudge.opcode)
            await wait_all_tasks_blocked()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.value.message == group.message
    assert caught.value.exceptions == group.exceptions


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
async def test_a_handler_may_exit(
    error: type[BaseException], autojump_clock: MockClock
) -> None:
    async def handler(endpoint: Endpoint, frame: object) -> None:
        raise error

    async def run() -> None:
        async with open_scripted(**options(handler)) as (_, peer):  # type: ignore[arg-type]
            await peer.send(Nudge.opcode)
            await trio.sleep_forever()

    with pytest.raises(error):
        await run()


# -- streams that misbehave ---------------------------------------------------------------


class Faulty(WrappedStream):
    """Raises what no stream should."""

    def __init__(self, stream: trio.abc.Stream, error: Exception, where: str) -> None:
        super().__init__(stream)
        self.error = error
        self.where = where

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await super().receive_some(max_bytes)
        if self.where == "receive_some":
            raise self.error
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.where == "send_all":
            raise self.error
        await super().send_all(data)

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            if self.where == "aclose":
                raise self.error


@pytest.mark.parametrize("where", ["receive_some", "send_all", "aclose"])
async def test_an_error_that_no_stream_should_raise_surfaces_and_nothing_hangs(
    where: str, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair("memory")

    async def run() -> None:
        async with open_endpoint(Faulty(ours, Boom(), where), Role.CLIENT) as endpoint:
            await theirs.send_all(b"\x81\x00")
            await endpoint.send("x")
            if where != "aclose":
                await trio.sleep_forever()

    with trio.fail_after(100):
        with pytest.raises(Boom):
            await run()
    await trio.aclose_forcefully(theirs)


@pytest.mark.parametrize("where", ["receive_some", "send_all", "aclose"])
async def test_an_error_that_a_broken_stream_raises_is_the_end_of_the_connection(
    where: str, autojump_clock: MockClock
) -> None:
    ours, theirs = stream_pair("memory")
    error = OSError("broken")
    with trio.fail_after(100):
        async with open_endpoint(Faulty(ours, error, where), Role.CLIENT) as endpoint:
            await theirs.send_all(b"\x81\x00")
            await wait_all_tasks_blocked()
            if where == "receive_some":
                with pytest.raises(ConnectionClosedError) as caught:
                    await endpoint.receive()
                assert caught.value.__cause__ is error
                assert caught.value.code == 1006
            elif where == "send_all":
                await endpoint.send("x")
                await wait_all_tasks_blocked()
                with pytest.raises(ConnectionClosedError):
                    await endpoint.send("x")
    await trio.aclose_forcefully(theirs)


# -- closing ------------------------------------------------------------------------------


@on_both_streams
async def test_closing_again_waits_for_the_same_end(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind) as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(endpoint.aclose, 4001)
        await wait_all_tasks_blocked()
        nursery.start_soon(endpoint.aclose, 4002)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        await peer.answer_close()
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks
        await endpoint.aclose(4003)
        assert endpoint.close_code == 4001


@on_both_streams
async def test_data_behind_the_peers_close_is_ignored(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(Role.CLIENT, kind) as (endpoint, peer):
        await peer.send_close(4000)
        await peer.send(TEXT, b"late")
        await peer.send_raw(b"\xff" * 100_000)
        with pytest.raises(ConnectionClosedError, match="4000"):
            await endpoint.receive()
        await peer.receive_close()
        await peer.part()


@on_both_streams
async def test_a_server_ends_its_half_first_and_a_client_waits_for_it(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(Role.SERVER, kind) as (_, peer):
        await peer.send_close()
        await peer.receive_close()
        assert await peer.receive() is None
        await peer.aclose()
    async with open_scripted(Role.CLIENT, kind) as (_, peer):
        await peer.send_close()
        await peer.receive_close()
        with trio.move_on_after(1) as scope:
            await peer.receive()
        assert scope.cancelled_caught
        await peer.aclose()


async def test_a_stream_without_halves_is_closed_by_the_server(
    autojump_clock: MockClock,
) -> None:
    class Whole(trio.abc.Stream):
        def __init__(self, stream: trio.abc.Stream) -> None:
            self.send_all = stream.send_all  # type: ignore[method-assign]
            self.receive_some = stream.receive_some  # type: ignore[method-assign, assignment]
            self.aclose = stream.aclose  # type: ignore[method-assign]

        async def send_all(self, data: bytes | bytearray | memoryview) -> None: ...

        async def receive_some(self, max_bytes: int | None = None) -> bytes: ...  # type: ignore[empty-body]

        async def wait_send_all_might_not_block(self) -> None: ...

        async def aclose(self) -> None: ...

    async with open_scripted(Role.SERVER, wrap=Whole) as (_, peer):
        await peer.send_close()
        await peer.receive_close()
        assert await peer.receive() is None


@on_both_streams
async def test_a_flood_while_we_close_is_bounded_in_time(
    kind: StreamKind, autojump_clock: MockClock
) -> None:
    async with open_scripted(kind=kind, close_timeout=5) as (endpoint, peer):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def flood() -> None:
                while True:
                    await peer.send_raw(peer.frame(TEXT, b"x" * 1000))
                    await trio.sleep(0.1)

            nursery.start_soon(flood)
            await endpoint.aclose()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began == 5
