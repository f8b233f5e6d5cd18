"""Cancels an operation at its first, second, ... n-th checkpoint, until it completes."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeAlias, Unpack

import attrs
import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from trio_wsendpoint.endpoint import Endpoint, EndpointKeywords, open_endpoint
from trio_wsendpoint.protocol import (
    CloseFrame,
    Connection,
    Frame,
    FrameParser,
    InboundOptions,
    Message,
    Role,
)
from trio_wsendpoint.testing import StallStream, WrappedStream

Kind: TypeAlias = Literal["memory", "lockstep", "socket"]
KINDS: Final[tuple[Kind, ...]] = ("memory", "lockstep", "socket")

MOST: Final = 1000
"""More checkpoints than any operation here has."""

FOREVER: Final = 1_000_000.0
"""Seconds after which a test is said to hang."""

FILLER: Final = "f" * 2**17
"""More than an outbox and the buffers of a socket here take."""

Step: TypeAlias = Callable[[], Awaitable[object]]


class Moment(enum.Enum):
    """When the scope is cancelled.

    `BLOCKED`: as soon as the task has come to rest at its n-th checkpoint.
    `RESUMED`: when it has been woken from there, and is about to go on.
    `ANY_STEP`: after the n-th step of whatever task, its own or another one.
    """

    BLOCKED = enum.auto()
    RESUMED = enum.auto()
    ANY_STEP = enum.auto()


@attrs.frozen
class Outcome:
    """How an operation ended: by `trio.Cancelled`, or with a value."""

    raised: bool
    value: Any = None


class Canceller(trio.abc.Instrument):
    """Cancels an operation at one checkpoint.

    Args:
        number: Which checkpoint; 0 is before it begins.
        moment: When, at that checkpoint.

    Attributes:
        is_first: Whether it cancels before the operation begins.
        happened: Whether the operation had so many checkpoints.
        scope: The operation's.
        time: When it was cancelled.
    """

    def __init__(self, number: int, moment: Moment) -> None:
        self.is_first = number == 0
        self._number = number
        self._moment = moment
        self._task: trio.lowlevel.Task | None = None
        self._count = 0
        self.scope = trio.CancelScope()
        self.happened = False
        self.time = -1.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._moment is Moment.RESUMED and task is self._task:
            self._advance()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._task is None or self._moment is Moment.RESUMED:
            return
        if self._moment is Moment.ANY_STEP or task is self._task:
            self._advance()

    def _advance(self) -> None:
        self._count += 1
        self._cancel_if_due()

    def _cancel_if_due(self) -> None:
        if self._count == self._number:
            self.happened = True
            self.time = trio.current_time()
            self.scope.cancel()

    async def run(self, operation: Callable[[], Awaitable[object]], *steps: Step) -> Outcome:
        """Run the operation, and meanwhile the steps, each one when all tasks are blocked."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_walk, steps)
            trio.lowlevel.add_instrument(self)
            try:
                with self.scope:
                    self._task = trio.lowlevel.current_task()
                    self._cancel_if_due()
                    try:
                        value = await operation()
                    finally:
                        self._task = None
            finally:
                trio.lowlevel.remove_instrument(self)
        if self.scope.cancelled_caught:
            return Outcome(raised=True)
        return Outcome(raised=False, value=value)


async def _walk(steps: tuple[Step, ...]) -> None:
    for step in steps:
        await wait_all_tasks_blocked()
        await step()


async def at_every_checkpoint(
    moment: Moment, play: Callable[[Canceller], Awaitable[object]]
) -> None:
    """Play a scene anew for each checkpoint of the operation in it, and once uncancelled."""
    for number in range(MOST):
        canceller = Canceller(number, moment)
        try:
            with trio.fail_after(FOREVER):
                await play(canceller)
        except BaseException as error:
            error.add_note(f"cancelled at checkpoint {number}, {moment}")
            raise
        if not canceller.happened:
            return
    raise AssertionError("it has no end of checkpoints")


