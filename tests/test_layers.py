"""The house stands: a floor imports only from floors below, through their doors."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "trio_wsendpoint"
ROOT = Path(__file__).parents[1] / PACKAGE
MODULES = sorted(ROOT.rglob("*.py"))

ABOVE = "above"
"""Where the modules stand that belong to no floor."""
FLOORS_BELOW: dict[str, set[str]] = {
    "protocol": set(),
    "endpoint": {"protocol"},
    "http2": {"protocol", "endpoint"},
    "client": {"protocol", "endpoint", "http2"},
    "server": {"protocol", "endpoint", "http2"},
    "hub": {"protocol", "endpoint"},
    "instruments": {"protocol", "endpoint"},
    "cli": {"protocol", "endpoint", "http2", "client", "server", "hub", "instruments"},
    ABOVE: {"protocol", "endpoint", "http2", "client", "server", "hub", "instruments", "cli"},
}
OTHERS_ALLOWED = {
    "protocol": {"attrs", "zlib_ng"},
    "endpoint": {"anyio", "attrs", "trio"},
    "http2": {"attrs", "trio", "h2", "hpack", "hyperframe"},
    "client": {"attrs", "trio", "idna", "python_socks"},
    "server": {"attrs", "trio", "werkzeug"},
    "hub": {"attrs", "trio"},
    "cli": {"attrs", "trio", "prompt_toolkit"},
    "instruments": {"attrs"},
    ABOVE: {"attrs", "trio"},
}

ONE_PLACE = {("h11", "http11.py"), ("hiredis", "link.py")}
"""Libraries that one module alone knows."""


def imports(path: Path, source: str) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """What a module imports: the path of another, made absolute, and a name taken from it."""
    here = (PACKAGE, *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((tuple(alias.name.split(".")), None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = here[: len(here) - node.level + 1] if node.level else ()
            module = (*start, *node.module.split(".")) if node.module else start
            yield from ((module, alias.name) for alias in node.names)


def complaint(path: Path, module: tuple[str, ...], name: str | None) -> str | None:
    """What is wrong with an import, if anything is."""
    floor, *_ = (*path.relative_to(ROOT).parts[:-1], ABOVE)
    target = ".".join(module)
    if module[0] != PACKAGE:
        known = module[0] in OTHERS_ALLOWED[floor] | sys.stdlib_module_names
        return None if known or (module[0], path.name) in ONE_PLACE else target
    where = module[1] if module[1:2] and module[1] in FLOORS_BELOW else ABOVE
    if where == floor:
        return None
    if where not in FLOORS_BELOW[floor]:
        return f"{target} is not below {floor}"
    public = importlib.import_module(f"{PACKAGE}.{where}").__all__
    through_the_door = len(module) == 2 and name in public
    return None if through_the_door else f"{target}: {name} does not come through its door"


def complaints(path: Path, source: str) -> list[str]:
    found = (complaint(path, module, name) for module, name in imports(path, source))
    return [each for each in found if each]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_below(path: Path) -> None:
    assert complaints(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("protocol/frames.py", "import trio"),
        ("protocol/frames.py", "import h11"),
        ("protocol/frames.py", "from ..endpoint import Endpoint"),
        ("protocol/frames.py", "from trio_wsendpoint.endpoint import Endpoint"),
        ("protocol/frames.py", "from .. import connect"),
        ("protocol/frames.py", "from ..testing import open_endpoint_pair"),
        ("endpoint/reader.py", "from ..client import connect"),
        ("endpoint/reader.py", "from ..protocol.frames import Frame"),
        ("endpoint/reader.py", "from ..protocol import frames"),
        ("endpoint/reader.py", "import trio_wsendpoint.protocol.frames"),
        ("endpoint/reader.py", "import h11"),
        ("endpoint/reader.py", "from ..http2 import Http2Stream"),
        ("http2/stream.py", "from ..client import connect"),
        ("client/connect.py", "import h2"),
        ("client/connect.py", "from ..http2.stream import Http2Stream"),
        ("client/connect.py", "from ..server import serve"),
        ("server/serve.py", "from ..client import connect"),
        ("server/serve.py", "from ..endpoint.reader import Reader"),
        ("hub/hub.py", "from ..client import connect"),
        ("hub/hub.py", "from ..server import broadcast"),
        ("hub/presence.py", "import hiredis"),
        ("server/serve.py", "from ..hub import open_hub"),
        ("instruments/prometheus.py", "from ..server import serve"),
        ("server/serve.py", "from ..instruments import PrometheusInstrument"),
        ("testing.py", "from .endpoint.reader import Reader"),
        ("cli/connect.py", "from ..client.connect import connect"),
        ("server/serve.py", "from ..cli import main"),
        ("testing.py", "import pytest"),
    ],
)
def test_an_import_from_elsewhere_would_be_found(module: str, statement: str) -> None:
    assert complaints(ROOT / module, statement)


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("protocol/frames.py", "import enum"),
        ("protocol/frames.py", "from .close import CloseCode"),
        ("protocol/http11.py", "import h11"),
        ("endpoint/reader.py", "from ..protocol import Connection"),
        ("endpoint/reader.py", "from .outbox import Outbox"),
        ("client/connect.py", "from ..endpoint import open_endpoint"),
        ("client/http2.py", "from ..http2 import open_connection"),
        ("http2/stream.py", "from h2.errors import ErrorCodes"),
        ("hub/link.py", "import hiredis"),
        ("hub/members.py", "from ..endpoint import share"),
        ("testing.py", "from .endpoint import open_endpoint"),
        ("cli/connect.py", "from ..client import connect"),
        ("cli/main.py", "from .connect import run"),
        ("__main__.py", "from .cli import main"),
        ("__init__.py", "from .server import serve"),
    ],
)
def test_an_import_from_below_is_fine(module: str, statement: str) -> None:
    assert complaints(ROOT / module, statement) == []
