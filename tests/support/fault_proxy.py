"""An HTTP proxy on loopback that misbehaves on purpose, between an S3 client and a real server.

It passes each request on with its own host name in place, which the signature covers, and spoils a share of them in one
way. What it did is counted, so that a test can say how often a client tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Fault = Literal[
    "reset",
    "slow_down",
    "stall",
    "drip",
    "wrong_etag",
    "forbidden",
    "expired",
    "truncated",
    "twice",
    "precondition_after_success",
]
_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>Refused on purpose.</Message></Error>'
)


@dataclass
class _Message:
    """A request or response: its first line, headers as they came, and body."""

    first: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def encoded(self) -> bytes:
        head = self.first + b"\r\n" + b"".join(key + b": " + value + b"\r\n" for key, value in self.headers)
        return head + b"\r\n" + self.body


@dataclass
class FaultProxy:
    """A proxy in a thread of its own; use as a context manager.

    Attributes:
        upstream: port of the real server on this machine.
        fault: how requests are spoilt.
        share: how many of them, 0 to 1; chosen by a seeded generator, so that two runs of one client do not differ
            more than its own threads make them.
        only: the HTTP methods that are spoilt.
        stall_seconds: how long ``stall`` says nothing before it ends the connection.
        attempts: requests by (method, path), of a listing with what is listed; ``spoilt`` of them.
    """

    upstream: int
    fault: Fault
    share: float = 0.1
    seed: int = 0
    only: tuple[str, ...] = ("GET", "PUT", "HEAD", "POST", "DELETE")
    stall_seconds: float = 3.0
    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    spoilt: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __enter__(self) -> FaultProxy:
        self._random = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        threading.Thread(target=self._serve, args=(started,), name="fault-proxy", daemon=True).start()
        assert started.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    @property
    def endpoint_url(self) -> str:
        """What a client is given in place of the server."""
        return f"http://127.0.0.1:{self.port}"

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while (request := await _read(reader, None, writer)) is not None:
                if not await self._answer(request, writer):
                    break
        writer.close()

    async def _answer(self, request: _Message, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can go on."""
        method, path, _ = (word.decode() for word in request.first.split(b" ", 2))
        path, _, query = path.partition("?")
        listed = next((part for part in query.split("&") if part.startswith("prefix=")), "")
        place = (method, f"{path}?{listed}" if listed else path)
        self.attempts[place] += 1
        chosen = method in self.only and self._random.random() < self.share
        if self.fault == "precondition_after_success":
            chosen = chosen and request.header(b"if-none-match") is not None
        if not chosen:
            writer.write((await self._forward(request, method)).encoded())
            await writer.drain()
            return True
        self.spoilt[place] += 1
        return await self._spoil(request, method, writer)

    async def _spoil(self, request: _Message, method: str, writer: asyncio.StreamWriter) -> bool:
        if self.fault == "reset":
            writer.transport.abort()
            return False
        if self.fault in ("slow_down", "forbidden", "expired"):
            first, code = {
                "slow_down": (b"HTTP/1.1 503 Service Unavailable", "SlowDown"),
                "forbidden": (b"HTTP/1.1 403 Forbidden", "AccessDenied"),
                "expired": (b"HTTP/1.1 400 Bad Request", "ExpiredToken"),
            }[self.fault]
            writer.write(_error(first, code, method).encoded())
            await writer.drain()
            return True
        if self.fault == "stall":
            await asyncio.sleep(self.stall_seconds)
            writer.transport.abort()
            return False
        answer = await self._forward(request, method)
        if self.fault == "twice":
            answer = await self._forward(request, method)
        if self.fault == "precondition_after_success":
            answer = _error(b"HTTP/1.1 412 Precondition Failed", "PreconditionFailed", method)
        if self.fault == "wrong_etag":
            answer.headers = [
                (key, b'"00000000000000000000000000000000"' if key.lower() == b"etag" else value)
                for key, value in answer.headers
            ]
        data = answer.encoded()
        if self.fault == "truncated" and len(answer.body) > 1:
            writer.write(data[: len(data) - len(answer.body) // 2])
            await writer.drain()
            writer.transport.abort()
            return False
        if self.fault == "drip":
            for at in range(0, len(data), max(1, len(data) // 20)):
                writer.write(data[at : at + max(1, len(data) // 20)])
                await writer.drain()
                await asyncio.sleep(0.02)
            return True
        writer.write(data)
        await writer.drain()
        return True

    async def _forward(self, request: _Message, method: str) -> _Message:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            # The body is here in full: nobody needs to be asked whether to send it.
            kept = [(key, value) for key, value in request.headers if key.lower() not in (b"connection", b"expect")]
            whole = _Message(request.first, [*kept, (b"Connection", b"close")], request.body)
            writer.write(whole.encoded())
            await writer.drain()
            answer = await _read(reader, method)
            assert answer is not None, "the server ended the connection"
            kept = [(key, value) for key, value in answer.headers if key.lower() != b"connection"]
            return _Message(answer.first, kept, answer.body)
        finally:
            writer.close()


async def _read(
    reader: asyncio.StreamReader, method: str | None, writer: asyncio.StreamWriter | None = None
) -> _Message | None:
    """A request, or the response to a ``method``; ``None`` where the connection has ended. Chunks become one body.

    A client that asks by the ``writer``'s connection whether it may send a body is answered that it may.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head[:-4].split(b"\r\n")
    headers = [(key.strip(), value.strip()) for key, _, value in (line.partition(b":") for line in lines)]
    message = _Message(first, headers, b"")
    status = first.split(b" ")[1] if method is not None else b""
    if method == "HEAD" or status in (b"204", b"304"):
        return message
    if writer is not None and (message.header(b"expect") or b"").lower() == b"100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    length = message.header(b"content-length")
    if length is not None:
        message.body = await reader.readexactly(int(length))
    elif (message.header(b"transfer-encoding") or b"").lower() == b"chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            message.body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        message.headers = [(key, value) for key, value in headers if key.lower() != b"transfer-encoding"]
        message.headers.append((b"Content-Length", str(len(message.body)).encode()))
    elif method is not None:
        message.body = await reader.read()
        message.headers.append((b"Content-Length", str(len(message.body)).encode()))
    return message


def _error(first: bytes, code: str, method: str) -> _Message:
    body = b"" if method == "HEAD" else _ERROR.format(code=code).encode()
    return _Message(first, [(b"Content-Type", b"application/xml"), (b"Content-Length", str(len(body)).encode())], body)
