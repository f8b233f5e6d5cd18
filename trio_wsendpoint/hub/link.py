"""A connection to Redis: commands go in at once, replies come out in their order."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeAlias

import trio

from ..endpoint import STREAM_ERRORS, start_tls
from ..protocol import HandshakeError
from .errors import HubUnavailable
from .url import RedisAddress

try:
    import hiredis
except ImportError:  # pragma: no cover  # a test runs without it, in a process of its own
    hiredis = None  # type: ignore[assignment]

DIAL_TIMEOUT: Final = 5.0
"""Seconds that Redis may take to let us in."""
TICK: Final = 2.0
"""Seconds between two looks at whether anything has come."""
MAX_MISSES: Final = 3
"""Looks in a row that may find nothing: a silent Redis is given up on in 6 to 8 seconds."""

HIGH_WATER: Final = 2**16
"""Bytes that may wait to be written before whoever adds more has to wait."""
MAX_UNANSWERED: Final = 2**14
"""Commands that may wait for their replies, likewise."""
READ_SIZE: Final = 2**16

OnReply: TypeAlias = Callable[[Any], None]


def check_hiredis() -> None:
    """Refuse to go on without hiredis.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    if hiredis is None:  # pragma: no cover  # as above
        raise ImportError(
            "a hub over Redis needs hiredis: pip install 'trio-wsendpoint[redis]'"
        )


def is_refusal(reply: object) -> bool:
    """Whether a reply is an error."""
    return isinstance(reply, hiredis.ReplyError)


class LinkLost(Exception):
    """The connection to Redis is of no more use."""


class Reply:
    """The reply to one command, for the task that waits for it."""

    __slots__ = ("_arrived", "_value")

    def __init__(self) -> None:
        self._arrived = trio.Event()
        self._value: Any = None

    def set(self, value: Any) -> None:
        """It has come, or an exception tells why it never will."""
        self._value = value
        self._arrived.set()

    async def wait(self) -> Any:
        """Wait for it.

        Raises:
            HubUnavailable: Redis has refused the command, or the connection was lost before
                the reply came: then the command may or may not have been carried out.
        """
        await self._arrived.wait()
        if is_refusal(self._value):
            raise HubUnavailable(f"Redis has refused: {self._value}")
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


