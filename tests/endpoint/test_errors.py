from __future__ import annotations

import pytest
import trio

from trio_wsendpoint.endpoint import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeTimeout,
    HeartbeatTimeout,
)
from trio_wsendpoint.protocol import CloseFrame, HandshakeError, Role


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        (ConnectionClosedOK, (ConnectionClosed, trio.EndOfChannel)),
        (ConnectionClosedError, (ConnectionClosed, trio.BrokenResourceError)),
        (HeartbeatTimeout, (ConnectionClosedError, trio.BrokenResourceError)),
        (HandshakeTimeout, (HandshakeError, trio.TooSlowError)),
    ],
)
def test_errors_fit_the_contracts_of_trio(
    kind: type[Exception], bases: tuple[type[Exception], ...]
) -> None:
    assert issubclass(kind, bases)
    assert all(issubclass(kind, base) for base in bases)


def test_a_clean_end_is_no_broken_resource_and_the_other_way_round() -> None:
    assert not issubclass(ConnectionClosedOK, trio.BrokenResourceError)
    assert not issubclass(ConnectionClosedError, trio.EndOfChannel)


def test_a_closed_connection_is_told_in_words() -> None:
    assert str(ConnectionClosed()) == "closed with 1006"
    assert str(ConnectionClosed(4001, "why", closed_first=Role.SERVER)) == (
        "closed by the server with 4001: why"
    )


def test_both_close_frames_are_kept() -> None:
    sent, received = CloseFrame.create(1000), CloseFrame.create(1001)
    error = ConnectionClosed(1000, "x", sent_close_frame=sent, received_close_frame=received)
    assert error.sent_close_frame is sent
    assert error.received_close_frame is received
    assert error.closed_first is None
    assert error.args == (1000, "x")


def test_a_handshake_timeout_says_how_long_it_was() -> None:
    error = HandshakeTimeout(2.5)
    assert str(error) == "the opening handshake took more than 2.5 seconds"
    assert error.status_code == 408
