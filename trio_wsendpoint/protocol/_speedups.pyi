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
