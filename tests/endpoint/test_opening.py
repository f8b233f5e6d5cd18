from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from tests.endpoint.peer import Peer, open_scripted
from tests.protocol.wire import TEXT
from trio_wsendpoint.endpoint import open_endpoint
from trio_wsendpoint.endpoint.core import EndpointCore
from trio_wsendpoint.endpoint.heartbeat import Heartbeat
from trio_wsendpoint.protocol import Frame, Role


class Interruption(BaseException):
    """Not for anybody to catch."""


def interrupt(_: Frame) -> None:
    raise Interruption


@pytest.mark.filterwarnings("ignore::trio.TrioDeprecationWarning")
@pytest.mark.parametrize("strict", [True, False])
def test_an_interruption_by_what_came_behind_the_handshake_comes_out_alone(
    strict: bool,
) -> None:
    async def main() -> None:
        ours, theirs = memory_stream_pair()
        frame = Peer(theirs, Role.CLIENT).frame(TEXT, b"x")
        try:
            async with open_endpoint(
                ours, Role.SERVER, initial_data=frame, on_data_frame=interrupt
            ) as endpoint:
                await endpoint.receive()
        finally:
            assert trio.lowlevel.current_task().child_nurseries == []

    with pytest.raises(Interruption):
        trio.run(main, strict_exception_groups=strict)


async def test_an_interruption_in_the_reader_task_goes_before_what_the_body_raises(
    autojump_clock: MockClock,
) -> None:
    body_error = RuntimeError("of the body")

    async def run() -> None:
        async with open_scripted(on_data_frame=interrupt) as (_, peer):
            await peer.send(TEXT, b"x")
            try:
                await trio.sleep_forever()
            finally:
                raise body_error

    with pytest.raises(Interruption) as caught:
        await run()
    assert caught.value.__context__ is body_error


async def test_an_interruption_goes_before_an_exception_that_came_first(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    first = RuntimeError("the first")

    async def run() -> None:
        async with open_scripted() as (endpoint, _):
            endpoint._core.crash(first)
            endpoint._core.crash(Interruption())
            endpoint._core.crash(RuntimeError("the last"))
            await trio.sleep_forever()

    with pytest.raises(Interruption):
        await run()
    (record,) = (each for each in caplog.records if each.exc_info)
    assert record.exc_info is not None
    assert record.exc_info[1] is first


async def test_an_endpoint_that_cannot_be_started_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    ours, theirs = memory_stream_pair()
    before = list(trio.lowlevel.current_task().child_nurseries)
    monkeypatch.setattr(EndpointCore, "start", fail)
    with pytest.raises(MemoryError):
        await open_endpoint(ours, Role.SERVER).__aenter__()
    assert list(trio.lowlevel.current_task().child_nurseries) == before
    await trio.aclose_forcefully(theirs)


async def test_an_error_in_the_heartbeat_task_comes_out_alone(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def fail(_: object) -> None:
        raise Interruption

    monkeypatch.setattr(Heartbeat, "_check", fail)
    with pytest.raises(Interruption):
        async with open_scripted(ping_interval=5):
            await trio.sleep_forever()


async def test_what_the_body_raises_goes_before_a_heartbeat_timeout(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def run() -> None:
        async with open_scripted(ping_interval=5, max_pings=1):
            try:
                await trio.sleep_forever()
            finally:
                raise RuntimeError("of the body")

    with pytest.raises(RuntimeError):
        await run()
    assert not [record for record in caplog.records if record.exc_info]
