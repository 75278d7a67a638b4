"""An HTTP server that asks a handler what to answer to each request: HTTP/1.1, one request a connection."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

logger = logging.getLogger(__name__)

LARGEST_HEAD = 1 << 16  # Bytes.


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. Of a parameter that is there twice, the last one counts."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # Their names in lower case.
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return _last(self.body.decode())


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; `body` is what JSON is made of, or bytes."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Asked], Awaitable[Answer]]


class HttpServer:
    """Listens while it is entered (`async with`); then `port` says where."""

    def __init__(self, handler: Handler, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.handler = handler
        self.host, self.port = host, port

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self.talk, self.host, self.port, limit=LARGEST_HEAD)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(_written(await self.answered(await _read(reader))))
            await writer.drain()
        except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # Whoever speaks no HTTP is hung up on.
        finally:
            writer.close()

    async def answered(self, asked: Asked) -> Answer:
        try:
            return await self.handler(asked)
        except Exception:  # Whatever it was, the client must hear something.
            logger.exception("A request could not be handled", extra={"path": asked.path})
            return Answer(500)


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Asked(method, parts.path, _last(parts.query), headers, body)


def _last(query: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}


def _written(answer: Answer) -> bytes:
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    kind = "application/octet-stream" if isinstance(answer.body, bytes) else "application/json"
    headers = {
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        "Connection": "close",
        **answer.headers,
    }
    head = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body
