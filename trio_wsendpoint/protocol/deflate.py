"""permessage-deflate: messages compressed one by one (RFC 7692).

It works with zlib-ng where that is installed (`pip install trio-wsendpoint[fast]`), which
deflates several times as fast, and with the standard library's zlib otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from importlib import import_module
from typing import Any, ClassVar, Final

import attrs

from .close import CloseCode
from .errors import HandshakeError, ProtocolError
from .extensions import Codec, Extension
from .fields import Parameters
from .frames import FIN, ContinuationFrame, Frame, Opcode


def find_zlib() -> Any:
    """zlib-ng where it is installed, else the standard library's zlib."""
    try:
        return import_module("zlib_ng.zlib_ng")
    except ImportError:
        return import_module("zlib")


zlib = find_zlib()

RSV1: Final = 0x40
TAIL: Final = b"\x00\x00\xff\xff"
"""The end of a flushed block, which is not sent (section 7.2.1)."""

CHUNK: Final = 2**16
"""Bytes that are inflated at a time."""

SMALL_STEP: Final = 2**9
"""Bytes that are given to zlib at a time after a stream has ended inside a message."""

MAX_BITS: Final = 15
MIN_DEFLATE_BITS: Final = 9
"""zlib cannot deflate with a window of 8 bits, which the RFC allows; it can inflate it."""

_FLAGS: Final = ("server_no_context_takeover", "client_no_context_takeover")
_BITS_VALUES: Final[dict[str | None, int]] = {str(bits): bits for bits in range(8, 16)}
_BITS: Final = ("server_max_window_bits", "client_max_window_bits")


