from typing import Any

from .masking import BytesLike

def apply_mask(payload: BytesLike, key: bytes, /) -> bytes: ...
def build_frame(first_byte: int, payload: str | BytesLike, masking_key: bytes, /) -> bytes: ...
def cut_messages(
    buffer: BytesLike,
    offset: int,
    masked: bool,
    max_size: int,
    max_count: int,
    out: list[Any],
    /,
) -> int: ...
def cut_frame(
    buffer: BytesLike, offset: int, masked: bool, rsv: int, max_size: int, /
) -> tuple[int, bytes, int] | None: ...
def new_payload(size: int, /) -> bytes | bytearray: ...
def fill_payload(
    payload: bytes | bytearray, filled: int, data: BytesLike, key: bytes, /
) -> int: ...
def payload_room(payload: bytes | bytearray, filled: int, /) -> memoryview: ...
def read_messages(
    descriptor: int,
    scratch: bytearray | memoryview,
    masked: bool,
    max_size: int,
    max_count: int,
    out: list[Any],
    /,
) -> tuple[int, int] | None: ...
def write_frame(
    descriptor: int, first_byte: int, payload: str | BytesLike, masking_key: bytes, /
) -> int | tuple[int, bytes]: ...
def write_each(descriptors: list[int], data: bytes, /) -> list[int]: ...
