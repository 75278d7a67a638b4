"""Posts to one address that somebody gave us, over guarded connections that are kept for the next one.

The guard of `channels/egress.py` looks at the address of each new connection, and again every few seconds at
where the name leads: a connection to an address that it leads to no more is closed. To open one for each
post costs twice the time here, and a handshake there.

Of an answer, the status counts. So its body is read for a moment and up to a few thousand bytes: whoever
answers with more, or by the drop, has been heard all the same.
"""

import asyncio
import errno
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple
from weakref import WeakSet

import h11
from httpx2 import URL, ConnectError, InvalidURL, ReadTimeout, RemoteProtocolError

from channels.egress import EgressRefused, EgressTransport, Overburdened
from domain.networks import Address

FRESH_FOR = 5.0  # Seconds until a name is looked up again.
KEPT_FOR = 20.0  # Seconds that a connection may wait for the next post.
LARGEST_BODY = 4_000  # Bytes of an answer that are read.
LONGEST_BODY = 2.0  # Seconds that they may take, after the head.
MOST_OPEN = 400
AT_ONCE = 1 << 16
# What was read at once is taken apart without giving others a turn, so there are bounds to its pieces, too.
MOST_BEFORE = 5  # Informational responses before the answer.
MOST_PIECES = 200  # Of a body.


class Answered(NamedTuple):
    status: int
    headers: Mapping[str, str]  # Names in lower case.
    body: bytes  # Its beginning.


@dataclass(eq=False)
class _Connection:
    address: Address
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0
    used: bool = False
    wire: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    open: ClassVar[WeakSet["_Connection | asyncio.Task[Any]"]] = WeakSet()  # And tasks that open one.

    @property
    def dead(self) -> bool:
        return self.reader.at_eof() or self.writer.is_closing()

    def close(self) -> None:
        """At once: what was not sent would wait for ever for somebody who takes nothing."""
        self.open.discard(self)
        with suppress(OSError):
            self.writer.transport.abort()


def crowded() -> bool:
    """Whether so many connections are open that whoever has several must do with less: a process has no more
    than a thousand files and sockets here and there, and the database's are among them."""
    return len(_Connection.open) >= MOST_OPEN


class _Stale(Exception):
    """A kept connection was closed at the other end before this post was answered in any way."""


