"""How frames are read, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from .frames import Frame, FrameParser

OnDataFrame = Callable[[Frame], Frame | None]


@attrs.frozen
class InboundOptions:
    """How frames are read and what is made of them.

    Attributes:
        parser: Knows the kinds of frames.
        max_message_size: Bytes that a message, decoded, may have; None for no limit.
        on_data_frame: Called with each data frame, decoded, as it completes; the payload of
            the frame that it returns takes the place of the frame's own, None keeps it. What
            it raises leaves `receive_data`; the connection is then only fit to be failed.
        hold_oversize: Whether a message that is too big waits until `stream_message` or
            `refuse_oversize` decides, instead of being refused at once.
    """

    parser: FrameParser = attrs.field(factory=FrameParser)
    max_message_size: int | None = attrs.field(default=2**20)
    on_data_frame: OnDataFrame | None = attrs.field(default=None)
    hold_oversize: bool = False

    @parser.validator
    def _check_parser(self, _: object, parser: object) -> None:
        if not isinstance(parser, FrameParser):
            raise TypeError(f"parser must be a FrameParser, not {parser!r}")

    @max_message_size.validator
    def _check_max_message_size(self, _: object, size: object) -> None:
        if size is None:
            return
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"max_message_size must be an int or None, not {size!r}")
        if size < 0:
            raise ValueError(f"max_message_size must be at least 0 bytes, not {size}")

    @on_data_frame.validator
    def _check_on_data_frame(self, _: object, function: object) -> None:
        if function is not None and not callable(function):
            raise TypeError(f"on_data_frame must be callable or None, not {function!r}")
