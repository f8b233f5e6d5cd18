"""How an endpoint reaches its stream: two ways to read and write bytes.

A plain socket is driven without waste: wait until it is readable, then read once, into a
buffer that all connections of a thread share; write at once, without blocking, and wait only
for what is left. Any other stream goes through `receive_some` and `send_all`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Awaitable, Sequence
from typing import Final

import trio

from ..protocol import BytesLike, Connection, Entry

with contextlib.suppress(ImportError):  # where it is missing, so is `os.readv`
    import fcntl

READ_SIZE: Final = 2**16
"""Bytes that one read of TLS, or of a stream that is no socket, takes at most."""

SCRATCH_SIZE: Final = 2**18
"""Bytes that one read of a socket takes at most, so that large messages need few."""

WRITE_SIZE: Final = 2**16
"""Bytes that one write to a stream that is not a socket gives it at most."""

LARGE_WRITE: Final = 2**17
"""Bytes from which on the system is asked to take a write whole, if it can."""

MAX_UNSENT: Final = 2**20
"""Bytes that the system may be asked to hold unsent for it."""

# Linux tells of a TCP socket what it has not sent (SIOCOUTQNSD), and of a Unix socket what the
# peer has not read (SIOCOUTQ). Either changes only if the peer's program reads, while what TCP
# has sent and the peer's system acknowledged would say nothing of the program.
_LINUX: Final = sys.platform == "linux"
_SIOCOUTQNSD: Final = 0x894B
_SIOCOUTQ: Final = 0x5411

_TRIO_UNSENT: Final = 2**14  # what `trio.SocketStream` has it hold

_MAX_BUFFERS: Final = 512  # less than any system's IOV_MAX

STREAM_ERRORS: Final = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
"""What a stream raises when it can no longer be read or written."""


class StreamTransport:
    """Any Trio stream: only its reader task reads it, and only the writer task writes."""

    __slots__ = ("stream",)

    write_ahead = WRITE_SIZE
    """Bytes that `write_some` takes of the buffers before it waits."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    @property
    def unsent(self) -> int:
        """Bytes that it has taken but the socket below it has not."""
        return 0

    @property
    def held_by_system(self) -> int:
        """Bytes that the system cannot pass on until the peer reads, as far as it tells."""
        return 0

    @property
    def holds_part(self) -> bool:
        """Whether it has read something that it cannot hand out before more has come."""
        return False

    def descriptor(self) -> int:
        """The file descriptor that frames may be read from and written to; -1 for none."""
        return -1

    def receive_nowait(self, connection: Connection) -> list[Entry] | None:
        """Read what is there, and have the connection take it; only `NonblockingTransport`s.

        Returns:
            A batch of messages; None if the read would block.
        """
        raise NotImplementedError

    def receive_at_rest(self, connection: Connection) -> list[Entry] | None:
        """Do the same, for a connection that was `at_rest` before it was waited for."""
        return self.receive_nowait(connection)

    async def read(self) -> BytesLike:
        """Read some bytes; empty at the end of the stream."""
        return await self.stream.receive_some(READ_SIZE)

    def write_nowait(self, buffers: Sequence[BytesLike]) -> int:  # noqa: ARG002
        """Write what goes without blocking, and return how many bytes that is: none."""
        return 0

    async def write_some(self, buffers: Sequence[BytesLike]) -> int:
        """Write the first of the buffers or more, and return how many bytes that is."""
        # In steps, so that it can be seen from outside whether the peer takes anything.
        data = _head(buffers)
        await self.stream.send_all(data)
        return len(data)

    async def send_eof(self) -> bool:
        """End our half of the stream, where it has halves; says whether it has."""
        if not isinstance(self.stream, trio.abc.HalfCloseableStream):
            return False
        await self.stream.send_eof()
        return True

    def send_eof_nowait(self) -> None:
        """End our half of the stream, where that says more than to close it, and costs less."""

    async def aclose(self) -> None:
        """Close the stream, as it wants to be closed."""
        await self.stream.aclose()

    async def aclose_forcefully(self) -> None:
        """Close the stream at once, if it is not closed yet."""
        with trio.CancelScope(shield=True), contextlib.suppress(*STREAM_ERRORS):
            await trio.aclose_forcefully(self.stream)


