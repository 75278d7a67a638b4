"""An SMTP server that asks a handler what to answer to each mail.

It speaks RFC 5321 with PIPELINING, 8BITMIME, SMTPUTF8, SIZE, ENHANCEDSTATUSCODES, and, where asked to,
STARTTLS and AUTH. Given faults, it fails on command, also over the wire: `XFAULT {"at": "rcpt", "reply":
"450 …"}` with the fields of `Fault`, and `XCLEAR`.
"""

import asyncio
import logging
import re
import ssl
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from lab.faults import Fault, Faults, Phase

logger = logging.getLogger(__name__)

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
LARGEST_MAIL = 25 * 1024 * 1024  # Bytes, announced as SIZE.
LONGEST_LINE = 4096  # Bytes of a command; RFC 5321 §4.5.3.1.4 asks for 512, addresses in UTF-8 for more.
READ_AT_ONCE = 1 << 18  # Bytes.

NOBODY = "554 5.5.1 No valid recipients"
PATH = re.compile(rb"(?:FROM|TO):\s*<([^<>\s]*)>((?: \S+)*)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it came over the wire, the dots unstuffed."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


Handler = Callable[[Mail], Awaitable[str]]  # Answers with the reply's line, such as "250 2.0.0 Kept".


class Goodbye(Exception):
    """This connection is over."""


class SmtpServer:
    """Listens while it is entered (`async with`); then `port` says where.

    The handler is awaited for each mail and answers with the reply's line; mails of different connections
    are handled at the same time. `credentials` maps user to password and makes AUTH a duty; `tls` offers
    STARTTLS, or with `implicit_tls` speaks TLS from the first byte.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        credentials: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        extensions: tuple[str, ...] = EXTENSIONS,
        mechanisms: str = "PLAIN LOGIN",
    ) -> None:
        self.handler = handler
        self.host, self.port = host, port
        self.faults = faults
        self.credentials = credentials
        self.tls, self.implicit_tls = tls, implicit_tls
        self.extensions = extensions
        self.mechanisms = mechanisms
        self.connections = 0  # How many were opened, ever.
        self.talks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        implicit = self.tls if self.implicit_tls else None
        self.server = await asyncio.start_server(
            self.welcome, self.host, self.port, ssl=implicit, backlog=1024
        )
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.hang_up()
        await asyncio.gather(*self.talks, return_exceptions=True)

    def hang_up(self) -> None:
        """Cut every connection that is open, as a server that restarts does."""
        for talk in self.talks:
            talk.cancel()

    def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        talk = asyncio.create_task(Talk(self, reader, writer).run())
        self.talks.add(talk)
        talk.add_done_callback(self.talks.discard)


class Talk:
    """One connection. Replies are written when there is nothing left to read: that is PIPELINING."""

    def __init__(
        self, server: SmtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.unread = b""
        self.unsaid: list[str] = []
        self.known = server.credentials is None
        self.secure = server.implicit_tls
        self.forget()

    def forget(self) -> None:
        self.sender: str | None = None
        self.announced: set[str] = set()  # The parameters of MAIL.
        self.recipients: list[str] = []

    async def run(self) -> None:
        with suppress(Goodbye, OSError, asyncio.CancelledError):
            try:
                await self.answer(Phase.GREETING, "220 lab ESMTP")
                while True:
                    await self.obey((await self.line()).strip())
            finally:
                self.flush()
                self.writer.close()

    # Reading and writing.

    async def more(self) -> None:
        self.flush()
        await self.writer.drain()
        data = await self.reader.read(READ_AT_ONCE)
        if not data:
            raise Goodbye
        self.unread = self.unread + data if self.unread else data

    async def line(self) -> bytes:
        while (end := self.unread.find(b"\n")) < 0:
            if len(self.unread) > LONGEST_LINE:
                self.say("500 5.5.6 Line too long")
                raise Goodbye
            await self.more()
        line, self.unread = self.unread[:end], self.unread[end + 1 :]
        if self.unread and "PIPELINING" not in self.server.extensions:
            self.say("503 5.5.0 One at a time")
            raise Goodbye
        return line

    async def content(self) -> bytes | None:
        """Everything up to the final dot, unstuffed, or None when it is larger than we take."""
        self.unread = b"\r\n" + self.unread  # So that the first line may be the final dot, too.
        parts, size = [], 0
        while (end := self.unread.find(b"\r\n.\r\n")) < 0:
            parts.append(self.unread[:-4])
            size += len(parts[-1])
            self.unread = self.unread[-4:]  # The final dot may be torn.
            if size > LARGEST_MAIL:
                parts.clear()  # Still read to the end: only there may the client hear why.
            await self.more()
        parts.append(self.unread[: end + 2])
        self.unread = self.unread[end + 5 :]
        return None if size + end > LARGEST_MAIL else b"".join(parts).replace(b"\r\n.", b"\r\n")[2:]

    def say(self, line: str) -> None:
        self.unsaid.append(line)

    def flush(self) -> None:
        if self.unsaid:
            self.writer.write("".join(f"{line}\r\n" for line in self.unsaid).encode())
            self.unsaid.clear()

    async def answer(self, phase: Phase, usual: str, recipients: tuple[str, ...] = ()) -> str:
        """Say the usual, unless a fault strikes. Gives what was said."""
        fault = self.server.faults.strike(phase, recipients) if self.server.faults else None
        said = usual
        if fault:
            said = await self.suffer(fault) or usual
        self.say(said)
        if said.startswith("421") or (phase is Phase.GREETING and not said.startswith("2")):
            raise Goodbye
        return said

    async def suffer(self, fault: Fault) -> str | None:
        if fault.hang:
            self.flush()
            while await self.reader.read(READ_AT_ONCE):
                pass
            raise Goodbye
        if fault.cut:
            raise Goodbye
        return fault.reply

    # The commands.

    async def obey(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        match verb.upper():
            case b"MAIL":
                await self.mail(rest)
            case b"RCPT":
                await self.rcpt(rest)
            case b"DATA":
                await self.data()
            case b"EHLO" | b"HELO":
                await self.hello(extended=verb.upper() == b"EHLO")
            case b"RSET":
                self.forget()
                self.say("250 2.0.0 Forgotten")
            case b"NOOP":
                self.say("250 2.0.0 Fine")
            case b"STARTTLS" if self.server.tls and not self.secure:
                await self.start_tls()
            case b"AUTH" if self.server.credentials is not None:
                await self.auth(rest)
            case b"XFAULT" if self.server.faults:
                self.plan(self.server.faults, rest)
            case b"XCLEAR" if self.server.faults:
                self.server.faults.pending.clear()
                self.say("250 2.0.0 All will be well")
            case b"QUIT":
                self.say("221 2.0.0 Goodbye")
                raise Goodbye
            case _:
                self.say("502 5.5.1 Not understood")

    def plan(self, faults: Faults, rest: bytes) -> None:
        try:
            faults.pending.append(Fault.of(rest))
        except (ValueError, TypeError) as error:
            self.say(f"501 5.5.4 Not a fault: {error}")
        else:
            self.say("250 2.0.0 It will go wrong")

    async def hello(self, extended: bool) -> None:
        self.forget()
        lines = ["lab"]
        if extended:
            lines += [*self.server.extensions, f"SIZE {LARGEST_MAIL}"]
            lines += [f"AUTH {self.server.mechanisms}"] if self.server.credentials is not None else []
            lines += ["STARTTLS"] if self.server.tls and not self.secure else []
        *first, last = lines
        await self.answer(Phase.HELLO, "".join(f"250-{line}\r\n" for line in first) + f"250 {last}")

    async def start_tls(self) -> None:
        assert self.server.tls
        self.say("220 2.0.0 Go ahead")
        self.unread = b""  # Sent in the clear, so not to be obeyed after the handshake (CVE-2011-0411).
        self.flush()
        await self.writer.start_tls(self.server.tls)
        self.secure = True
        self.forget()

    async def auth(self, rest: bytes) -> None:
        assert self.server.credentials is not None
        mechanism, _, initial = rest.partition(b" ")
        try:
            if mechanism.upper() == b"PLAIN":
                _, user, password = b64decode(initial or await self.ask("")).split(b"\0")
            else:
                user = b64decode(initial or await self.ask("Username:"))
                password = b64decode(await self.ask("Password:"))
            good = self.server.credentials.get(user.decode()) == password.decode()
        except ValueError:  # Not base64, not three parts, not UTF-8.
            self.say("501 5.5.2 Not understood")
            return
        verdict = "235 2.7.0 Welcome" if good else "535 5.7.8 Wrong user or password"
        said = await self.answer(Phase.AUTH, verdict)
        self.known = said.startswith("235")

    async def ask(self, prompt: str) -> bytes:
        self.say(f"334 {b64encode(prompt.encode()).decode()}")
        return (await self.line()).strip()

    async def mail(self, rest: bytes) -> None:
        path = PATH.fullmatch(rest)
        if not self.known:
            self.say("530 5.7.0 Authenticate first")
            return
        if self.sender is not None:
            self.say("503 5.5.1 One sender is enough")
            return
        announced = {one.upper() for one in path[2].decode("ascii", "replace").split()} if path else set()
        if not path or not self.understood(announced) or not (path[1].isascii() or "SMTPUTF8" in announced):
            self.say("501 5.5.4 Not a sender")
            return
        said = await self.answer(Phase.MAIL, "250 2.1.0 Fine")
        if said.startswith("2"):
            self.sender = path[1].decode("utf-8", "replace")
            self.announced = announced
            self.recipients = []

    def understood(self, announced: set[str]) -> bool:
        allowed = {"BODY=8BITMIME": "8BITMIME", "BODY=7BIT": "8BITMIME", "SMTPUTF8": "SMTPUTF8"}
        offered = {word for word, extension in allowed.items() if extension in self.server.extensions}
        return all(word in offered or word.startswith("SIZE=") for word in announced)

    async def rcpt(self, rest: bytes) -> None:
        path = PATH.fullmatch(rest)
        if self.sender is None:
            self.say("503 5.5.1 Who sends it?")
            return
        if not path or not path[1] or not (path[1].isascii() or "SMTPUTF8" in self.announced):
            self.say("501 5.1.3 Not a recipient")
            return
        recipient = path[1].decode("utf-8", "replace")
        said = await self.answer(Phase.RCPT, "250 2.1.5 Fine", (recipient,))
        if said.startswith("2"):
            self.recipients.append(recipient)

    async def data(self) -> None:
        valid = bool(self.sender is not None and self.recipients)
        if self.unread:
            # RFC 2920 §3.1: DATA ends a group, because only its reply says whether content may follow.
            self.say("503 5.5.0 Wait for the answer to DATA")
            raise Goodbye
        said = await self.answer(Phase.DATA, "354 Go on" if valid else NOBODY)
        if not said.startswith("354"):
            return
        await self.more()
        fault = self.server.faults.strike(Phase.CONTENT) if self.server.faults else None
        if fault and (reply := await self.suffer(fault)):
            self.say(reply)
            raise Goodbye
        content = await self.content()
        mail = Mail(self.sender or "", tuple(self.recipients), content or b"")
        surprising = not mail.content.isascii() and "BODY=8BITMIME" not in self.announced
        self.forget()
        if not valid:  # Only a fault made us ask for the content.
            self.say(NOBODY)
        elif content is None:
            self.say("552 5.3.4 Too large")
        elif surprising and "8BITMIME" in self.server.extensions:
            self.say("554 5.6.1 Announce 8-bit content with BODY=8BITMIME (RFC 6152)")
        else:
            await self.take(mail)

    async def take(self, mail: Mail) -> None:
        fault = self.server.faults.strike(Phase.DOT, mail.recipients) if self.server.faults else None
        if not fault:
            self.say(await self.handled(mail))
            return
        usual = await self.handled(mail) if fault.keep else "250 2.0.0 Not kept"
        said = await self.suffer(fault) or usual
        self.say(said)
        if said.startswith("421"):
            raise Goodbye

    async def handled(self, mail: Mail) -> str:
        try:
            return await self.server.handler(mail)
        except Exception:  # Whatever it was, the client must hear that the mail was not taken.
            logger.exception("A mail could not be handled", extra={"recipients": mail.recipients})
            return "451 4.3.0 Try again later"
