"""An ASGI server that can also hang up and fall silent, which no server that means well offers.

HTTP/1.1 with kept connections. Beside ASGI's own messages an application may send `CUT`, and the
connection is gone without an answer, or `HANG`, and it stays open without one until the client leaves.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import unquote

logger = logging.getLogger(__name__)

CUT, HANG = "lab.cut", "lab.hang"

LARGEST_HEAD = 1 << 16  # Bytes.
LARGEST_BODY = 64 << 20  # Bytes: above what any provider takes.
READ_AHEAD = 1 << 21  # Bytes.

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Goodbye(Exception):
    """This connection is over."""


class AsgiServer:
    """Listens while it is entered (`async with`); then `port` says where."""

    def __init__(self, app: AsgiApp, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.app = app
        self.host, self.port = host, port
        self.talks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(
            self.welcome, self.host, self.port, limit=READ_AHEAD, backlog=1024
        )
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for talk in self.talks:
            talk.cancel()
        await asyncio.gather(*self.talks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self.talk(reader, writer))
        self.talks.add(talk)
        talk.add_done_callback(self.talks.discard)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(
            Goodbye, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError,
            asyncio.CancelledError,
        ):  # fmt: skip
            while await Exchange(self, reader, writer).run():
                pass
        writer.close()


class Exchange:
    """One request and its answer."""

    def __init__(
        self, server: AsgiServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.answered = False

    async def run(self) -> bool:
        """Whether the connection may carry another one."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        if len(head) > LARGEST_HEAD:
            raise Goodbye
        first, *lines = head[:-4].split(b"\r\n")
        method, target, version = first.decode("latin-1").split(" ")
        pairs = (line.partition(b":") for line in lines)
        headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
        known = dict(headers)
        self.request = await self.whole(known)
        path, _, query = target.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": version[5:], "method": method,
            "scheme": "http", "path": unquote(path), "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"), "root_path": "", "headers": headers,
            "server": (self.server.host, self.server.port), "client": ("127.0.0.1", 0), "state": {},
        }  # fmt: skip
        self.bodiless = method == "HEAD"
        try:
            await self.server.app(scope, self.receive, self.send)
        except Goodbye:
            raise
        except Exception:  # Whatever it was, the client must hear something.
            logger.exception("A request could not be handled", extra={"path": path})
            if not self.answered:
                self.status, self.headers, self.body = 500, [], bytearray()
                self.write()
        await self.writer.drain()
        return known.get(b"connection", b"").lower() != b"close" and version == "HTTP/1.1"

    async def whole(self, headers: dict[bytes, bytes]) -> bytes:
        if headers.get(b"expect", b"").lower() == b"100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            parts = bytearray()
            while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                parts += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
                if len(parts) > LARGEST_BODY:
                    raise Goodbye
            while await self.reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return bytes(parts)
        length = int(headers.get(b"content-length", b"0"))
        if length > LARGEST_BODY:
            raise Goodbye
        return await self.reader.readexactly(length)

    async def receive(self) -> Message:
        return {"type": "http.request", "body": self.request, "more_body": False}

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                self.status, self.headers = message["status"], list(message.get("headers", []))
            case "http.response.body":
                self.body += message.get("body", b"")
                if not message.get("more_body"):
                    self.write()
            case "lab.cut":
                self.writer.transport.abort()
                raise Goodbye
            case "lab.hang":
                while await self.reader.read(READ_AHEAD):
                    pass
                raise Goodbye

    def write(self) -> None:
        assert self.status is not None
        self.answered = True
        head = [b"HTTP/1.1 %d %s" % (self.status, phrase(self.status).encode())]
        named = {name.lower() for name, _ in self.headers}
        head += [name + b": " + value for name, value in self.headers]
        if b"content-length" not in named and self.status not in (204, 304):
            head.append(b"content-length: %d" % len(self.body))
        body = b"" if self.bodiless else bytes(self.body)
        self.writer.write(b"\r\n".join(head) + b"\r\n\r\n" + body)


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
