"""HTTP/2 of one connection, with no I/O: h2, and what h2 leaves to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    Event,
    RemoteSettingsChanged,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Decoder
from hyperframe.frame import GoAwayFrame

from ..protocol import BytesLike, Role
from .guard import MAX_FRAME_SIZE, FrameGuard, Violation

MAX_STREAMS: Final = 100
"""Streams that a peer may have open at a time, unless `max_streams` says otherwise."""
STREAM_WINDOW: Final = 2**17
"""Bytes of a stream that wait to be taken at most; it is the stream's flow-control window."""
MAX_FIELDS_SIZE: Final = 2**16
"""Bytes of header fields, decoded, that end the connection."""
MAX_CLOSED_STREAMS: Final = 1000
"""Streams that are remembered after their end, for what is still on its way to them."""

TABLE_SIZE: Final = 4096
"""Bytes of a table of header fields (HPACK), both ways, whatever the peer would allow."""

_INITIAL_WINDOW: Final = 65_535
# So large that only the windows of the streams bound what may be sent.
_CONNECTION_WINDOW: Final = 2**30


class _Decoder(Decoder):
    """Hides from h2 what it would end the whole connection for, and a stream error is."""

    def decode(self, data: bytes, raw: bool = False) -> Iterable[Any]:
        fields = super().decode(data, raw)
        # A length that does not fit; and a request that looks like an interim response.
        return [
            (b":invalid", value) if name == b":status" and self.is_server else (name, value)
            for name, value in fields
            if name != b"content-length"
        ]

    is_server = False


class _H2(H2Connection):
    MAX_CLOSED_STREAMS = MAX_CLOSED_STREAMS


