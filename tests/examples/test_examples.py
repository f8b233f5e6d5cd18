from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from examples import compression, custom_extension, custom_frames, streaming
from tests.cli.shell import process_at_a_terminal
from tests.examples.programs import run_program, running_server
from trio_wsendpoint import TextFrame
from trio_wsendpoint.protocol import ProtocolError


async def test_the_echo_client_gets_its_lines_back_from_the_echo_server() -> None:
    async with running_server("examples/echo_server.py", "0") as port:
        output = await run_program(
            "examples/echo_client.py", f"ws://localhost:{port}", stdin="hello\nGrüße\n"
        )
    assert output == "hello\nGrüße\nclosed with 1000\n"


async def test_ctrl_c_ends_the_echo_client_at_a_terminal() -> None:
    program = "import runpy; runpy.run_path('examples/echo_client.py', run_name='__main__')"
    async with (
        running_server("examples/echo_server.py", "0") as port,
        process_at_a_terminal(f"ws://localhost:{port}", program=program) as (terminal, process),
    ):
        await terminal.type("hello\n")
        await terminal.expect("hello\nhello\n")
        await terminal.type("\x03")
        await terminal.expect("closed with 1000")
    assert process.returncode == 0


async def test_both_ends_of_the_custom_extension_agree(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await custom_extension.main()
    assert capsys.readouterr().out.splitlines() == [
        "offered:  x-checksum; algorithm=crc32, x-checksum; algorithm=adler32",
        "accepted: x-checksum; algorithm=adler32",
        "received: with a checksum",
    ]


def test_the_custom_extension_refuses_a_wrong_checksum() -> None:
    accepted = custom_extension.Checksum().accept([("algorithm", "crc32")])
    assert accepted is not None
    _, codec = accepted
    frame = codec.encode(TextFrame(b"payload"))
    spoilt = attrs.evolve(frame, payload=b"P" + frame.payload[1:])
    with pytest.raises(ProtocolError, match="a wrong checksum"):
        next(codec.decode(spoilt))


async def test_custom_frames_reach_the_player_and_its_handler(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await custom_frames.main()
    assert capsys.readouterr().out.splitlines() == [
        "player: MusicFrame, 8 bytes",
        "sender: played what came in 1 frame(s)",
        "player: volume 10",
        "sender: louder",
        "player: volume 11",
        "sender: that is loud",
        "player: MusicFrame, 5 bytes",
        "sender: played what came in 3 frame(s)",
    ]


async def test_a_file_is_streamed_there_and_back(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3_000_001))
    await streaming.main(str(source), str(target))
    assert target.read_bytes() == source.read_bytes()


async def test_compression_saves_bytes_where_it_is_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await compression.main()
    rows = [line.rsplit(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines()[1:]]
    first, again, uncompressed, tiny = [(int(payload), int(sent)) for payload, sent in rows]
    assert first[1] < first[0] / 2
    assert again[1] < first[1]
    assert uncompressed[1] > uncompressed[0]
    assert tiny[1] > tiny[0]
