"""Tests of ws and wss URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_wsendpoint.client.url import Url, parse_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://example.org", Url(False, "example.org", 80, "/")),
        ("wss://example.org", Url(True, "example.org", 443, "/")),
        ("WSS://Example.ORG/Feed", Url(True, "example.org", 443, "/Feed")),
        ("ws://example.org:8080/chat?room=1", Url(False, "example.org", 8080, "/chat?room=1")),
        ("ws://example.org:/", Url(False, "example.org", 80, "/")),
        ("ws://example.org?q=a/b?c", Url(False, "example.org", 80, "/?q=a/b?c")),
        ("ws://127.0.0.1:1/", Url(False, "127.0.0.1", 1, "/")),
        ("ws://h:65535", Url(False, "h", 65535, "/")),
        ("ws://[::1]:8000/x", Url(False, "::1", 8000, "/x")),
        ("ws://[2001:DB8::1]", Url(False, "2001:db8::1", 80, "/")),
        ("ws://[fe80::1%25eth0]/", Url(False, "fe80::1%eth0", 80, "/")),
        ("ws://bücher.example/", Url(False, "xn--bcher-kva.example", 80, "/")),
        ("ws://h/ä?ö", Url(False, "h", 80, "/%C3%A4?%C3%B6")),
        ('ws://h/%20a;b=[1]?q={"k"}', Url(False, "h", 80, "/%20a;b=[1]?q=%7B%22k%22%7D")),
        ("ws://joe@h/", Url(False, "h", 80, "/", "joe", None)),
        ("ws://joe:s%40crèt:@h/", Url(False, "h", 80, "/", "joe", "s@crèt:")),
        ("ws://joe:@h/", Url(False, "h", 80, "/", "joe", "")),
        ("ws://@h/", Url(False, "h", 80, "/")),
        ("ws://fa\xdf.example/", Url(False, "xn--fa-hia.example", 80, "/")),
        ("ws://B\xdcCHER.example./", Url(False, "xn--bcher-kva.example.", 80, "/")),
        ("ws://ex\u3002ample/", Url(False, "ex.ample", 80, "/")),
        ("ws://my_service/", Url(False, "my_service", 80, "/")),
        ("ws://Example.org./", Url(False, "example.org.", 80, "/")),
        ("ws://xn--bcher-kva.example/", Url(False, "xn--bcher-kva.example", 80, "/")),
    ],
)
def test_a_url_is_taken_to_pieces(url: str, expected: Url) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "form"),
        ("example.org", "form"),
        ("http://example.org/", "form"),
        ("xws://example.org/", "form"),
        ("ws:/example.org/", "form"),
        ("ws://", "form"),
        ("ws:///path", "form"),
        ("ws://:80/", "form"),
        ("ws://a@b@c/", "form"),
        ("ws://[::1]x/", "form"),
        ("ws://x[::1]/", "form"),
        ("ws://::1/", "port"),
        ("ws://h/#", "fragment"),
        ("ws://h#part", "fragment"),
        ("ws://h/a b", "control characters"),
        ("ws://h/\r\nX: y", "control characters"),
        (" ws://h/", "control characters"),
        ("ws://h/\x7f", "control characters"),
        ("ws://h:0/", "port"),
        ("ws://h:65536/", "port"),
        ("ws://h:080080/", "port"),
        ("ws://h:-1/", "port"),
        ("ws://h:８０/", "port"),
        ("ws://h:80:80/", "port"),
        ("ws://a..b/", "host name"),
        ("ws://" + "a" * 64 + ".org/", "host name"),
        ("ws://h%61/", "host name"),
        ("ws://good.org\\/", "host name"),
        ("ws://a℀b/", "host name"),
        ("ws://\u2603.example/", "host name"),
        ("ws://a\u200db/", "host name"),
        ("ws://m\xfc_service/", "host name"),
        ("ws://\xfc..example/", "host name"),
        ("ws://./", "host name"),
        ("ws://a../", "host name"),
        ("ws://" + "a." * 127 + "ab/", "host name"),
        ("ws://h,i/", "host name"),
        ("ws://[]/", "IPv6"),
        ("ws://[1.2.3.4]/", "IPv6"),
        ("ws://[v1.x]/", "IPv6"),
        ("ws://[::1::]/", "IPv6"),
        ("ws://a%3Ab:c@h/", "colon"),
        ("ws://%FF@h/", "UTF-8"),
        ("ws://h/\ud800", "UTF-8"),
    ],
)
def test_a_bad_url_is_refused_in_words_that_say_why(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^url must .*{words}"):
        parse_url(url)


@pytest.mark.parametrize("url", [None, b"ws://example.org/", 1])
def test_a_url_that_is_no_str_is_a_type_error(url: object) -> None:
    with pytest.raises(TypeError, match="url must be a str"):
        parse_url(url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://example.org/", "example.org"),
        ("ws://example.org:80/", "example.org"),
        ("wss://example.org:443/", "example.org"),
        ("wss://example.org:80/", "example.org:80"),
        ("ws://example.org:443/", "example.org:443"),
        ("ws://[::1]/", "[::1]"),
        ("ws://[::1]:8000/", "[::1]:8000"),
        ("ws://[fe80::1%25eth0]:8000/", "[fe80::1]:8000"),
    ],
)
def test_the_host_header_has_brackets_and_port_where_they_belong(
    url: str, expected: str
) -> None:
    assert parse_url(url).host_header == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://h/", None),
        ("ws://Aladdin:open%20sesame@h/", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("ws://Aladdin@h/", "Basic QWxhZGRpbjo="),
        ("ws://%C3%A4:%C3%B6@h/", "Basic w6Q6w7Y="),
    ],
)
def test_user_name_and_password_become_basic_credentials(
    url: str, expected: str | None
) -> None:
    assert parse_url(url).authorization == expected


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(parse_url("ws://joe:secret@h/"))


@given(st.text(alphabet=st.sampled_from("ws:/?#@[]%1aÄ.\\ \r℀"), max_size=30))
def test_whatever_follows_the_scheme_is_parsed_or_refused(rest: str) -> None:
    try:
        parsed = parse_url("ws://" + rest)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert parsed.host
        assert parsed.target.startswith("/")
        assert f"{parsed.target}{parsed.host_header}".isascii()
        assert not set("\r\n \\") & set(parsed.target + parsed.host_header)
    assert not refusal or refusal.startswith("url must ")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://example.org/", "example.org"),
        ("wss://example.org./", "example.org"),
        ("wss://[::1]/", "::1"),
        ("wss://[fe80::1%25eth0]/", "fe80::1"),
    ],
)
def test_tls_gets_the_name_without_what_only_resolvers_need(url: str, expected: str) -> None:
    assert parse_url(url).server_hostname == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("WS://joe:secret@Example.org:80/a?b", "ws://example.org/a?b"),
        ("wss://[fe80::1%25eth0]:80", "wss://[fe80::1%eth0]:80/"),
    ],
)
def test_as_text_it_has_no_credentials(url: str, expected: str) -> None:
    assert str(parse_url(url)) == expected
