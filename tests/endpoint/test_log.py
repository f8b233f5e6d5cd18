from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.endpoint.peer import Peer, open_scripted
from tests.protocol.wire import BINARY, TEXT
from trio_wsendpoint.endpoint import ConnectionClosedError, Endpoint
from trio_wsendpoint.protocol import ControlFrame, FrameParser

NAME = "trio_wsendpoint.endpoint"


class Nudge(ControlFrame):
    __slots__ = ()
    opcode = 11


async def end(endpoint: Endpoint) -> None:
    with pytest.raises(ConnectionClosedError):
        await endpoint.receive()


def texts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == NAME]


async def test_frames_are_logged_at_debug(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.DEBUG, NAME)
    async with open_scripted() as (endpoint, peer):
        await endpoint.send("hello")
        await peer.send(TEXT, b"hello")
        await endpoint.receive()
        await wait_all_tasks_blocked()
        assert texts(caplog) == [
            "open, as the client",
            "> TEXT 'hello' [5 bytes]",
            "< TEXT 'hello' [5 bytes]",
        ]
        record: Any = caplog.records[-1]
        assert record.connection_id == endpoint.connection_id
        assert record.peer is None


async def test_each_connection_has_a_number_of_its_own(autojump_clock: MockClock) -> None:
    async with open_scripted() as (first, _), open_scripted() as (second, _):
        assert first.connection_id != second.connection_id


async def test_what_the_peer_does_wrong_is_one_warning(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with open_scripted() as (endpoint, peer):
        await peer.send(3)
        await end(endpoint)
        await peer.aclose()
    (record,) = [record for record in caplog.records if record.name == NAME]
    assert record.levelno == logging.WARNING
    assert "(1002)" in record.getMessage()
    assert record.exc_info is None


async def go_away(peer: Peer) -> None:
    await peer.aclose()


async def send_too_much(peer: Peer) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, BINARY, bytes(2**20 + 1))
        await peer.receive_close()
        nursery.cancel_scope.cancel()
    await peer.aclose()


async def close(peer: Peer) -> None:
    await peer.close(4001, "why")


@pytest.mark.parametrize(
    ("way", "level", "says"),
    [
        (go_away, logging.INFO, "lost: the stream ended with no close frame"),
        (close, logging.DEBUG, "closed with 4001 'why'"),
        (
            send_too_much,
            logging.INFO,
            "the peer sent more than we take: a message of more than 1048576 bytes (1009)",
        ),
    ],
)
async def test_an_end_that_is_nobodys_fault_is_no_warning(
    way: Any, level: int, says: str, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(level, NAME)
    async with open_scripted() as (endpoint, peer), trio.open_nursery() as nursery:
        nursery.start_soon(end, endpoint)
        await way(peer)
    record = [record for record in caplog.records if record.name == NAME][-1]
    assert (record.levelno, record.getMessage()) == (level, says)


async def test_an_exception_that_another_one_hides_is_logged(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    hidden = ValueError("hidden")

    async def handle(endpoint: object, frame: object) -> None:
        raise hidden

    async def run() -> None:
        options: Any = {
            "parser": FrameParser(frame_types=[Nudge]),
            "control_handlers": {Nudge: handle},
        }
        async with open_scripted(**options) as (_, peer):
            await peer.send(Nudge.opcode)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("seen")

    with pytest.raises(KeyError):
        await run()
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == "another error hid this one"
    assert record.exc_info is not None
    assert record.exc_info[1] is hidden
