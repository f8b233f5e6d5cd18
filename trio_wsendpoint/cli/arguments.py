"""What can be said on the command line."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .bench import Bench
from .connect import Connect
from .dialling import Dialling
from .encoding import Encoding
from .exits import CommandError
from .handlers import Handler, echo, import_handler
from .programs import Program
from .serve import Serve
from .static import StaticFiles
from .version import describe_version

if TYPE_CHECKING:
    from .main import Command

EXITS: Final = """\
exit status: 0 closed with 1000, 1001 or no code, or by Ctrl-C; 1 the connection could not be
opened; 2 a wrong argument or input; 3 any other end; 4 a timeout
"""


class _Version(argparse.Action):
    """`--version`, with more to tell than argparse's own can without work at every start."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:  # noqa: ARG002
        super().__init__(
            option_strings,
            argparse.SUPPRESS,  # it leaves no value
            default=argparse.SUPPRESS,
            nargs=0,
            help="tell the version, and whether the C extension and zlib-ng are in use",
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(describe_version())
        parser.exit()


def parse_arguments(arguments: Sequence[str] | None = None) -> Command:
    """The command that a command line asks for, by default that of the process.

    Raises:
        SystemExit: it asks for what there is not (with 2), or for help alone (with 0).
    """
    arguments = tuple(sys.argv[1:] if arguments is None else arguments)
    values = vars(make_parser().parse_args(arguments))
    make = values.pop("make")
    if make is _make_serve:
        values["arguments"] = arguments
    command: Command = make(**values)
    return command


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="trio-wsendpoint", description="WebSocket from the command line.", epilog=EXITS
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_connect(commands)
    _add_serve(commands)
    _add_bench(commands)
    return parser


# -- connect ----------------------------------------------------------------------------------


def _add_connect(commands: Any) -> None:
    parser = commands.add_parser(
        "connect",
        help="talk to a server",
        description="Talk to a server. At a terminal, what is typed goes out, and what comes is"
        " shown above. In a pipe, each line is a message; at its end, the connection is closed"
        " once nothing has come for --linger seconds.",
        epilog=EXITS,
    )
    parser.set_defaults(make=_make_connect)
    _add_dialling(parser)
    add = parser.add_argument
    add("--binary", action="store_true", help="each line is a binary message")
    add("--base64", action="store_true", help="each line is a binary message in Base64")
    add("--json", action="store_true", help="show JSON indented, and in colour")
    add("--trace", action="store_true", help="show each frame")
    add("--once", action="store_true", help="send one line, wait for its answer, and leave")
    add(
        "--linger",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="how long nothing may have come at the end of a pipe (default: 1)",
    )


def _make_connect(*, binary: bool, base64: bool, **values: Any) -> Command:
    own = {name: values.pop(name) for name in ("json", "trace", "once", "linger")}
    return Connect(dialling=_make_dialling(**values), encoding=Encoding(binary, base64), **own)


# -- serve ------------------------------------------------------------------------------------


def _add_serve(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve for one purpose",
        description="Serve WebSocket, on this machine alone unless --host says otherwise, until"
        " Ctrl-C. SIGTERM drains it first.",
        usage="%(prog)s [OPTIONS] [PORT]"
        " [MODULE:HANDLER | --echo | --broadcast | --exec COMMAND]",
    )
    parser.set_defaults(make=_make_serve, fail=parser.error)
    add = parser.add_argument
    add(
        "place",
        nargs="*",
        metavar="PORT, MODULE:HANDLER",
        help="the port (default: 8000; 0 for any that is free), and an async function of an"
        " endpoint that handles each connection",
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--echo", action="store_true", help="send every message back (default)")
    kinds.add_argument(
        "--broadcast", action="store_true", help="send every message to all others"
    )
    kinds.add_argument(
        "--exec",
        metavar="COMMAND",
        help="run a program for each connection: messages to its lines, its lines to messages",
    )
    add(
        "--redis",
        metavar="URL",
        help="such as redis://localhost:6379: also --broadcast to those of all other processes"
        " with the same one",
    )
    add("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    add("--unix", metavar="PATH", help="listen on this Unix socket instead")
    add("--static", metavar="FOLDER", help="answer plain requests with the files of a folder")
    add("--processes", type=count, default=1, metavar="N", help="share the port among so many")
    add("--share-port", type=count, help=argparse.SUPPRESS)  # what those are called with
    add("--tls", metavar="FILE", help="speak TLS, with this certificate, perhaps with its key")
    add("--key", metavar="FILE", help="its key, if it is in a file of its own")
    add("--subprotocol", action="append", default=[], metavar="NAME", help="one that it speaks")
    add(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a page of this origin may connect, such as https://www.example.org; '*' for all",
    )
    add("--http2", action="store_true", help="speak HTTP/2, too")
    add("--trace", action="store_true", help="show each frame")
    add(
        "--drain-timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long draining may take (default: 30)",
    )
    _add_endpoint(parser)


def _make_serve(
    *, fail: Callable[[str], NoReturn], place: list[str], subprotocol: list[str], **values: Any
) -> Command:
    purposes = [name for name in ("echo", "broadcast", "exec") if values[name]]
    command, broadcast = values.pop("exec"), values.pop("broadcast")
    del values["echo"]  # which is what it does if nothing else is asked for
    ports = [each for each in place if each.isdecimal()]
    names = [each for each in place if not each.isdecimal()]
    if len(ports) > 1 or len(names) > 1:
        fail("there can be one port, and one MODULE:HANDLER")
    if names and purposes:
        fail(f"MODULE:HANDLER cannot go with --{purposes[0]}")
    if values["redis"] is not None and not broadcast:
        fail("--redis is for --broadcast")
    if values["processes"] > 1 and values["unix"]:
        fail("--processes cannot go with --unix: they would not share it")
    if values["processes"] > 1 and broadcast and values["redis"] is None:
        fail("--processes needs --redis with --broadcast: they would not hear each other")
    shared = values.pop("share_port")
    if shared is not None:
        values["processes"] = 1
    folder, origins = values.pop("static"), tuple(values.pop("allow_origin"))
    try:
        handler = _make_handler(names, broadcast, command)
        static = None if folder is None else StaticFiles(folder)
    except CommandError as error:
        fail(str(error))
    return Serve(
        handler=handler,
        static=static,
        port=shared or (int(ports[0]) if ports else 8000),
        reuse_port=shared is not None,
        origins=origins,
        subprotocols=tuple(subprotocol),
        **values,
    )


def _make_handler(names: list[str], broadcast: bool, command: str | None) -> Handler | None:
    if names:
        return import_handler(names[0])
    if command is not None:
        return Program.parse(command)
    return None if broadcast else echo


# -- bench ------------------------------------------------------------------------------------


def _add_bench(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure how fast a server echoes",
        description="Measure how fast a server sends messages back, one under way on each"
        " connection, or at a rate.",
        epilog=EXITS,
    )
    parser.set_defaults(make=_make_bench)
    _add_dialling(parser)
    add = parser.add_argument
    add("--connections", type=count, default=10, metavar="N", help="(default: 10)")
    add("--messages", type=count, default=1000, metavar="N", help="on each (default: 1000)")
    add("--size", type=count, default=100, metavar="BYTES", help="of each (default: 100)")
    add("--rate", type=rate, metavar="N", help="messages a second, over all connections")
    add("--json", action="store_true", help="report as JSON, times in seconds")


def _make_bench(**values: Any) -> Command:
    names = ("connections", "messages", "size", "rate", "json")
    own = {name: values.pop(name) for name in names}
    return Bench(dialling=_make_dialling(**values), **own)


# -- what several commands say ----------------------------------------------------------------


def _add_dialling(parser: argparse.ArgumentParser) -> None:
    """What all commands say that connect somewhere."""
    add = parser.add_argument
    add("url", metavar="URL", help="such as wss://example.org/feed")
    add("-H", "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header")
    add("--subprotocol", action="append", default=[], metavar="NAME", help="one that we speak")
    add("--origin", help="the Origin header")
    add("--user", metavar="NAME:PASSWORD", help="for an Authorization header")
    add("--insecure", action="store_true", help="take any certificate")
    add("--cacert", metavar="FILE", help="the certificate authorities to trust")
    add("--cert", metavar="FILE", help="a certificate of our own, perhaps with its key")
    add("--key", metavar="FILE", help="its key, if it is in a file of its own")
    add("--unix", metavar="PATH", help="dial this Unix socket, not the host of the URL")
    add(
        "--proxy",
        metavar="URL",
        help="such as http://proxy:3128 or socks5h://localhost:9050;"
        " '' for none (default: what the environment says)",
    )
    add("--http2", action="store_true", help="speak HTTP/2 with a server that does, over TLS")
    add("--reconnect", action="store_true", help="connect again when the connection is lost")
    _add_endpoint(parser)
    add(
        "--timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="for the opening and, with --once, the answer (default: 10)",
    )


def _add_endpoint(parser: argparse.ArgumentParser) -> None:
    """What all commands say of their endpoints."""
    add = parser.add_argument
    add("--compress", action="store_true", help="compress messages (permessage-deflate)")
    add(
        "--ping-interval",
        type=seconds,
        default=20.0,
        metavar="SECONDS",
        help="between two pings; 'inf' for none (default: 20)",
    )
    add(
        "--max-size",
        type=size,
        default=2**20,
        metavar="BYTES",
        help="of a message received; 'inf' for no limit (default: 1048576)",
    )


def _make_dialling(*, header: list[str], subprotocol: list[str], **others: Any) -> Dialling:
    return Dialling(headers=tuple(header), subprotocols=tuple(subprotocol), **others)


# -- values -----------------------------------------------------------------------------------


def seconds(text: str) -> float:
    """Seconds, `inf` included."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"must be seconds, not {text!r}")
    return value


def rate(text: str) -> float:
    """How many a second."""
    value = seconds(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text!r}")
    return value


def count(text: str) -> int:
    """How many, at least one."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a number, at least 1, not {text!r}")
    return int(text)


def size(text: str) -> int | None:
    """Bytes; None for `inf`."""
    if text == "inf":
        return None
    return count(text)
