"""Extensions at work, small enough to see through."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import attrs

from tests.protocol.wire import RSV1, RSV2, RSV3
from trio_wsendpoint.protocol import Codec, ContinuationFrame, Frame, Opcode


class CountingCodec(Codec):
    """Adds 0, 1, 2, ... to the bytes of a message, whatever its fragments; claims rsv2."""

    rsv = RSV2
    per_message = True

    def __init__(self) -> None:
        self._out = self._in = count()
        self._encoding = self._decoding = False

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
        first = frame.opcode != Opcode.CONTINUATION
        if first:
            self._out, self._encoding = count(), compress
        if not self._encoding:
            return frame
        payload = bytes((byte + next(self._out)) % 256 for byte in frame.payload)
        return attrs.evolve(frame, payload=payload, rsv2=first)

    def decode(self, frame: Frame) -> Iterator[Frame]:
        if frame.opcode != Opcode.CONTINUATION:
            self._in, self._decoding = count(), frame.rsv2
        payload = frame.payload
        if self._decoding:
            payload = bytes((byte - next(self._in)) % 256 for byte in payload)
        yield attrs.evolve(frame, payload=payload, rsv2=False)


class ReversingCodec(Codec):
    """Turns each frame's payload round, so that it must see it whole; claims rsv3."""

    rsv = RSV3

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:  # noqa: ARG002
        return attrs.evolve(frame, payload=frame.payload[::-1], rsv3=True)

    def decode(self, frame: Frame) -> Iterator[Frame]:
        yield attrs.evolve(frame, payload=frame.payload[::-1], rsv3=False)


class InflatingCodec(Codec):
    """Makes `factor` bytes of each, in chunks of 1000 made when asked for; claims rsv1."""

    rsv = RSV1
    per_message = True
    chunk = 1000

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self.made = 0

    def decode(self, frame: Frame) -> Iterator[Frame]:
        left = len(frame.payload) * self._factor
        while left:
            size = min(left, self.chunk)
            left -= size
            self.made += size
            yield ContinuationFrame(b"x" * size)
