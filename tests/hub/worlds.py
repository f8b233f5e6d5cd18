"""Hubs of each kind, and members whose peers are at hand."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Literal, TypeAlias, Unpack

import attrs
import trio
from trio.testing import memory_stream_pair

from tests.hub.redis_server import RedisServer
from trio_wsendpoint import Endpoint, Role, open_endpoint
from trio_wsendpoint.hub import Hub, HubKeywords, open_hub
from trio_wsendpoint.hub.redis import RedisRooms
from trio_wsendpoint.testing import StallStream, open_endpoint_pair

Kind: TypeAlias = Literal["local", "redis"]


@attrs.frozen
class World:
    """One hub, or two that share a Redis: what one publishes, members of the other get.

    Attributes:
        here: The one that publishes.
        there: The one that members join; the same, in one process.
        redis: The server between them, if there is one.
    """

    here: Hub
    there: Hub
    redis: RedisServer | None = None


OpenWorld: TypeAlias = Callable[..., AbstractAsyncContextManager[World]]


@asynccontextmanager
async def open_world(
    server: RedisServer | None, **options: Unpack[HubKeywords]
) -> AsyncIterator[World]:
    if server is None:
        async with open_hub(**options) as hub:
            yield World(hub, hub)
        return
    assert await server.ask("FLUSHALL") == b"OK"
    async with (
        open_hub(server.url, **options) as here,
        open_hub(server.url, **options) as there,
    ):
        yield World(here, there, server)


@asynccontextmanager
async def member(hub: Hub, room: str, **options: Any) -> AsyncIterator[Endpoint]:
    """Somebody in a room, whose peer comes back; it is there when Redis knows it."""
    async with member_pair(hub, room, **options) as (peer, _):
        yield peer


@asynccontextmanager
async def member_pair(
    hub: Hub, room: str, **options: Any
) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    async with (
        open_endpoint_pair(ping_interval=math.inf) as (peer, endpoint),
        hub.join(room, endpoint, **options),
    ):
        await settled(hub, room)
        yield peer, endpoint


@asynccontextmanager
async def slow_endpoint() -> AsyncIterator[tuple[Endpoint, StallStream]]:
    """An endpoint whose peer takes nothing before the stream is resumed."""
    ours, theirs = memory_stream_pair()
    stream = StallStream(ours, after_sent=0)
    async with (
        theirs,
        open_endpoint(
            stream, Role.SERVER, ping_interval=math.inf, close_timeout=0.1
        ) as endpoint,
    ):
        yield endpoint, stream


@asynccontextmanager
async def slow_member(hub: Hub, room: str) -> AsyncIterator[Endpoint]:
    """Somebody in a room whose peer takes nothing."""
    async with slow_endpoint() as (endpoint, _), hub.join(room, endpoint):
        await settled(hub, room)
        yield endpoint


async def cut_off(hub: Hub) -> None:
    """The hub loses its connections, and comes back by itself."""
    rooms = hub._rooms
    assert isinstance(rooms, RedisRooms)
    session = rooms._session
    assert session is not None
    await session.aclose()
    await until(lambda: rooms._session is not session)


async def settled(hub: Hub, room: str) -> None:
    """Wait until Redis sends this hub what is published in a room."""
    rooms = hub._rooms
    if isinstance(rooms, RedisRooms) and hub.connected:
        with trio.fail_after(20):
            await rooms._subscriptions.wait_confirmed(rooms._channel(room))


async def members(stack: AsyncExitStack, hub: Hub, room: str, count: int) -> list[Endpoint]:
    """Several members."""
    return [await stack.enter_async_context(member(hub, room)) for _ in range(count)]


async def receive(peer: Endpoint, count: int) -> list[str | bytes]:
    with trio.fail_after(20):
        return [await peer.receive() for _ in range(count)]


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so that no event tells of."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)
