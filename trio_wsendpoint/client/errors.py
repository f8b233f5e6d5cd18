"""What can go wrong on the way to a server, before anything was said to it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from ..protocol import Response, WebSocketError


class ConnectError(WebSocketError, OSError):
    """Nobody could be dialled: there is no such host, nobody listens, no way leads there.

    Its `errno` is that of its cause, the first of the errors if several addresses were tried.
    """

    @property
    def temporary(self) -> bool:
        """It is: names, hosts and networks come back."""
        return True

    def __str__(self) -> str:
        return self.strerror or super().__str__()


class ProxyError(ConnectError):
    """The proxy could not be reached, or did not lead to the server.

    Attributes:
        proxy: Which one, without user name and password.
        response: What an HTTP proxy answered; None if it is no HTTP proxy, or did not answer.
    """

    def __init__(
        self,
        errno: int | None,
        reason: str,
        *,
        proxy: str = "",
        response: Response | None = None,
        temporary: bool = False,
    ) -> None:
        super().__init__(errno, reason)
        self.proxy = proxy
        self.response = response
        self._temporary = temporary

    @property
    def temporary(self) -> bool:
        """Whether it is away, hung up, fails itself, or cannot reach the server just now."""
        return self._temporary


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, one after the other."""
    while error is not None:
        yield error
        error = error.__cause__


def first_os_error(error: OSError) -> OSError:
    """The first error of the system among those that an error was raised from."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return next((each for each in cause.exceptions if isinstance(each, OSError)), error)
    return error


_OTHER_PROTOCOL: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
"""What OpenSSL makes of bytes that are not TLS."""


def tls_failure(error: BaseException, scheme: str = "ws") -> tuple[str, bool] | None:
    """What TLS has to say of a failure, in words, and whether the peer just went away.

    None if it has nothing to do with TLS.

    Args:
        error: The failure.
        scheme: That of a URL for the same without TLS.
    """
    found = next((each for each in chain(error) if isinstance(each, ssl.SSLError)), None)
    if found is None:
        return None
    reason = found.reason or ""
    _, is_alert, alert = reason.partition("_ALERT_")
    if is_alert:
        words = alert.replace("_", " ").lower()
        return f"the server ended it with the alert {words!r} [{reason}]", False
    if reason in _OTHER_PROTOCOL:
        hint = f"no TLS is spoken there; should the URL begin with {scheme}://?"
        return f"{hint} [{reason}]", False
    # An end in the middle has as many faces as OpenSSL has versions.
    hung_up = isinstance(found, ssl.SSLEOFError) or "EOF" in reason
    return str(found), hung_up
