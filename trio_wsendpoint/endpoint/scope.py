"""The `async with` around an endpoint: its nursery, and which exception leaves it."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import trio

from ..protocol import Agreement, BytesLike, Role
from .endpoint import Endpoint
from .errors import ConnectionClosed
from .life import Life
from .options import EndpointOptions


class EndpointScope:
    """The `async with` around an endpoint, which `open_endpoint` and all others end in.

    Not a generator, as a server has one for each connection for as long as it lasts.
    """

    __slots__ = ("_endpoint", "_initial_data", "_life", "_manager")

    def __init__(
        self,
        stream: trio.abc.Stream,
        role: Role,
        options: EndpointOptions,
        agreement: Agreement | None = None,
        initial_data: BytesLike = b"",
        addresses: tuple[Any, Any] | None = None,
    ) -> None:
        self._life = Life(stream, role, options, agreement, addresses)
        self._endpoint = Endpoint(self._life, agreement)
        self._initial_data = initial_data
        self._manager = trio.open_nursery()

    # An interrupt from the keyboard must not leave the nursery half open.
    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Endpoint:
        nursery = await self._manager.__aenter__()
        try:
            self._life.start(nursery, self._endpoint, self._initial_data)
        except BaseException as error:
            self._life.stop()
            await self._manager.__aexit__(type(error), error, error.__traceback__)
            raise
        self._initial_data = b""
        self._life.scope.__enter__()
        return self._endpoint

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        error = await self._leave(kind, exception, traceback)
        try:
            if error is not None and error is not exception:
                raise error
            return error is None
        finally:
            del self, exception, traceback, error  # or the traceback would hold them in a cycle

    async def _leave(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> BaseException | None:
        """Close the connection and the nursery; what is to be raised comes back."""
        life = self._life
        error = exception
        try:
            # It is kept out of the nursery, which would wrap it in a group.
            try:
                if life.scope.__exit__(kind, exception, traceback):
                    error = None
            except BaseException as rest:
                error = rest
            try:
                await life.leave(error)
            except trio.Cancelled as cancelled:
                error = error or cancelled
            except BaseException as interruption:
                error = interruption
            life.stop()
            await self._manager.__aexit__(None, None, None)
            if life.fatal is not None and _tells_only_of_the_end(error):
                return life.fatal
            if life.fatal is not None and not isinstance(life.fatal, ConnectionClosed):
                life.log.dropped(life.fatal)
            return error
        finally:
            del self, exception, traceback, error, life  # as above


def _tells_only_of_the_end(error: BaseException | None) -> bool:
    """Whether what left the body says no more than that the connection has ended."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_tells_only_of_the_end, error.exceptions))
    return isinstance(error, ConnectionClosed | trio.Cancelled | None)
