"""A headless Chromium that opens a page of ours as a file, over its DevTools protocol.

Chromium comes from the system (``apt-get install chromium``); tests that need it are skipped where there is none.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_SECONDS = 60.0


class Tab:
    """One tab.

    Attributes:
        problems: what the page's script threw and what the console was given as an error or a warning.
        requests: addresses that the page asked for, itself and its data URIs left out.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, loop: asyncio.AbstractEventLoop) -> None:
        self._socket, self._loop = socket, loop
        self._numbers = itertools.count(1)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._page = ""
        self._loaded = False

    def open(self, page: Path, width: int, *, dark: bool = False, height: int = 900) -> None:
        """Load a file at a width in CSS pixels, in a light or dark system."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", **metrics)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", features=features)
        self._loaded = False
        self._page = page.resolve().as_uri()
        self.requests.clear()
        self._call("Page.navigate", url=self._page)
        until = time.monotonic() + _SECONDS
        while not self._loaded and time.monotonic() < until:
            self._call("Runtime.evaluate", expression="0")
        assert self._loaded, f"{page} did not load"

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and let go of a key, named as in a ``KeyboardEvent``."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        answer = self._call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def start(self) -> None:
        """Begin to hear of problems."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._loop.run_until_complete(asyncio.wait_for(self._ask(method, params), _SECONDS))

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._heard(message)

    def _heard(self, message: dict[str, Any]) -> None:
        kind, params = message.get("method"), message.get("params", {})
        if kind == "Page.loadEventFired":
            self._loaded = True
        elif kind == "Runtime.exceptionThrown":
            self.problems.append(str(params["exceptionDetails"]))
        elif kind == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append(str(params["args"]))
        elif kind == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        elif kind == "Network.requestWillBeSent":
            address = params["request"]["url"]
            if address != self._page and not address.startswith("data:"):
                self.requests.append(address)
        elif kind == "Page.javascriptDialogOpening":
            self.problems.append(f"a dialog: {params['message']}")


@contextlib.contextmanager
def tab() -> Iterator[Tab]:
    """A tab of a browser of its own, which is closed afterwards."""
    assert CHROMIUM is not None
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        arguments += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        browser = subprocess.Popen([CHROMIUM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = _port(Path(profile) / "DevToolsActivePort")
            session, socket = loop.run_until_complete(_connect(port))
            try:
                found = Tab(socket, loop)
                found.start()
                yield found
            finally:
                loop.run_until_complete(session.close())
        finally:
            browser.terminate()
            browser.wait(30)
            loop.close()


def _port(file: Path) -> int:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            return int(file.read_text().splitlines()[0])
        time.sleep(0.05)
    raise AssertionError("the browser did not start")


async def _connect(port: int) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
    session = aiohttp.ClientSession()
    async with session.get(f"http://127.0.0.1:{port}/json") as answer:
        pages = await answer.json(content_type=None)
    address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
    return session, await session.ws_connect(address, max_msg_size=0)
