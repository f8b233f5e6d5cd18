"""A WebSocket connection after its opening handshake, with no I/O (RFC 6455 sections 5 to 7).

Feed it what arrives with `Connection.receive_data`, which returns the messages that became
complete; write what `Connection.data_to_send` returns. Pings are answered, pongs matched and
closes returned inside. What the peer does never raises: a failure is recorded, the right
close frame queued, and the messages that came before it are still returned.
"""

from __future__ import annotations

import enum
import math

from .assembly import InboundOptions
from .close import CloseCode, check_close_arguments, truncate_reason
from .errors import ProtocolError
from .extensions import Codec
from .frames import (
    RSV_BITS,
    WHOLE_BINARY,
    WHOLE_TEXT,
    BinaryFrame,
    CloseFrame,
    ContinuationFrame,
    ControlFrame,
    DataFrame,
    Frame,
    PingFrame,
    PongFrame,
    TextFrame,
    is_frame_type,
    to_bytes,
)
from .inbound import MAX_BATCH, Inbound
from .masking import BYTES_LIKE, BytesLike, new_masking_key
from .messages import (
    PLAIN_TYPES,
    Entry,
    Message,
    Piece,
    count_messages,
    encode_text,
    to_sendable,
)
from .outbound import Counters, Outbound, Trace
from .sharing import SharedMessage
from .speedups import read_messages, write_frame
from .state import CLOSED, OPEN, Event, State, check_event, next_state


