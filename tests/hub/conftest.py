"""Fixtures of the hub's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.hub.redis_server import RedisServer, needs_redis, redis_server
from tests.hub.worlds import OpenWorld, open_world


@pytest.fixture(params=["local", pytest.param("redis", marks=needs_redis)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[OpenWorld]:
    """Opens a world of each kind."""
    if request.param == "local":
        yield partial(open_world, None)
        return
    async with redis_server() as server:
        yield partial(open_world, server)


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """A redis-server of the test's own."""
    async with redis_server() as server:
        yield server
