"""What those need who hold many endpoints: one message to all, and to know who has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..protocol import SharedMessage
from .endpoint import Endpoint


def share(
    endpoints: Iterable[Endpoint],
    message: SharedMessage,
    max_waiting: int,
    *,
    gather: bool = False,
) -> tuple[int, list[Endpoint]]:
    """Put a message in the outbox of each endpoint that is open, and write what goes at once.

    Args:
        endpoints: Whose outboxes.
        message: Put behind what waits, and behind a message that is being sent in fragments.
        max_waiting: Bytes that may wait in an outbox before it is passed over.
        gather: Whether to write only when the scheduler has had its turn, with all that is
            put there until then.

    Returns:
        How many have got it, and those that were passed over.
    """
    sent = 0
    slow: list[Endpoint] = []
    for endpoint in endpoints:
        if not endpoint._connection.is_open:
            continue
        outbox = endpoint._outbox
        if outbox.memory > max_waiting:
            slow.append(endpoint)
            continue
        endpoint._connection.send_shared(message)
        if gather:
            outbox.flush_in_next_turn()
        else:
            outbox.flush_soon()
        sent += not outbox.ended
    return sent, slow


def give_up_slow(endpoint: Endpoint) -> None:
    """Close an endpoint whose peer does not keep up, with 1013; its own tasks do it.

    What waits in its outbox is dropped, but not the rest of a frame that was begun.
    """
    endpoint._core.give_up_slow()


def call_when_ended(endpoint: Endpoint, function: Callable[[], None]) -> bool:
    """Have a function called once an endpoint's connection has ended and its stream is closed.

    Returns:
        False if it has ended already; then nothing is called.
    """
    return endpoint._core.ended.add(function)


def forget_when_ended(endpoint: Endpoint, function: Callable[[], None]) -> None:
    """Take `call_when_ended` back, if the connection has not ended yet."""
    endpoint._core.ended.remove(function)
