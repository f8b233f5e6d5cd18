"""An extension of one's own, both ends: every frame carries a checksum.

Usage: python examples/custom_extension.py

The client offers it with each algorithm that it knows, the server accepts the first offer
that it can. It claims rsv2, which marks the frames that end in a checksum.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import attrs
import trio

from trio_wsendpoint import CloseCode, Codec, Endpoint, Extension, Frame, connect, serve
from trio_wsendpoint.protocol import HandshakeError, Parameters, ProtocolError

Algorithm = Callable[[bytes], int]

ALGORITHMS: dict[str, Algorithm] = {"crc32": zlib.crc32, "adler32": zlib.adler32}


class ChecksumCodec(Codec):
    """The extension at work on one connection: it has been agreed on."""

    rsv = 0x20

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:  # noqa: ARG002
        """Add the checksum."""
        checksum = self._algorithm(frame.payload).to_bytes(4, "big")
        return attrs.evolve(frame, payload=frame.payload + checksum, rsv2=True)

    def decode(self, frame: Frame) -> Iterator[Frame]:
        """Check the checksum, and take it off."""
        payload, checksum = frame.payload[:-4], frame.payload[-4:]
        if not frame.rsv2 or self._algorithm(payload).to_bytes(4, "big") != checksum:
            raise ProtocolError("a wrong checksum", CloseCode.INVALID_DATA)
        yield attrs.evolve(frame, payload=payload, rsv2=False)


@attrs.frozen
class Checksum(Extension):
    """The extension as an application asks for it.

    Attributes:
        algorithms: Those that it may use, the most wanted first.
    """

    name = "x-checksum"
    algorithms: Sequence[str] = tuple(ALGORITHMS)

    def offers(self) -> Sequence[Parameters]:
        """The client's offers: one for each algorithm."""
        return [[("algorithm", algorithm)] for algorithm in self.algorithms]

    def accept(self, offer: Parameters) -> tuple[Parameters, Codec] | None:
        """The server's answer: None for what it does not know, which declines the offer."""
        match offer:
            case [("algorithm", str(algorithm))] if algorithm in self.algorithms:
                return offer, ChecksumCodec(ALGORITHMS[algorithm])
        return None

    def confirm(self, answer: Parameters) -> Codec:
        """What the client makes of the answer."""
        accepted = self.accept(answer)
        if accepted is None:
            raise HandshakeError(f"{self.name} was answered with what was not offered")
        return accepted[1]


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


async def main() -> None:
    extensions = [Checksum(["adler32"])]
    async with trio.open_nursery() as nursery:
        start_server = partial(serve, host="127.0.0.1", extensions=extensions)
        listeners = await nursery.start(start_server, echo, 0)
        port = listeners[0].socket.getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", extensions=[Checksum()]) as endpoint:
            print("offered: ", endpoint.request.header("Sec-WebSocket-Extensions"))
            print("accepted:", endpoint.response.header("Sec-WebSocket-Extensions"))
            await endpoint.send("with a checksum")
            print("received:", await endpoint.receive())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
