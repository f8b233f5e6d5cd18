"""The one writer of an HTTP/2 connection: what many streams have to send leaves together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import trio

from ..endpoint import STREAM_ERRORS
from .engine import Engine
from .stream import Half, Http2Stream

WRITE_SIZE: Final = 2**16
"""Bytes of all streams that gather for one write at most, but for what one frame adds."""


class Writer:
    """Writes what an engine has to send, and has streams send in turn.

    Args:
        stream: What is written to.
        engine: Makes frames.
        on_lost: Called when the stream can no longer be written.

    Attributes:
        progress: Where those are parked who wait for something to be written.
    """

    __slots__ = (
        "_engine",
        "_lost",
        "_on_lost",
        "_ready",
        "_stream",
        "_work",
        "_writing",
        "progress",
    )

    def __init__(
        self, stream: trio.abc.Stream, engine: Engine, on_lost: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._engine = engine
        self._on_lost = on_lost
        # Streams that have something to send and a window for it, each in its turn.
        self._ready: deque[Http2Stream] = deque()
        self._work = trio.lowlevel.ParkingLot()
        self._writing = False
        self._lost = False
        self.progress = trio.lowlevel.ParkingLot()

    def wake(self) -> None:
        """Have what there is written, together with what else comes in this tick."""
        if self._engine.size or self._ready or self._lost:
            self._work.unpark()

    def offer(self, stream: Http2Stream, *, wait: bool) -> None:
        """Send what a stream has: now, or as soon as its turn comes, if it may wait."""
        if not self._ready:
            while self._engine.size < WRITE_SIZE and self._send_piece(stream):
                pass
        if wait:
            self.retry((stream,))
        self.wake()

    def retry(self, streams: Iterable[Http2Stream]) -> None:
        """Give streams a turn that may have a window again."""
        for stream in streams:
            if stream.outgoing and not stream.is_ready:
                stream.is_ready = True
                self._ready.append(stream)

    def _send_piece(self, stream: Http2Stream) -> bool:
        """Send one frame of a stream's; says whether there may be more to send."""
        count = self._engine.send_data(stream.stream_id, stream.outgoing)
        stream.outgoing = stream.outgoing[count:]
        return count > 0 and len(stream.outgoing) > 0

    async def run(self) -> None:
        """The writer task."""
        while not self._lost:
            data = self._gather()
            if data:
                self._writing = True
                try:
                    await self._stream.send_all(data)
                except STREAM_ERRORS:
                    self._on_lost()
                self._writing = False
            self.progress.unpark_all()
            if not data:
                await self._work.park()

    def _gather(self) -> bytes:
        """Take what is to be written next; each stream that is ready has its turn."""
        while self._ready and self._engine.size < WRITE_SIZE:
            stream = self._ready.popleft()
            stream.is_ready = False
            if stream.sending is Half.OPEN and self._send_piece(stream):
                self.retry((stream,))
            elif not stream.outgoing:
                stream.on_sent()
        return self._engine.take()

    async def wait_written(self) -> None:
        """Wait until all is written that there is to write."""
        self.wake()
        while (self._engine.size or self._writing) and not self._lost:
            await self.progress.park()

    def drop(self) -> None:
        """Streams have nothing more to send."""
        self._ready.clear()
        self.wake()
        self.progress.unpark_all()

    def give_up(self) -> None:
        """Nothing more can be written."""
        self._lost = True
        self.drop()
