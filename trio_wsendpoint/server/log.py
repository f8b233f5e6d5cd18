"""What servers log, under `trio_wsendpoint.server`.

Each record carries `connection_id`, that of the endpoint, and `peer`, the address of the
socket's other end. A message names the client, the connection and the path by itself, for logs
that show no more than messages. It never has the query, which may hold a secret.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import trio

from ..endpoint import ConnectionClosed, Endpoint
from ..protocol import Request

logger: Final = logging.getLogger("trio_wsendpoint.server")


def log_request(request: Request, what: str, error: Exception | None = None) -> None:
    """Code of the application's has not said what is to become of a request."""
    logger.error(
        "%s, at %s %s of %s",
        *(what, request.method, request.raw_path, _client(request)),
        exc_info=error,
        extra=_extra(None, request.client_address),
    )


def log_foreign_origin(request: Request, origin: str) -> None:
    """A page has been refused, which the operator may not have meant."""
    logger.warning(
        "refused a page of origin %r, of %s, that may not connect to host %r; to allow it, name"
        " it in origins=[...]; behind a proxy, have it pass on the Host header",
        *(origin, _client(request), request.host),
        extra=_extra(None, request.client_address),
    )


def log_no_connection(error: Exception, peer: Any) -> None:
    """An opening handshake has ended without a connection, as those of scanners do."""
    logger.debug("no connection was opened: %s", error, extra=_extra(None, peer))


def log_handler_failure(endpoint: Endpoint, error: BaseException) -> bool:
    """Log what a handler raises, if anybody has to see to it; says whether it was logged."""
    failure = _failure_in(error)
    if failure is None or _level_of(endpoint, failure) < logging.ERROR:
        return False
    _log_failure(endpoint, failure)
    return True


def log_end(endpoint: Endpoint | None, error: BaseException) -> None:
    """Log what an endpoint raises in the end, of which its handler has said nothing."""
    failure = _failure_in(error)
    if failure is None or endpoint is None:  # None: it was interrupted as it began
        return
    level = _level_of(endpoint, failure)
    if level < logging.ERROR:
        logger.log(
            level,
            "connection %d of %s, %s, ended before its handler: %s",
            *(*_names(endpoint), failure),
            extra=_extra(endpoint.connection_id, endpoint.remote_address),
        )
    else:
        _log_failure(endpoint, failure)


def _log_failure(endpoint: Endpoint, failure: Exception) -> None:
    logger.error(
        "the handler of connection %d of %s, %s, failed",
        *_names(endpoint),
        exc_info=failure,
        extra=_extra(endpoint.connection_id, endpoint.remote_address),
    )


def _names(endpoint: Endpoint) -> tuple[int, str, str]:
    request = endpoint.request
    return endpoint.connection_id, _client(request), request.raw_path


def _client(request: Request) -> str:
    return request.client_address or "an unknown address"


def _extra(connection_id: int | None, peer: Any) -> dict[str, Any]:
    return {"connection_id": connection_id, "peer": peer}


def _failure_in(error: BaseException) -> Exception | None:
    """What of an exception is one that says something, and is not cancellation or the like."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(Exception)[0]
    return error if isinstance(error, Exception) else None


def without_failures(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What is left of a group that has more than `Exception`s, without these."""
    rest = group.split(Exception)[1]
    assert rest is not None
    return rest


def _level_of(endpoint: Endpoint, error: Exception) -> int:
    """How loudly to log what a handler did not catch.

    That a connection has ended is worth a line, and that we have closed this one ourselves, by
    another task or by draining, is nothing at all.
    """
    if isinstance(error, ExceptionGroup):
        return max(_level_of(endpoint, each) for each in error.exceptions)
    if isinstance(error, ConnectionClosed):
        return logging.INFO
    if isinstance(error, trio.ClosedResourceError):
        about = getattr(error, "connection_id", None)
        return logging.DEBUG if about == endpoint.connection_id else logging.ERROR
    return logging.ERROR
