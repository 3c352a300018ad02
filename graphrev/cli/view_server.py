"""Serves Model Explorer's web application, on the loopback interface and to nobody else.

Only the files of the application are used, none of its server: that one asks pypi.org and
github.com for news at every start, hands out any file its user can read, and listens where it is
told to. This one knows the graphs it was given and the application's own files, answers only
requests that name this machine (a page of a foreign site cannot reach it under a name of its own),
and forbids the page every other address.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from graphrev.diff.explorer import Session
from graphrev.errors import OutputError, UsageError

ADDRESS = "127.0.0.1"
_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_READS_GRAPHS = {
    "type": "adapter",
    "id": "builtin_json",
    "name": "graphrev",
    "description": "Shows what graphrev has read.",
    "fileExts": ["json"],
}
"""What the application wants to be told of before it asks for a graph; it knows the id."""
_REMOTE = re.compile(r"https://fonts\.gstatic\.com/[^)\"']*/([\w-]+\.woff2)")
_FACE = re.compile(r"@font-face\s*\{[^}]*\}")


def web_app() -> Path:
    """The folder of Model Explorer's web application; the package itself is not imported.

    Raises:
        UsageError: Model Explorer is not installed.
    """
    spec = find_spec("model_explorer")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "web_app"
        if (folder / "index.html").is_file():
            return folder
    raise UsageError(
        "Model Explorer is not installed. Install it with: pip install 'graphrev[view]'. Or write "
        "a page that needs nothing: graphrev diff A B -o diff.html"
    )


class ViewServer(ThreadingHTTPServer):
    """Serves one session.

    Attributes:
        session: what is shown.
        folder: the web application.
        stopping: set when open streams are to end.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, session: Session, folder: Path, port: int = 0) -> None:
        """Binds to 127.0.0.1.

        Args:
            port: 0 takes a free one.

        Raises:
            OutputError: the port cannot be used.
        """
        self.session, self.folder = session, folder
        self.stopping = threading.Event()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise OutputError(f"Port {port} of {ADDRESS} cannot be used: {error}.") from error

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{ADDRESS}:{self.server_port}/?{self.session.query()}"

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """The JSON for a request of the application; ``None`` if there is no such thing."""
        panes = self.session.panes
        if path == "/api/v1/get_extensions":
            return [_READS_GRAPHS]
        if path == "/api/v1/check_new_version":
            return {"version": "", "runningVersion": "", "releaseUrl": "", "desktopAppUrl": ""}
        if path == "/api/v1/load_graphs_json":
            pane = panes[_number(query, "graph_index", len(panes))]
            return {"graphs": pane.graphs}
        if path == "/api/v1/load_node_data":
            data = panes[_number(query, "node_data_index", len(panes))].node_data
            return {"content": json.dumps(data)}
        return None

    def file(self, path: str) -> tuple[bytes, str] | None:
        """Content and type of a file of the application."""
        name = path.lstrip("/") or "index.html"
        file = (self.folder / name).resolve()
        kind = _TYPES.get(file.suffix)
        if kind is None or self.folder.resolve() not in file.parents or not file.is_file():
            return None
        data = file.read_bytes()
        return (self._local(data) if name == "index.html" else data), kind

    def _local(self, index: bytes) -> bytes:
        """The start page without addresses of other machines and without inline scripts."""
        text = index.decode("utf-8")

        def face(match: re.Match[str]) -> str:
            local = _REMOTE.sub(r"/static_files/\1", match[0])
            name = re.search(r"/static_files/([\w-]+\.woff2)", local)
            kept = name is not None and (self.folder / "static_files" / name[1]).is_file()
            return local if kept else ""

        text = _FACE.sub(face, text)
        text = re.sub(r"<link[^>]*https://[^>]*>", "", text)
        return text.replace(' media="print" onload="this.media=\'all\'"', "").encode("utf-8")


def _number(query: dict[str, list[str]], key: str, count: int) -> int:
    """A number below ``count`` from a query; 0 for anything else."""
    text = query.get(key, ["0"])[0]
    return int(text) if text.isascii() and text.isdigit() and int(text[:9]) < count else 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "graphrev"
    sys_version = ""

    def do_GET(self) -> None:
        """Answers a request."""
        server = cast("ViewServer", self.server)
        if self.headers.get("Host", "") not in (
            f"{ADDRESS}:{server.server_port}",
            f"localhost:{server.server_port}",
        ):
            self._send(HTTPStatus.FORBIDDEN, b"", "text/plain")
            return
        parts = urlsplit(self.path)
        if parts.path == "/apistream/server_director":
            self._stream(server)
            return
        data = server.answer(parts.path, parse_qs(parts.query))
        if data is not None:
            self._send(HTTPStatus.OK, json.dumps(data).encode("ascii"), "application/json")
            return
        found = server.file(parts.path)
        if found is None:
            self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")
        else:
            self._send(HTTPStatus.OK, *found)

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        packed = len(body) > 1 << 16 and "gzip" in self.headers.get("Accept-Encoding", "")
        body = gzip.compress(body, compresslevel=1, mtime=0) if packed else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self._finish()
        self.wfile.write(body)

    def _stream(self, server: ViewServer) -> None:
        """A stream of events in which nothing happens: the application wants one."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.close_connection = True
        self._finish()
        try:
            while not server.stopping.wait(5):
                self.wfile.write(b": waiting\n\n")
                self.wfile.flush()
        except OSError:
            return

    def _finish(self) -> None:
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing about requests."""
