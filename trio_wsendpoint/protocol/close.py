"""Close codes and the payload of a close frame (RFC 6455 sections 5.5.1 and 7.4)."""

from __future__ import annotations

import enum
from typing import Final

MAX_REASON_SIZE: Final = 123
"""Bytes: a control frame's 125, less two for the code (RFC 6455 section 5.5)."""


class CloseCode(enum.IntEnum):
    """The registered close codes (RFC 6455 section 7.4.1 and IANA's registry)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RECEIVED = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


NEVER_SENT: Final = frozenset(
    {CloseCode.NO_STATUS_RECEIVED, CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE}
)
"""Codes that describe an end but MUST NOT be in a close frame (section 7.4.1)."""

_ON_THE_WIRE: Final = {int(code): code for code in CloseCode if code not in NEVER_SENT}


def may_be_sent(code: int) -> bool:
    """Whether a close frame may carry this code: registered, or 3000 to 4999."""
    return code in _ON_THE_WIRE or 3000 <= code <= 4999


def to_close_code(code: int) -> CloseCode | int:
    """A code from the wire as a `CloseCode`, if it is one that may be there."""
    return _ON_THE_WIRE.get(code, code)


def check_close_arguments(code: int | None, reason: str) -> None:
    """Refuse a close code or reason that the application must not send.

    Raises:
        TypeError: `code` is not an int (or None), or `reason` is not a str.
        ValueError: the code must not be sent, or the reason is over 123 bytes of UTF-8, has
            a lone surrogate, or comes with no code.
    """
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a str, not {type(reason).__name__}")
    if code is None:
        if reason:
            raise ValueError("reason needs a code: a close frame has both or neither")
        return
    if not isinstance(code, int) or isinstance(code, bool):
        raise TypeError(f"code must be an int or None, not {type(code).__name__}")
    if not may_be_sent(code):
        raise ValueError(
            f"code must be 1000 to 1003, 1007 to 1014 or 3000 to 4999, not {int(code)}"
        )
    try:
        size = len(reason.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"reason must be encodable as UTF-8: {error.reason}") from None
    if size > MAX_REASON_SIZE:
        raise ValueError(f"reason must be at most {MAX_REASON_SIZE} bytes of UTF-8, not {size}")


def truncate_reason(reason: str) -> str:
    """Cut a reason of our own to what a close frame holds, at a character boundary.

    Raises:
        TypeError: `reason` is not a str.
    """
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a str, not {type(reason).__name__}")
    return reason.encode(errors="replace")[:MAX_REASON_SIZE].decode(errors="ignore")


def encode_close(code: int | None, reason: str = "") -> bytes:
    """Build a close frame's payload; None for the code makes an empty one."""
    return b"" if code is None else code.to_bytes(2, "big") + reason.encode()