def _check_range(low: int, high: int) -> Any:
    def check(_: object, attribute: attrs.Attribute[int], value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{attribute.name} must be an int, not {type(value).__name__}")
        if not low <= value <= high:
            raise ValueError(f"{attribute.name} must be {low} to {high}, not {value}")

    return check


_is_bits = _check_range(8, MAX_BITS)
_is_bits_or_none: Any = attrs.validators.optional(_is_bits)
_is_bool = attrs.validators.instance_of(bool)


@attrs.frozen(kw_only=True)
class PermessageDeflate(Extension):
    """Compression of messages, negotiated by RFC 7692.

    The first four options are the parameters of section 7.1, for both roles: a client offers
    them, a server takes them or what the offer says, whichever is less. As it must not limit
    a client that does not offer `client_max_window_bits`, it then reads what a window of 15
    bits made.

    A window of 8 bits can be asked of the peer. For ourselves, where zlib needs 9, an option
    of 8 counts as 9; a server declines an offer that wants 8 of it, and a client that is
    told to use 8 sends its messages uncompressed.

    Args:
        server_no_context_takeover: Whether the server forgets each message before the next,
            which costs compression and saves its memory.
        client_no_context_takeover: The same for the client.
        server_max_window_bits: 8 to 15; how far back the server's compression may look.
        client_max_window_bits: The same for the client. An offer of 15 goes without a value;
            with None a client does not offer the parameter, so that the server must not
            limit it. To a server None is 15.
        level: 0 to 9; how hard we try to compress.
        memory_level: 1 to 9; the memory that we take for it.
        threshold: Bytes below which a message goes uncompressed; does not apply to streams.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it.
    """

    name: ClassVar[str] = "permessage-deflate"

    server_no_context_takeover: bool = attrs.field(default=False, validator=_is_bool)
    client_no_context_takeover: bool = attrs.field(default=False, validator=_is_bool)
    server_max_window_bits: int = attrs.field(default=MAX_BITS, validator=_is_bits)
    client_max_window_bits: int | None = attrs.field(
        default=MAX_BITS, validator=_is_bits_or_none
    )
    level: int = attrs.field(default=1, validator=_check_range(0, 9))
    memory_level: int = attrs.field(default=5, validator=_check_range(1, 9))
    threshold: int = attrs.field(default=128, validator=_check_range(0, 2**62))

    def offers(self) -> list[Parameters]:
        """One offer, with the parameters that differ from the RFC's defaults."""
        offer: list[tuple[str, str | None]] = [
            (name, None) for name in _FLAGS if getattr(self, name)
        ]
        if self.server_max_window_bits < MAX_BITS:
            offer.append(("server_max_window_bits", str(self.server_max_window_bits)))
        if self.client_max_window_bits is not None:
            ours = self._client_bits
            offer.append(("client_max_window_bits", str(ours) if ours < MAX_BITS else None))
        return [offer]

    @property
    def _client_bits(self) -> int:
        """The window that we compress with as a client, unless the server wants a smaller."""
        return max(self.client_max_window_bits or MAX_BITS, MIN_DEFLATE_BITS)

    def accept(self, offer: Parameters) -> tuple[Parameters, Codec] | None:
        """Accept an offer, or decline it as section 7.1 says, by None."""
        try:
            wanted = _parse(offer, bare_client_bits=True)
        except HandshakeError:
            return None
        wanted_bits = wanted.get("server_max_window_bits", MAX_BITS)
        if wanted_bits < MIN_DEFLATE_BITS:
            return None
        bits = min(wanted_bits, max(self.server_max_window_bits, MIN_DEFLATE_BITS))
        answer: list[tuple[str, str | None]] = [
            (name, None) for name in _FLAGS if name in wanted or getattr(self, name)
        ]
        if bits < MAX_BITS or "server_max_window_bits" in wanted:
            answer.append(("server_max_window_bits", str(bits)))
        peer_bits = MAX_BITS
        # "If a received extension negotiation offer doesn't have the
        # "client_max_window_bits" extension parameter, the corresponding ... response to the
        # offer MUST NOT include the ... parameter." (section 7.1.2.2)
        if "client_max_window_bits" in wanted:
            peer_bits = min(
                wanted["client_max_window_bits"], self.client_max_window_bits or MAX_BITS
            )
            if peer_bits < MAX_BITS:
                answer.append(("client_max_window_bits", str(peer_bits)))
        agreed = dict(answer)
        codec = self._codec(
            bits,
            peer_bits,
            "server_no_context_takeover" in agreed,
            "client_no_context_takeover" in agreed,
        )
        return answer, codec

    def confirm(self, answer: Parameters) -> Codec:
        """Check the server's answer against the offer.

        Raises:
            HandshakeError: it is not one that the offer allows.
        """
        agreed = _parse(answer, bare_client_bits=False)
        if self.server_no_context_takeover and "server_no_context_takeover" not in agreed:
            raise HandshakeError("the server insists on context takeover")
        # "with the same or smaller value as the offer" (section 7.1.2.1)
        peer_bits = agreed.get("server_max_window_bits", MAX_BITS)
        if peer_bits > self.server_max_window_bits:
            raise HandshakeError("the server insists on a larger server_max_window_bits")
        if self.client_max_window_bits is None and "client_max_window_bits" in agreed:
            raise HandshakeError("the server sets a client_max_window_bits not offered")
        # "with a value equal to or smaller than the received value" (section 7.1.2.2)
        bits = agreed.get("client_max_window_bits", self._client_bits)
        if bits > self._client_bits:
            raise HandshakeError("the server sets a larger client_max_window_bits than offered")
        return self._codec(
            bits,
            peer_bits,
            self.client_no_context_takeover or "client_no_context_takeover" in agreed,
            "server_no_context_takeover" in agreed,
        )

    def _codec(self, bits: int, peer_bits: int, forget: bool, peer_forgets: bool) -> Codec:
        return DeflateCodec(
            _Deflater(bits, self.level, self.memory_level, forget),
            _Inflater(max(peer_bits, MIN_DEFLATE_BITS), peer_forgets),
            self.threshold if bits >= MIN_DEFLATE_BITS else None,
        )


def _parse(parameters: Parameters, *, bare_client_bits: bool) -> dict[str, int]:
    """Check parameters against section 7.1: known ones, once each, with a value as it must be.

    Raises:
        HandshakeError: one is none of these.
    """
    result: dict[str, int] = {}
    for name, value in parameters:
        if name in result:
            raise HandshakeError(f"permessage-deflate has {name} twice")
        bare = name in _FLAGS or (bare_client_bits and name == "client_max_window_bits")
        if value is None and bare:
            result[name] = MAX_BITS
        # "a decimal integer value without leading zeroes between 8 to 15" (section 7.1.2)
        elif name in _BITS and value in _BITS_VALUES:
            result[name] = _BITS_VALUES[value]
        else:
            raise HandshakeError(f"permessage-deflate has a bad or unknown {name}")
    return result


class _Deflater:
    """Compresses; its state is made when it is first needed."""

    __slots__ = ("_bits", "_forget", "_level", "_memory_level", "_zlib")

    def __init__(self, bits: int, level: int, memory_level: int, forget: bool) -> None:
        self._bits = bits
        self._level = level
        self._memory_level = memory_level
        self._forget = forget
        self._zlib: Any = None

    @property
    def sharing_key(self) -> Hashable:
        """What those have in common that make the same of a message; None: not to be told."""
        return (self._bits, self._level, self._memory_level) if self._forget else None

    def deflate(self, payload: bytes, final: bool) -> bytes:
        if self._zlib is None:
            self._zlib = zlib.compressobj(
                self._level, zlib.DEFLATED, -self._bits, self._memory_level
            )
        data: bytes = self._zlib.compress(payload) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        if not final:
            return data
        if self._forget:
            self._zlib = None
        return data[: -len(TAIL)]


class _Inflater:
    """Decompresses, a chunk at a time; its state is made when it is first needed."""

    __slots__ = (
        "_at_start",
        "_bits",
        "_data",
        "_final",
        "_forget",
        "_offset",
        "_size",
        "_step",
        "_zlib",
    )

    def __init__(self, bits: int, forget: bool) -> None:
        self._bits = bits
        self._forget = forget
        self._zlib: Any = None
        self._at_start = True  # of a message, or behind a final block
        self.feed(b"", final=False)

    def feed(self, data: bytes, final: bool) -> None:
        """Give it a part of a message; `take` all that comes of it before the next part."""
        self._data = data + TAIL if final else data
        self._size = len(data)
        self._final = final
        self._offset = 0
        self._step = CHUNK

    def take(self) -> tuple[bytes, bool]:
        """Inflate the next chunk; returns it, and whether it is the last.

        Raises:
            ProtocolError: the data is corrupt.
        """
        chunk, last = b"", False
        while not chunk and not last:
            if self._at_start and self._offset == self._size:
                self._offset = len(self._data)  # there is no block whose tail it might be
            else:
                given = self._data[self._offset : self._offset + self._step]
                chunk = self._inflate(given)
                self._settle(given)
            last = self._is_last(chunk)
        return chunk, last

    def take_first(self, message: bytes) -> tuple[bytes, bool]:
        """Inflate the first chunk of a message that came in one part.

        It does what `feed` and `take` do, with less ado where that chunk is all of it.

        Raises:
            ProtocolError: the data is corrupt.
        """
        if not 0 < len(message) <= CHUNK - len(TAIL):
            self.feed(message, final=True)
            return self.take()
        given = message + TAIL
        chunk = self._inflate(given)
        if len(chunk) < CHUNK and not self._zlib.eof:
            if self._forget:
                self._zlib = None
            return chunk, True
        self.feed(message, final=True)
        self._settle(given)
        last = self._is_last(chunk)
        return (chunk, last) if chunk or last else self.take()

    def _inflate(self, given: bytes) -> bytes:
        if self._zlib is None:
            self._zlib = zlib.decompressobj(-self._bits)
        try:
            chunk: bytes = self._zlib.decompress(given, CHUNK)
        except zlib.error:
            raise ProtocolError(
                "compressed data that is corrupt", CloseCode.INVALID_DATA
            ) from None
        return chunk

    def _settle(self, given: bytes) -> None:
        """Note how much was inflated of what zlib was given."""
        inflater = self._zlib
        # A block with "BFINAL" set ends the stream, but not the message: what follows it is
        # another stream (section 7.2.3.5).
        self._at_start = inflater.eof
        left = inflater.unconsumed_tail
        if inflater.eof:
            left = inflater.unused_data
            self._step = SMALL_STEP  # as zlib copies what it leaves
            self._zlib = None
        self._offset += len(given) - len(left)

    def _is_last(self, chunk: bytes) -> bool:
        """Whether a chunk is the last of its part, which has ended then."""
        # zlib may have kept back more of what filled a chunk.
        if self._offset < len(self._data) or len(chunk) == CHUNK:
            return False
        self._data = b""
        self._at_start |= self._final
        if self._final and self._forget:
            self._zlib = None
        return True


class DeflateCodec(Codec):
    """permessage-deflate at work on one connection.

    Args:
        deflater: Compresses what goes out.
        inflater: Decompresses what comes in.
        threshold: Bytes below which a message goes uncompressed; None to compress nothing.
    """

    rsv = RSV1
    per_message = True

    __slots__ = (
        "_begun",
        "_deflater",
        "_deflating",
        "_inflater",
        "_inflating",
        "_threshold",
    )

    def __init__(self, deflater: _Deflater, inflater: _Inflater, threshold: int | None) -> None:
        self._deflater = deflater
        self._inflater = inflater
        self._threshold = threshold
        self._deflating = False
        self._inflating = False
        self._begun: bytes | None = None

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
        """Compress a frame, if its message is to be: its first frame decides."""
        first = frame.opcode != Opcode.CONTINUATION
        if first:
            size = len(frame.payload) if frame.fin else math.inf
            self._deflating = compress and self._is_worth_it(size)
        if not self._deflating:
            return frame
        payload = self._deflater.deflate(frame.payload, frame.fin)
        return type(frame)(payload, fin=frame.fin, rsv1=first, rsv2=frame.rsv2, rsv3=frame.rsv3)

    def encode_message(
        self, frame_type: type[Frame], payload: bytes, compress: bool
    ) -> tuple[int, bytes]:
        """Compress a whole message."""
        first_byte = FIN | frame_type.opcode
        threshold = self._threshold
        if not compress or threshold is None or len(payload) < threshold:
            return first_byte, payload
        return first_byte | RSV1, self._deflater.deflate(payload, final=True)

    def sharing_key(self, size: int, compress: bool) -> Hashable:
        """Those share a message that leave it as it is, or forget each in the same way."""
        if not (compress and self._is_worth_it(size)):
            return "uncompressed"
        return self._deflater.sharing_key

    def _is_worth_it(self, size: float) -> bool:
        return self._threshold is not None and size >= self._threshold

    def decode(self, frame: Frame) -> Iterator[Frame]:
        """Decompress a frame, if its message is compressed.

        It yields one frame or more, of at most `CHUNK` bytes each and made when asked for.
        The last may be empty, and it alone has `fin`, if the frame had it.

        Raises:
            ProtocolError: the data is corrupt, or a continuation has RSV1 set.
        """
        if frame.opcode != Opcode.CONTINUATION:
            self._inflating = frame.rsv1
        elif frame.rsv1:
            # "An endpoint MUST NOT set the "Per-Message Compressed" bit of ... non-first
            # fragments of a data message" (section 6.1)
            raise ProtocolError("a continuation frame with RSV1 set")
        return self._inflate(frame) if self._inflating else iter((frame,))

    def _inflate(self, frame: Frame) -> Iterator[Frame]:
        begun, last = self._begun, False
        self._begun = None
        if begun is None:
            self._inflater.feed(frame.payload, frame.fin)
            begun, last = self._inflater.take()
        yield type(frame)(begun, fin=last and frame.fin, rsv2=frame.rsv2, rsv3=frame.rsv3)
        while not last:
            chunk, last = self._inflater.take()
            yield ContinuationFrame(chunk, fin=last and frame.fin)

    def decode_message(self, first_byte: int, payload: bytes) -> bytes | None:
        """Decompress a whole message, if it takes no more than one chunk.

        Raises:
            ProtocolError: the data is corrupt.
        """
        if not first_byte & RSV1:
            return payload
        chunk, last = self._inflater.take_first(payload)
        if last:
            return chunk
        self._begun = chunk  # where `decode` goes on
        return None
