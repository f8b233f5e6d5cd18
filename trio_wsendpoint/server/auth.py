"""`basic_auth`: user name and password in a header (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from ..protocol import Request, Response
from .functions import check_callable
from .requests import OnRequest

Check: TypeAlias = Callable[[str, str], bool | Awaitable[bool]]

USERNAME: Final = "username"
"""Where in `Request.context` the name of the user is noted."""

_BASIC = re.compile(r"basic +([0-9a-z+/]+=*)", re.IGNORECASE)
_REALM = re.compile(r"[\x20-\x7e]*")


def basic_auth(check: Check | tuple[str, str], realm: str = "WebSocket") -> OnRequest:
    """An `on_request` that lets nobody pass without a user name and a password.

    It notes the name in `request.context["username"]`, and goes on to what follows. Over
    anything but TLS, passwords can be read by all on the way.

    Args:
        check: An async or plain function of user name and password that says whether they are
            right; or a fixed pair of them, compared in constant time.
        realm: What the user is told the password is for, in ASCII.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """
    if not isinstance(realm, str):
        raise TypeError(f"realm must be a str, not {type(realm).__name__}")
    if not _REALM.fullmatch(realm):
        raise ValueError(f"realm must be in visible ASCII, not {realm!r}")
    quoted = re.sub(r'(["\\])', r"\\\1", realm)
    challenge = {"WWW-Authenticate": f'Basic realm="{quoted}", charset="UTF-8"'}
    checked = _pair_check(check) if isinstance(check, tuple) else check
    check_callable("check", checked, "a user name", "a password")

    async def authenticate(request: Request) -> Response | None:
        credentials = _credentials(request)
        if credentials is not None:
            right = checked(*credentials)
            if inspect.isawaitable(right):
                right = await right
            if right is True:
                request.context[USERNAME] = credentials[0]
                return None
            if right is not False:
                raise TypeError(f"check must return True or False, not {right!r}")
        return Response.text("user name and password, please\n", 401, challenge)

    return authenticate


def _pair_check(pair: tuple[str, str]) -> Check:
    if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        raise TypeError("check must be a function, or a pair of user name and password")
    if ":" in pair[0]:
        raise ValueError("check must not have a colon in its user name")
    expected = [part.encode() for part in pair]

    def check(username: str, password: str) -> bool:
        given = (username.encode(), password.encode())
        # Both in any case: the time taken is to tell nothing of which one is wrong.
        names, passwords = map(hmac.compare_digest, given, expected)
        return names and passwords

    return check


def _credentials(request: Request) -> tuple[str, str] | None:
    """User name and password; None if they are missing, malformed or there twice."""
    values = request.header_values("Authorization")
    match = _BASIC.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return None
    try:
        text = base64.b64decode(match[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    username, colon, password = text.partition(":")
    return (username, password) if colon else None
