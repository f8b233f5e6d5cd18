"""Redirects: where a response sends us, and what may be said there."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence
from typing import Final

import attrs

from ..protocol import HandshakeRejected, Headers, Response
from .options import ConnectOptions
from .url import Url, parse_url

STATUS_CODES: Final = frozenset({301, 302, 303, 307, 308})
"""Those that lead elsewhere (RFC 9110 section 15.4); the request is a GET, so all are alike."""

_HTTP = re.compile(r"\Ahttp(?=s?://)", re.IGNORECASE)
_USERINFO = re.compile(r"(\A[a-z]+://)[^/?#]*@", re.IGNORECASE)


@attrs.frozen
class Hop:
    """One dial on the way to the server.

    Attributes:
        url: Where to, without credentials.
        headers: What of the application's headers may go there.
        server_hostname: The name for TLS.
    """

    url: Url
    headers: Headers
    server_hostname: str


def first_hop(url: Url, options: ConnectOptions) -> Hop:
    """The dial of the URL that the application has given."""
    headers = options.handshake.headers
    has_authorization = any(name.lower() == "authorization" for name, _ in headers)
    if url.authorization is not None and not has_authorization:
        headers = (*headers, ("Authorization", url.authorization))
    plain = attrs.evolve(url, username=None, password=None)
    return Hop(plain, headers, options.server_hostname or url.server_hostname)


def next_hop(hops: Sequence[Hop], response: Response, options: ConnectOptions) -> Hop:
    """The dial that a redirect asks for.

    Args:
        hops: Those before it, from the first one on.
        response: What the server of the last one answered.
        options: How far to go.

    Raises:
        HandshakeRejected: it is not followed; the message says why, and all hops.
    """
    here = hops[-1]
    try:
        url = _location(here.url, response)
        _check(url, hops, options)
    except ValueError as error:
        way = " -> ".join(_shown(hop.url) for hop in hops)
        raise HandshakeRejected(response, f"{error} (the way here: {way})") from None
    if url.origin == here.url.origin:
        return attrs.evolve(here, url=url)
    headers = tuple(
        (name, value)
        for name, value in here.headers
        if name.lower() not in options.sensitive_headers
    )
    if url.host == hops[0].url.host:
        return Hop(url, headers, hops[0].server_hostname)
    return Hop(url, headers, url.server_hostname)


def _location(base: Url, response: Response) -> Url:
    location = response.header_values("Location")
    if len(location) != 1:
        raise ValueError(f"there {'are several Locations' if location else 'is no Location'}")
    try:
        # Its fragment is for whoever shows documents, and its credentials are not ours.
        url = urllib.parse.urldefrag(urllib.parse.urljoin(str(base), _decoded(location[0])))[0]
        return parse_url(_USERINFO.sub(r"\1", _HTTP.sub("ws", url)))
    except ValueError as error:
        raise ValueError(f"its Location is not valid: {error}") from None


def _decoded(location: str) -> str:
    """A header in UTF-8, as browsers take it, where it is that."""
    try:
        return location.encode("latin-1").decode()
    except UnicodeDecodeError:
        return location


def _check(url: Url, hops: Sequence[Hop], options: ConnectOptions) -> None:
    here = hops[-1].url
    if here.secure and not url.secure:
        raise ValueError(f"it leads from wss to ws: {_shown(url)}")
    if options.unix_path is not None and url.origin != here.origin:
        raise ValueError(f"it leads away from unix_path: {_shown(url)}")
    if any(hop.url == url for hop in hops):
        raise ValueError(f"it leads back to {_shown(url)}")
    if len(hops) > options.max_redirects:
        raise ValueError(f"it is one more than max_redirects, which is {options.max_redirects}")


def _shown(url: Url) -> str:
    """A URL without what may be secret in it."""
    path, has_query, _ = str(url).partition("?")
    return f"{path}?..." if has_query else path
