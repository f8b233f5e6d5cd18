"""What those need who hold many endpoints: one message to all, and to know who has ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ..protocol import SharedFrame, SharedMessage, write_each
from .endpoint import Endpoint
from .transport import LARGE_WRITE


def share(
    endpoints: Collection[Endpoint],
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
    # Whoever is in there twice might be written to again after it has taken only a part.
    at_once = not gather and len(message.payload) < LARGE_WRITE
    if at_once and len(set(endpoints)) == len(endpoints):
        ready, rest = _count_ready(endpoints, message)
    else:
        ready, rest = {}, list(endpoints)
    sent = 0
    for frame, (owners, descriptors) in ready.items():
        sent += _write(owners, descriptors, frame.data)
    slow: list[Endpoint] = []
    for endpoint in rest:
        connection, outbox = endpoint._connection, endpoint._outbox
        if not connection.is_open:
            continue
        if outbox.memory > max_waiting:
            slow.append(endpoint)
            if endpoint._core.probe is not None:
                endpoint._core.probe.tell("slow_consumer")
            continue
        connection.send_shared(message)
        if gather:
            outbox.flush_in_next_turn()
        else:
            outbox.flush_soon()
        sent += not outbox.ended
    return sent, slow


def _count_ready(
    endpoints: Iterable[Endpoint], message: SharedMessage
) -> tuple[dict[SharedFrame, tuple[list[Endpoint], list[int]]], list[Endpoint]]:
    """Find those that a frame may be written to right now, and count it as sent by each.

    Of a thousand endpoints hardly anything is in the processor's caches, so each is looked at
    once, and nothing is called that need not be.

    Returns:
        These, with their file descriptors, by their frames; and all others.
    """
    ready: dict[SharedFrame, tuple[list[Endpoint], list[int]]] = {}
    others: list[Endpoint] = []
    last: SharedFrame | None = None
    plain = message.plain
    for endpoint in endpoints:
        outbox, outbound = endpoint._outbox, endpoint._connection.outbound
        if (
            outbound.size
            or outbound.masks
            or not (outbound.direct or outbound.may_encode)
            or outbox._blocked
            or outbox.corked
            or (descriptor := outbox.descriptor()) < 0
            or (frame := plain if outbound.direct else message.frame_for(outbound.codecs))
            is None
        ):
            others.append(endpoint)
            continue
        if frame is not last:
            owners, descriptors = ready.setdefault(frame, ([], []))
            last, size = frame, len(frame.data)
        owners.append(endpoint)
        descriptors.append(descriptor)
        outbound.sent.messages += 1
        outbound.sent.size += size
    return ready, others


def _write(owners: list[Endpoint], descriptors: list[int], frame: bytes) -> int:
    """Write a frame to many that count it as written; returns how many have got it."""
    results = write_each(descriptors, frame)
    sent = results.count(len(frame))
    if sent < len(owners):
        for endpoint, result in zip(owners, results, strict=True):
            if result != len(frame):
                endpoint._outbox.note_attempt(frame, result)
                sent += not endpoint._outbox.ended
    return sent


def give_up_slow(endpoint: Endpoint) -> None:
    """Close an endpoint whose peer does not keep up, with 1013; its own tasks do it.

    What waits in its outbox is dropped, but not the rest of a frame that was begun.
    """
    endpoint._core.give_up_slow()


def begin_drain(endpoint: Endpoint, code: int) -> None:
    """Have an endpoint closed as soon as somebody waits to receive and nothing is ready.

    What is in its stream counts as ready, and so does a message that has come in part, or is
    being sent in fragments. If it is cancelled before that, it is closed with the same code.
    """
    endpoint._core.drain(code)


def call_when_ended(endpoint: Endpoint, function: Callable[[], None]) -> bool:
    """Have a function called once an endpoint's connection has ended and its stream is closed.

    Returns:
        False if it has ended already; then nothing is called.
    """
    return endpoint._core.ended.add(function)


def forget_when_ended(endpoint: Endpoint, function: Callable[[], None]) -> None:
    """Take `call_when_ended` back, if the connection has not ended yet."""
    endpoint._core.ended.remove(function)
