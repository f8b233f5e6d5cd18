"""Two connections against each other and against a model that is too simple to be wrong."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from trio_wsendpoint.protocol import (
    BinaryFrame,
    Connection,
    InboundOptions,
    Message,
    PermessageDeflate,
    Piece,
    Role,
    State,
    TextFrame,
)

MAX_MESSAGE_SIZE = 400

roles = st.sampled_from(Role)
texts = st.text(max_size=MAX_MESSAGE_SIZE // 4)
payloads = st.binary(max_size=MAX_MESSAGE_SIZE)


@attrs.define
class Half:
    """One direction: its wire, and what the model says must come of it."""

    sender: Connection
    receiver: Connection
    wire: bytearray = attrs.Factory(bytearray)
    expected: list[str | bytes] = attrs.Factory(list)
    received: list[str | bytes] = attrs.Factory(list)
    pieces: list[str | bytes] = attrs.Factory(list)
    fragments: bytearray | None = None

    def take(self) -> None:
        self.wire += b"".join(self.sender.data_to_send())

    def deliver(self, count: int) -> None:
        data = bytes(self.wire[:count])
        del self.wire[:count]
        self._note(self.receiver.receive_data(data))
        while self.receiver.pending:
            self._note(self.receiver.receive_data(b""))

    def _note(self, batch: list[Any]) -> None:
        for entry in batch:
            if isinstance(entry, Piece):
                self.pieces.append(entry.payload)
                if entry.final:
                    whole: Any = type(entry.payload)().join(self.pieces)  # type: ignore[arg-type]
                    self.received.append(whole)
                    self.pieces.clear()
            else:
                self.received.append(entry.payload if isinstance(entry, Message) else entry)


class TwoConnections(RuleBasedStateMachine):
    """A client and a server; bytes cross when, and in what pieces, chance decides."""

    @initialize(deflate=st.booleans())
    def open(self, deflate: bool) -> None:
        self.ends = {
            role: Connection(role, InboundOptions(max_message_size=MAX_MESSAGE_SIZE))
            for role in Role
        }
        codecs: dict[Role, Any] = dict.fromkeys(Role, ())
        if deflate:
            extension = PermessageDeflate(threshold=10)
            accepted = extension.accept(extension.offers()[0])
            assert accepted is not None
            codecs = {
                Role.SERVER: (accepted[1],),
                Role.CLIENT: (extension.confirm(accepted[0]),),
            }
        for role, end in self.ends.items():
            end.open(codecs[role])
        self.halves = {role: Half(self.ends[role], self.ends[role.other]) for role in Role}

    def _open_half(self, role: Role) -> Half | None:
        half = self.halves[role]
        return half if half.sender.state is State.OPEN else None

    @rule(role=roles, message=texts | payloads)
    def send_a_message(self, role: Role, message: str | bytes) -> None:
        half = self._open_half(role)
        if half is not None and half.fragments is None:
            half.sender.send_message(message)
            half.expected.append(message)

    @rule(role=roles, text=st.text(max_size=20), cut=st.integers(0, 80), final=st.booleans())
    def send_a_fragment(self, role: Role, text: str, cut: int, final: bool) -> None:
        half = self._open_half(role)
        if half is None:
            return
        data = text.encode()
        if half.fragments is None:
            half.fragments = bytearray()
        if len(half.fragments) + len(data) > MAX_MESSAGE_SIZE:
            return
        for part, last in ((data[:cut], False), (data[cut:], final)):
            half.sender.send_fragment(TextFrame, part, final=last)
            half.fragments += part
        if final:
            half.expected.append(half.fragments.decode())
            half.fragments = None

    @rule(role=roles)
    def send_a_ping(self, role: Role) -> None:
        half = self._open_half(role)
        if half is not None:
            half.sender.send_ping(b"%d" % half.sender.sent.pings)

    @rule(role=roles, code=st.sampled_from([None, 1000, 1011, 4001]))
    def send_a_close(self, role: Role, code: int | None) -> None:
        half = self._open_half(role)
        if half is not None:
            half.sender.send_close(code)

    @rule(role=roles, count=st.integers(0, 500))
    def deliver(self, role: Role, count: int) -> None:
        self.halves[role].take()
        self.halves[role].deliver(count)

    @rule(role=roles)
    def stream_the_next_message(self, role: Role) -> None:
        half = self.halves[role]
        if half.receiver.peer_state is State.OPEN:
            half._note(half.receiver.stream_message())

    @rule(role=roles)
    def stream_it_not_after_all(self, role: Role) -> None:
        self.halves[role].receiver.unstream()

    @precondition(lambda self: all(not half.wire for half in self.halves.values()))
    @rule(role=roles)
    def send_a_message_that_is_too_big(self, role: Role) -> None:
        half = self._open_half(role)
        if half is None or half.fragments is not None or half.pieces:
            return
        half.sender.send_fragment(BinaryFrame, b"", final=False)
        half.take()
        half.deliver(len(half.wire))
        half.sender.send_fragment(BinaryFrame, bytes(MAX_MESSAGE_SIZE + 1), final=True)
        half.take()
        before = len(half.received)
        half.deliver(len(half.wire))
        streamed = len(half.received) > before
        if streamed:
            half.expected.append(bytes(MAX_MESSAGE_SIZE + 1))
        elif half.receiver.failure is not None:
            assert half.receiver.failure.code == 1009

    @invariant()
    def what_came_is_a_beginning_of_what_was_sent(self) -> None:
        for half in getattr(self, "halves", {}).values():
            assert half.received == half.expected[: len(half.received)]

    @invariant()
    def only_the_too_big_is_a_failure(self) -> None:
        for end in getattr(self, "ends", {}).values():
            assert end.failure is None or end.failure.code == 1009

    def teardown(self) -> None:
        """When all bytes have crossed, all has come, unless something ended it before."""
        for _ in range(3):
            for half in getattr(self, "halves", {}).values():
                half.take()
                half.deliver(len(half.wire))
        for half in getattr(self, "halves", {}).values():
            if half.receiver.failure is None and half.sender.failure is None:
                assert half.received == half.expected
                closed = half.sender.sent_close_frame
                assert half.receiver.received_close_frame == closed


TestTwoConnections = TwoConnections.TestCase
TestTwoConnections.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, derandomize=True
)
