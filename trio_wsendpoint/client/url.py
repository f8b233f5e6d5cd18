"""ws and wss URLs (RFC 6455 section 3, RFC 3986), and the names of hosts in them."""

from __future__ import annotations

import base64
import ipaddress
import re
import urllib.parse
from typing import Final

import attrs
import idna

_DEFAULT_PORTS: Final = {False: 80, True: 443}

AUTHORITY: Final = r"""
    (?: (?P<userinfo> [^/?\#@]* ) @ )?
    (?: \[ (?P<address> [^\]/?\#@]* ) \] | (?P<name> [^/?\#@:\[\]]+ ) )
    (?: : (?P<port> [^/?\#@]* ) )?
"""
"""What stands between `//` and the path, for a verbose pattern."""

_URL = re.compile(
    rf"(?P<scheme> wss? ) :// {AUTHORITY} (?P<path> /[^?\#]* )? (?P<query> \?[^\#]* )?",
    re.VERBOSE | re.IGNORECASE,
)
_FORM: Final = "ws[s]://[user[:password]@]host[:port][/path][?query]"
_CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f]")
# Letters, digits and what else is met in names; a label has at most 63 bytes (RFC 1035).
_NAME = re.compile(r"[-0-9a-z_~]{1,63}(?:\.[-0-9a-z_~]{1,63})*\.?")
_MAX_NAME_SIZE: Final = 254  # with the dot behind it
# What stands in a path or query as it is (RFC 3986 section 3.3 and 3.4); the brackets are
# there because browsers leave them too.
_PLAIN: Final = "%/?:@!$&'()*+,;=[]~"


@attrs.frozen
class Url:
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

    def __str__(self) -> str:
        """The URL without user name and password."""
        return f"{'wss' if self.secure else 'ws'}://{self._authority(self.host)}{self.target}"

    @property
    def origin(self) -> tuple[bool, str, int]:
        """What two URLs have in common that lead to the same server."""
        return self.secure, self.host, self.port

    @property
    def host_header(self) -> str:
        """The value of the Host header (RFC 9110 section 7.2)."""
        return self._authority(without_zone(self.host))

    @property
    def server_hostname(self) -> str:
        """The name for TLS: what the server is asked for, and its certificate must have."""
        # "represented as a byte string using ASCII encoding without a trailing dot"
        # (RFC 6066 section 3)
        return without_zone(self.host).removesuffix(".")

    @property
    def authorization(self) -> str | None:
        """The value of an Authorization header for user name and password (RFC 7617)."""
        return None if self.username is None else basic(self.username, self.password)

    def _authority(self, host: str) -> str:
        host = in_brackets(host)
        return host if self.port == _DEFAULT_PORTS[self.secure] else f"{host}:{self.port}"


def without_zone(host: str) -> str:
    """A host as others know it: a zone means something on this machine only (RFC 6874)."""
    return host.partition("%")[0]


def in_brackets(host: str) -> str:
    """A host as it stands in front of a port."""
    return f"[{host}]" if ":" in host else host


def basic(username: str, password: str | None) -> str:
    """Credentials of the Basic scheme, as a header has them (RFC 7617)."""
    credentials = f"{username}:{password or ''}".encode()
    return f"Basic {base64.b64encode(credentials).decode()}"


def parse_url(url: str) -> Url:
    """Take a ws or wss URL to pieces.

    Raises:
        TypeError: `url` is not a str.
        ValueError: it is not a ws or wss URL, or it has a fragment.
    """
    check_text(url, "url")
    # "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be
    # used on these URIs." (RFC 6455 section 3)
    if "#" in url:
        raise ValueError("url must not have a fragment; a # in the path is written %23")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(f"url must be of the form {_FORM}")
    secure = match["scheme"].lower() == "wss"
    authority = parse_authority(match, "url")
    try:
        path = urllib.parse.quote(match["path"] or "/", safe=_PLAIN)
        query = urllib.parse.quote(match["query"] or "", safe=_PLAIN)
    except UnicodeError:
        raise ValueError("url must be encodable as UTF-8") from None
    return Url(
        secure,
        authority.host,
        authority.port or _DEFAULT_PORTS[secure],
        path + query,
        authority.username,
        authority.password,
    )


def check_text(url: str, argument: str) -> None:
    """Refuse what cannot be a URL of any kind."""
    if not isinstance(url, str):
        raise TypeError(f"{argument} must be a str, not {type(url).__name__}")
    if _CONTROL_OR_SPACE.search(url):
        raise ValueError(f"{argument} must not have spaces or control characters")


@attrs.frozen
class Authority:
    """The part of a URL that says where, and as whom; `port` is None where there is none."""

    host: str
    port: int | None
    username: str | None
    password: str | None = attrs.field(repr=False)


def parse_authority(match: re.Match[str], argument: str) -> Authority:
    """What a pattern with `AUTHORITY` in it has found.

    Raises:
        ValueError: host, port, user name or password cannot be.
    """
    address = match["address"]
    host = to_host(match["name"], argument) if address is None else _address(address, argument)
    try:
        username, password = _userinfo(match["userinfo"], argument)
    except UnicodeError:
        raise ValueError(f"{argument} must be encodable as UTF-8") from None
    port = _port(match["port"], argument) if match["port"] else None
    return Authority(host, port, username, password)


def to_host(name: str, argument: str) -> str:
    """The ASCII form of a host's name, in lower case.

    One with other letters goes through IDNA 2008 with the mapping of UTS 46, as browsers do
    it: that of 2003 would lead to another owner's domain for some.

    Raises:
        ValueError: there is no such name.
    """
    try:
        host = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    except UnicodeError:  # of which idna's errors are
        host = ""
    host = host.lower()
    if not _NAME.fullmatch(host) or len(host) > _MAX_NAME_SIZE:
        raise ValueError(f"{argument} must have a host name or an IP address, not {name!r}")
    return host


def _address(text: str, argument: str) -> str:
    # "%25" is how a URL writes the % in front of a zone (RFC 6874 section 2).
    address = text.replace("%25", "%", 1)
    try:
        return str(ipaddress.IPv6Address(address))
    except ValueError:
        raise ValueError(
            f"{argument} must have an IPv6 address in its brackets, not {text!r}"
        ) from None


def _port(text: str, argument: str) -> int:
    port = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 1 <= port <= 65535:
        raise ValueError(f"{argument} must have a port from 1 to 65535, not {text!r}")
    return port


def _userinfo(userinfo: str | None, argument: str) -> tuple[str | None, str | None]:
    if not userinfo:
        return None, None
    name, colon, secret = userinfo.partition(":")
    username = urllib.parse.unquote(name, errors="strict")
    # "a user-id containing a colon character is invalid" (RFC 7617 section 2)
    if ":" in username:
        raise ValueError(f"{argument} must not have a colon in its user name")
    return username, urllib.parse.unquote(secret, errors="strict") if colon else None
