from __future__ import annotations

import ipaddress
import time
from typing import Any

import pytest

from trio_wsendpoint.protocol import Request
from trio_wsendpoint.server.proxied import Proxies

TRUSTED = ("10.0.0.0/8", "2001:db8::/32", "192.0.2.7")


def client_of(
    peer: Any, *values: str, trusted: Any = TRUSTED, header: str = "X-Forwarded-For"
) -> str | None:
    request = Request("/", [(header, value) for value in values])
    return Proxies(trusted, header).client_address(peer, request)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("203.0.113.1", 5000), "203.0.113.1"),
        (("::1", 5000, 0, 0), "::1"),
        (("::ffff:203.0.113.1", 5000, 0, 0), "203.0.113.1"),
        (("fe80::1%eth0", 5000, 0, 2), "fe80::1%eth0"),
        ("", None),
        (b"\0abstract", None),
        (None, None),
        (("non:sense", 1), None),
    ],
)
def test_without_proxies_the_client_is_the_peer(peer: Any, address: str | None) -> None:
    assert client_of(peer, "198.51.100.1", trusted=()) == address


@pytest.mark.parametrize(
    ("values", "address"),
    [
        (["198.51.100.1"], "198.51.100.1"),
        ([" 198.51.100.1 "], "198.51.100.1"),
        (["198.51.100.1:8080"], "198.51.100.1"),
        (["[2a00::1]:8080"], "2a00::1"),
        (["[2a00::1]"], "2a00::1"),
        (["2a00::1"], "2a00::1"),
        (["::ffff:198.51.100.1"], "198.51.100.1"),
        # Whatever stands to the left of the first that is not trusted, the client made up.
        (["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        (["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        (["1.1.1.1, 198.51.100.1, 10.1.1.1, 192.0.2.7"], "198.51.100.1"),
        (["10.9.9.9, 198.51.100.1, 10.1.1.1"], "198.51.100.1"),
        (["1.1.1.1, 198.51.100.1, 2001:db8::5"], "198.51.100.1"),
        # All of them trusted: the one that is farthest away.
        (["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        # What cannot be read: the last that was trusted.
        (["unknown, 10.2.2.2"], "10.2.2.2"),
        (["198.51.100.1, nonsense"], "10.0.0.1"),
        (["198.51.100.1, 300.1.1.1, 10.2.2.2"], "10.2.2.2"),
        (["198.51.100.1,"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
        (["198.51.100.1:80:80"], "10.0.0.1"),
        (["[198.51.100.1"], "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_tells_who_the_client_is(values: list[str], address: str) -> None:
    assert client_of(("10.0.0.1", 5000), *values) == address


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_nobody_else_is_believed(header: str) -> None:
    value = "for=1.1.1.1" if header == "Forwarded" else "1.1.1.1"
    assert client_of(("203.0.113.1", 1), value, header=header) == "203.0.113.1"
    assert client_of(("203.0.113.1", 1), value, "10.0.0.5", header=header) == "203.0.113.1"
    assert client_of("", value, header=header) is None
    assert client_of(None, value, header=header) is None


@pytest.mark.parametrize(
    ("values", "address"),
    [
        (["for=198.51.100.1"], "198.51.100.1"),
        (["For=198.51.100.1;proto=https;by=10.0.0.1"], "198.51.100.1"),
        (["proto=https; for=198.51.100.1"], "198.51.100.1"),
        (['for="198.51.100.1:47011"'], "198.51.100.1"),
        (['for="[2a00::17]:4711"'], "2a00::17"),
        (['for="[2a00::17]"'], "2a00::17"),
        (["for=1.1.1.1, for=198.51.100.1"], "198.51.100.1"),
        (["for=1.1.1.1", "for=198.51.100.1,for=10.2.2.2"], "198.51.100.1"),
        # A quotation mark that the client has left open swallows nothing.
        (['for="1.1.1.1, for=198.51.100.1'], "198.51.100.1"),
        (['for="1.1.1.1, for="198.51.100.1"'], "198.51.100.1"),
        (['for=1.1.1.1;x="a,b", for=198.51.100.1;x="c,d"'], "198.51.100.1"),
        (["for=10.3.3.3, for=10.2.2.2"], "10.3.3.3"),
        (["for=unknown, for=10.2.2.2"], "10.2.2.2"),
        (["for=198.51.100.1, for=_hidden"], "10.0.0.1"),
        (["for=198.51.100.1, proto=https"], "10.0.0.1"),
        (["for=1.1.1.1;for=198.51.100.1"], "10.0.0.1"),
        (["xfor=198.51.100.1"], "10.0.0.1"),
        (["198.51.100.1"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_may_tell_it_by_forwarded(values: list[str], address: str) -> None:
    assert client_of(("10.0.0.1", 5000), *values, header="Forwarded") == address


def test_only_the_header_that_is_named_is_read() -> None:
    request = Request("/", {"X-Forwarded-For": "1.1.1.1", "Forwarded": "for=2.2.2.2"})
    peer = ("10.0.0.1", 5000)
    assert Proxies(TRUSTED).client_address(peer, request) == "1.1.1.1"
    assert Proxies(TRUSTED, "forwarded").client_address(peer, request) == "2.2.2.2"


def test_a_proxy_on_a_unix_socket_can_be_trusted() -> None:
    assert client_of("", "198.51.100.1", trusted=["unix"]) == "198.51.100.1"
    assert client_of("", "1.1.1.1, 10.0.0.2", trusted=["unix", "10.0.0.0/8"]) == "1.1.1.1"
    assert client_of("", trusted=["unix"]) is None
    assert client_of(("10.0.0.1", 1), "1.1.1.1", trusted=["unix"]) == "10.0.0.1"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
@pytest.mark.parametrize("text", ["10.0.0.1,", "for=10.0.0.1,", '"', "[", ";", ";for=", " "])
def test_to_read_a_long_header_takes_no_long_time(header: str, text: str) -> None:
    start = time.process_time()
    client_of(("10.0.0.1", 1), text * (16_000 // len(text)), header=header)
    assert time.process_time() - start < 2  # a quadratic one takes minutes


def test_networks_and_addresses_may_be_given_in_any_form() -> None:
    trusted = [
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_address("192.0.2.7"),
        "2001:db8::/32",
    ]
    for peer in ("10.1.1.1", "192.0.2.7", "2001:db8::1"):
        assert client_of((peer, 1), "1.1.1.1", trusted=trusted) == "1.1.1.1"
    assert client_of(("192.0.2.8", 1), "1.1.1.1", trusted=trusted) == "192.0.2.8"


@pytest.mark.parametrize(
    ("trusted", "header", "error", "says"),
    [
        ("10.0.0.0/8", "Forwarded", TypeError, "trusted_proxies must be an iterable"),
        (5, "Forwarded", TypeError, "trusted_proxies must be an iterable"),
        ([5], "Forwarded", TypeError, "trusted_proxies must be networks, not int"),
        (["nginx"], "Forwarded", ValueError, "trusted_proxies must be networks or addresses"),
        (["10.0.0.1/8"], "Forwarded", ValueError, "trusted_proxies .* has host bits set"),
        ((), b"Forwarded", TypeError, "forwarded_header must be a str, not bytes"),
        ((), "X-Real-IP", ValueError, "forwarded_header must be 'X-Forwarded-For' or 'Forw"),
    ],
)
def test_proxies_that_are_none_are_refused(
    trusted: Any, header: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=f"^{says}"):
        Proxies(trusted, header)
