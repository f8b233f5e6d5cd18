"""The load generator's own frames, against RFC 6455's examples."""

import pytest

from tests.bench.programs import ProgramError
from tests.bench.raw_server import check_masked
from tests.bench.wire import TEXT, accept_token, client_frame, frame, mask, server_frame


def test_a_masked_text_is_the_example_of_section_5_7() -> None:
    assert client_frame(b"Hello", TEXT).hex(" ") == "81 85 37 fa 21 3d 7f 9f 4d 51 58"


def test_an_unmasked_text_is_the_example_of_section_5_7() -> None:
    assert server_frame(b"Hello", TEXT).hex(" ") == "81 05 48 65 6c 6c 6f"


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (125, "82 7d"),
        (126, "82 7e 00 7e"),
        (65535, "82 7e ff ff"),
        (65536, "82 7f" + " 00" * 5 + " 01"),
    ],
)
def test_a_length_is_written_in_as_few_bytes_as_it_needs(size: int, header: str) -> None:
    frame = server_frame(bytes(size))
    assert frame.hex(" ").startswith(header)


@pytest.mark.parametrize("size", range(9))
def test_masking_twice_gives_the_payload_back(size: int) -> None:
    payload = b"\x00\xff\x10abcde"[:size]
    assert mask(mask(payload)) == payload


def test_the_accept_token_is_the_example_of_section_1_3() -> None:
    assert accept_token(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_burst_of_masked_frames_is_checked_byte_by_byte() -> None:
    payload = bytes(range(32))
    burst = client_frame(payload) * 2 + frame(payload, opcode=2, masked=True)
    check_masked(burst, payload)
    for at in range(len(burst)):
        broken = bytearray(burst)
        broken[at] ^= 1
        with pytest.raises(ProgramError):
            check_masked(bytes(broken), payload)
