"""ws and wss URLs (RFC 6455 section 3, RFC 3986)."""

from __future__ import annotations

import base64
import ipaddress
import re
import urllib.parse
from typing import Final

import attrs

_DEFAULT_PORTS: Final = {False: 80, True: 443}

_URL = re.compile(
    r"""
    (?P<scheme> wss? ) ://
    (?: (?P<userinfo> [^/?\#@]* ) @ )?
    (?: \[ (?P<address> [^\]/?\#@]* ) \] | (?P<name> [^/?\#@:\[\]]+ ) )
    (?: : (?P<port> [^/?\#@]* ) )?
    (?P<path> /[^?\#]* )?
    (?P<query> \?[^\#]* )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FORM: Final = "ws[s]://[user[:password]@]host[:port][/path][?query]"
_CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f]")
_NAME = re.compile(r"[-0-9a-z._~]+")
# What stands in a path or query as it is (RFC 3986 section 3.3 and 3.4); the brackets are
# there because browsers leave them too.
_PLAIN: Final = "%/?:@!$&'()*+,;=[]~"


@attrs.frozen
class Uri:
    """A ws or wss URL, taken to pieces.

    Attributes:
        secure: Whether it is wss, over TLS.
        host: A name in its ASCII form, or an IP address without brackets.
        port: The TCP port; the scheme's own where the URL names none.
        target: Path and query as the request line has them.
        username: From the URL, decoded, or None.
        password: Likewise.
    """

    secure: bool
    host: str
    port: int
    target: str
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)

    @property
    def host_header(self) -> str:
        """The value of the Host header (RFC 9110 section 7.2)."""
        # A zone means something on this machine only (RFC 6874 section 4).
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.secure] else f"{host}:{self.port}"

    @property
    def authorization(self) -> str | None:
        """The value of an Authorization header for user name and password (RFC 7617)."""
        if self.username is None:
            return None
        credentials = f"{self.username}:{self.password or ''}".encode()
        return f"Basic {base64.b64encode(credentials).decode()}"


def parse_uri(url: str) -> Uri:
    """Take a ws or wss URL to pieces.

    Raises:
        TypeError: `url` is not a str.
        ValueError: it is not a ws or wss URL, or it has a fragment.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    if _CONTROL_OR_SPACE.search(url):
        raise ValueError("url must not have spaces or control characters")
    # "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be
    # used on these URIs." (RFC 6455 section 3)
    if "#" in url:
        raise ValueError("url must not have a fragment; a # in the path is written %23")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(f"url must be of the form {_FORM}")
    secure = match["scheme"].lower() == "wss"
    host = _host(match["name"]) if match["address"] is None else _address(match["address"])
    try:
        username, password = _userinfo(match["userinfo"])
        path = urllib.parse.quote(match["path"] or "/", safe=_PLAIN)
        query = urllib.parse.quote(match["query"] or "", safe=_PLAIN)
    except UnicodeError:
        raise ValueError("url must be encodable as UTF-8") from None
    port = _port(match["port"]) if match["port"] else _DEFAULT_PORTS[secure]
    return Uri(secure, host, port, path + query, username, password)


def _host(name: str) -> str:
    try:
        host = name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        host = ""
    # IDNA may turn one character into several, such as a slash.
    if not _NAME.fullmatch(host):
        raise ValueError(f"url must have a host name or an IP address, not {name!r}")
    return host


def _address(text: str) -> str:
    # "%25" is how a URL writes the % in front of a zone (RFC 6874 section 2).
    address = text.replace("%25", "%", 1)
    try:
        return str(ipaddress.IPv6Address(address))
    except ValueError:
        raise ValueError(
            f"url must have an IPv6 address in its brackets, not {text!r}"
        ) from None


def _port(text: str) -> int:
    port = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 1 <= port <= 65535:
        raise ValueError(f"url must have a port from 1 to 65535, not {text!r}")
    return port


def _userinfo(userinfo: str | None) -> tuple[str | None, str | None]:
    if not userinfo:
        return None, None
    name, colon, secret = userinfo.partition(":")
    username = urllib.parse.unquote(name, errors="strict")
    # "a user-id containing a colon character is invalid" (RFC 7617 section 2)
    if ":" in username:
        raise ValueError("url must not have a colon in its user name")
    return username, urllib.parse.unquote(secret, errors="strict") if colon else None
