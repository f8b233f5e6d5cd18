from __future__ import annotations

import pytest

from examples import demo
from tests.examples.programs import run_program


@pytest.mark.slow
async def test_the_demo_shows_the_life_of_an_endpoint() -> None:
    output = await run_program("examples/demo.py")
    lines = output.splitlines()
    assert (
        lines[-1] == f"{len(demo.EXPECTED)} of {len(demo.EXPECTED)} expected events were seen."
    )
    assert "\033" not in output
    for event in "handshake", "text", "binary", "ping", "heartbeat", "gave up", "closed":
        assert any(event in line for line in lines), event


async def test_the_demo_fails_if_something_does_not_happen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def stay_away(*args: object) -> None:
        pass

    monkeypatch.setattr(demo, "PACE", 0.1)
    monkeypatch.setattr(demo, "run_silent_peer", stay_away)
    assert await demo.main() == 1
    assert "NOT SEEN  server: /silent given up on" in capsys.readouterr().out
