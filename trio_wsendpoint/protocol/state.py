"""The state of a connection: a table, walked twice.

A WebSocket connection is two halves, each a stream of frames in one direction: ours, which
we write, and theirs, which we read. Either half tells its own story, and it is the same
story: the opening handshake, frames, one close frame, and then the end of the stream. So
there is one table, and a connection keeps two places in it:

- For **ours**, an event is what we are about to send. A pair that is missing from the table
  is something that we must not do: the application's mistake.
- For **theirs**, an event is what we have just received. A pair that is missing is something
  that the peer must not do; bytes behind its close frame are not even looked at.

The connection has closed cleanly when both halves are in `CLOSE_SENT` or beyond; each has
then sent a close frame, in either order (RFC 6455 section 7.1.4). `FAILED` is the half whose
fault it was that things ended otherwise: theirs, when the peer broke the protocol or its
stream ended with no close frame; ours, when we could no longer write.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .errors import LocalProtocolError


class State(enum.Enum):
    """Where a half of a connection stands."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSE_SENT = "close sent"
    ENDED = "ended"
    FAILED = "failed"

    __hash__ = object.__hash__  # an enum's own is Python code, and no better


OPEN: Final = State.OPEN
"""For where it is asked for with each message: to look up a member of an enum takes long."""

CLOSED: Final = (State.CLOSE_SENT, State.ENDED)
"""Where a half stands that has sent its close frame."""


class Event(enum.Enum):
    """What moves a half of a connection on."""

    HANDSHAKE = "opening handshake done"
    FRAME = "any frame but a close"
    CLOSE = "close frame"
    END = "end of stream"
    FAILURE = "failure"

    __hash__ = object.__hash__  # as above


TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = MappingProxyType(
    {
        State.CONNECTING: {
            Event.HANDSHAKE: State.OPEN,
            Event.END: State.FAILED,
            Event.FAILURE: State.FAILED,
        },
        State.OPEN: {
            Event.FRAME: State.OPEN,
            Event.CLOSE: State.CLOSE_SENT,
            Event.END: State.FAILED,
            Event.FAILURE: State.FAILED,
        },
        State.CLOSE_SENT: {
            Event.END: State.ENDED,
            Event.FAILURE: State.FAILED,
        },
        State.ENDED: {
            Event.END: State.ENDED,
            Event.FAILURE: State.ENDED,
        },
        State.FAILED: {
            Event.END: State.FAILED,
            Event.FAILURE: State.FAILED,
        },
    }
)


def check_event(state: State, event: Event) -> None:
    """Refuse an event that has no place in a state.

    Raises:
        LocalProtocolError: the table has no such pair.
    """
    if event not in TRANSITIONS[state]:
        raise LocalProtocolError(f"no {event.value} while {state.value}")


def next_state(state: State, event: Event) -> State:
    """Look up where an event leads.

    Raises:
        LocalProtocolError: the event has no place in this state.
    """
    check_event(state, event)
    return TRANSITIONS[state][event]
