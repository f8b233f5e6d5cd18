"""What a server says to a request, before anything is a WebSocket.

Values in, values out: a `Gate` neither reads nor writes, so that it judges requests of
HTTP/1.1 and of HTTP/2 alike.
"""

from __future__ import annotations

import email.utils
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import attrs
import trio

from ..protocol import (
    Agreement,
    HandshakeError,
    Headers,
    Request,
    Response,
    ServerHandshake,
    refusal,
    to_extra_headers,
    to_headers,
)
from .functions import check_async
from .limits import Limits, Seat
from .log import log_foreign_origin, log_request
from .origins import ForeignOrigin, Origins, check_origin


def _check_subprotocol(_: object, __: object, value: Any) -> None:
    if not isinstance(value, str | None):
        raise TypeError(f"subprotocol must be a str or None, not {type(value).__name__}")


@attrs.frozen
class Accept:
    """What an `on_request` function returns to take a request for a WebSocket.

    It waives none of the checks that follow, that of the `Origin` least of all.

    Args:
        headers: Further headers for the 101, such as `Set-Cookie`.
        subprotocol: The one to speak, among those that the client offers.
        context: What `endpoint.context` is to be; by default the request's.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: `headers` has one that the handshake sets itself, or that must not be sent.
    """

    headers: Headers = attrs.field(default=(), converter=to_extra_headers)
    subprotocol: str | None = attrs.field(default=None, validator=_check_subprotocol)
    context: Any = None


OnRequest: TypeAlias = Callable[[Request], Awaitable[Response | Accept | None]]
"""An async function that looks at a request: its answer, or None to go on."""

SelectSubprotocol: TypeAlias = Callable[[Request, tuple[str, ...]], str | None]
"""A function of a request and the subprotocols it offers: the one to speak, or None."""


def to_hooks(value: OnRequest | Iterable[OnRequest] | None) -> tuple[OnRequest, ...]:
    """Bring what the application gave for `on_request` into its one form.

    Raises:
        TypeError: it is neither an async function of one argument nor an iterable of such.
    """
    if value is None:
        return ()
    several = isinstance(value, Iterable) and not callable(value)
    hooks: tuple[Any, ...] = tuple(value) if several else (value,)  # type: ignore[arg-type]
    for hook in hooks:
        check_async("on_request", hook, "the request")
    return hooks


@attrs.frozen
class Decision:
    """What a server says to a request.

    Attributes:
        response: What to send: a 101 (200 in HTTP/2), or what there is instead of it.
        agreement: What an endpoint is to be opened with; None where there will be none.
        reason: Why there will be none, for logs and errors.
        seat: What counts the connection; to be left when it is over. None where there is no
            agreement.
    """

    response: Response
    agreement: Agreement | None = None
    reason: str = ""
    seat: Seat | None = None


