"""What is fuzzed: functions of bytes that raise if the code breaks a promise.

They are called by the fuzzer (`run.py`), and by `test_cases.py` with the inputs in `cases/`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trio_wsendpoint.protocol import (
    Codec,
    Connection,
    HandshakeError,
    InboundOptions,
    Message,
    PermessageDeflate,
    RequestReader,
    ResponseReader,
    Role,
    ServerHandshake,
    State,
    cutting,
    masking,
    speedups,
)
from trio_wsendpoint.protocol.extensions import format_extension
from trio_wsendpoint.protocol.fields import parse_extensions

MAX_MESSAGE_SIZE = 1000
# A message and its headers, and as much of an encoded one; input that waits is on top.
MAX_HELD = 20 * MAX_MESSAGE_SIZE
LEGAL_STATES = {State.OPEN, State.CLOSE_SENT, State.FAILED}


def fuzz_connection(data: bytes) -> None:
    """Any bytes, cut anywhere, end in the same messages and never in an exception."""
    if len(data) < 2:
        return
    setup, step, wire = data[0], data[1] or 1, data[2:]
    whole = _receive(setup, [wire])
    pieces = [wire[start : start + step] for start in range(0, len(wire), step)]
    assert whole == _receive(setup, pieces)


def _receive(setup: int, pieces: list[bytes]) -> tuple[list[Any], int | None, Any]:
    role = Role.SERVER if setup & 1 else Role.CLIENT
    connection = Connection(role, InboundOptions(max_message_size=MAX_MESSAGE_SIZE))
    connection.open(_codecs(role) if setup & 2 else ())
    messages: list[Any] = []
    for piece in pieces:
        messages += connection.receive_data(piece)
        while connection.pending:
            messages += connection.receive_data(b"")
        assert connection.peer_state in LEGAL_STATES
        assert connection.inbound_size <= MAX_HELD + len(piece)
        connection.data_to_send()
    failure = connection.failure.code if connection.failure else None
    plain = [each.payload if isinstance(each, Message) else each for each in messages]
    return plain, failure, connection.received_close_frame


def _codecs(role: Role) -> tuple[Codec, ...]:
    extension = PermessageDeflate()
    accepted = extension.accept(extension.offers()[0])
    assert accepted is not None
    answer, codec = accepted
    return (codec if role is Role.SERVER else extension.confirm(answer),)


def fuzz_twins(data: bytes) -> None:
    """C and Python agree to the byte."""
    masked, key, wire = bool(data[:1] > b"\x7f"), (data[1:5] + bytes(4))[:4], data[5:]
    ours: list[Any] = []
    theirs: list[Any] = []
    limit, count = 1 << 62, 1 << 10
    assert cutting.cut_messages(wire, 0, masked, limit, count, ours) == speedups.cut_messages(
        wire, 0, masked, limit, count, theirs
    )
    assert ours == theirs
    for rsv in (0, 0x40):
        arguments = wire, 0, masked, rsv, limit
        assert cutting.cut_frame(*arguments) == speedups.cut_frame(*arguments)
    assert masking.apply_mask(wire, key) == speedups.apply_mask(wire, key)
    assert cutting.build_frame(1, wire, key) == speedups.build_frame(1, wire, key)


def fuzz_request(data: bytes) -> None:
    """A server answers any request, or refuses it by a `HandshakeError`."""
    reader = RequestReader()
    try:
        request = reader.receive_data(data)
    except HandshakeError:
        return
    if request is not None:
        handshake = ServerHandshake(subprotocols=["chat"], extensions=[PermessageDeflate()])
        response, agreement = handshake.respond(request)
        assert (response.status_code == 101) == (agreement is not None)


def fuzz_response(data: bytes) -> None:
    """A client takes any response, or refuses it by a `HandshakeError`."""
    reader = ResponseReader()
    try:
        if reader.receive_data(data) is None:
            reader.receive_eof()
    except HandshakeError:
        pass


def fuzz_extensions(data: bytes) -> None:
    """A header is parsed or refused; what was parsed is parsed again from its usual form."""
    try:
        parsed = parse_extensions(data.decode("latin-1"))
    except HandshakeError:
        return
    again = ", ".join(format_extension(name, parameters) for name, parameters in parsed)
    assert parse_extensions(again) == parsed


TARGETS: dict[str, Callable[[bytes], None]] = {
    "connection": fuzz_connection,
    "twins": fuzz_twins,
    "request": fuzz_request,
    "response": fuzz_response,
    "extensions": fuzz_extensions,
}
