"""What is tried again, and how long to wait before."""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from ..endpoint import (
    Backoff,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Endpoint,
    HeartbeatTimeout,
    check_wait,
)
from ..protocol import CloseCode, Response, WebSocketError

Retry: TypeAlias = Callable[[WebSocketError], bool | float]
"""Whether to try again after a failure, or after how many seconds."""

MAX_RETRY_AFTER: Final = 3600.0
"""Seconds that a server may have its clients wait; a longer wait is cut to it."""


def retry_after(response: Response | None) -> float:
    """Seconds that a response asks to wait, in either form (RFC 9110 section 10.2.3); or 0."""
    text = (response.header("Retry-After") or "").strip() if response is not None else ""
    if re.fullmatch("[0-9]{1,20}", text):
        return min(float(text), MAX_RETRY_AFTER)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if date.tzinfo is None:  # "-0000", which is as good as GMT
        date = date.replace(tzinfo=datetime.UTC)
    seconds = (date - datetime.datetime.now(datetime.UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _check_callable(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not callable(value):
        raise TypeError(f"{attribute.name} must be callable, not {type(value).__name__}")


def _check_max_attempts(_: object, __: object, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | None):
        raise TypeError(f"max_attempts must be an int or None, not {type(value).__name__}")
    if value is not None and value < 1:
        raise ValueError(f"max_attempts must be at least 1, not {value}")


def _to_backoff(backoff: Any) -> Backoff:
    if not isinstance(backoff, Backoff | None):
        raise TypeError(f"backoff must be a Backoff, not {type(backoff).__name__}")
    return backoff or Backoff()


@attrs.frozen
class RetryPolicy:
    """What is tried again, when, and how often."""

    retry: Retry | None = attrs.field(validator=attrs.validators.optional(_check_callable))
    backoff: Backoff = attrs.field(converter=_to_backoff)
    max_attempts: int | None = attrs.field(validator=_check_max_attempts)

    def delay(self, error: WebSocketError, dials: int, failures: int) -> float | None:
        """Seconds until the next dial; None if the error has to come out.

        Args:
            error: What has happened.
            dials: How many there were since a connection was healthy, or at all.
            failures: How many of them had failed before.
        """
        verdict: Any = error.temporary if self.retry is None else self.retry(error)
        if not isinstance(verdict, bool):
            check_wait("what retry returns", verdict)
        if verdict is False or (self.max_attempts is not None and dials >= self.max_attempts):
            return None
        if verdict is True:
            response = getattr(error, "response", None)
            return max(self.backoff.delay(failures), retry_after(response))
        return float(verdict)

    def must_ask(self, end: ConnectionClosed) -> bool:
        """Whether it is a question at all if a connection that ended so needs another one."""
        if end.code == CloseCode.NO_STATUS_RECEIVED:
            return self.retry is not None
        return end.code != CloseCode.NORMAL_CLOSURE


_CLEAN: Final = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RECEIVED)


def end_of(endpoint: Endpoint, error: BaseException | None) -> ConnectionClosed | None:
    """How an endpoint ended, whose `async with` was left so.

    Args:
        endpoint: The endpoint.
        error: What came out of it, or None.

    Returns:
        None if `error` is about anything else than the end of this very endpoint.
    """
    if error is None:
        return _describe(endpoint)
    if isinstance(error, BaseExceptionGroup):
        ends = [end_of(endpoint, each) for each in error.exceptions]
        return ends[0] if all(ends) else None
    if getattr(error, "connection_id", None) != endpoint.connection_id:
        return None
    # Else it was raised when less was known, or is the trio.ClosedResourceError of those who
    # have closed themselves.
    if isinstance(error, HeartbeatTimeout):
        return error
    if isinstance(error, ConnectionClosed) and error.code == endpoint.close_code:
        return error
    return _describe(endpoint)


def _describe(endpoint: Endpoint) -> ConnectionClosed:
    """The end of an endpoint, as an exception that nobody has raised."""
    code = endpoint.close_code
    assert code is not None
    clean = endpoint.closed_first is endpoint.role.other and code in _CLEAN
    return (ConnectionClosedOK if clean else ConnectionClosedError)(
        code,
        endpoint.close_reason or "",
        sent_close_frame=endpoint.sent_close_frame,
        received_close_frame=endpoint.received_close_frame,
        closed_first=endpoint.closed_first,
        connection_id=endpoint.connection_id,
    )
