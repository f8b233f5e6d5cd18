from __future__ import annotations

from typing import Any

import pytest

from trio_wsendpoint import ANY_ORIGIN
from trio_wsendpoint.protocol import Request
from trio_wsendpoint.server.origins import ForeignOrigin, check_origin, to_origins


def make_request(host: str, *origins: str, target: str = "/") -> Request:
    return Request(target, [("Host", host), *(("Origin", origin) for origin in origins)])


def is_allowed(request: Request, origins: Any = None) -> bool:
    try:
        check_origin(request, to_origins(origins))
    except ForeignOrigin:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("example.org", "https://example.org"),
        ("example.org", "http://example.org"),
        ("Example.ORG", "https://example.org"),
        ("example.org", "https://EXAMPLE.org"),
        ("example.org:443", "https://example.org"),
        ("example.org:80", "https://example.org"),
        ("example.org:", "https://example.org"),
        ("example.org", "https://example.org:443"),
        ("example.org", "http://example.org:80"),
        ("example.org:8000", "http://example.org:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("[::1]", "https://[::1]"),
    ],
)
def test_a_page_of_the_host_asked_for_may_connect(host: str, origin: str) -> None:
    assert is_allowed(make_request(host, origin))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("example.org", "https://evil.org"),
        ("example.org", "https://example.org.evil.org"),
        ("example.org", "https://sub.example.org"),
        ("sub.example.org", "https://example.org"),
        ("example.org", "https://evil-example.org"),
        ("example.org:8000", "http://example.org"),
        ("example.org", "http://example.org:8000"),
        ("example.org:8000", "http://example.org:8001"),
        ("example.org", "http://example.org:443"),
        ("example.org", "https://example.org:80"),
        ("example.org", "null"),
        ("null", "null"),
        ("example.org", ""),
        ("", ""),
        ("example.org", "example.org"),
        ("example.org", "https://example.org/"),
        ("example.org", "https://example.org/path"),
        ("example.org", "https://user@example.org"),
        ("example.org", "https://evil.org https://example.org"),
        ("example.org", "https://example.org:99999999"),
        ("example.org", "https://example.org\xa0"),
        ("", "https://"),
        ("a:b:c", "https://a"),
    ],
)
def test_any_other_page_may_not(host: str, origin: str) -> None:
    assert not is_allowed(make_request(host, origin))


def test_it_is_refused_with_403() -> None:
    with pytest.raises(ForeignOrigin) as caught:
        check_origin(make_request("example.org", "https://evil.org"), None)
    assert caught.value.status_code == 403
    assert caught.value.shown == "https://evil.org"
    assert "evil" not in str(caught.value)


def test_two_origins_are_none() -> None:
    assert not is_allowed(make_request("example.org", "https://example.org", "https://a.org"))
    assert not is_allowed(
        make_request("example.org", "https://example.org", "https://example.org")
    )


def test_a_request_without_a_host_is_that_of_no_page() -> None:
    assert not is_allowed(Request("/", {"Origin": "https://example.org"}))


def test_the_host_of_an_absolute_target_counts_before_the_header() -> None:
    target = "http://example.org/"
    assert is_allowed(make_request("other.org", "https://example.org", target=target))
    assert not is_allowed(make_request("other.org", "https://other.org", target=target))


@pytest.mark.parametrize("origins", [None, [], ["https://example.org"], ANY_ORIGIN])
def test_what_tells_no_origin_is_no_browser_and_may_connect(origins: Any) -> None:
    assert is_allowed(make_request("example.org"), origins)


@pytest.mark.parametrize("origin", ["https://evil.org", "null", "", "nonsense"])
def test_any_origin_is_any(origin: str) -> None:
    assert is_allowed(make_request("example.org", origin), ANY_ORIGIN)
    assert repr(ANY_ORIGIN) == "ANY_ORIGIN"


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        ("https://example.org", "https://example.org"),
        ("HTTPS://Example.org:443", "https://example.org"),
        ("https://*.example.org", "https://sub.example.org"),
        ("https://*.example.org", "https://xn--bcher-kva.example.org"),
        ("https://www.*.org", "https://www.example.org"),
        ("https://*.*.org", "https://www.example.org"),
        ("https://*.example.org:8000", "https://sub.example.org:8000"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("file://", "file://"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_that_is_named_may_connect(allowed: str, origin: str) -> None:
    assert is_allowed(make_request("api.org", origin), ["https://first.org", allowed])


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        ("https://example.org", "http://example.org"),
        ("https://example.org", "https://example.org:8000"),
        ("https://*.example.org", "https://example.org"),
        ("https://*.example.org", "https://a.b.example.org"),
        ("https://*.example.org", "https://.example.org"),
        ("https://*.example.org", "https://evil.org"),
        ("https://*.example.org", "https://sub.example.org:8000"),
        ("https://*.example.org", "https://sub-example.org"),
        ("https://example.org", "https://api.org"),
    ],
)
def test_origins_that_are_named_are_all_that_may(allowed: str, origin: str) -> None:
    assert not is_allowed(make_request("api.org", origin), [allowed])


@pytest.mark.parametrize(
    ("origins", "error", "says"),
    [
        ("https://example.org", TypeError, "origins must be an iterable of str, ANY_ORIGIN or"),
        (5, TypeError, "origins must be an iterable of str, ANY_ORIGIN or None, not 5"),
        ([b"https://example.org"], TypeError, "origins must be str values, not bytes"),
        (["example.org"], ValueError, "origins must be of the form scheme://host"),
        (["https://example.org/"], ValueError, "origins must be of the form scheme://host"),
        (["https://bücher.example"], ValueError, "in its ASCII form"),
        (["null"], ValueError, "origins must be of the form"),
        (["https://*example.org"], ValueError, r"a \* for one whole label only"),
        (["https://a*.example.org"], ValueError, r"a \* for one whole label only"),
        (["https://**.example.org"], ValueError, r"a \* for one whole label only"),
    ],
)
def test_origins_that_are_none_are_refused(
    origins: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        to_origins(origins)
