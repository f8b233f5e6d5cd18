"""`Router`: which handler or page belongs to which path, by the maps of werkzeug."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar, cast

from ..endpoint import Endpoint
from ..protocol import CloseCode, Request, Response
from .functions import check_async
from .requests import Accept

RouteHandler: TypeAlias = Callable[..., Awaitable[object]]
"""An async function of the endpoint, and of what its route converts as keywords."""

Page: TypeAlias = Callable[..., Awaitable[Response]]
"""An async function of the request, and of what its route converts as keywords."""

HandlerT = TypeVar("HandlerT", bound=RouteHandler)
PageT = TypeVar("PageT", bound=Page)


class Router:
    """Calls a handler or a page by the path of the request; give it to `serve` as the handler.

    Routes are werkzeug's: `"/rooms/<int:room>"`, with its converters, and with a redirect where
    only a slash is missing in the end. It needs the extra `router`.

    Args:
        **options: For `werkzeug.routing.Map`, such as `converters` or `strict_slashes`.

    Raises:
        ImportError: werkzeug is not installed.
    """

    def __init__(self, **options: Any) -> None:
        try:
            from werkzeug.routing import Map
        except ImportError as error:
            raise ImportError(
                "Router needs werkzeug: pip install 'trio_wsendpoint[router]'"
            ) from error
        self._map = Map(**options)

    def route(self, rule: str) -> Callable[[HandlerT], HandlerT]:
        """Register a handler of WebSocket connections for a path; a decorator.

        Args:
            rule: Such as `"/rooms/<int:room>"`.

        Raises:
            TypeError: what it decorates is no async function.
            ValueError: `rule` is not valid.
        """

        def register(handler: HandlerT) -> HandlerT:
            self._add(rule, handler, websocket=True)
            return handler

        return register

    def page(self, rule: str, methods: Iterable[str] = ("GET",)) -> Callable[[PageT], PageT]:
        """Register a page for a path; a decorator.

        Args:
            rule: Such as `"/health"`.
            methods: The HTTP methods that it answers; GET brings HEAD with it.

        Raises:
            TypeError: what it decorates is no async function.
            ValueError: `rule` is not valid.
        """

        def register(page: PageT) -> PageT:
            self._add(rule, page, websocket=False, methods=methods)
            return page

        return register

    def _add(self, rule: str, function: Callable[..., Any], **options: Any) -> None:
        from werkzeug.routing import Rule

        if not isinstance(rule, str):
            raise TypeError(f"rule must be a str, not {type(rule).__name__}")
        added = Rule(rule, endpoint=function, **options)
        first = "the endpoint" if added.websocket else "the request"
        check_async("what a route leads to", function, first, keywords=self._names_in(added))
        self._map.add(added)

    def _names_in(self, rule: Any) -> list[str]:
        """The names of the values that a rule finds in a path."""
        from werkzeug.routing import Map

        probe = rule.empty()
        try:
            Map([probe], converters=self._map.converters)  # only so it is parsed
        except LookupError as error:
            raise ValueError(f"rule must be one that werkzeug knows: {error}") from None
        return sorted(probe.arguments)

    async def on_request(self, request: Request) -> Response | Accept | None:
        """Answer what is no WebSocket of a route: pages, redirects, 404 and 405."""
        found = self._match(request)
        if isinstance(found, Response):
            return found
        if found is None or request.is_websocket:
            return None
        page, values = found
        return cast(Response, await page(request, **values))

    async def __call__(self, endpoint: Endpoint) -> None:
        """Handle a connection by the handler of its route."""
        if not isinstance(endpoint, Endpoint):
            raise TypeError("a Router is a handler; router.on_request is for on_request=")
        found = self._match(endpoint.request)
        if found is None or isinstance(found, Response):
            # Only where it was accepted without `on_request` of ours.
            await endpoint.aclose(CloseCode.POLICY_VIOLATION, "no such path")
            return
        handler, values = found
        await handler(endpoint, **values)

    def _match(
        self, request: Request
    ) -> tuple[Callable[..., Awaitable[Any]], dict[str, Any]] | Response | None:
        """What a request leads to; None for a path where there are only WebSockets."""
        from werkzeug.exceptions import MethodNotAllowed, NotFound
        from werkzeug.routing import RequestRedirect, WebsocketMismatch

        wants_websocket = request.is_websocket
        adapter = self._map.bind("", url_scheme="http")
        try:
            function, values = adapter.match(
                request.path,
                "GET" if wants_websocket else request.method,
                query_args=request.query,
                websocket=wants_websocket,
            )
        except RequestRedirect as redirect:
            return Response.redirect(_to_reference(redirect.new_url), redirect.code)
        except MethodNotAllowed as error:
            allowed = ", ".join(sorted(error.valid_methods or ()))
            return Response.text("not with this method\n", 405, {"Allow": allowed})
        except WebsocketMismatch:
            if wants_websocket:
                return Response.text("this is no WebSocket endpoint\n", 400)
            return None
        except NotFound:
            return Response.text("there is nothing here\n", 404)
        return function, dict(values)


def _to_reference(url: str) -> str:
    """A redirect's target without scheme and host, which a proxy in front may well change."""
    path = url.partition("://")[2].partition("/")[2]
    # "//" in front would name another host.
    return "/" + path.lstrip("/")
