"""One side of a conversation at random, with what it may and may not lose.

Each side numbers its messages. It sends some of them under a deadline that may strike: if
`send` was cancelled the message was not sent, and its number is used again; if `send` returned
it was. The other side checks that numbers come in order, none twice and none left out, and in
the end, if there is one, that all have come.
"""

from __future__ import annotations

import random
from typing import Literal

import attrs
import trio

from trio_wsendpoint import Endpoint

MAX_PADDING = 20_000


class Violation(Exception):
    """The contract was broken."""


@attrs.define
class Tally:
    """What happened on all connections together."""

    connections: int = 0
    clean: int = 0
    messages: int = 0
    cancelled_sends: int = 0
    cancelled_receives: int = 0
    violations: list[str] = attrs.Factory(list)


@attrs.define
class Side:
    """One endpoint's part: sends its numbers, and checks those that come."""

    endpoint: Endpoint
    rng: random.Random
    tally: Tally

    async def converse(self) -> None:
        """Send and receive until both sides have said that they are done."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_all, self.rng.randrange(1, 60))
            nursery.start_soon(self._receive_all)
        self.tally.clean += 1

    async def _send_all(self, count: int) -> None:
        number = 0
        while number < count:
            number += await self._send(number)
            if self.rng.random() < 0.05:
                await self._ping()
            if self.rng.random() < 0.1:
                await trio.sleep(self.rng.random() * 0.02)
        await self.endpoint.send(f"end {count}")

    async def _send(self, number: int) -> bool:
        """Send a message; says whether it was sent."""
        size = self.rng.choice([0, 10, 200, self.rng.randrange(MAX_PADDING)])
        text = f"{number} " + "é" * (size // 2)
        message: str | bytes = text if self.rng.random() < 0.5 else text.encode()
        choice = self.rng.random()
        if choice < 0.1:
            await self._stream(message)
            return True
        if choice < 0.3:
            returned = False
            with trio.move_on_after(self.rng.choice([0, 0.0001, 0.001])):
                await self.endpoint.send(message)
                returned = True
            self.tally.cancelled_sends += not returned
            return returned
        await self.endpoint.send(message)
        return True

    async def _stream(self, message: str | bytes) -> None:
        kind: Literal["text", "binary"] = "text" if isinstance(message, str) else "binary"
        async with self.endpoint.open_send_stream(kind) as stream:
            for start in range(0, max(len(message), 1), 5000):
                await stream.send(message[start : start + 5000])

    async def _ping(self) -> None:
        with trio.move_on_after(self.rng.choice([0, 0.001, 1])):
            await self.endpoint.ping()

    async def _receive_all(self) -> None:
        expected = 0
        while True:
            message = await self._receive()
            if message.startswith("end "):
                self._check(message, f"end {expected}")
                return
            self._check(message.partition(" ")[0], str(expected))
            expected += 1
            self.tally.messages += 1
            if self.rng.random() < 0.05:
                await trio.sleep(self.rng.random() * 0.05)

    def _check(self, found: str, expected: str) -> None:
        if found != expected:
            self.tally.violations.append(f"got {found[:40]!r} instead of {expected!r}")
            raise Violation

    async def _receive(self) -> str:
        choice = self.rng.random()
        if choice < 0.1:
            async with self.endpoint.open_receive_stream() as stream:
                pieces = [piece async for piece in stream]
            return "".join(map(_to_text, pieces)) if stream.kind == "text" else _decode(pieces)
        while True:
            if choice > 0.3:
                return _to_text(await self.endpoint.receive())
            with trio.move_on_after(self.rng.choice([0, 0.0001, 0.001])):
                return _to_text(await self.endpoint.receive())
            self.tally.cancelled_receives += 1


def _to_text(message: str | bytes) -> str:
    return message if isinstance(message, str) else message.decode()


def _decode(pieces: list[str | bytes]) -> str:
    return b"".join(piece for piece in pieces if isinstance(piece, bytes)).decode()
