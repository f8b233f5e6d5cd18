"""An echo server for the suite: it prints its URL once it listens, and runs until killed."""

import math

import trio

from trio_wsendpoint import Endpoint, PermessageDeflate, serve


async def echo(endpoint: Endpoint) -> None:
    async for message in endpoint:
        await endpoint.send(message)


async def start(
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve, by HTTP/2 too, at a port that the system chooses."""
    await serve(
        echo,
        0,
        host="127.0.0.1",
        extensions=[PermessageDeflate()],
        max_message_size=None,
        ping_interval=math.inf,
        http2=True,
        task_status=task_status,
    )


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(start)
        _, port = listeners[0].socket.getsockname()
        print(f"ws://127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    trio.run(main)
