"""Draw the state machine of a connection from the table that it walks.

python docs/draw_state_machine.py > docs/state-machine.md
"""

from __future__ import annotations

from collections.abc import Iterator

from trio_wsendpoint.protocol import TRANSITIONS, Event, State, state


def draw_state_machine() -> str:
    """The whole of `docs/state-machine.md`."""
    title, _, story = (state.__doc__ or "").partition("\n")
    lines = (
        f"# {title.removesuffix('.')}",
        story.rstrip(),
        "",
        "```mermaid",
        *_diagram(),
        "```",
        "",
        *_table(),
    )
    return "\n".join(lines) + "\n"


def _diagram() -> Iterator[str]:
    yield "stateDiagram-v2"
    for each in State:
        yield f'    state "{each.value}" as {each.name}'
    yield f"    [*] --> {State.CONNECTING.name}"
    for source, row in TRANSITIONS.items():
        for target in dict.fromkeys(row.values()):
            events = " or ".join(event.value for event in row if row[event] is target)
            yield f"    {source.name} --> {target.name}: {events}"
        if set(row.values()) == {source}:
            yield f"    {source.name} --> [*]"


def _table() -> Iterator[str]:
    yield " | ".join(("| state", *(event.value for event in Event))) + " |"
    yield "| --- " * (len(Event) + 1) + "|"
    for source, row in TRANSITIONS.items():
        targets = (row[event].value if event in row else "-" for event in Event)
        yield " | ".join((f"| **{source.value}**", *targets)) + " |"


if __name__ == "__main__":
    print(draw_state_machine(), end="")
