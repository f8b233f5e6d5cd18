"""The options of an endpoint: their types, defaults and checks, stated once for all."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from typing import Any, TypedDict

import attrs

from ..protocol import (
    Codec,
    Connection,
    ControlFrame,
    Extension,
    FrameParser,
    HeadersLike,
    InboundOptions,
    MeteredConnection,
    OnDataFrame,
    Role,
    check_extensions,
)
from .instrument import Instrument

ControlHandler = Callable[[Any, Any], Awaitable[None]]
"""An async function of the endpoint and the control frame received."""


class EndpointKeywords(TypedDict, total=False):
    """The keyword arguments of an endpoint, for type checkers; see `EndpointOptions`."""

    max_pings: int
    ping_interval: float
    close_timeout: float
    cancel_timeout: float
    max_message_size: int | None
    extensions: Iterable[Extension]
    parser: FrameParser
    on_data_frame: OnDataFrame | None
    control_handlers: Mapping[type[ControlFrame], ControlHandler]
    raise_on_close: bool
    max_look_ahead: int
    instrument: Instrument | None


def check_seconds(
    _: object, attribute: attrs.Attribute[float], value: float, *, zero: bool = True
) -> None:
    """An attrs validator: a number of seconds, `math.inf` included."""
    if value is None:
        raise TypeError(f"{attribute.name} must be seconds, not None; math.inf is for ever")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be seconds, not {type(value).__name__}")
    if math.isnan(value) or value < 0 or (value == 0 and not zero):
        least = "at least 0" if zero else "more than 0"
        raise ValueError(f"{attribute.name} must be {least} seconds, not {value}")


def _check_interval(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    check_seconds(instance, attribute, value, zero=False)


def check_count(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator: a positive number of something."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{attribute.name} must be at least 1, not {value}")


def check_limit(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator: a positive number of something, or None."""
    if value is not None:
        check_count(_, attribute, value)


def _check_callable(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not callable(value):
        raise TypeError(f"{attribute.name} must be callable, not {type(value).__name__}")


def _check_instrument(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Instrument | None):
        raise TypeError(
            f"{attribute.name} must be an Instrument or None, not {type(value).__name__}"
        )


def _check_handlers(
    options: EndpointOptions,
    attribute: attrs.Attribute[Any],
    handlers: Mapping[type[ControlFrame], ControlHandler],
) -> None:
    if not isinstance(handlers, Mapping):
        raise TypeError(f"{attribute.name} must map frame types to async functions")
    for frame_type, handler in handlers.items():
        if frame_type not in options.parser.frame_types:
            raise ValueError(
                f"{attribute.name}: {frame_type!r} is not among the parser's frame_types"
            )
        if not issubclass(frame_type, ControlFrame):
            raise ValueError(f"{attribute.name}: {frame_type!r} is not a ControlFrame")
        _check_callable(options, attribute, handler)


@attrs.frozen(kw_only=True)
class EndpointOptions:
    """What all entry points take as keyword arguments.

    Attributes:
        max_pings: Unanswered pings, with nothing else from the peer, after which it is given
            up on.
        ping_interval: Seconds between pings; `math.inf` for no heartbeat.
        close_timeout: Seconds that a closing handshake may take.
        cancel_timeout: Seconds that an endpoint which is cancelled may take to say goodbye.
        max_message_size: Bytes that a received message may have; None for no limit. It does
            not bind a message that is streamed.
        extensions: Those wanted, such as `[PermessageDeflate()]`, the most wanted first.
        parser: Knows the kinds of frames, one's own included.
        on_data_frame: Called with each data frame received, extensions undone, as it
            completes; the payload of the frame that it returns takes the place of the
            frame's own, and None keeps it.
        control_handlers: For control frames of one's own: an async function of the endpoint
            and the frame, for each class.
        raise_on_close: Whether `async for` raises at a clean close, too, instead of ending.
        max_look_ahead: Bytes of messages, Python's overhead counted, that may wait to be
            received before the endpoint stops reading.
        instrument: Is told of what happens, for metrics.
    """

    max_pings: int = attrs.field(default=3, validator=check_count)
    ping_interval: float = attrs.field(default=20.0, validator=_check_interval)
    close_timeout: float = attrs.field(default=10.0, validator=check_seconds)
    cancel_timeout: float = attrs.field(default=1.0, validator=check_seconds)
    max_message_size: int | None = attrs.field(default=2**20, validator=check_limit)
    extensions: tuple[Extension, ...] = attrs.field(default=(), converter=check_extensions)
    parser: FrameParser = attrs.field(
        factory=FrameParser, validator=attrs.validators.instance_of(FrameParser)
    )
    on_data_frame: OnDataFrame | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_callable)
    )
    control_handlers: Mapping[type[ControlFrame], ControlHandler] = attrs.field(
        factory=dict, validator=_check_handlers
    )
    raise_on_close: bool = attrs.field(
        default=False, validator=attrs.validators.instance_of(bool)
    )
    max_look_ahead: int = attrs.field(default=2**18, validator=check_count)
    instrument: Instrument | None = attrs.field(default=None, validator=_check_instrument)

    _inbound: InboundOptions = attrs.field(init=False, repr=False, eq=False)

    @_inbound.default
    def _make_inbound(self) -> InboundOptions:
        return InboundOptions(
            parser=self.parser,
            max_message_size=self.max_message_size,
            on_data_frame=self.on_data_frame,
            hold_oversize=True,
            hold_close=True,
        )

    def create_connection(self, role: Role) -> Connection:
        """The sans-IO connection that these options describe."""
        return Connection(role, self._inbound)

    def create_metered_connection(self, role: Role) -> MeteredConnection:
        """The same, for an instrument that is told of its messages."""
        return MeteredConnection(role, self._inbound)

    def assumed_codecs(self, role: Role) -> tuple[Codec, ...]:
        """The codecs where no opening handshake was seen: as if both sides wanted the same."""
        codecs = []
        for extension in self.extensions:
            offers = extension.offers()
            accepted = extension.accept(offers[0]) if offers else None
            if accepted is None:
                raise ValueError(f"extensions: {extension!r} does not accept its own offer")
            answer, codec = accepted
            codecs.append(codec if role is Role.SERVER else extension.confirm(answer))
        return tuple(codecs)


