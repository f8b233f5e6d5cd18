"""HTTP requests and responses as values, for the opening handshake (RFC 9110)."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import attrs

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Header fields in their order on the wire; a name may come more than once."""

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
"""A token (RFC 9110 section 5.6.2)."""

_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_NO_BODY: Final = frozenset({101, 204, 304})
_PHRASES: Final[dict[int, str]] = {status: status.phrase for status in http.HTTPStatus}


class CheckedHeaders(tuple[tuple[str, str], ...]):
    """Headers that are known to be in their one form, and are not looked at again."""

    __slots__ = ()


def to_headers(headers: HeadersLike) -> Headers:
    """Bring headers into their one form, and refuse those that must not go over the wire.

    Raises:
        TypeError: `headers` is neither a mapping nor an iterable of pairs of str.
        ValueError: a name is not a token, or a value has control characters or is not
            Latin-1 (RFC 9110 section 5.5).
    """
    if isinstance(headers, CheckedHeaders):
        return headers
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    try:
        result = CheckedHeaders([(name, value.strip(" \t")) for name, value in pairs])
        wrong = [
            name
            for name, value in result
            if not (TOKEN.fullmatch(name) and _FIELD_VALUE.fullmatch(value))
        ]
    except (TypeError, ValueError, AttributeError):
        raise TypeError(
            "headers must be a mapping or an iterable of (name, value) pairs of str"
        ) from None
    if wrong:
        # The value may be a secret, and stays out of the message.
        raise ValueError(
            "headers must have tokens for names, and for values Latin-1 without control"
            f" characters; {wrong[0]!r} has not"
        )
    return result


class _HeaderLookup:
    """What requests and responses share: their headers, found by name in any case."""

    __slots__ = ()
    headers: Headers

    def header_values(self, name: str) -> list[str]:
        """The values of all header fields of this name, in order."""
        wanted = name.lower()
        return [value for name, value in self.headers if name.lower() == wanted]

    def header(self, name: str) -> str | None:
        """The value of a header; of several, joined by commas (RFC 9110 section 5.3)."""
        values = self.header_values(name)
        return ", ".join(values) if values else None


@attrs.frozen
class Request(_HeaderLookup):
    """An HTTP request, without a body.

    Attributes:
        target: The request target: path and query, as they are on the wire.
        headers: The header fields.
        method: The HTTP method.
    """

    target: str
    headers: Headers = attrs.field(default=(), converter=to_headers)
    method: str = "GET"


def _check_status_code(_: object, __: object, value: int) -> None:
    if not isinstance(value, int):
        raise TypeError(f"status_code must be an int, not {type(value).__name__}")
    if value != 101 and not 200 <= value <= 999:
        raise ValueError(f"status_code must be 101 or a final one from 200 on, not {value}")


def _check_body(response: Response, _: object, value: bytes) -> None:
    if not isinstance(value, bytes):
        raise TypeError(f"body must be bytes, not {type(value).__name__}")
    if value and response.status_code in _NO_BODY:
        raise ValueError(f"body must be empty with status code {response.status_code}")


def _check_reason_phrase(_: object, __: object, value: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"reason_phrase must be a str, not {type(value).__name__}")
    if not _FIELD_VALUE.fullmatch(value):
        raise ValueError("reason_phrase must be Latin-1 without control characters")


@attrs.frozen
class Response(_HeaderLookup):
    """An HTTP response: the 101 that completes the handshake, or any other that refuses it.

    Args:
        status_code: 101, or 200 and more.
        headers: A mapping or an iterable of (name, value) pairs.
        body: What a refusal has to say; empty with 101, 204 and 304.
        reason_phrase: By default the one that belongs to the status code.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument must not go over the wire.
    """

    status_code: int = attrs.field(validator=_check_status_code)
    headers: Headers = attrs.field(default=(), converter=to_headers)
    body: bytes = attrs.field(default=b"", validator=_check_body)
    reason_phrase: str = attrs.field(validator=_check_reason_phrase)

    @reason_phrase.default
    def _standard_phrase(self) -> str:
        return _PHRASES.get(self.status_code, "")
