"""What the page on the command line says is what there is."""

from __future__ import annotations

import argparse
import re

import pytest

from tests.examples.programs import ROOT
from trio_wsendpoint.cli.arguments import make_parser
from trio_wsendpoint.cli.exits import Exit

PAGE = (ROOT / "docs/cli.md").read_text()


def commands() -> dict[str, argparse.ArgumentParser]:
    parser = make_parser()
    (choices,) = [action.choices for action in parser._actions if action.choices]
    assert isinstance(choices, dict)
    return choices


@pytest.mark.parametrize("command", commands())
def test_every_option_is_documented(command: str) -> None:
    for action in commands()[command]._actions:
        for option in action.option_strings:
            if option not in ("-h", "--help") and action.help != argparse.SUPPRESS:
                assert re.search(rf"`{option}\b", PAGE), option


def test_every_documented_option_is_there() -> None:
    there = {
        option
        for parser in [make_parser(), *commands().values()]
        for action in parser._actions
        for option in action.option_strings
    }
    tables = "\n".join(line for line in PAGE.splitlines() if line.startswith("| "))
    documented = set(re.findall(r"`(-[-\w]+)", tables)) - {"-u"}
    assert documented <= there


def test_every_exit_status_is_documented() -> None:
    told = [int(number) for number in re.findall(r"(?m)^\| (\d) \|", PAGE)]
    assert told == list(Exit)


@pytest.mark.parametrize("command", [[], *([name] for name in commands())])
def test_every_command_has_a_help(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        make_parser().parse_args([*command, "--help"])
    assert exit_.value.code == 0
    assert "usage: trio-wsendpoint" in capsys.readouterr().out


def test_no_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        make_parser().parse_args([])
    assert exit_.value.code == Exit.USAGE
    assert "COMMAND" in capsys.readouterr().err
