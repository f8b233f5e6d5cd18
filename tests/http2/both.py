"""The server of the library, speaking HTTP/2 beside HTTP/1.1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from tests.http2.servers import echo
from trio_wsendpoint import serve


@asynccontextmanager
async def open_both(handler: Any = echo, **options: Any) -> AsyncIterator[int]:
    """A server that speaks both, and its port."""
    options = {"host": "127.0.0.1", "http2": True, **options}
    async with trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[Any]) -> None:
            await serve(handler, 0, task_status=task_status, **options)

        [listener] = await nursery.start(start)
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()
