"""A stub of the Hugging Face Hub on loopback: one dataset repository, small files in git, large ones in LFS."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

TOKEN = "hf_right"
_SMALL = 2000


@dataclass
class Hub:
    """What the stub holds, and how it fails.

    Attributes:
        forbidden: whether the token may not write.
        url: the endpoint.
        files: content by path.
        commits: paths of each commit.
        fail_after: commits after which the stub answers with an error, once; ``None`` never.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)
    fail_after: int | None = None
    forbidden: bool = False


@contextlib.contextmanager
def stub_hub() -> Iterator[Hub]:
    """A running stub."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        if not self._allowed():
            return
        if "/tree/" in self.path:
            self._answer(200, [self._listed(path, data) for path, data in sorted(self.hub.files.items())])
        else:
            self._answer(200, {"id": "me/set", "sha": "0" * 40, "siblings": []})

    def do_PUT(self) -> None:
        data = self._body()
        self.hub.large[hashlib.sha256(data).hexdigest()] = data
        self._answer(200, {})

    def do_POST(self) -> None:
        data = self._body()
        if not self._allowed():
            return
        path = self.path.split("?")[0]
        if path == "/api/repos/create":
            self._answer(403 if self.hub.forbidden else 200, {"url": f"{self.hub.url}/datasets/me/set"})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            asked = json.loads(data)["files"]
            modes = [(each["path"], "regular" if each["size"] < _SMALL else "lfs") for each in asked]
            self._answer(
                200, {"files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes]}
            )
        elif path.endswith("/objects/batch"):
            objects = [
                {
                    "oid": each["oid"],
                    "size": each["size"],
                    "actions": {"upload": {"href": f"{self.hub.url}/lfs/{each['oid']}"}},
                }
                for each in json.loads(data)["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            self._commit([json.loads(line) for line in data.splitlines()])
        else:
            self._answer(404, {"error": f"the stub does not know {path}"})

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        if self.hub.forbidden:
            self._answer(403, {"error": "no"})
            return
        if self.hub.fail_after is not None and len(self.hub.commits) >= self.hub.fail_after:
            self.hub.fail_after = None
            self._answer(403, {"error": "cut"})
            return
        paths = []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.files[value["path"]] = self.hub.large[value["oid"]]
            else:
                continue
            paths.append(value["path"])
        self.hub.commits.append(paths)
        url = f"{self.hub.url}/datasets/me/set/commit/{'0' * 40}"
        self._answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": url, "hookOutput": ""})

    def _listed(self, path: str, data: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        listed: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob}
        if len(data) >= _SMALL:
            listed["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return listed

    def _allowed(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {TOKEN}":
            return True
        self._answer(401, {"error": "Invalid username or password."})
        return False

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _answer(self, status: int, tree: Any) -> None:
        data = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
