"""The ground that an SMTP conversation stands on: connecting, greeting, TLS, login, and replies as lines."""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Self, cast
from urllib.parse import unquote, urlsplit

from channels.contract import Outcome
from channels.smtp_replies import Reply, not_sent, senders_fault, turned_away

PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
READ_AT_ONCE = 1 << 13  # Bytes: the replies of a group have some two hundred.
LONGEST_LINE = 1 << 12  # Bytes: RFC 5321 §4.5.3.1.5 has 512. Whoever says more is no mail server,
MOST_LINES = 200  # nor who has a reply of so many lines.


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. RFC 5321 §4.5.3.2 would wait for minutes, but a message's lease does not."""

    connect: float = 5.0
    greeting: float = 10.0  # And each answer of the handshake.
    command: float = 20.0  # MAIL, RCPT, DATA, and each piece of a large content.
    content: float = 30.0  # From the final dot to its answer: after it the message is unknown.
    idle: float = 60.0  # How long an unused connection is kept.
    taking: float = 18.0  # Of a batch, no message is begun after that long,
    batch: float = 28.0  # and none is waited for any longer.


Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # From a host and a port to its addresses.


@dataclass(frozen=True, slots=True)
class Server:
    """Where, how, and as whom."""

    host: str
    port: int
    security: str  # A key of PORTS.
    user: str | None = None
    password: str = field(default="", repr=False)
    # Where the host is, if not wherever the system says. Raises OSError or Unreachable.
    resolve: Resolve | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """From `smtp://`, `smtp+starttls://` or `smtps://user:password@host:port`, percent-encoded.

        Raises ValueError when it is none of these; the URL, which holds a secret, is not in its words.
        """
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("An SMTP server is given as smtp://, smtp+starttls:// or smtps://host:port.")
        user = unquote(parts.username) if parts.username else None
        port = parts.port or PORTS[parts.scheme]
        return cls(parts.hostname, port, parts.scheme, user, unquote(parts.password or ""))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Unreachable(Exception):
    """There is no connection; `outcome` is what that means for messages that waited for it, and `code` the
    reply's that said so, if one did."""

    def __init__(self, outcome: Outcome, code: int | None = None) -> None:
        super().__init__(outcome.reason)
        self.outcome, self.code = outcome, code


