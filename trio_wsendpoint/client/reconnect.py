"""`reconnecting`: a connection that is made again whenever it is lost."""

from __future__ import annotations

import inspect
import logging
import math
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, TypeAlias, TypeVar, Unpack

import attrs
import trio

from ..endpoint import Backoff, Endpoint, EndpointScope
from ..protocol import CloseCode, HeadersLike, WebSocketError
from .connect import open_scope
from .options import ConnectOptions, DialKeywords, parse_options
from .retrying import Retry, RetryPolicy, end_of
from .url import Url, parse_url

logger: Final = logging.getLogger("trio_wsendpoint.client")

T = TypeVar("T")

Source: TypeAlias = T | Callable[[], T | Awaitable[T]]
"""A value, or a function that gives it for each dial anew, plain or async."""


_DONE: Final = (CloseCode.NORMAL_CLOSURE, CloseCode.NO_STATUS_RECEIVED)
"""Close codes that say that there is no more to come."""


def reconnecting(
    url: Source[str],
    *,
    headers: Source[HeadersLike] = (),
    ssl_context: Source[ssl.SSLContext | None] = None,
    retry: Retry | None = None,
    backoff: Backoff | None = None,
    max_attempts: int | None = None,
    **options: Unpack[DialKeywords],
) -> Reconnecting:
    """Stay connected to a WebSocket server.

    It is an async iterator of attempts, each an async context manager. To enter one dials as
    often as it takes, and waits in between; its body runs with an open endpoint:

        async for attempt in reconnecting("wss://example.org/feed"):
            async with attempt as endpoint:
                async for message in endpoint:
                    ...

    The next attempt follows when the connection is lost: when it broke, when the server was
    given up on, or when either side closed it with 1001 or 1011 to 1014. The loop ends when it
    was closed with 1000 or no code, which is also what happens if the body is left while it is
    open. Any other failure comes out, as does every exception that is not about the end of
    this very endpoint. `temporary` of an error says whether it is tried again.

    Args:
        url: As for `connect`, or a function that gives it for each dial, plain or async.
        headers: Likewise, such as a function that gets a fresh token.
        ssl_context: Likewise.
        retry: A plain function that is asked about each failure instead: False lets it come
            out, True waits as `backoff` says, and a number is the seconds to wait. It gets a
            `ConnectionClosed` for any close but one with 1000.
        backoff: How long to wait between two dials.
        max_attempts: How many dials may follow each other with no connection that lasted
            `backoff.healthy_after` seconds; then the last failure comes out. None for any
            number.
        **options: As for `connect`, without `stream`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """
    keywords: dict[str, Any] = {**options}
    if not callable(headers):
        keywords["headers"] = headers
    if not callable(ssl_context):
        keywords["ssl_context"] = ssl_context
    parsed = parse_options(keywords, "reconnecting")
    if parsed.stream is not None:
        raise ValueError("stream must be None: there would be only one connection")
    if not callable(url):
        parsed.check_url(parse_url(url))
    return Reconnecting(
        _Sources(url, headers, ssl_context, parsed), RetryPolicy(retry, backoff, max_attempts)
    )


async def _ask(source: Source[T]) -> T:
    value: Any = source() if callable(source) else source
    result: T = await value if inspect.isawaitable(value) else value
    return result


@attrs.frozen
class _Sources:
    """Where the arguments of each dial come from."""

    url: Source[str]
    headers: Source[HeadersLike]
    ssl_context: Source[ssl.SSLContext | None]
    options: ConnectOptions

    async def ask(self) -> tuple[Url, ConnectOptions]:
        """The arguments of the dial that comes next."""
        fresh: dict[str, Any] = {}
        url = parse_url(await _ask(self.url))
        if callable(self.headers):
            fresh["headers"] = await _ask(self.headers)
        if callable(self.ssl_context):
            fresh["ssl_context"] = await _ask(self.ssl_context)
        options = attrs.evolve(self.options, **fresh) if fresh else self.options
        return url, options


class Reconnecting:
    """The attempts of a client to stay connected; `reconnecting` makes it.

    An async iterator, for one `async for`. It holds nothing that would have to be closed:
    what there is belongs to the attempt that is entered.
    """

    def __init__(self, sources: _Sources, policy: RetryPolicy) -> None:
        self._loop = _Loop(sources, policy)
        self._is_iterated = False

    def __aiter__(self) -> Reconnecting:
        if self._is_iterated:
            raise RuntimeError("each reconnecting() can be iterated once")
        self._is_iterated = True
        return self

    async def __anext__(self) -> Attempt:
        """The next attempt; the one before it, if it was not entered, is over.

        Raises:
            StopAsyncIteration: the connection was closed with 1000 or no code.
            RuntimeError: the attempt before is still entered.
        """
        await trio.lowlevel.checkpoint()
        if self._loop.is_entered:
            raise RuntimeError("the attempt before has not been left")
        if self._loop.is_over:
            raise StopAsyncIteration
        self._loop.attempt = Attempt(self._loop)
        return self._loop.attempt


