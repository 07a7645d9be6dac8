"""A proxy on loopback in front of an HTTP server, which counts what is fetched through it."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class Proxy:
    """A running proxy: its address, and how often each path was fetched with GET and was there."""

    url: str
    gets: Counter[str] = field(default_factory=Counter)


@contextlib.contextmanager
def counting_proxy(behind: str) -> Iterator[Proxy]:
    """Requests go to ``behind`` unchanged, with the Host they came with, which signatures of S3 cover."""
    proxy = Proxy("")
    handler = type("Handler", (_Handler,), {"proxy": proxy, "behind": urlsplit(behind).netloc})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: ClassVar[Proxy]
    behind: ClassVar[str]

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        connection = http.client.HTTPConnection(self.behind, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        if self.command == "GET" and answer.status in (200, 206):
            self.proxy.gets[urlsplit(self.path).path] += 1
        self.send_response(answer.status)
        kept = {"content-length", *_HOP_BY_HOP} if self.command != "HEAD" else _HOP_BY_HOP
        for name, value in answer.getheaders():
            if name.lower() not in kept:
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward

    def log_message(self, format: str, *args: Any) -> None:
        """Tests print enough."""