class Engine:
    """Bytes in, events out; commands in, bytes out.

    It never raises for what the peer did: the failure is kept, and the GOAWAY queued.

    Args:
        role: Which end is ours.
        max_streams: How many the peer may have open at a time.

    Attributes:
        failure: Why the connection has ended, or None: the peer broke the protocol.
        size: Bytes that wait to be sent.
        replies: Bytes that answer what was received, among them.
    """

    def __init__(self, role: Role, max_streams: int = MAX_STREAMS) -> None:
        self._is_server = role is Role.SERVER
        config = H2Configuration(
            client_side=not self._is_server,
            header_encoding=None,
            # Ours makes a stream error of what h2 would end the connection for; and what is
            # sent has been checked when it was made.
            validate_outbound_headers=False,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
        )
        self._h2 = _H2(config)
        values = {
            SettingCodes.HEADER_TABLE_SIZE: TABLE_SIZE,
            SettingCodes.MAX_CONCURRENT_STREAMS: max_streams,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_SIZE,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_FIELDS_SIZE,
        }
        if self._is_server:
            values[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
        else:
            values[SettingCodes.ENABLE_PUSH] = 0
        self._h2.local_settings = Settings(client=not self._is_server, initial_values=values)
        # h2 takes these over only when settings change later.
        self._h2.max_inbound_frame_size = MAX_FRAME_SIZE
        self._h2.decoder = _Decoder()
        self._h2.decoder.is_server = self._is_server
        self._h2.decoder.max_header_list_size = MAX_FIELDS_SIZE
        self._guard = FrameGuard(expects_preface=self._is_server)
        self._out: list[bytes] = []
        self.size = 0
        self.replies = 0
        self.failure: str | None = None
        self._owed = 0
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW - _INITIAL_WINDOW)
        self._collect()

    # -- what the peer sent ---------------------------------------------------------------

    def receive_data(self, data: BytesLike, now: float) -> list[Event]:
        """Take in what arrived at a time in seconds, and return what it means."""
        events: list[Event] = []
        parts, violation = self._guard.receive_data(data, now)
        before = self.size
        try:
            for part in parts:
                if isinstance(part, GoAwayFrame):
                    # h2 would take it for the end of the connection.
                    events.append(_terminated(part))
                else:
                    events += self._h2.receive_data(part)
        except ProtocolError as error:
            self.failure = str(error) or type(error).__name__
        for event in events:
            if isinstance(event, RemoteSettingsChanged):
                self._bound_table()
            elif isinstance(event, StreamReset) and not event.remote_reset:
                violation = self.count_reset(now) or violation
        self._collect()
        self.replies += self.size - before
        if violation is not None and self.failure is None:
            self.fail(violation)
        return events

    def _bound_table(self) -> None:
        """Keep our table of header fields small, however large the peer's may be."""
        encoder = self._h2.encoder
        encoder.header_table_size = min(encoder.header_table_size, TABLE_SIZE)
        # The smallest and the last are what the peer has to be told (RFC 7541 section 4.2).
        changes = encoder.table_size_changes
        changes[:] = [min(changes), changes[-1]] if len(changes) > 2 else changes

    def count_reset(self, now: float) -> Violation | None:
        """Count a stream that we reset for what the peer did."""
        if self._guard.resets.exceeds(now):
            return Violation(ErrorCodes.ENHANCE_YOUR_CALM, "too many resets")
        return None

    def fail(self, violation: Violation) -> None:
        """End the connection: nothing is sent behind this GOAWAY."""
        self.failure = violation.reason
        self._h2.close_connection(violation.code, violation.reason.encode())
        self._collect()

    # -- what we send ---------------------------------------------------------------------

    @property
    def takes_websockets(self) -> bool:
        """Whether the server's SETTINGS allow an extended CONNECT (RFC 8441 section 3)."""
        return bool(self._h2.remote_settings.enable_connect_protocol)

    @property
    def has_free_stream(self) -> bool:
        """Whether the peer allows one more stream."""
        limit = self._h2.remote_settings.max_concurrent_streams
        return self._h2.open_outbound_streams < limit

    @property
    def next_stream_id(self) -> int:
        """The number of the next stream of ours."""
        return self._h2.get_next_available_stream_id()

    def send_fields(
        self, stream_id: int, fields: Iterable[tuple[bytes, bytes]], *, end: bool = False
    ) -> None:
        """Send header fields, which may begin a stream."""
        self._h2.send_headers(stream_id, fields, end_stream=end)
        self._collect()

    def send_data(self, stream_id: int, data: memoryview) -> int:
        """Send the first of the bytes, as many as one frame and the windows take.

        Returns:
            How many bytes that is.
        """
        window = self._h2.local_flow_control_window(stream_id)
        count = min(len(data), window, self._h2.max_outbound_frame_size, MAX_FRAME_SIZE)
        if count <= 0:
            return 0
        self._h2.send_data(stream_id, data[:count])
        self._guard.on_data_sent()
        self._collect()
        return count

    def end_stream(self, stream_id: int) -> None:
        """End our half of a stream."""
        self._h2.end_stream(stream_id)
        self._collect()

    def reset_stream(self, stream_id: int, code: ErrorCodes) -> None:
        """End both halves of a stream."""
        with contextlib.suppress(ProtocolError):  # it is gone already
            self._h2.reset_stream(stream_id, code)
        self._collect()

    def give_back(self, stream_id: int, count: int) -> None:
        """Let the peer send so many bytes more of a stream."""
        with contextlib.suppress(ProtocolError, KeyError):  # it is gone already
            self._h2.increment_flow_control_window(count, stream_id)
        self._collect()

    def give_back_connection(self, count: int) -> None:
        """Let the peer send so many bytes more of the whole connection."""
        self._owed += count
        if self._owed >= _CONNECTION_WINDOW // 4:
            self._h2.increment_flow_control_window(self._owed)
            self._owed = 0
            self._collect()

    def ping(self) -> None:
        """Ask the peer for a sign of life."""
        self._h2.ping(bytes(8))
        self._collect()

    def go_away(self) -> None:
        """Say that no more streams of the peer's are taken; those under way go on."""
        # h2 would take its own for the end of the connection.
        last = self._h2.highest_inbound_stream_id
        self._queue(GoAwayFrame(0, last_stream_id=last).serialize())

    def take(self) -> bytes:
        """Take what is to be sent next."""
        data = b"".join(self._out)
        self._out.clear()
        self.size = self.replies = 0
        return data

    def _collect(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._queue(data)

    def _queue(self, data: bytes) -> None:
        self._out.append(data)
        self.size += len(data)


def _terminated(frame: GoAwayFrame) -> ConnectionTerminated:
    event = ConnectionTerminated()
    event.error_code = frame.error_code
    event.last_stream_id = frame.last_stream_id
    event.additional_data = frame.additional_data
    return event
