"""The life of an endpoint, on the terminal as it happens.

Usage: python examples/demo.py

A server and two clients, Ada and Bob, talk on loopback in one process. A third peer shakes
hands and never says a word again. Each line is printed when its event was seen. The exit
status is 0 only if all that is expected was seen.
"""

import os
import sys
import time
from functools import partial

import attrs
import trio

from trio_wsendpoint import (
    CloseFrame,
    Endpoint,
    FrameParser,
    HeartbeatTimeout,
    PingFrame,
    accept,
    connect,
)
from trio_wsendpoint.protocol import ClientHandshake, ResponseReader, encode_request

PACE = 1.0
"""Seconds between pings of the server's heartbeat; all other pauses follow it."""

MAX_PINGS = 3
SUBPROTOCOL = "demo.trio-wsendpoint"

COLOURS = {"server": 33, "Ada": 36, "Bob": 35, "silent": 90}

EXPECTED = {
    "Ada: opening handshake",
    "Ada: text came back as it was sent",
    "Ada: binary came back as it was sent",
    "Ada: ping answered",
    "Ada: closed with code and reason",
    "Bob: opening handshake",
    "Bob: text came back as it was sent",
    "Bob: binary came back as it was sent",
    "Bob: ping answered",
    "Bob: closed with code and reason",
    "silent: opening handshake",
    f"silent: {MAX_PINGS} pings came, and a close frame with 1002",
    "server: /ada accepted",
    "server: /ada answered the heartbeat",
    "server: /ada closed with code and reason",
    "server: /bob accepted",
    "server: /bob answered the heartbeat",
    "server: /bob closed with code and reason",
    "server: /silent accepted",
    "server: /silent given up on",
}


@attrs.define
class Story:
    """Prints what happens, and remembers what was seen."""

    colour: bool = attrs.field(
        factory=lambda: sys.stdout.isatty() and "NO_COLOR" not in os.environ
    )
    began: float = attrs.field(factory=time.perf_counter)
    seen: set[str] = attrs.field(factory=set)

    def tell(self, who: str, what: str, detail: str, *, seen: str | None = None) -> None:
        """Print a line; `seen` is the expectation that it fulfils."""
        if seen is not None:
            self.seen.add(f"{who}: {seen}")
        name = f"{who:8}"
        if self.colour:
            name = f"\033[{COLOURS[who]}m{name}\033[0m"
        print(f"{time.perf_counter() - self.began:6.3f} s  {name}{what:13}{detail}", flush=True)

    def finish(self) -> int:
        """Print what became of all expectations; returns the exit status."""
        missing = sorted(EXPECTED - self.seen)
        for expectation in missing:
            print(f"NOT SEEN  {expectation}")
        print(f"\n{len(self.seen & EXPECTED)} of {len(EXPECTED)} expected events were seen.")
        return 1 if missing else 0


# -- the server -------------------------------------------------------------------------------


async def handle(story: Story, stream: trio.SocketStream) -> None:
    """One connection: everything comes back as it was sent."""
    path = "?"
    try:
        async with accept(
            stream,
            subprotocols=[SUBPROTOCOL],
            max_pings=MAX_PINGS,
            ping_interval=PACE,
            close_timeout=PACE,
        ) as endpoint:
            path = endpoint.request.target
            peer = endpoint.remote_address[1]
            story.tell(
                "server", "accepted", f"{path} from port {peer}", seen=f"{path} accepted"
            )
            async for message in endpoint:
                await endpoint.send(message)
            tell_end(story, path, endpoint)
    except HeartbeatTimeout as error:
        story.tell("server", "gave up", f"on {path}: {error}", seen=f"{path} given up on")


def tell_end(story: Story, path: str, endpoint: Endpoint) -> None:
    sent, received = endpoint.statistics().sent, endpoint.statistics().received
    story.tell(
        "server",
        "heartbeat",
        f"{path} answered {received.pongs} of {sent.pings} pings",
        seen=f"{path} answered the heartbeat" if received.pongs else None,
    )
    story.tell(
        "server",
        "closed",
        f"{path} closed with {endpoint.close_code} {endpoint.close_reason!r}",
        seen=f"{path} closed with code and reason" if endpoint.close_reason else None,
    )