class Wire(asyncio.BufferedProtocol):
    """One connection, up to the login. What follows it is in `heard`, `cut` and `flowing`."""

    def __init__(self, server: Server, timeouts: Timeouts) -> None:
        self.server, self.timeouts = server, timeouts
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.extensions: dict[str, str] = {}  # As EHLO announced them: name in capitals, parameters.
        self.over = False
        self.clogged = False
        self.wrote = False  # Whether anything was written since the last read.
        self.buffer = memoryview(
            bytearray(READ_AT_ONCE)
        )  # Reused: a fresh one a read costs as much as the rest.
        self.unread = b""
        self.earlier: list[bytes] = []  # Lines of a reply whose last is still to come.
        self.answer: asyncio.Future[list[bytes]] | None = self.loop.create_future()  # During the handshake.

    # What follows the handshake.

    def heard(self, line: bytes) -> None:
        """A reply's last line; `earlier` holds those before it, if there were any."""
        raise NotImplementedError

    def cut(self, reason: str) -> None:
        """The connection is of no more use."""
        raise NotImplementedError

    def flowing(self) -> None:
        """All that was written has left us."""

    # The handshake.

    async def shake_hands(self, tls: ssl.SSLContext) -> None:
        """Connect, greet, encrypt and log in. Raises Unreachable."""
        try:
            await self.connect(tls)
            if self.server.security == "smtp+starttls":
                await self.upgrade(tls)
            if self.server.user is not None:
                await self.log_in(self.server.user, self.server.password)
            if self.over:  # It broke off right after the last answer, before we came to hear of it.
                raise ConnectionResetError("it hung up")
        except TimeoutError:
            raise Unreachable(not_sent(f"{self.server} does not answer.")) from None
        except ssl.SSLError as error:
            raise Unreachable(senders_fault(f"TLS with {self.server} failed: {error}")) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: the host's name is none.
            raise Unreachable(not_sent(f"{self.server} can't be reached: {error}")) from error
        self.answer = None

    async def connect(self, tls: ssl.SSLContext) -> None:
        security = tls if self.server.security == "smtps" else None
        async with asyncio.timeout(self.timeouts.connect):
            await self.reach(security)
        await self.expect(220)
        await self.hello()

    async def reach(self, security: ssl.SSLContext | None) -> None:
        """Connect to the first of the host's addresses that answers; its certificate is for the name."""
        host, port = self.server.host, self.server.port
        addresses = await self.server.resolve(host, port) if self.server.resolve else [host]
        name = host if security else None
        for at, address in enumerate(addresses, 1):
            try:
                await self.loop.create_connection(
                    lambda: self, address, port, ssl=security, server_hostname=name
                )
                return
            except OSError:
                if at == len(addresses):
                    raise

    async def hello(self) -> None:
        assert self.transport
        address, *_ = self.transport.get_extra_info("sockname")
        literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        name = host if "." in (host := socket.gethostname()) else literal
        try:
            lines = await self.ask(f"EHLO {name}", 250)
        except Unreachable as refusal:
            if refusal.code not in (500, 502, 504):  # It is no extended server: RFC 5321 §3.2.
                raise
            lines = await self.ask(f"HELO {name}", 250)
        words = [line[4:].decode("ascii", "replace").strip().partition(" ") for line in lines[1:]]
        self.extensions = {word.upper(): rest for word, _, rest in words}

    async def upgrade(self, tls: ssl.SSLContext) -> None:
        if "STARTTLS" not in self.extensions:
            said = f"{self.server} does not offer STARTTLS: take another port"
            raise Unreachable(senders_fault(f'{said}, security "tls", or "none" without a password.'))
        await self.ask("STARTTLS", 220)
        assert self.transport
        if self.unread:  # Somebody in between spoke in the clear, to be heard after it (CVE-2021-38371).
            raise Unreachable(senders_fault(f"{self.server} said more than it should before TLS."))
        async with asyncio.timeout(self.timeouts.connect):
            upgraded = await self.loop.start_tls(self.transport, self, tls, server_hostname=self.server.host)
        assert upgraded
        self.connection_made(upgraded)
        await self.hello()

    async def log_in(self, user: str, password: str) -> None:
        mechanisms = self.extensions.get("AUTH", "").upper().split()
        if "PLAIN" in mechanisms:  # RFC 4616
            await self.ask("AUTH PLAIN " + base64("\0".join(("", user, password))), 235)
        elif "LOGIN" in mechanisms:
            await self.ask("AUTH LOGIN", 334)
            await self.ask(base64(user), 334)
            await self.ask(base64(password), 235)
        else:
            raise Unreachable(senders_fault(f"{self.server} offers neither AUTH PLAIN nor AUTH LOGIN."))

    async def ask(self, command: str, good: int) -> list[bytes]:
        if not self.transport or self.over:
            raise ConnectionResetError("it hung up")
        self.answer = self.loop.create_future()
        self.transport.write(f"{command}\r\n".encode())
        return await self.expect(good)

    async def expect(self, good: int) -> list[bytes]:
        assert self.answer
        async with asyncio.timeout(self.timeouts.greeting):
            lines = await self.answer
        if (reply := Reply.of(lines)).code != good:
            raise Unreachable(turned_away(reply), reply.code)
        return lines

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it.
        self.transport.set_write_buffer_limits(
            high=1, low=0
        )  # So that `clogged` says whether all has left us.

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken(f"{self.server} cut the connection" + (f" ({exc})" if exc else ""))

    def broken(self, reason: str) -> None:
        if self.answer is None:
            self.cut(reason)
            return
        self.over = True
        if not self.answer.done():
            self.answer.set_exception(ConnectionResetError("it hung up"))
            self.answer.exception()  # Nobody may be waiting yet; `ask` says it then.

    def pause_writing(self) -> None:
        self.clogged = True

    def resume_writing(self) -> None:
        self.clogged = False
        self.flowing()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.over:
            return
        self.wrote = False
        data = self.unread + self.buffer[:nbytes]
        *lines, self.unread = data.split(b"\n")
        for line in lines:
            if not line[:3].isdigit() or len(line) < 3 or len(self.earlier) >= MOST_LINES:
                self.no_mail_server(line)
                return
            if line[3:4] == b"-":
                self.earlier.append(line)
            elif self.answer is not None:
                self.heard_in_handshake(line)
            else:
                self.heard(line)
                if self.earlier:
                    self.earlier.clear()
                if self.over:
                    return
        if len(self.unread) > LONGEST_LINE:
            self.no_mail_server(self.unread)

    def no_mail_server(self, line: bytes) -> None:
        self.unread = b""
        self.earlier.clear()
        self.broken(f"{self.server} does not speak SMTP: {line[:80]!r}")

    def heard_in_handshake(self, line: bytes) -> None:
        lines, self.earlier = [*self.earlier, line], []
        assert self.answer
        if not self.answer.done():
            self.answer.set_result(lines)


def base64(text: str) -> str:
    return b64encode(text.encode()).decode()