class Poster:
    """Posts to one address, from as many tasks as one likes."""

    def __init__(self, guard: EgressTransport, url: str) -> None:
        self._guard = guard
        try:
            self._url: URL | None = URL(url)
        except InvalidURL:
            self._url = None
        self._idle: list[_Connection] = []
        self._addresses: list[Address] = []
        self._looked_at = float("-inf")
        self._closed = False

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answered:
        """Raises `EgressRefused` where we don't go; `httpx2.HTTPError` when nobody answered in time."""
        if (url := self._url) is None:
            raise EgressRefused("This is no URL.")
        self._guard.look_at(url)
        try:
            async with asyncio.timeout(self._guard.seconds):
                return await self._ask(url, headers, body)
        except TimeoutError:
            raise ReadTimeout(f"{url.host} did not answer in {self._guard.seconds:g} s.") from None

    async def _ask(self, url: URL, headers: Mapping[str, str], body: bytes) -> Answered:
        addresses = await self._where(url)
        while (kept := self._take(addresses)) is not None:
            with suppress(_Stale):  # It may have been heard, and has the same id the next time.
                return await self._exchange(kept, url, headers, body)
        return await self._exchange(await self._connect(url, addresses), url, headers, body)

    async def _where(self, url: URL) -> list[Address]:
        now = asyncio.get_running_loop().time()
        if now - self._looked_at > FRESH_FOR:
            self._addresses, self._looked_at = [], float("-inf")
            host = url.raw_host.decode("ascii")
            self._addresses = await self._guard.addresses(host, _port(url))
            self._looked_at = now
        return self._addresses

    def _take(self, addresses: list[Address]) -> _Connection | None:
        """A connection that is kept and still leads to where we may go."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            kept = self._idle.pop()
            if kept.address in addresses and not kept.dead and now - kept.idle_since < KEPT_FOR:
                return kept
            kept.close()
        return None

    async def _connect(self, url: URL, addresses: list[Address]) -> _Connection:
        task = asyncio.current_task()
        assert task is not None
        _Connection.open.add(task)
        try:
            made = await self._open(url, addresses)
            _Connection.open.add(made)
            return made
        finally:
            _Connection.open.discard(task)

    async def _open(self, url: URL, addresses: list[Address]) -> _Connection:
        host, tls = url.raw_host.decode("ascii"), url.scheme == "https"
        failed = ""
        for address in addresses:
            try:
                reader, writer = await asyncio.open_connection(
                    str(address),
                    _port(url),
                    ssl=self._guard.tls if tls else None,
                    server_hostname=host if tls else None,
                )
            except OSError as error:  # As certificates that don't fit are, too.
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS):
                    raise Overburdened(f"There are too many connections to open one to {url.host}.") from None
                failed = getattr(error, "verify_message", "") or error.strerror or type(error).__name__
            else:
                return _Connection(address, reader, writer)
        raise ConnectError(f"{url.host} can't be reached: {failed}")

    async def _exchange(
        self, connection: _Connection, url: URL, headers: Mapping[str, str], body: bytes
    ) -> Answered:
        whole = False
        try:
            connection.writer.write(_request(connection.wire, url, headers, body))
            head = await _head(connection)
            said, whole = await _body(connection)
            names = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
            return Answered(head.status_code, names, said)
        except h11.RemoteProtocolError as error:
            raise RemoteProtocolError(f"{url.host} does not speak HTTP: {error}") from None
        except OSError as error:
            if connection.used:
                raise _Stale from None
            raise RemoteProtocolError(f"{url.host} hung up: {error.strerror or error}") from None
        finally:
            if whole and not self._closed and not crowded() and _may_go_on(connection.wire):
                connection.wire.start_next_cycle()
                connection.used, connection.idle_since = True, asyncio.get_running_loop().time()
                self._idle.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Whatever is under way goes on; nothing is kept."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


def _port(url: URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


# To write a request by h11 costs as much as all else about it, and every part of ours is our own or was
# looked at as a URL. So it is written by hand; h11 is told of an empty one, and reads the answer.
_EMPTY = h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")])
_ITS_END = h11.EndOfMessage()


def _request(wire: h11.Connection, url: URL, headers: Mapping[str, str], body: bytes) -> bytes:
    wire.send(_EMPTY)
    wire.send(_ITS_END)
    ours = {
        "Host": url.netloc.decode("ascii"),
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Length": str(len(body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**ours, **headers}.items())
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (url.raw_path, lines.encode("ascii"), body)


def _may_go_on(wire: h11.Connection) -> bool:
    """Whether both sides are done, and keep the connection, and nobody spoke unasked."""
    return wire.our_state is h11.DONE and wire.their_state is h11.DONE and not wire.trailing_data[0]


async def _head(connection: _Connection) -> h11.Response:
    before = 0
    while True:
        event = connection.wire.next_event()
        if isinstance(event, h11.Response):
            return event
        if isinstance(event, h11.InformationalResponse):
            before += 1
            if before > MOST_BEFORE:
                raise h11.RemoteProtocolError("it only says that an answer will come")
        if event is h11.NEED_DATA:
            came = await connection.reader.read(AT_ONCE)
            if not came:
                raise ConnectionResetError("without an answer")
            connection.wire.receive_data(came)


async def _body(connection: _Connection) -> tuple[bytes, bool]:
    """The beginning of the body, and whether that is all of it."""
    body = bytearray()
    with suppress(TimeoutError, OSError, h11.RemoteProtocolError):
        async with asyncio.timeout(LONGEST_BODY):
            for _ in range(MOST_PIECES):
                if len(body) >= LARGEST_BODY:
                    break
                event = connection.wire.next_event()
                if isinstance(event, h11.EndOfMessage):
                    return bytes(body), True
                if isinstance(event, h11.Data):
                    body += event.data
                elif event is h11.NEED_DATA:
                    connection.wire.receive_data(await connection.reader.read(AT_ONCE))
                else:
                    break
    return bytes(body[:LARGEST_BODY]), False
