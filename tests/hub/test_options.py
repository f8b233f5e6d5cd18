from __future__ import annotations

import ssl
from typing import Any

import pytest

from trio_wsendpoint.hub import open_hub
from trio_wsendpoint.hub.url import RedisAddress, parse_redis_url


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_waiting": "x"}, TypeError, "max_waiting must be an int, not str"),
        ({"max_waiting": -1}, ValueError, "max_waiting must be at least 0, not -1"),
        ({"history": True}, TypeError, "history must be an int, not bool"),
        ({"on_slow": "wait"}, ValueError, "on_slow must be 'skip' or 'close', not 'wait'"),
        ({"lease": 0}, ValueError, "lease must be more than 0 seconds"),
        ({"lease": float("inf")}, ValueError, "lease must not be infinite"),
        ({"history_lifetime": "1"}, TypeError, "history_lifetime must be seconds"),
        ({"backoff": 1}, TypeError, "backoff"),
        ({"ssl_context": 1}, TypeError, "ssl_context"),
        ({"colour": 1}, TypeError, r"open_hub\(\) got an unexpected keyword argument 'colour'"),
        ({"ssl_context": ssl.create_default_context()}, ValueError, "ssl_context needs a url"),
    ],
)
async def test_a_wrong_option_is_refused_by_name(
    options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        async with open_hub(**options):
            pytest.fail("not reached")


async def test_a_tls_context_without_tls_is_refused() -> None:
    context = ssl.create_default_context()
    with pytest.raises(ValueError, match="ssl_context needs a url that begins with rediss://"):
        async with open_hub("redis://localhost", ssl_context=context):
            pytest.fail("not reached")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", RedisAddress(False, "localhost")),
        ("rediss://localhost/", RedisAddress(True, "localhost")),
        ("redis://[::1]:7000/3", RedisAddress(False, "::1", 7000, 3)),
        ("redis://:p%40ss@host", RedisAddress(False, "host", password="p@ss")),
        ("redis://me:secret@host", RedisAddress(False, "host", 6379, 0, "me", "secret")),
    ],
)
def test_a_redis_url_is_taken_to_pieces(url: str, address: RedisAddress) -> None:
    assert parse_redis_url(url) == address


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        (7, TypeError, "url must be a str or None, not int"),
        ("http://localhost", ValueError, "url must be of the form redis"),
        ("redis://", ValueError, "url must be of the form redis"),
        ("redis://host:port", ValueError, "url must be of the form redis"),
        ("redis://host:0", ValueError, "url must have a port from 1 to 65535, not 0"),
        ("redis://host?db=1", ValueError, "url must be of the form redis"),
        ("redis://host/first", ValueError, "url must end in the number of a database"),
        ("redis://me@host", ValueError, "url must have a password where it has a user"),
    ],
)
def test_what_is_no_redis_url_is_refused(
    url: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse_redis_url(url)


def test_a_password_is_never_shown() -> None:
    address = parse_redis_url("redis://me:secret@[::1]")
    assert "secret" not in repr(address)
    assert str(address) == "[::1]:6379"
    with pytest.raises(ValueError, match="url") as info:
        parse_redis_url("redis://me:secret@host:port")
    assert "secret" not in str(info.value)
