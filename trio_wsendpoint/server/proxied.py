"""The address of a client behind proxies that are trusted to tell it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import attrs

from ..protocol import Request

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

UNIX: Final = "unix"
"""Stands for whoever connects by a Unix socket."""

X_FORWARDED_FOR: Final = "x-forwarded-for"
FORWARDED: Final = "forwarded"

# An address as it stands in either header, with or without a port.
_NODE = re.compile(
    r"\[(?P<v6>[^\]]*)\](?::\w+)?|(?P<v4>[0-9.]+)(?::\w+)?|(?P<bare>[0-9a-f:.]+)", re.IGNORECASE
)
_FOR = re.compile(r"""(?:^|;)[ \t]*for=(?:"([^"]*)"|([^"; \t]*))[ \t]*(?=;|$)""", re.IGNORECASE)


def _to_networks(values: Iterable[Any]) -> tuple[Network | str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"trusted_proxies must be an iterable of networks, not {values!r}")
    return tuple(map(_to_network, values))


def _to_network(value: Any) -> Network | str:
    if value == UNIX:
        return UNIX
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    if not isinstance(value, str | ipaddress.IPv4Address | ipaddress.IPv6Address):
        raise TypeError(f"trusted_proxies must be networks, not {type(value).__name__}")
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(
            "trusted_proxies must be networks or addresses such as '10.0.0.0/8', or 'unix':"
            f" {error}"
        ) from None


def _to_header(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"forwarded_header must be a str, not {type(name).__name__}")
    if name.lower() not in (X_FORWARDED_FOR, FORWARDED):
        raise ValueError(
            f"forwarded_header must be 'X-Forwarded-For' or 'Forwarded', not {name!r}"
        )
    return name.lower()


@attrs.frozen
class Proxies:
    """The proxies that are trusted, and the header in which they tell of the client."""

    networks: tuple[Network | str, ...] = attrs.field(default=(), converter=_to_networks)
    header: str = attrs.field(default=X_FORWARDED_FOR, converter=_to_header)

    def client_address(self, peer: Any, request: Request) -> str | None:
        """The client's IP address.

        Args:
            peer: The address of the socket's other end, or None.
            request: What came from there.

        Returns:
            None where there is no IP address, such as on a Unix socket.
        """
        if not self.networks and isinstance(peer, tuple) and ":" not in peer[0]:
            return str(peer[0])  # an IPv4 address, which has one form only
        address = _peer_address(peer)
        known: Address | None = address if isinstance(address, Address) else None
        if self.networks and self._trusts(address):
            values = request.header_values(self.header)
            nodes = _forwarded_nodes if self.header == FORWARDED else _listed_nodes
            # From right to left: each proxy has added the address that it was called from.
            for node in nodes(", ".join(values)):
                found = _parse_node(node)
                if found is None:
                    break
                known = found
                if not self._trusts(found):
                    break
        return None if known is None else str(known)

    def _trusts(self, address: Address | str | None) -> bool:
        if address is None or isinstance(address, str):
            return address in self.networks
        return any(
            address in network for network in self.networks if not isinstance(network, str)
        )


def _peer_address(peer: Any) -> Address | str | None:
    """The IP address of a socket's other end; `UNIX` for a Unix socket, None for no socket."""
    if isinstance(peer, str | bytes):
        return UNIX
    return _parse_address(peer[0]) if isinstance(peer, tuple) else None


def _parse_address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # What a socket for both families makes of an IPv4 address.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _parse_node(node: str | None) -> Address | None:
    match = _NODE.fullmatch(node) if node is not None else None
    return _parse_address(match["v6"] or match["v4"] or match["bare"]) if match else None


def _listed_nodes(value: str) -> Iterator[str | None]:
    """The nodes of `X-Forwarded-For`, from right to left."""
    return (node.strip(" \t") for node in reversed(value.split(",")))


def _forwarded_nodes(value: str) -> Iterator[str | None]:
    """The nodes of `Forwarded` (RFC 7239 section 4), from right to left; None for a bad one.

    What stands on the left may be the client's own invention. To read from the right keeps a
    quotation mark that it has left open from swallowing what a proxy has added.
    """
    end = len(value)
    quoted = False
    for position in range(len(value) - 1, -2, -1):
        mark = value[position] if position >= 0 else ","
        if mark == '"':
            quoted = not quoted
        elif mark == "," and (not quoted or position < 0):
            found = _FOR.findall(value[position + 1 : end])
            yield found[0][0] or found[0][1] if len(found) == 1 else None
            end = position
