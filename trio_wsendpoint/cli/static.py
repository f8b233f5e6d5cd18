"""The files of a folder, for pages beside a WebSocket."""

from __future__ import annotations

import mimetypes
import urllib.parse
from pathlib import Path

import trio

from ..protocol import Request, Response
from .exits import CommandError


class StaticFiles:
    """An `on_request` function that answers plain requests with the files of a folder.

    A folder is answered with its `index.html`. Nothing outside is, whatever the path says and
    wherever links lead, and nothing whose name begins with a dot.

    Args:
        folder: The folder.

    Raises:
        CommandError: there is none.
    """

    def __init__(self, folder: str) -> None:
        self._root = Path(folder).resolve()
        if not self._root.is_dir():
            raise CommandError(f"--static: there is no folder {folder!r}")

    async def __call__(self, request: Request) -> Response | None:
        """The file that is asked for, or 404; None if a WebSocket is."""
        if request.is_websocket:
            return None
        if request.method not in ("GET", "HEAD"):
            return Response.text("GET or HEAD only", 405, {"Allow": "GET, HEAD"})
        found = await trio.to_thread.run_sync(self._read, request.target.partition("?")[0])
        if found is None:
            return Response.text("not found", 404)
        file, content = found
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        if kind.startswith("text/"):
            kind += "; charset=utf-8"
        # Else a browser may make of it what it likes.
        headers = {"Content-Type": kind, "X-Content-Type-Options": "nosniff"}
        return Response(200, headers=headers, body=content)

    def _read(self, path: str) -> tuple[Path, bytes] | None:
        parts = [part for part in urllib.parse.unquote(path).split("/") if part]
        if any(part.startswith(".") or "\0" in part for part in parts):
            return None
        try:
            file = self._root.joinpath(*parts).resolve()
            if file.is_dir():
                file = (file / "index.html").resolve()
            if not file.is_relative_to(self._root):
                return None
            return file, file.read_bytes()
        except OSError:
            return None