class Link:
    """A connection to Redis, once it is open.

    Its tasks are `run_reader`, `run_writer` and `run_watch`; each ends in `LinkLost`.

    Args:
        stream: What it lives on.
        on_message: Gets all that comes, on a connection that subscribes: there are no
            replies on it.

    Attributes:
        on_room: Called whenever there may be room for more commands.
        lost: Whether it is of no more use.
    """

    def __init__(self, stream: trio.abc.Stream, on_message: OnReply | None = None) -> None:
        self._stream = stream
        self._on_message = on_message
        self._parser = hiredis.Reader()
        self._buffers: list[bytes] = []
        self._size = 0
        self._writing = False
        self._work = trio.lowlevel.ParkingLot()
        self._progress = trio.lowlevel.ParkingLot()
        # For each command under way, who wants its reply; None where it is a message that
        # is published, and all that matters is that Redis does not refuse it.
        self._unanswered: deque[OnReply | None] = deque()
        self._reads = 0
        self.lost = False
        self.on_room: Callable[[], None] = lambda: None

    # -- commands -------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether whoever adds a command should wait."""
        return self._size > HIGH_WATER or len(self._unanswered) > MAX_UNANSWERED

    @property
    def unconfirmed(self) -> int:
        """Messages that were published, of which Redis has not said that it has them."""
        return self._unanswered.count(None)

    def put(self, *command: bytes | str | int, on_reply: OnReply | None = None) -> None:
        """Add a command, whose reply `on_reply` gets: a value, or an exception.

        Without it, an error for a reply is the end of the connection.
        """
        if self.lost:
            if on_reply is not None:
                on_reply(_lost())
            return
        data = pack(*command)
        if self._on_message is None:
            self._unanswered.append(on_reply)
        self._buffers.append(data)
        self._size += len(data)
        if self._work:
            self._work.unpark()

    def add(self, *command: bytes | str | int) -> Reply:
        """Add a command, whose reply may be waited for."""
        reply = Reply()
        self.put(*command, on_reply=reply.set)
        return reply

    async def call(self, *command: bytes | str | int) -> Any:
        """Add a command, and wait for its reply.

        Cancelled, it waits no longer; the command is carried out all the same.

        Raises:
            HubUnavailable: as `Reply.wait`.
        """
        return await self.add(*command).wait()

    async def wait_for_room(self) -> None:
        """Wait until a command may be added; not a checkpoint if one may already."""
        while self.full and not self.lost:
            await self._progress.park()

    async def wait_written(self) -> None:
        """Wait until all commands are written and answered."""
        while not self.lost and (self._buffers or self._writing or self._unanswered):
            await self._progress.park()

    # -- its tasks ------------------------------------------------------------------------

    async def run_writer(self) -> NoReturn:
        """Write what there is to write."""
        while True:
            while not self._buffers:
                await self._work.park()
            data = b"".join(self._buffers)
            self._buffers.clear()
            self._size = 0
            self._writing = True
            try:
                await self._stream.send_all(data)
            except STREAM_ERRORS as error:
                raise LinkLost(f"the connection broke: {error}") from error
            self._writing = False
            self._made_progress()

    async def run_reader(self) -> NoReturn:
        """Read what comes, and give each reply to whoever wants it."""
        while True:
            try:
                data = await self._stream.receive_some(READ_SIZE)
            except STREAM_ERRORS as error:
                raise LinkLost(f"the connection broke: {error}") from error
            if not data:
                raise LinkLost("Redis has closed the connection")
            self._reads += 1
            self._take(data)

    def _take(self, data: bytes | bytearray) -> None:
        try:
            self._parser.feed(bytes(data))
            # False is what hiredis returns where there is no whole reply yet.
            while (reply := self._parser.gets()) is not False:
                if self._on_message is not None:
                    self._on_message(reply)
                elif not self._unanswered:
                    raise LinkLost(f"Redis said {reply!r} to nothing")
                elif (on_reply := self._unanswered.popleft()) is not None:
                    on_reply(reply)
                elif is_refusal(reply):
                    raise LinkLost(f"Redis has refused: {reply}")
        except hiredis.ProtocolError as error:
            raise LinkLost(f"this is not the protocol of Redis: {error}") from error
        self._made_progress()

    def _made_progress(self) -> None:
        if self._progress:
            self._progress.unpark_all()
        if not self.full:
            self.on_room()

    async def run_watch(self) -> NoReturn:
        """Send a PING now and then, and give up on a Redis that is silent.

        Looks are counted, not seconds: after this process itself was stopped, a single late
        look tells nothing of Redis.
        """
        misses = before = 0
        while misses < MAX_MISSES:
            if not (self._writing or self.full):
                self.put("PING", on_reply=_ignore)
            await trio.sleep(TICK)
            misses = misses + 1 if self._reads == before else 0
            before = self._reads
        raise LinkLost(f"nothing has come for {MAX_MISSES * TICK:g} seconds")

    def abandon(self) -> None:
        """Tell those who wait for replies that none will come."""
        self.lost = True
        while self._unanswered:
            on_reply = self._unanswered.popleft()
            if on_reply is not None:
                on_reply(_lost())
        self._progress.unpark_all()

    async def aclose(self) -> None:
        """Close the connection, at once and also where that was cancelled."""
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)


def pack(*command: bytes | str | int) -> bytes:
    """The bytes of a command."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


def _lost() -> HubUnavailable:
    return HubUnavailable("the connection to Redis was lost before it answered")


def _ignore(_: Any) -> None:
    pass


async def dial(
    address: RedisAddress,
    ssl_context: ssl.SSLContext | None,
    on_message: OnReply | None = None,
) -> Link:
    """Connect to Redis, and get in.

    Raises:
        HubUnavailable: it cannot be reached, or does not let us in.
    """
    with trio.move_on_after(DIAL_TIMEOUT):
        try:
            stream: trio.abc.Stream = await trio.open_tcp_stream(address.host, address.port)
            below = stream
            try:
                if address.secure:
                    context = ssl_context or ssl.create_default_context()
                    stream = await start_tls(stream, context, address.host)
                await _enter(stream, address)
                return Link(stream, on_message)
            except BaseException:
                await trio.aclose_forcefully(below)
                raise
        except (
            OSError,
            HandshakeError,
            LinkLost,
            hiredis.ProtocolError,
            *STREAM_ERRORS,
        ) as error:
            raise HubUnavailable(f"Redis at {address} is not available: {error}") from error
    raise HubUnavailable(
        f"Redis at {address} is not available: no answer within {DIAL_TIMEOUT:g} seconds"
    )


async def _enter(stream: trio.abc.Stream, address: RedisAddress) -> None:
    """Say who we are, choose the database, and hear that Redis is ready."""
    commands: list[tuple[str | int, ...]] = []
    if address.password is not None:
        user = () if address.username is None else (address.username,)
        commands.append(("AUTH", *user, address.password))
    if address.database:
        commands.append(("SELECT", address.database))
    commands.append(("PING",))  # a Redis that is still loading refuses it
    await stream.send_all(b"".join(pack(*command) for command in commands))
    parser = hiredis.Reader()
    for _ in commands:
        while (reply := parser.gets()) is False:
            data = await stream.receive_some(READ_SIZE)
            if not data:
                raise LinkLost("it has closed the connection")
            parser.feed(bytes(data))
        if is_refusal(reply):
            raise LinkLost(str(reply))
