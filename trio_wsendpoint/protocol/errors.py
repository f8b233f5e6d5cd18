"""What can go wrong on the ground floor, by whose fault it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .close import CloseCode

if TYPE_CHECKING:
    from .http import Headers, Response


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


class HandshakeError(Exception):
    """The opening handshake failed (RFC 6455 section 4).

    Attributes:
        status_code: On the server, the HTTP status code that answers the request.
    """

    def __init__(self, reason: str, status_code: int = 400) -> None:
        super().__init__(reason)
        self.status_code = status_code


class HandshakeRejected(HandshakeError):
    """The server answered the opening handshake with another status code than 101.

    Attributes:
        response: The whole answer.
        status_code: Its HTTP status code.
        headers: Its headers.
        body: Its body, as far as it was kept.
    """

    def __init__(self, response: Response) -> None:
        answer = f"{response.status_code} {response.reason_phrase[:100]}".rstrip()
        super().__init__(
            f"the server answered {answer}, not 101 Switching Protocols", response.status_code
        )
        self.response = response
        self.headers: Headers = response.headers
        self.body: bytes = response.body
