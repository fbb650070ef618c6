"""A server for the GetObject request of S3 over HTTP, with the errors that a test requests."""

from __future__ import annotations

import base64
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

KEY = "AKIATEST"


class S3Server(ThreadingHTTPServer):
    """Serves the folders of a folder as buckets.

    Attributes:
        requests: number of requests by path.
        busy: number of following requests that are answered with 503.
        broken: number of following responses that break off in the middle.
        denied: paths with this text cannot be read.
        archived: paths with this text have to be restored first.
        unsized: responses have no length.
        damaged: paths with this text have a wrong checksum.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.requests: Counter[str] = Counter()
        self.busy = self.broken = 0
        self.denied: str | None = None
        self.archived: str | None = None
        self.damaged: str | None = None
        self.unsized = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: S3Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.server.requests[path] += 1
        file = self.server.root / path
        if self.server.busy > 0:
            self.server.busy -= 1
            self._error(503, "SlowDown")
        elif f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
            self._error(403, "InvalidAccessKeyId")
        elif self.server.denied and self.server.denied in path:
            self._error(403, "AccessDenied")
        elif self.server.archived and self.server.archived in path:
            self._error(403, "InvalidObjectState")
        elif len(path.partition("/")[2]) > 1024:
            self._error(400, "KeyTooLongError")
        elif not (self.server.root / path.split("/")[0]).is_dir():
            self._error(404, "NoSuchBucket")
        elif not file.is_file():
            self._error(404, "NoSuchKey")
        else:
            content = file.read_bytes()
            self.send_response(200)
            if self.server.unsized:
                self.close_connection = True
                self.send_header("Connection", "close")
            else:
                self.send_header("Content-Length", str(len(content)))
            uploaded = b"other" if self.server.damaged and self.server.damaged in path else content
            self.send_header("x-amz-checksum-crc32", base64.b64encode(zlib.crc32(uploaded).to_bytes(4)).decode())
            self.end_headers()
            if self.server.broken > 0:
                self.server.broken -= 1
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
            else:
                self.wfile.write(content)

    def _error(self, status: int, code: str) -> None:
        content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as configured</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Silence."""


@contextmanager
def serving(root: Path) -> Iterator[S3Server]:
    """A server of the buckets below `root`, for as long as the block lasts."""
    server = S3Server(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