class ParsingPeer:
    """A good peer, made of a `Connection` that parses every byte that comes.

    Attributes:
        connection: Its own.
        messages: All messages that came so far.
        data: All bytes that came so far.
        at_end: Whether the stream has ended.
        reads: Whether it has begun to read.
        mute: Whether it reads, but answers nothing.
    """

    def __init__(self, stream: trio.abc.Stream, role: Role) -> None:
        self.stream = stream
        self.connection = Connection(role, InboundOptions(max_message_size=None))
        self.connection.open()
        self.messages: list[object] = []
        self.data = bytearray()
        self.at_end = False
        self.reads = self.mute = False
        self._send_lock = trio.Lock()

    async def run(self) -> None:
        """Read to the end, and answer as a good peer does."""
        try:
            while data := await self.stream.receive_some(2**16):
                self.take(data)
                if not self.mute:
                    await self.flush()
                    if self._closes_first and self.connection.received_close_frame:
                        break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.at_end = True
        await trio.aclose_forcefully(self.stream)

    @property
    def _closes_first(self) -> bool:
        return self.connection.role is Role.SERVER

    def take(self, data: bytes | bytearray) -> None:
        self.data += data
        for entry in self.connection.receive_data(data):
            self.messages.append(entry.payload if isinstance(entry, Message) else entry)
        assert self.connection.failure is None

    async def flush(self) -> None:
        await self.send(b"".join(self.connection.data_to_send()))

    async def send(self, data: bytes) -> None:
        async with self._send_lock:
            if data:
                await self.stream.send_all(data)

    def encode(self, *messages: str) -> bytes:
        """The bytes of messages; whoever calls it has to send them."""
        for message in messages:
            self.connection.send_message(message)
        return b"".join(self.connection.data_to_send())

    def encode_fragments(self, frame_type: type[Frame], *payloads: bytes) -> list[bytes]:
        """The frames of one message."""
        frames = []
        for number, payload in enumerate(payloads, 1):
            final = number == len(payloads)
            self.connection.send_fragment(frame_type, payload, final=final)
            frames.append(b"".join(self.connection.data_to_send()))
        return frames

    def sends(self, data: bytes) -> Step:
        return lambda: self.send(data)

    def frames(self) -> list[Frame]:
        """All frames that came: whole ones, and nothing behind a close frame."""
        parser, offset, frames = FrameParser(), 0, []
        while offset < len(self.data):
            masked = self.connection.role is Role.SERVER
            parsed = parser.parse(bytes(self.data), offset, masked=masked)
            assert parsed is not None, "half a frame was sent"
            found, offset = parsed
            frames.append(found)
        assert not any(isinstance(found, CloseFrame) for found in frames[:-1])
        return frames

    @property
    def close_code(self) -> int | None:
        """The code of the close frame that came, or None."""
        frame = self.connection.received_close_frame
        return None if frame is None else frame.code


@attrs.define
class World:
    """An endpoint, its peer, and a nursery for whatever else goes on."""

    endpoint: Endpoint
    peer: ParsingPeer
    nursery: trio.Nursery
    stream: trio.abc.Stream

    async def read(self) -> None:
        """A step: from here on the peer reads."""
        resume(self.stream)
        self.peer.reads = True
        self.nursery.start_soon(self.peer.run)

    async def fill(self) -> None:
        """Fill the outbox, so that whoever sends has to wait."""
        with trio.move_on_after(1) as scope:
            await self.endpoint.send(FILLER)
        assert not scope.cancelled_caught


def make_streams(kind: Kind) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """Ours and the peer's: ours takes little or nothing unless the peer reads."""
    if kind == "lockstep":
        return lockstep_stream_pair()
    if kind == "memory":
        ours, theirs = memory_stream_pair()
        return StallStream(ours, after_sent=0), theirs
    sockets = trio.socket.socketpair()
    for socket in sockets:
        socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 4096)
        socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    return trio.SocketStream(sockets[0]), trio.SocketStream(sockets[1])


def resume(stream: trio.abc.Stream) -> None:
    """Let a stream that was made stalled take all."""
    if isinstance(stream, StallStream):
        stream.resume()


async def assert_closed(stream: trio.abc.Stream) -> None:
    """Our end of a stream has been closed."""
    while isinstance(stream, WrappedStream):
        stream = stream.stream
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")


@asynccontextmanager
async def open_world(
    kind: Kind, role: Role = Role.SERVER, **options: Unpack[EndpointKeywords]
) -> AsyncIterator[World]:
    """An endpoint whose peer does not read yet."""
    options.setdefault("ping_interval", float("inf"))
    ours, theirs = make_streams(kind)
    peer = ParsingPeer(theirs, role.other)
    async with (
        trio.open_nursery() as nursery,
        open_endpoint(ours, role, **options) as endpoint,
    ):
        try:
            yield World(endpoint, peer, nursery, ours)
        finally:
            if not peer.reads:
                await trio.aclose_forcefully(theirs)
