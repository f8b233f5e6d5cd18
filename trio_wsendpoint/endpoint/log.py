"""What endpoints log, under `trio_wsendpoint.endpoint`.

Each record carries `connection_id`, a number of the process's own, and `peer`, its address.
Frames are at DEBUG, one line each; a connection that looks for DEBUG when it opens and does
not find it switched on pays nothing for them. What a peer does wrong is one WARNING, and the
loss of one is INFO. Exceptions of the application are raised, not logged.
"""

from __future__ import annotations

import itertools
import logging
from typing import Any, Final

from ..protocol import BytesLike, CloseCode, Connection, FrameParser, describe_frame
from .closing import close_code_and_reason

logger: Final = logging.getLogger("trio_wsendpoint.endpoint")

_connection_ids = itertools.count(1)


class ConnectionLog:
    """Logs the life of one connection.

    Args:
        connection: The connection.
        peer: The peer's address, or None.

    Attributes:
        connection_id: A number that no other connection of this process has.
    """

    __slots__ = ("_connection", "connection_id", "peer")

    def __init__(self, connection: Connection, peer: Any) -> None:
        self._connection = connection
        self.peer = peer
        self.connection_id = connection.connection_id = next(_connection_ids)

    @property
    def extra(self) -> dict[str, Any]:
        """What each record carries."""
        return {"connection_id": self.connection_id, "peer": self.peer}

    def opened(self, parser: FrameParser) -> None:
        """The connection is open; log its frames from here on, if anybody wants to see them."""
        if not logger.isEnabledFor(logging.DEBUG):
            return
        self._log(logging.DEBUG, "open, as the %s", self._connection.role.value)

        def log_received(first_byte: int, payload: BytesLike, length: int) -> None:
            self._log(
                logging.DEBUG, "< %s", describe_frame(first_byte, payload, length, parser)
            )

        def log_sent(first_byte: int, payload: BytesLike, length: int) -> None:
            self._log(
                logging.DEBUG, "> %s", describe_frame(first_byte, payload, length, parser)
            )

        self._connection.trace(log_received, log_sent)

    def ended(self, failed_by_us: bool, stream_error: Exception | None) -> None:
        """The connection has ended.

        Args:
            failed_by_us: Whether it was failed for a reason of ours.
            stream_error: What the stream raised when it broke, or None.
        """
        connection = self._connection
        connection.trace(None, None)  # the functions hold this log, and it the connection
        code, reason = close_code_and_reason(connection, stream_error)
        failure = None if failed_by_us else connection.failure
        if code == CloseCode.ABNORMAL_CLOSURE:
            self._log(logging.INFO, "lost: %s", reason)
        elif failure is None or failure.code == CloseCode.ABNORMAL_CLOSURE:
            self._log(logging.DEBUG, "closed with %d %r", code, reason)
        elif failure.code == CloseCode.MESSAGE_TOO_BIG:
            self._log(logging.INFO, "the peer sent more than we take: %s (%d)", reason, code)
        else:
            self._log(logging.WARNING, "the peer broke the protocol: %s (%d)", reason, code)

    def dropped(self, error: BaseException) -> None:
        """An exception that another one kept from being raised."""
        logger.error("another error hid this one", exc_info=error, extra=self.extra)

    def _log(self, level: int, message: str, *args: object) -> None:
        logger.log(level, message, *args, extra=self.extra)
