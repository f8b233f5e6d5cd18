"""Frames of one's own, both ends: a kind of control frame, and a kind of data frame.

Usage: python examples/custom_frames.py

A player is sent music in data frames with an opcode of their own, and told how loud to play
it by control frames, which a handler of its own gets while the messages go on.
"""

from functools import partial

import trio

from trio_wsendpoint import (
    ControlFrame,
    DataFrame,
    Endpoint,
    FrameParser,
    connect,
    create_message,
    serve,
)


class VolumeFrame(ControlFrame):
    """How loud to play: one byte."""

    opcode = 11


class MusicFrame(DataFrame):
    """What to play."""

    opcode = 3


PARSER = FrameParser(frame_types=[VolumeFrame, MusicFrame])


async def set_volume(endpoint: Endpoint, frame: VolumeFrame) -> None:
    print(f"player: volume {frame.payload[0]}")
    await endpoint.send("louder" if frame.payload[0] < 11 else "that is loud")


async def play(endpoint: Endpoint) -> None:
    while True:
        message = await endpoint.receive_message()
        print(f"player: {message.frame_type.__name__}, {len(message.data)} bytes")
        await endpoint.send(f"played what came in {len(message.frames)} frame(s)")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        start_server = partial(
            serve,
            host="127.0.0.1",
            parser=PARSER,
            control_handlers={VolumeFrame: set_volume},
        )
        listeners = await nursery.start(start_server, play, 0)
        port = listeners[0].socket.getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", parser=PARSER) as endpoint:
            await endpoint.send(create_message(MusicFrame, b"la la la"))
            print("sender:", await endpoint.receive())
            for volume in 10, 11:
                await endpoint.send(create_message(VolumeFrame, bytes([volume])))
                print("sender:", await endpoint.receive())
            async with endpoint.open_send_stream(MusicFrame) as stream:
                await stream.send(b"la")
                await stream.send(b" la")
            print("sender:", await endpoint.receive())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
