"""redis and rediss URLs: where Redis is, and how to get in."""

from __future__ import annotations

import urllib.parse
from typing import Final

import attrs

_DEFAULT_PORT: Final = 6379
_FORM: Final = "redis[s]://[[user]:password@]host[:port][/database]"


@attrs.frozen
class RedisAddress:
    """A redis or rediss URL, taken to pieces.

    Attributes:
        secure: Whether it is rediss, over TLS.
        host: A name or an IP address.
        port: The TCP port.
        database: The number of the database.
        username: From the URL, decoded, or None.
        password: Likewise.
    """

    secure: bool
    host: str
    port: int = _DEFAULT_PORT
    database: int = 0
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_redis_url(url: str) -> RedisAddress:
    """Take a redis or rediss URL to pieces.

    Raises:
        TypeError: `url` is not a str.
        ValueError: it is not a redis or rediss URL. No message has the password in it.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str or None, not {type(url).__name__}")
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"url must be of the form {_FORM}") from None
    if parts.scheme not in ("redis", "rediss") or not host or parts.query or parts.fragment:
        raise ValueError(f"url must be of the form {_FORM}")
    database = parts.path.removeprefix("/") or "0"
    if not (database.isascii() and database.isdigit() and len(database) < 10):
        raise ValueError(f"url must end in the number of a database, not {parts.path!r}")
    if port == 0:
        raise ValueError("url must have a port from 1 to 65535, not 0")
    if parts.username and not parts.password:
        raise ValueError("url must have a password where it has a user")
    return RedisAddress(
        parts.scheme == "rediss",
        host,
        port or _DEFAULT_PORT,
        int(database),
        urllib.parse.unquote(parts.username) if parts.username else None,
        urllib.parse.unquote(parts.password) if parts.password else None,
    )
