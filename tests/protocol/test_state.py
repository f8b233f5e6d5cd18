from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docs.draw_state_machine import draw_state_machine
from trio_wsendpoint.protocol import TRANSITIONS, Event, LocalProtocolError, State
from trio_wsendpoint.protocol.state import next_state

C, O, S, E, F = State  # noqa: E741 - so that the table fits the eye
EXPECTED = {
    # event:   handshake, frame, close, end, failure
    C: (O, None, None, F, F),
    O: (None, O, S, F, F),
    S: (None, None, None, E, F),
    E: (None, None, None, E, E),
    F: (None, None, None, F, F),
}
PAIRS = [
    (state, event, expected)
    for state, row in EXPECTED.items()
    for event, expected in zip(Event, row, strict=True)
]


def test_the_pairs_are_all_there_are() -> None:
    assert {(state, event) for state, event, _ in PAIRS} == {
        (state, event) for state in State for event in Event
    }


@pytest.mark.parametrize(("state", "event", "expected"), PAIRS)
def test_every_state_and_event_lead_where_the_table_says(
    state: State, event: Event, expected: State | None
) -> None:
    if expected is not None:
        assert next_state(state, event) is expected
    else:
        with pytest.raises(LocalProtocolError) as caught:
            next_state(state, event)
        assert str(caught.value) == f"no {event.value} while {state.value}"


def test_no_way_leads_out_of_an_end() -> None:
    for state in (State.ENDED, State.FAILED):
        assert set(TRANSITIONS[state].values()) == {state}


def test_the_table_cannot_be_changed() -> None:
    table: Any = TRANSITIONS
    with pytest.raises(TypeError):
        table[State.OPEN] = {}


def test_the_drawing_in_docs_is_the_table() -> None:
    drawn = Path(__file__).parents[2] / "docs" / "state-machine.md"
    assert drawn.read_text() == draw_state_machine()
