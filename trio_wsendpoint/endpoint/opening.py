"""`open_endpoint`: the nursery around an endpoint, and which exception leaves it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Unpack

import trio

from ..protocol import Agreement, BytesLike, Role
from .core import EndpointCore
from .endpoint import Endpoint
from .errors import ConnectionClosed
from .options import EndpointKeywords, EndpointOptions, check_keywords
from .stream_setup import check_stream


def open_endpoint(
    stream: trio.abc.Stream,
    role: Role,
    *,
    agreement: Agreement | None = None,
    initial_data: BytesLike = b"",
    **options: Unpack[EndpointKeywords],
) -> AbstractAsyncContextManager[Endpoint]:
    """Run an endpoint over a stream whose opening handshake is done: an async context manager.

    Leaving the `async with` closes the connection: with 1000 if normally, 1011 if by an
    exception, 1001 if cancelled. The stream is closed with it. Exceptions of the application
    leave it as they are.

    Args:
        stream: Any Trio stream; the endpoint owns it from here on.
        role: Which end of the connection is ours.
        agreement: What the opening handshake ended in. Without it, the peer is taken to have
            the same `extensions`.
        initial_data: What was read of the stream behind the opening handshake.
        **options: See `EndpointOptions`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        HeartbeatTimeout: on leaving, if the peer was given up on.
    """
    check_stream(stream)
    if not isinstance(role, Role):
        raise TypeError(f"role must be a Role, not {role!r}")
    if not isinstance(agreement, Agreement | None):
        raise TypeError(f"agreement must be an Agreement, not {agreement!r}")
    if not isinstance(initial_data, bytes | bytearray | memoryview):
        raise TypeError(f"initial_data must be bytes-like, not {type(initial_data).__name__}")
    check_keywords("open_endpoint", options)
    return EndpointScope(stream, role, EndpointOptions(**options), agreement, initial_data)


class EndpointScope(AbstractAsyncContextManager[Endpoint]):
    """The `async with` around an endpoint, which all ways to open one end in.

    Not a generator: a server has one for each connection for as long as it lasts, and the
    frames of `contextlib` would hold an exception that takes the place of another in a cycle.
    """

    __slots__ = ("_core", "_endpoint", "_initial_data", "_manager")

    def __init__(
        self,
        stream: trio.abc.Stream,
        role: Role,
        options: EndpointOptions,
        agreement: Agreement | None = None,
        initial_data: BytesLike = b"",
        addresses: tuple[Any, Any] | None = None,
    ) -> None:
        self._core = EndpointCore(stream, role, options, agreement, addresses)
        self._endpoint = Endpoint(self._core, agreement)
        self._initial_data = initial_data
        self._manager = trio.open_nursery()

    # An interrupt from the keyboard must not leave the nursery half open.
    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Endpoint:
        nursery = await self._manager.__aenter__()
        try:
            self._core.start(nursery, self._endpoint, self._initial_data)
        except BaseException:
            self._core.end_tasks()
            await self._manager.__aexit__(None, None, None)
            raise
        self._initial_data = b""
        self._core.scope.__enter__()
        return self._endpoint

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        error = await self._close(kind, exception, traceback)
        try:
            if error is not None and error is not exception:
                raise error
            return error is None
        finally:
            del self, exception, traceback, error  # or the traceback would hold them in a cycle

    async def _close(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> BaseException | None:
        """Close the connection and the nursery; what is to be raised comes back."""
        core = self._core
        error = exception
        try:
            # It is kept out of the nursery, which would wrap it in a group.
            try:
                if core.scope.__exit__(kind, exception, traceback):
                    error = None
            except BaseException as rest:
                error = rest
            try:
                await core.close_on_exit(error)
            except trio.Cancelled as cancelled:
                error = error or cancelled
            except BaseException as interruption:
                error = interruption
            core.end_tasks()
            await self._manager.__aexit__(None, None, None)
            return _choose_error(core, error)
        finally:
            core.dissolve()
            del self, exception, traceback, error, core  # as above


def _choose_error(core: EndpointCore, error: BaseException | None) -> BaseException | None:
    """Of what left the body and what went wrong in the endpoint, the one to be raised."""
    fatal, core.fatal = core.fatal, None  # its traceback may hold the core
    if fatal is None:
        return error
    if _tells_only_of_the_end(error) or not isinstance(fatal, Exception):
        return fatal  # an interrupt has what left the body as its context
    if not isinstance(fatal, ConnectionClosed):
        core.log.dropped(fatal)
    return error


def _tells_only_of_the_end(error: BaseException | None) -> bool:
    """Whether what left the body says no more than that the connection has ended."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_tells_only_of_the_end, error.exceptions))
    return isinstance(error, ConnectionClosed | trio.Cancelled | None)
