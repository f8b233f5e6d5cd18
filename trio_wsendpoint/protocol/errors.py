"""What can go wrong on the ground floor, by whose fault it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .close import CloseCode

if TYPE_CHECKING:
    from .http import Headers, Response


class WebSocketError(Exception):
    """What can go wrong in opening and running a connection: the one thing to catch.

    It survives `copy` and `pickle`, with its attributes.
    """

    @property
    def temporary(self) -> bool:
        """Whether the same may well succeed when it is tried again."""
        return False

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are made anew from their `args`, which is not what our own classes take.
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(
    kind: type[WebSocketError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> WebSocketError:
    error = kind.__new__(kind, *args)
    # What a class takes of the base that it has besides, such as the errno of an OSError.
    super(WebSocketError, error).__init__(*args)
    error.__dict__.update(attributes)
    return error


class ProtocolError(Exception):
    """The peer broke the protocol.

    Raised by the parts of the core and by extensions while they read what the peer sent.
    It never leaves `Connection.receive_data`, which turns it into the close frame that it
    describes (RFC 6455 section 7.1.7).

    Attributes:
        code: The close code that tells the peer what it did.
        reason: The same in words, for the close frame and for our own errors.
    """

    def __init__(self, reason: str, code: int = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class LocalProtocolError(Exception):
    """The application asked for what the state of the connection does not allow."""


class HandshakeError(WebSocketError):
    """The opening handshake failed (RFC 6455 section 4).

    Attributes:
        status_code: On the server, the HTTP status code that answers the request.
    """

    def __init__(self, reason: str, status_code: int = 400, *, temporary: bool = False) -> None:
        super().__init__(reason)
        self.status_code = status_code
        self._temporary = temporary

    @property
    def temporary(self) -> bool:
        """Whether the peer went away in the middle of it, rather than doing it wrong."""
        return self._temporary


class HandshakeRejected(HandshakeError):
    """The server answered the opening handshake with another status code than 101.

    Attributes:
        response: The whole answer.
        status_code: Its HTTP status code.
        headers: Its headers.
        body: Its body, as far as it was kept.
    """

    def __init__(self, response: Response, explanation: str = "") -> None:
        answer = f"{response.status_code} {response.reason_phrase[:100]}".rstrip()
        reason = f"the server answered {answer}, not 101 Switching Protocols"
        super().__init__(
            f"{reason}: {explanation}" if explanation else reason, response.status_code
        )
        self.response = response
        self.headers: Headers = response.headers
        self.body: bytes = response.body

    @property
    def temporary(self) -> bool:
        """Whether the status code is 429 Too Many Requests, or one of a failing server."""
        return self.status_code == 429 or 500 <= self.status_code <= 599