class Role(enum.Enum):
    """Which end of the connection is ours; masking and who closes first follow from it."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Role:
        """The role of the peer."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class Connection:
    """Both halves of a connection: bytes to messages, messages to bytes.

    Args:
        role: Which end is ours.
        options: How to read frames, and how large a message may be.

    Attributes:
        role: Which end is ours.
        state: Where our half stands.
        peer_state: Where the peer's half stands.
        sent_close_frame: The close frame that we sent, or None.
        received_close_frame: The close frame that the peer sent, or None.
        closed_first: Whose close frame came first, or None while there is none.
        failure: What the peer did wrong, or None.
        received: Counters of what was received.
        sent: Counters of what was queued to be sent.
        control_frames: Received control frames of types given to the `FrameParser`; whoever
            handles them takes them out.
        answered_pings: Payloads of pings of ours whose pong came; whoever waits for them takes
            them out.
        outbound: Our half, for those who write one frame to many connections.
        is_open: Whether messages may be sent: both halves are open, or theirs has failed
            and our close frame for it is held.
        connection_id: The number that its owner knows it by, for errors to tell; or None.
        close_held: Whether the peer has failed, and the close frame that says so waits for
            `release_close`; only with `InboundOptions.hold_close`.
        control_arrived: Whether something besides messages has arrived: a control frame, the
            end of their half, or a message that is too big. Reset it once it was seen to.
    """

    __slots__ = (
        "_inbound",
        "_options",
        "_outstanding_pings",
        "answered_pings",
        "close_held",
        "closed_first",
        "connection_id",
        "control_arrived",
        "control_frames",
        "failure",
        "is_open",
        "outbound",
        "peer_state",
        "received",
        "received_close_frame",
        "role",
        "sent",
        "sent_close_frame",
        "state",
    )

    def __init__(self, role: Role, options: InboundOptions | None = None) -> None:
        if not isinstance(role, Role):
            raise TypeError(f"role must be a Role, not {role!r}")
        if not isinstance(options, InboundOptions | None):
            raise TypeError(f"options must be InboundOptions, not {options!r}")
        self.role = role
        self.state = self.peer_state = State.CONNECTING
        self.is_open = self.close_held = self.control_arrived = False
        self.connection_id: int | None = None
        self.sent_close_frame: CloseFrame | None = None
        self.received_close_frame: CloseFrame | None = None
        self.closed_first: Role | None = None
        self.failure: ProtocolError | None = None
        self.received = Counters()
        self.control_frames: list[ControlFrame] = []
        self.answered_pings: list[bytes] = []
        self._options = options or InboundOptions()
        self.outbound = Outbound(role is Role.CLIENT)
        self.sent = self.outbound.sent
        self._outstanding_pings: list[bytes] = []
        self._inbound: Inbound | None = None

    def open(self, codecs: tuple[Codec, ...] = ()) -> None:
        """The opening handshake is done; frames may cross from here on.

        Args:
            codecs: What the negotiation of extensions ended in.
        """
        check_event(self.state, Event.HANDSHAKE)  # before anything has changed
        self._move_peer(Event.HANDSHAKE)
        self._move(Event.HANDSHAKE)
        self.outbound.use(codecs)
        masked = self.role is Role.SERVER
        self._inbound = Inbound(masked, self._options, codecs, self._on_control)

    def _move(self, event: Event) -> None:
        """Our half moves on."""
        self.state = next_state(self.state, event)
        if self.state is not OPEN:
            self.outbound.end_messages()
        self._note_openness()

    def _move_peer(self, event: Event) -> None:
        """The peer's half moves on."""
        self.peer_state = next_state(self.peer_state, event)
        self._note_openness()
        self.control_arrived = True

    def _note_openness(self) -> None:
        self.is_open = self.state is OPEN and (self.peer_state is OPEN or self.close_held)

    def trace(self, on_received: Trace | None, on_sent: Trace | None) -> None:
        """Have functions called with each frame that crosses from here on, for logs.

        The opening handshake must be done. None for either ends it.
        """
        assert self._inbound is not None
        self._inbound.use_trace(on_received)
        self.outbound.use_trace(on_sent)

    # -- their half -----------------------------------------------------------------------

    @property
    def room(self) -> memoryview | None:
        """Where the rest of a large frame is best read into, if one is arriving.

        Release it before you call anything else.
        """
        return self._inbound.room if self._inbound is not None else None

    def receive_data(self, data: BytesLike, filled: int = 0) -> list[Entry]:
        """Take bytes from the peer and return the messages that they complete.

        Args:
            data: What was read; empty to go on with what is `pending`. It is not kept.
            filled: How many bytes were read before them, into `room`.

        Returns:
            A batch of messages in order. Most are a plain `str` or `bytes`. One that came in
            several frames, compressed, or as a data frame of one's own is a `Message`; one
            that is streamed comes as `Piece`s.

        Raises:
            TypeError: `data` is not bytes-like.
            LocalProtocolError: the opening handshake is not done.
        """
        if not isinstance(data, BYTES_LIKE):
            raise TypeError(f"data must be bytes-like, not {type(data).__name__}")
        batch: list[Entry] = []
        inbound = self._inbound
        self.received.size += filled + len(data)
        if self.peer_state is OPEN and inbound is not None:
            try:
                inbound.receive(data, batch, filled)
            except ProtocolError as error:
                self._fail(error, hold=self._options.hold_close)
            if inbound.assembler.oversize:
                self.control_arrived = True
            self.received.messages += count_messages(batch)
        elif self.peer_state is State.CONNECTING:
            check_event(self.peer_state, Event.FRAME)
        return batch

    def at_rest(self) -> bool:
        """Whether nothing of a message or a frame is under way, and none is held.

        It may be False although it is so.
        """
        inbound = self._inbound
        return inbound is not None and inbound.at_rest

    def receive_from(self, descriptor: int, scratch: memoryview) -> list[Entry] | None:
        """Read a socket once, and take what was read.

        It does what `receive_data` does with the same bytes, or `receive_eof` at the end of the
        stream. But where they are whole plain messages, as most are, it takes one call of C.

        Args:
            descriptor: The socket's; it is never waited for.
            scratch: What to read into; nothing in it is kept.

        Returns:
            A batch of messages; None if the read would block.

        Raises:
            OSError: the socket is broken.
        """
        inbound = self._inbound
        assert inbound is not None
        count = MAX_BATCH if inbound.at_rest and inbound.plain else 0
        batch: list[Entry] = []
        got = read_messages(
            descriptor, scratch, inbound.masked, inbound.cut_limit, count, batch
        )
        if got is None:
            return None
        size, offset = got
        if not size:
            self.receive_eof()
        elif not count:
            return self.receive_data(scratch[:size])
        else:
            received = self.received
            received.size += size
            received.messages += len(batch)
            if offset < size:
                self._receive_rest(scratch[:size], offset, batch)
        return batch

    def _receive_rest(self, data: BytesLike, offset: int, batch: list[Entry]) -> None:
        inbound = self._inbound
        assert inbound is not None
        cut = len(batch)
        try:
            inbound.receive_rest(data, offset, batch)
        except ProtocolError as error:
            self._fail(error, hold=self._options.hold_close)
        if inbound.assembler.oversize:
            self.control_arrived = True
        self.received.messages += len(batch) - cut

    def receive_eof(self) -> None:
        """The peer's stream has ended; without a close frame before it, that is a failure."""
        if self.peer_state is OPEN and self.failure is None:
            self.failure = ProtocolError(
                "the stream ended with no close frame", CloseCode.ABNORMAL_CLOSURE
            )
        self._move_peer(Event.END)
        self._discard_input()

    @property
    def pending(self) -> bool:
        """Whether `receive_data(b"")` would return more: a batch is bounded in size."""
        return self._inbound is not None and self._inbound.pending

    @property
    def max_message_size(self) -> float:
        """Bytes that a received message may have; `math.inf` for no limit."""
        limit = self._options.max_message_size
        return math.inf if limit is None else limit

    @property
    def oversize(self) -> bool:
        """Whether a message over `max_message_size` is held until somebody decides."""
        return self._inbound is not None and self._inbound.assembler.oversize

    @property
    def message_begun(self) -> bool:
        """Whether a part of a frame or of a message has come, and not yet the whole of it."""
        return self._inbound is not None and self._inbound.message_begun

    @property
    def inbound_size(self) -> int:
        """Bytes held of input and of the message that is arriving."""
        return self._inbound.size if self._inbound is not None else 0

    def refuse_oversize(self) -> None:
        """Fail the connection with 1009 for the message that is held."""
        if self.oversize:
            self._fail_oversize()

    def stream_message(self) -> list[Piece]:
        """Hand out the message that is arriving, or else the next, as `Piece`s.

        Returns:
            What has already arrived of it; call `receive_data` for more.
        """
        batch: list[Piece] = []
        if self._inbound is not None:
            self._inbound.stream(batch)
            if self._inbound.stop_gathering():
                batch += self.receive_data(b"")  # type: ignore[arg-type]  # of one message
        return batch

    def skip_message(self) -> None:
        """Drop what is still to come of the message that is being streamed."""
        if self._inbound is not None:
            self._inbound.assembler.skip()

    def unstream(self) -> None:
        """Take `stream_message` back, if the message has not begun."""
        if self._inbound is not None:
            self._inbound.assembler.unstream()

    def _fail_oversize(self) -> None:
        assert self._inbound is not None
        try:
            self._inbound.assembler.refuse()
        except ProtocolError as error:
            self._fail(error)

    def _fail(self, error: ProtocolError, *, hold: bool = False) -> None:
        # "_Fail the WebSocket Connection_ ... SHOULD send a Close frame with an appropriate
        # status code" (section 7.1.7)
        self.failure = ProtocolError(error.reason, error.code)  # its traceback would hold us
        self.close_held = hold and self.state is OPEN
        self._move_peer(Event.FAILURE)
        self._discard_input()
        if self.state is OPEN and not hold:
            self._queue_failure_close(error)

    def release_close(self) -> None:
        """Queue the close frame that was held, if one is: its messages were handed out."""
        if self.close_held:
            assert self.failure is not None
            self.close_held = False
            self._queue_failure_close(self.failure)

    def _queue_failure_close(self, error: ProtocolError) -> None:
        self._queue_close(CloseFrame.create(error.code, truncate_reason(error.reason)))

    def fail(self, code: int, reason: str) -> None:
        """Give up on the peer for a reason of our own, such as its silence.

        Args:
            code: What our close frame tells it.
            reason: The same in words; cut to what a close frame holds.

        Raises:
            TypeError: `code` or `reason` is of the wrong type.
            ValueError: `code` must not be sent.
        """
        reason = truncate_reason(reason)
        check_close_arguments(code, reason)
        self.release_close()
        if self.peer_state is OPEN:
            self._fail(ProtocolError(reason, code))

    def _discard_input(self) -> None:
        if self._inbound is not None:
            self._inbound.discard()

    def _on_control(self, frame: ControlFrame) -> bool:
        self.control_arrived = True
        if isinstance(frame, PingFrame):
            # "an endpoint MUST send a Pong frame in response" and "MAY elect to send a Pong
            # frame for only the most recently processed Ping frame" (sections 5.5.2, 5.5.3)
            self.received.pings += 1
            if self.state is OPEN:
                self.outbound.owe_pong(frame.payload)
        elif isinstance(frame, PongFrame):
            self.received.pongs += 1
            self._match_pong(frame.payload)
        elif isinstance(frame, CloseFrame):
            self._receive_close(frame)
            return False
        else:
            self.control_frames.append(frame)
        return True

    def _match_pong(self, payload: bytes) -> None:
        # As only the latest of several pings may be answered, its pong answers those before.
        if payload in self._outstanding_pings:
            count = self._outstanding_pings.index(payload) + 1
            self.answered_pings += self._outstanding_pings[:count]
            del self._outstanding_pings[:count]

    def forget_ping(self, payload: bytes) -> None:
        """Stop waiting for the pong of a ping of ours; it may be one already answered."""
        if payload in self._outstanding_pings:
            self._outstanding_pings.remove(payload)

    def _receive_close(self, frame: CloseFrame) -> None:
        frame.check()
        self.received_close_frame = frame
        self.closed_first = self.closed_first or self.role.other
        self._move_peer(Event.CLOSE)
        self._discard_input()
        # "If an endpoint receives a Close frame and did not previously send a Close frame,
        # the endpoint MUST send a Close frame in response", echoing its code (section 5.5.1)
        if self.state is OPEN:
            self._queue_close(frame)

    # -- our half -------------------------------------------------------------------------

    @property
    def size_to_send(self) -> int:
        """Bytes that `data_to_send` would return."""
        return self.outbound.size

    @property
    def size_to_write(self) -> int:
        """Bytes that were to be written so far, those of `size_to_send` included."""
        return self.outbound.total_size

    @property
    def memory_to_send(self) -> int:
        """Bytes of memory that what is queued takes, Python's overhead counted."""
        return self.outbound.memory

    def data_to_send(self) -> list[BytesLike]:
        """Take what is queued: buffers to be written in this order, whole."""
        return self.outbound.take()

    @property
    def sending_fragments(self) -> bool:
        """Whether a fragmented message is under way."""
        return self.outbound.fragment_type is not None

    def send_message(
        self, message: str | BytesLike | Message, *, compress: bool = True
    ) -> None:
        """Queue a whole message, in one frame.

        Args:
            message: `str` for a text message, bytes-like for a binary one, or a `Message`.
            compress: False to ask a compressing extension to leave this one alone.

        Raises:
            TypeError: `message` is none of these.
            ValueError: text has a lone surrogate, or a `Message` is of a kind that has a
                method of its own.
            LocalProtocolError: our half is not open, or a fragmented message is under way.
        """
        plain = type(message) in PLAIN_TYPES
        if plain and self.outbound.add_plain(message):  # type: ignore[arg-type]
            return
        sendable: str | bytes | Message
        sendable = message if plain else to_sendable(message)  # type: ignore[assignment]
        frame_type: type[Frame]
        payload: bytes
        if isinstance(sendable, Message):
            frame_type, payload = sendable.frame_type, sendable.data
            if issubclass(frame_type, ControlFrame):
                self.send_control(frame_type(payload))
                return
        elif isinstance(sendable, str):
            frame_type, payload = TextFrame, encode_text(sendable, "message")
        else:
            frame_type, payload = BinaryFrame, sendable
        if self.state is not OPEN:
            self._check_open()
        self.outbound.add_message(frame_type, payload, compress)

    def send_shared(self, shared: SharedMessage) -> None:
        """Queue a message that other connections send too, in one frame.

        If a fragmented message is under way, it is queued when that has ended; not at all, if
        our half ends before.

        Raises:
            LocalProtocolError: our half is not open.
        """
        if self.state is not OPEN:
            self._check_open()
        self.outbound.add_shared(shared)

    def write_message(
        self, message: str | bytes, descriptor: int, compress: bool = True
    ) -> bytes | None:
        """Send a whole message like `send_message`, but write it at once as far as that goes.

        Where nothing is queued, and nothing special, it takes one call of C.

        Args:
            message: `str` for a text message, `bytes` for a binary one.
            descriptor: A socket's; it is never waited for.
            compress: As for `send_message`.

        Returns:
            What the socket has not taken of its frame, which is to be written before all else;
            None if nothing was written, and the frame is queued.

        Raises:
            ValueError, LocalProtocolError: as `send_message`.
            OSError: the socket is broken.
        """
        outbound = self.outbound
        payload: str | bytes = message
        first_byte = WHOLE_TEXT if type(message) is str else WHOLE_BINARY
        if outbound.size or not outbound.direct:
            if not outbound.may_encode:
                self.send_message(message, compress=compress)
                return None
            kind = TextFrame if isinstance(message, str) else BinaryFrame
            data = encode_text(message, "message") if isinstance(message, str) else message
            first_byte, payload = outbound.codecs[0].encode_message(kind, data, compress)
        key = new_masking_key() if outbound.masks else b""
        try:
            written = write_frame(descriptor, first_byte, payload, key)
        except UnicodeEncodeError:
            self.send_message(message, compress=compress)  # which says it better
            raise
        sent = self.sent
        sent.messages += 1
        if type(written) is int:
            sent.size += written
            return b""
        count, rest = written  # type: ignore[misc]
        sent.size += count + len(rest)
        return rest

    def send_fragment(
        self, frame_type: type[Frame], payload: BytesLike, *, final: bool, compress: bool = True
    ) -> None:
        """Queue one frame of a fragmented message (section 5.4).

        Args:
            frame_type: The kind of the message; the same for all its fragments.
            payload: This fragment's, text encoded and cut anywhere. Whether the fragments
                together are UTF-8 is for the caller to see to.
            final: Whether the message ends with it.
            compress: As for `send_message`; the same for all fragments.

        Raises:
            TypeError: `frame_type` is no class of data frames, or `payload` not bytes-like.
            LocalProtocolError: our half is not open, or another message is under way.
        """
        if frame_type is ContinuationFrame or not is_frame_type(frame_type, DataFrame):
            raise TypeError(
                f"frame_type must be the class of a message's first frame, not {frame_type!r}"
            )
        payload = to_bytes(payload)
        self._check_open()
        self.outbound.add_fragment(frame_type, payload, final, compress)

    def send_ping(self, payload: bytes) -> None:
        """Queue a ping; `answered_pings` gets its payload when its pong has come.

        Raises:
            ValueError: `payload` is over 125 bytes, or that of a ping still unanswered.
            LocalProtocolError: our half is not open.
        """
        frame = PingFrame(payload)
        if frame.payload in self._outstanding_pings:
            raise ValueError("payload must differ from that of a ping still unanswered")
        self.send_control(frame)
        self._outstanding_pings.append(frame.payload)
        self.sent.pings += 1

    def send_pong(self, payload: bytes = b"") -> None:
        """Queue a pong that nobody asked for (section 5.5.3).

        Raises:
            ValueError: `payload` is over 125 bytes.
            LocalProtocolError: our half is not open.
        """
        self.send_control(PongFrame(payload))
        self.sent.pongs += 1

    def send_control(self, frame: ControlFrame) -> None:
        """Queue a control frame, between the fragments of a message if one is under way.

        Raises:
            TypeError: `frame` is not a control frame, or is a close frame, which is for
                `send_close`.
            ValueError: `frame` has a reserved bit, which no extension claims on these.
            LocalProtocolError: our half is not open.
        """
        if isinstance(frame, CloseFrame) or not is_frame_type(type(frame), ControlFrame):
            raise TypeError(f"frame must be a control frame and no close frame, not {frame!r}")
        if frame.first_byte & RSV_BITS:
            raise ValueError(f"frame must have no reserved bit, not {frame!r}")
        self._check_open()
        self.outbound.add_control(frame)

    def send_close(self, code: int | None = None, reason: str = "") -> None:
        """Queue our close frame, the last that we send.

        Raises:
            TypeError: `code` or `reason` is of the wrong type.
            ValueError: `code` must not be sent, or `reason` is too long.
            LocalProtocolError: our half is not open.
        """
        check_close_arguments(code, reason)
        self._check_open()
        self._queue_close(CloseFrame.create(code, reason))

    def drop_queued(self) -> None:
        """Forget what is queued: our close frame is all that is still to be sent."""
        self.outbound.clear()

    def send_eof(self) -> None:
        """Our half of the stream has been written to its end."""
        self._move(Event.END)
        self.outbound.clear()

    def send_failed(self) -> None:
        """Our half of the stream is broken: what is queued will never be written."""
        self.close_held = False
        self._move(Event.FAILURE)
        self.outbound.clear()

    @property
    def closed_cleanly(self) -> bool:
        """Whether each side has sent its close frame, and neither half has failed."""
        # "the closing handshake has completed" (section 7.1.4)
        return self.state in CLOSED and self.peer_state in CLOSED

    def _check_open(self) -> None:
        check_event(self.state, Event.FRAME)

    def _queue_close(self, frame: CloseFrame) -> None:
        self._move(Event.CLOSE)
        self.close_held = False
        self.sent_close_frame = frame
        self.closed_first = self.closed_first or self.role
        self.outbound.add_pongs()
        self.outbound.add_control(frame)
