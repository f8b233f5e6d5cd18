"""A program for each connection: its lines are messages."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import Final

import attrs
import trio

from ..endpoint import ConnectionClosed, Endpoint
from ..protocol import CloseCode
from .console import Lines
from .exits import CommandError

GRACE: Final = 1.0
"""Seconds that a program has to end, once its input has ended, or it was told to."""


@attrs.frozen
class Program:
    """A handler that runs a program: messages to its lines, its lines to messages.

    It has what a CGI program has in its environment (RFC 3875), as far as it means something.

    Attributes:
        command: The program and its arguments.
    """

    command: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Program:
        """Take a command line to pieces, as a shell does.

        Raises:
            CommandError: it is none, or there is no such program.
        """
        try:
            command = shlex.split(text)
        except ValueError as error:
            raise CommandError(f"--exec: {error}") from error
        if not command or shutil.which(command[0]) is None:
            raise CommandError(f"--exec: there is no program {text!r}")
        return cls(tuple(command))

    async def __call__(self, endpoint: Endpoint) -> None:
        """Run it for as long as it wants to, and the connection lasts."""
        process = await trio.lowlevel.open_process(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **describe_request(endpoint)},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_feed, endpoint, process.stdin, nursery.cancel_scope)
                await _relay(process.stdout, endpoint)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                status = await _end(process)
        if status and not endpoint.is_closed:
            reason = f"the program ended with {status}"
            await endpoint.aclose(CloseCode.INTERNAL_ERROR, reason)


async def _feed(
    endpoint: Endpoint, stdin: trio.abc.SendStream, scope: trio.CancelScope
) -> None:
    """Give it each message as a line, and time to end when there are no more."""
    try:
        async for message in endpoint:
            line = message.encode() if isinstance(message, str) else message
            await stdin.send_all(line + b"\n")
    except ConnectionClosed:
        pass
    except trio.BrokenResourceError:
        return  # it reads no more, but may still write
    await stdin.aclose()
    await trio.sleep(GRACE)
    scope.cancel()


async def _relay(stdout: trio.abc.ReceiveStream, endpoint: Endpoint) -> None:
    """Send each line as a message, until there are no more."""
    try:
        async for line in Lines(stdout.receive_some):
            await endpoint.send(line.decode(errors="replace"))
    except (ConnectionClosed, trio.ClosedResourceError):
        pass


async def _end(process: trio.Process) -> int:
    """Have it end, gently at first; returns its exit status."""
    for stream in process.stdin, process.stdout:
        assert stream is not None
        await stream.aclose()
    with trio.move_on_after(GRACE):
        return await process.wait()
    process.terminate()
    with trio.move_on_after(GRACE):
        return await process.wait()
    process.kill()
    return await process.wait()


def describe_request(endpoint: Endpoint) -> dict[str, str]:
    """The opening handshake's request, as a CGI program knows it."""
    request = endpoint.request
    assert request is not None
    path, _, query = request.target.partition("?")
    variables = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": request.method,
        "REQUEST_URI": request.target,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    if isinstance(endpoint.remote_address, tuple):
        variables["REMOTE_ADDR"] = endpoint.remote_address[0]
        variables["REMOTE_PORT"] = str(endpoint.remote_address[1])
    for name, value in request.headers:
        # "Proxy" would become what programs take for a setting of theirs (httpoxy).
        if name.lower() not in ("proxy", "authorization"):
            variables[f"HTTP_{name.upper().replace('-', '_')}"] = value
    return variables