@attrs.frozen(kw_only=True)
class Gate:
    """Decides on requests; it holds no state of any of them.

    Attributes:
        handshake: What the server speaks.
        hooks: The application's own say; the first answer that is not None counts.
        routes: Those of a `Router`, asked where no hook has answered by a `Response`.
        origins: Which pages may connect; None for those of the host asked for.
        select_subprotocol: Takes the place of the handshake's choice.
        require_subprotocol: Whether there has to be one.
        server_header: The `Server` header's value, or None for no such header.
        limits: How many connections there may be.
    """

    handshake: ServerHandshake
    hooks: tuple[OnRequest, ...] = ()
    routes: OnRequest | None = None
    origins: Origins = None
    select_subprotocol: SelectSubprotocol | None = None
    require_subprotocol: bool = False
    server_header: str | None = None
    limits: Limits = attrs.field(factory=Limits)
    _usual_headers: Headers = attrs.field(init=False, repr=False)

    @_usual_headers.default
    def _make_usual_headers(self) -> Headers:
        # Those of most handshakes, made and checked once.
        return self._server_headers(*self.handshake.headers)

    async def decide(self, request: Request, deadline: float) -> Decision:
        """Decide on a request, whatever it is.

        With an agreement comes a seat, which the caller has to leave.

        Args:
            request: Of any method and kind.
            deadline: The time of the Trio run at which the application's say must be done.
        """
        try:
            if request.is_websocket:
                # The cheapest check first; it is made again when the seat is taken.
                self.limits.check(request.client_address)
            answer = await self._ask_all(request, deadline)
            if isinstance(answer, Response):
                reason = f"{request.method} {request.raw_path} got a {answer.status_code}"
                return Decision(self._dress(answer), reason=reason)
            return self._accept(request, answer or Accept())
        except HandshakeError as error:
            if isinstance(error, ForeignOrigin):
                log_foreign_origin(request, error.shown)
            return Decision(self.refuse(error), reason=str(error))

    def refuse(self, error: HandshakeError) -> Response:
        """What to send to a client whose opening handshake has failed."""
        return self._dress(refusal(error))

    async def _ask_all(self, request: Request, deadline: float) -> Response | Accept | None:
        answer = None
        for hook in self.hooks:
            answer = await self._ask(hook, request, deadline)
            if answer is not None:
                break
        if self.routes is not None and not isinstance(answer, Response):
            answer = await self._ask(self.routes, request, deadline) or answer
        return answer

    async def _ask(
        self, hook: OnRequest, request: Request, deadline: float
    ) -> Response | Accept | None:
        try:
            with trio.move_on_at(deadline) as scope:
                answer: object = await hook(request)
            if not scope.cancelled_caught:
                return _checked_answer(answer)
        except Exception as error:
            raise _failure("on_request failed", error, request) from error
        log_request(request, "on_request took longer than handshake_timeout")
        raise HandshakeError("the server takes too long to decide", 503)

    def _accept(self, request: Request, accept: Accept) -> Decision:
        self.handshake.check(request)
        check_origin(request, self.origins)
        agreement = self.handshake.agree(
            request,
            self._choose_subprotocol(request, accept.subprotocol),
            self._accept_headers(accept.headers),
            request.context if accept.context is None else accept.context,
        )
        seat = self.limits.take_seat(request.client_address)
        return Decision(agreement.response, agreement, seat=seat)

    def _choose_subprotocol(self, request: Request, wanted: str | None) -> str | None:
        offered = request.subprotocols
        try:
            if wanted is None and self.select_subprotocol is not None:
                wanted = self.select_subprotocol(request, offered)
            elif wanted is None:
                wanted = self.handshake.choose(offered)
            # "the value ... MUST be one of those that the client has sent" (section 4.2.2)
            if wanted is not None and wanted not in offered:
                raise ValueError(f"subprotocol {wanted!r} is none of those offered: {offered}")
        except Exception as error:
            raise _failure("the choice of a subprotocol failed", error, request) from error
        if wanted is None and self.require_subprotocol:
            raise HandshakeError("no subprotocol that is offered is spoken here")
        return wanted

    def _accept_headers(self, given: Headers) -> Headers:
        if not given:
            return self._usual_headers
        return (*self._server_headers(*self.handshake.headers, *given), *given)

    def _server_headers(self, *others: tuple[str, str]) -> Headers:
        # One of the application's own takes its place.
        if self.server_header is None or any(name.lower() == "server" for name, _ in others):
            return ()
        return to_headers([("Server", self.server_header)])

    def _dress(self, response: Response) -> Response:
        """Add what every answer that is no handshake has."""
        headers = list(self._server_headers(*response.headers))
        # "An origin server with a clock MUST generate a Date header field in all 2xx
        # (Successful), 3xx (Redirection), and 4xx (Client Error) responses" (RFC 9110 6.6.1)
        if response.header("Date") is None:
            headers.append(("Date", email.utils.formatdate(usegmt=True)))
        return attrs.evolve(response, headers=(*headers, *response.headers))


def _checked_answer(answer: object) -> Response | Accept | None:
    if not isinstance(answer, Response | Accept | None):
        raise TypeError(f"on_request must return a Response, an Accept or None, not {answer!r}")
    if isinstance(answer, Response) and answer.status_code == 101:
        raise ValueError("on_request must return an Accept, not a Response with 101")
    return answer


def _failure(what: str, error: Exception, request: Request) -> HandshakeError:
    log_request(request, what, error)
    return HandshakeError("the server has failed", 500)
