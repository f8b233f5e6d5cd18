"""Where a server listens: TCP ports and Unix sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

_MAX_BACKLOG: Final = 0xFFFF  # as Trio has it: the system cuts it down to what it takes


def check_address(port: int, host: str | bytes | None, reuse_port: bool) -> None:
    """Refuse what is no address to listen on.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    # The system would take it modulo 65536.
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be 0 to 65535, not {port}")
    if not isinstance(host, str | bytes | None):
        raise TypeError(f"host must be a str, bytes or None, not {type(host).__name__}")
    if not isinstance(reuse_port, bool):
        raise TypeError(f"reuse_port must be a bool, not {type(reuse_port).__name__}")
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port must be False: this system has no such thing")


def check_mode(mode: int) -> None:
    """Refuse what are no permissions of a file.

    Raises:
        TypeError, ValueError: `mode` is not an int, or not in range.
    """
    if not isinstance(mode, int) or isinstance(mode, bool):
        raise TypeError(f"mode must be an int, not {type(mode).__name__}")
    if not 0 <= mode <= 0o777:
        raise ValueError(f"mode must be 0o000 to 0o777, not {mode:#o}")


async def open_listeners(
    port: int, host: str | bytes | None, backlog: int | None, reuse_port: bool
) -> list[trio.SocketListener]:
    """Listen over TCP as `trio.open_tcp_listeners` does, which knows no `reuse_port`."""
    if not reuse_port:
        return await trio.open_tcp_listeners(port, host=host, backlog=backlog)
    infos = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with contextlib.ExitStack() as opened:
        sockets: list[trio.socket.SocketType] = []
        for family, kind, protocol, _, address in infos:
            try:
                sock = trio.socket.socket(family, kind, protocol)
            except OSError as error:
                # A system that has only one of the two families is asked for both.
                none_left = family == infos[-1][0] and not sockets
                if error.errno != errno.EAFNOSUPPORT or none_left:
                    raise
                continue
            opened.callback(sock.close)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            await sock.bind(address)
            sock.listen(_backlog(backlog))
            sockets.append(sock)
        opened.pop_all()
    return [trio.SocketListener(sock) for sock in sockets]


def _backlog(backlog: int | None) -> int:
    if not isinstance(backlog, int | None):
        raise TypeError(f"backlog must be an int or None, not {type(backlog).__name__}")
    return _MAX_BACKLOG if backlog is None else min(backlog, _MAX_BACKLOG)


@asynccontextmanager
async def open_unix_listener(
    path: str | os.PathLike[str], mode: int, backlog: int | None
) -> AsyncIterator[trio.SocketListener]:
    """Listen on a Unix socket, and remove it in the end.

    Raises:
        TypeError: `path` is no path, or `backlog` no number.
        OSError: somebody listens there, or it is another kind of file, or cannot be made.
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path must be a str or a path of str, not {type(path).__name__}")
    if not name or "\0" in name:
        raise ValueError(f"path must be one of the file system, not {name!r}")
    size = _backlog(backlog)
    with _bound_socket(Path(name), mode) as sock:
        sock.listen(size)
        yield trio.SocketListener(trio.socket.from_stdlib_socket(sock))


@contextlib.contextmanager
def _bound_socket(file: Path, mode: int) -> Iterator[socket.socket]:
    """A socket that is bound to a file, which is removed in the end."""
    _remove_dead(file)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(file))
        made = _identity(file)
        try:
            # Nobody can connect before it listens, so the permissions are in time.
            file.chmod(mode)
            yield sock
        finally:
            # Another server may have taken the place.
            if made is not None and _identity(file) == made:
                file.unlink()


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _remove_dead(file: Path) -> None:
    """Remove a socket on which nobody listens any more."""
    try:
        status = file.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket", str(file))
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # as one whose backlog is full would have us wait
        try:
            probe.connect(str(file))
        except ConnectionRefusedError:
            file.unlink()
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "another server listens on this socket", str(file))