class Attempt:
    """An attempt to stay connected: an async context manager around an endpoint.

    To enter it dials as often as it takes. One that is not entered does nothing.
    """

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._number = loop.number + 1
        self._previous_error = loop.previous_error

    @property
    def number(self) -> int:
        """Which dial of the loop this is, from 1 on; while it dials, it counts on."""
        return self._number

    @property
    def previous_error(self) -> WebSocketError | None:
        """What failed last, and was tried again; None before anything has."""
        return self._previous_error

    # An interrupt from the keyboard must not leave the endpoint half open.
    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Endpoint:
        """Dial until there is a connection.

        Cancelled, it leaves nothing open.

        Raises:
            RuntimeError: it was entered before, or its time is over.
            WebSocketError: a dial failed in a way that is not tried again.
        """
        loop = self._loop
        try:
            if loop.attempt is not self:
                raise RuntimeError("each attempt is entered once, before the next one begins")
            return await loop.enter(self)
        finally:
            del self, loop  # or a traceback would hold them in a cycle

    def update(self, number: int, previous_error: WebSocketError | None) -> None:
        """Take over what is known after a dial."""
        self._number = number
        self._previous_error = previous_error

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        loop = self._loop
        try:
            return await loop.leave(kind, exception, traceback)
        finally:
            del self, loop, exception, traceback  # as above


class _Loop:
    """What the attempts of one loop share.

    Attributes:
        number: How many dials there were.
        previous_error: What failed last and was tried again, or None.
        attempt: The one that may be entered, or None.
        is_entered: Whether an attempt is entered, or being entered.
        is_over: Whether there is no more to come.
    """

    def __init__(self, sources: _Sources, policy: RetryPolicy) -> None:
        self._sources = sources
        self._policy = policy
        self.number = 0
        self.previous_error: WebSocketError | None = None
        self.attempt: Attempt | None = None
        self.is_entered = False
        self.is_over = False
        self._scope: EndpointScope | None = None
        self._endpoint: Endpoint | None = None
        self._opened_at = 0.0
        self._not_before = -math.inf
        # Both since the last connection that was healthy.
        self._dials = 0
        self._failures = 0

    async def enter(self, attempt: Attempt) -> Endpoint:
        """Dial for an attempt until there is a connection, and open the endpoint.

        Raises:
            WebSocketError: a dial failed, and is not tried again.
        """
        self.attempt = None
        self.is_entered = True
        scope = None
        try:
            while scope is None:
                try:
                    scope = await self._dial()
                finally:
                    attempt.update(self.number, self.previous_error)
            self._scope = scope
            self._endpoint = await scope.__aenter__()
            return self._endpoint
        except BaseException:
            self.is_entered = False
            raise
        finally:
            del self, attempt, scope  # or a traceback would hold them in a cycle

    async def _dial(self) -> EndpointScope | None:
        """Wait for as long as it is due, and dial once; None if that failed for now.

        Raises:
            WebSocketError: it failed, and is not tried again.
        """
        await trio.sleep_until(self._not_before)
        url, options = await self._sources.ask()
        self.number += 1
        self._dials += 1
        try:
            scope = await open_scope(url, options)
            self._opened_at = trio.current_time()
            return scope
        except WebSocketError as error:
            failure = error
        try:
            if self._tries_again(failure, "failed"):
                return None
            raise failure
        finally:
            del self, failure  # as above

    async def leave(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Close the endpoint; says whether its exception may be kept from the application.

        Raises:
            BaseException: another one than that has to come out.
        """
        scope, endpoint, error = self._scope, self._endpoint, exception
        assert scope is not None
        assert endpoint is not None
        lasted = trio.current_time() - self._opened_at
        try:
            try:
                if await scope.__aexit__(kind, exception, traceback):
                    error = None
            except BaseException as other:
                error = other
            self._scope = self._endpoint = None
            self.is_entered = False
            if lasted >= self._policy.backoff.healthy_after:
                self._dials = self._failures = 0
            error = self._judge_end(endpoint, error)
            if error is not None and error is not exception:
                raise error
            return error is None
        finally:
            del self, scope, endpoint, exception, traceback, error  # as above

    def _judge_end(
        self, endpoint: Endpoint, error: BaseException | None
    ) -> BaseException | None:
        """What has to come out of an `async with` that was left so; None if nothing."""
        end = end_of(endpoint, error)
        if end is None:
            self._wait(self._policy.backoff.delay(self._failures))
            return error
        if self._policy.must_ask(end) and self._tries_again(end, "ended"):
            return None
        if end.code in _DONE:
            self.is_over = True
            return None
        return error or end

    def _tries_again(self, error: WebSocketError, what: str) -> bool:
        """Judge a failure; says whether another dial follows, and keeps it if so."""
        delay = self._policy.delay(error, self._dials, self._failures)
        if delay is None:
            logger.info("dial %d %s: %s; not tried again", self.number, what, error)
            # The application may go on all the same.
            self._wait(self._policy.backoff.delay(self._failures))
            return False
        logger.info("dial %d %s: %s; next in %.1f s", self.number, what, error, delay)
        self._wait(delay)
        # Nobody will raise it, and its frames may hold much.
        self.previous_error = error.with_traceback(None)
        return True

    def _wait(self, delay: float) -> None:
        self._failures += 1
        self._not_before = trio.current_time() + delay