def _head(buffers: Sequence[BytesLike]) -> BytesLike:
    """What one write takes of the buffers, copied only where it is in more than one."""
    head: list[BytesLike] = []
    room = WRITE_SIZE
    for buffer in buffers:
        head.append(memoryview(buffer)[:room])
        room -= len(head[-1])
        if not room:
            break
    return head[0] if len(head) == 1 else b"".join(head)


class NonblockingTransport(StreamTransport):
    """A stream that any task may read or write without blocking, and wait for apart."""

    __slots__ = ("_socket",)

    write_ahead = 0

    def __init__(self, stream: trio.abc.Stream, socket_stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self._socket = socket_stream.socket

    @property
    def held_by_system(self) -> int:
        """Bytes that the system cannot pass on until the peer reads, as far as it tells."""
        is_unix = self._socket.family == trio.socket.AF_UNIX
        try:
            request = _SIOCOUTQ if is_unix else _SIOCOUTQNSD
            answer = fcntl.ioctl(self._socket.fileno(), request, bytes(4))
        except (OSError, ValueError):
            return 0  # not Linux, a socket of another kind, or one that is closed
        return int.from_bytes(answer, sys.byteorder)

    def wait_descriptor(self) -> int:
        """The file descriptor to wait for before the next read; -1 to call `wait_readable`."""
        raise NotImplementedError

    def read_nowait(self) -> BytesLike | None:
        """Read what is there: empty at the end of the stream, None if it would block.

        What it returns is valid until the next read of any connection of this thread.
        """
        raise NotImplementedError

    def read_into_nowait(self, room: memoryview) -> tuple[int, BytesLike] | None:
        """Read what is there, like `read_nowait`, but the first of it straight into its place.

        Returns:
            How many bytes are in `room` now, and what came after it was full; 0 and nothing
            at the end of the stream; None if it would block.
        """
        raise NotImplementedError

    def receive_nowait(self, connection: Connection) -> list[Entry] | None:
        """Read what is there, and have the connection take it."""
        room = connection.room
        if room is None:
            filled, data = 0, self.read_nowait()
            if data is None:
                return None
        else:
            with room:  # the rest of a large frame goes straight to its place
                got = self.read_into_nowait(room)
            if got is None:
                return None
            filled, data = got
        if filled or data:
            return connection.receive_data(data, filled)
        connection.receive_eof()
        return []

    def write_nowait(self, buffers: Sequence[BytesLike]) -> int:
        """Write what the stream takes of the buffers, and return how many bytes that is."""
        raise NotImplementedError

    def wait_readable(self) -> Awaitable[None]:
        """Wait until there is something to read, or the end of the stream."""
        return trio.lowlevel.wait_readable(self._open_fd())  # noqa: ASYNC105 - the caller does

    def _open_fd(self) -> int:
        fd = self._socket.fileno()
        if fd < 0:
            raise trio.ClosedResourceError("the socket was closed")
        return fd

    def interrupt(self) -> None:
        """Have whoever waits in `wait_readable` raise `trio.ClosedResourceError`.

        It costs those nothing who are not interrupted; a cancel scope for each read would.
        """
        trio.lowlevel.notify_closing(self._socket)

    async def read(self) -> BytesLike:
        """Read some bytes; empty at the end of the stream."""
        while True:
            await self.wait_readable()
            data = self.read_nowait()
            if data is not None:
                return data

    async def write_some(self, buffers: Sequence[BytesLike]) -> int:
        """Wait until the stream takes bytes, and write what it takes."""
        try:
            await trio.lowlevel.wait_writable(self._open_fd())
        except trio.ClosedResourceError:
            if self._socket.fileno() < 0:
                raise
            return 0  # only `interrupt`, which was not meant for us
        return self.write_nowait(buffers)


class _ThreadBuffer(threading.local):
    """The buffer that all reads of a thread go into, one after the other."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(SCRATCH_SIZE))


thread_buffer = _ThreadBuffer()


def read_socket(
    socket: trio.socket.SocketType, buffers: Sequence[bytearray | memoryview]
) -> int | None:
    """Read a socket once, into one buffer after the other: None if it would block.

    Returns:
        How many bytes that is; 0 at the end of the stream.
    """
    try:
        return os.readv(socket.fileno(), buffers)
    except (BlockingIOError, InterruptedError):
        return None


def write_socket(socket: trio.socket.SocketType, buffers: Sequence[BytesLike]) -> int:
    """Write what a socket takes without blocking, and return how many bytes that is."""
    try:
        if len(buffers) == 1:
            return os.write(socket.fileno(), buffers[0])
        return os.writev(socket.fileno(), buffers[:_MAX_BUFFERS]) if buffers else 0
    except (BlockingIOError, InterruptedError):
        return 0


def write_large(socket: trio.socket.SocketType, buffers: Sequence[BytesLike], size: int) -> int:
    """Write like `write_socket`, and have the system take all `size` bytes if it can.

    Trio has it hold 16 KiB that are not sent, so that a sender feels early that the peer does
    not keep up. Of a frame of a megabyte it would take a part in each of a dozen turns,
    although nothing may go between the parts. A limit that somebody else has set is kept.
    """
    try:
        usual = socket.getsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NOTSENT_LOWAT)
    except (OSError, AttributeError):  # not TCP, or a system that has no such limit
        usual = None
    # Where the system does not tell what it holds, a slow peer would look like a dead one.
    if usual != _TRIO_UNSENT or not _LINUX:
        return write_socket(socket, buffers)
    limit = trio.socket.IPPROTO_TCP, trio.socket.TCP_NOTSENT_LOWAT
    socket.setsockopt(*limit, min(size, MAX_UNSENT))
    try:
        return write_socket(socket, buffers)
    finally:
        socket.setsockopt(*limit, usual)


class SocketTransport(NonblockingTransport):
    """A plain socket.

    It goes to the file descriptor itself: a `receive_some` would try a read that must fail
    first, and a `send_all` would add a checkpoint after each write. The number is asked for
    each time, as a closed socket has none, and its number may already be another's.
    """

    __slots__ = ("_scratch", "descriptor", "wait_descriptor")
    unsent = 0

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream, stream)
        self._scratch = thread_buffer.view
        self.descriptor = self.wait_descriptor = self._socket.fileno  # type: ignore[method-assign]

    async def send_eof(self) -> bool:
        """End our half of the stream, which is done at once."""
        self._socket.shutdown(trio.socket.SHUT_WR)
        return True

    async def aclose(self) -> None:
        """Close the socket, which is done at once."""
        self._socket.close()

    async def aclose_forcefully(self) -> None:
        """Close the socket, if it is not closed yet."""
        self._socket.close()

    def read_nowait(self) -> BytesLike | None:
        """Read what is there."""
        scratch = thread_buffer.view
        size = read_socket(self._socket, (scratch,))
        return None if size is None else scratch[:size]

    def receive_at_rest(self, connection: Connection) -> list[Entry] | None:
        """Read what is there, and have the connection take it."""
        return connection.receive_from(self._socket.fileno(), self._scratch)

    def receive_nowait(self, connection: Connection) -> list[Entry] | None:
        """Read what is there, and have the connection take it."""
        if connection.at_rest():
            return connection.receive_from(self._socket.fileno(), self._scratch)
        return super().receive_nowait(connection)

    def read_into_nowait(self, room: memoryview) -> tuple[int, BytesLike] | None:
        """Read what is there, the first of it straight into its place."""
        scratch = thread_buffer.view
        size = read_socket(self._socket, (room, scratch))
        if size is None:
            return None
        filled = min(size, len(room))
        return filled, scratch[: size - filled]

    def write_nowait(self, buffers: Sequence[BytesLike]) -> int:
        """Write what the socket takes."""
        size = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        if size >= LARGE_WRITE:
            return write_large(self._socket, buffers, size)
        return write_socket(self._socket, buffers)