class HandshakeKeywords(EndpointKeywords, total=False):
    """What `accept`, `connect` and `serve` take besides; see `HandshakeOptions`."""

    handshake_timeout: float
    subprotocols: Iterable[str]
    headers: HeadersLike


@attrs.frozen(kw_only=True)
class HandshakeOptions:
    """The options of an opening handshake.

    Attributes:
        handshake_timeout: Seconds that it may take, dialling and TLS included.
        subprotocols: Those that the application speaks; a client's most wanted first.
        headers: Headers of the application's own.
    """

    handshake_timeout: float = attrs.field(default=10.0, validator=check_seconds)
    subprotocols: Iterable[str] = ()
    headers: HeadersLike = ()


def parse_keywords(
    keywords: Mapping[str, Any], caller: str = "accept"
) -> tuple[EndpointOptions, HandshakeOptions]:
    """Check the keyword arguments of `accept`, `connect` or `serve`, whichever calls.

    Raises:
        TypeError, ValueError: one is wrong; the message names it.
    """
    check_keywords(caller, keywords, HandshakeKeywords.__annotations__)
    endpoint, handshake = split_keywords(keywords)
    return EndpointOptions(**endpoint), HandshakeOptions(**handshake)


_NAMES = frozenset(EndpointKeywords.__annotations__)


def check_keywords(
    caller: str, keywords: Iterable[str], known: Container[str] = _NAMES
) -> None:
    """Refuse an unknown keyword argument, as Python would.

    Args:
        caller: The function that the user has called, for the message.
        keywords: The names that were given.
        known: The names that there are.

    Raises:
        TypeError: a name is unknown.
    """
    for name in keywords:
        if name not in known:
            raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}")


def split_keywords(keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the keywords of an endpoint from all others."""
    ours = {name: value for name, value in keywords.items() if name in _NAMES}
    return ours, {name: value for name, value in keywords.items() if name not in _NAMES}