# -- the clients ------------------------------------------------------------------------------


async def round_trip(story: Story, name: str, endpoint: Endpoint, message: str | bytes) -> None:
    began = time.perf_counter()
    await endpoint.send(message)
    same = await endpoint.receive() == message
    took = (time.perf_counter() - began) * 1000
    kind = "text" if isinstance(message, str) else "binary"
    size = len(message.encode() if isinstance(message, str) else message)
    story.tell(
        name,
        kind,
        f"{size:9,} bytes there and back in {took:7.3f} ms",
        seen=f"{kind} came back as it was sent" if same else None,
    )


async def run_client(story: Story, name: str, url: str, code: int, reason: str) -> None:
    async with connect(url, subprotocols=[SUBPROTOCOL]) as endpoint:
        status = f"{endpoint.response.status_code} {endpoint.response.reason_phrase}"
        story.tell(
            name,
            "handshake",
            f"{status}, subprotocol {endpoint.subprotocol}",
            seen="opening handshake",
        )
        for size in 10, 2_000, 1_000_000:
            await trio.sleep(PACE)
            await round_trip(story, name, endpoint, "é" * (size // 2))
            await round_trip(story, name, endpoint, os.urandom(size))
            latency = await endpoint.ping()
            story.tell(
                name, "ping", f"answered in {latency * 1000:.3f} ms", seen="ping answered"
            )
        await trio.sleep(PACE)
        await endpoint.aclose(code, reason)
    frame = endpoint.received_close_frame
    echoed = frame is not None and (frame.code, frame.reason) == (code, reason)
    story.tell(
        name,
        "closed",
        f"with {endpoint.close_code} {endpoint.close_reason!r}",
        seen="closed with code and reason" if echoed else None,
    )


async def run_silent_peer(story: Story, host: str, port: int) -> None:
    """A peer with no endpoint: it shakes hands, then only listens."""
    async with await trio.open_tcp_stream(host, port) as stream:
        handshake = ClientHandshake(f"{host}:{port}", "/silent")
        reader = ResponseReader()
        await stream.send_all(encode_request(handshake.request))
        response = None
        while response is None:
            response = reader.receive_data(await stream.receive_some())
        handshake.complete(response)
        story.tell(
            "silent", "handshake", "and not a word from here on", seen="opening handshake"
        )
        await watch_frames(story, stream, reader.trailing_data)


async def watch_frames(story: Story, stream: trio.SocketStream, buffer: bytes) -> None:
    parser = FrameParser()
    pings = 0
    async for data in stream:
        buffer += data
        while (parsed := parser.parse(buffer, masked=False)) is not None:
            frame, end = parsed
            buffer = buffer[end:]
            if isinstance(frame, PingFrame):
                pings += 1
                story.tell("silent", "ping", f"number {pings} came, and goes unanswered")
            elif isinstance(frame, CloseFrame):
                expectation = f"{pings} pings came, and a close frame with {frame.code}"
                story.tell(
                    "silent", "close", f"{frame.code} {frame.reason!r} came", seen=expectation
                )


# -- all of it --------------------------------------------------------------------------------


async def play(story: Story) -> None:
    host = "127.0.0.1"

    async with trio.open_nursery() as listening:
        async with trio.open_nursery() as talk:
            start_server = partial(trio.serve_tcp, host=host, handler_nursery=talk)
            listeners = await listening.start(start_server, partial(handle, story), 0)
            port = listeners[0].socket.getsockname()[1]
            url = f"ws://{host}:{port}"
            story.tell("server", "listening", url)
            talk.start_soon(run_client, story, "Ada", f"{url}/ada", 1000, "that was all")
            await trio.sleep(PACE / 10)
            talk.start_soon(run_client, story, "Bob", f"{url}/bob", 1001, "off to lunch")
            await trio.sleep(PACE / 10)
            talk.start_soon(run_silent_peer, story, host, port)
        listening.cancel_scope.cancel()


async def main() -> int:
    story = Story()
    with trio.move_on_after(15 * PACE):
        await play(story)
    return story.finish()


if __name__ == "__main__":
    try:
        sys.exit(trio.run(main))
    except* KeyboardInterrupt:
        pass
