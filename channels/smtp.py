"""Email by SMTP: kept connections with PIPELINING, and outcomes that are exactly true.

`smtp_replies` says what a server's words mean, `smtp_wire` connects and logs in, `smtp_connection` moves
messages. This module keeps the connections and deals a batch out to them.
"""

import asyncio
import os
import re
import ssl
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil

import idna

from channels import authorities
from channels.contract import Blame, Capabilities, Envelope, Outcome, OutcomeKind
from channels.letters import Raw, Signs
from channels.smtp_connection import Connection
from channels.smtp_replies import not_sent, senders_fault
from channels.smtp_wire import Server, Timeouts, Unreachable

A_CONNECTIONS_SHARE = 12  # Messages that must wait for each connection before one more is opened.
TOGETHER = 0.001  # Seconds that a connection's writing waits for others', at most.
TOO_LATE = not_sent("There was no time left for it.")
A_SIGNERS_SHARE = 8  # Messages that a thread signs at a time.
CONTENT = 5.0  # Seconds without asking for more connections than we have, once the server refused one.

# What may stand between < and > without quoting. No spaces, controls or brackets of any kind: nothing that
# could end the command and begin another (SMTP injection).
BARE = r"""[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff<>()\[\]\\,;:"@]+"""
ADDRESS = re.compile(rf"({BARE})@({BARE})")
DOT = b".\r\n"  # Ends a message that ends with a line.
LONGEST_ADDRESS = 254  # Octets, RFC 5321 §4.5.3.1.3 without the brackets.


_SIGNERS = ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="dkim")


class Unsendable(Exception):
    """This message can't go out, for good; the text says why."""


class SmtpProvider:
    """Sends by one SMTP server.

    `server` is given as itself, or as `smtp://`, `smtp+starttls://` or `smtps://`, with `user:password@`
    where it wants a login; `connections` is how many are kept at most; `tls` stands in for the system's
    trust store.
    """

    name = "smtp"
    # What a killed worker leaves unknown is one wire batch a slice, and nobody will ever tell us more.
    capabilities = Capabilities(
        largest_batch=5_000, wire_batch=96, webhooks=False, lookup=False, attachments=True
    )

    def __init__(
        self,
        server: str | Server,
        *,
        connections: int = 16,
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.server = Server.of(server) if isinstance(server, str) else server
        self.limit = connections
        self.timeouts = timeouts or Timeouts()
        self.tls = tls or authorities.of_the_system()
        self.connections: set[Connection] = set()
        self.opening: set[asyncio.Task[None]] = set()
        self.waiting: deque[Batch] = deque()  # Those with messages that no connection has taken.
        self.holding: list[Connection] = []  # Those that have something to write,
        self.enough = 0.0  # how many of them write together,
        self.alarm: asyncio.TimerHandle | None = None  # and when, if they do not become as many.
        self.content_until = 0.0  # On the loop's clock.
        self.closed = False

    async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
        """Each letter is filled right before its envelope is written. Many batches may be under way."""
        if not batch:
            return []
        try:
            if letter.sender:
                in_ascii(letter.sender)
        except Unsendable as error:
            return [senders_fault(str(error))] * len(batch)
        signed = await self._signed(letter, letter.signer, batch) if letter.signer else None
        work = Batch(self, letter, batch, signed)
        self.waiting.append(work)
        self.hire()
        try:
            await self.end_of(work)
        except asyncio.CancelledError:
            self.give_up(work)
            raise
        return [outcome for outcome in work.outcomes if outcome]

    async def end_of(self, work: "Batch") -> None:
        """Wait until all of it has an outcome, and see to it that it does in time."""
        done, times = {work.done}, self.timeouts
        if (await asyncio.wait(done, timeout=times.taking))[0]:
            return
        work.turn_away(TOO_LATE)
        if (await asyncio.wait(done, timeout=times.batch - times.taking))[0]:
            return
        self.give_up(work)
        work.turn_away(TOO_LATE)
        # What is left is only announced, behind another batch's message, and its content is never written.
        work.outcomes = [outcome or TOO_LATE for outcome in work.outcomes]

    async def _signed(
        self, letter: Raw, signer: Signs, batch: Sequence[Envelope]
    ) -> list[bytes | Unsendable]:
        """The letter for each envelope, signed: by all processors at once, while the loop does other work."""
        loop = asyncio.get_running_loop()
        shares = [batch[at : at + A_SIGNERS_SHARE] for at in range(0, len(batch), A_SIGNERS_SHARE)]
        done = [loop.run_in_executor(_SIGNERS, signed, letter, signer, share) for share in shares]
        return [each for share in await asyncio.gather(*done) for each in share]

    async def check(self) -> str | None:
        """Connects and logs in as a message would."""
        connection = Connection(self, self.server, self.timeouts)
        try:
            await connection.open(self.tls)
        except Unreachable as failure:
            return failure.outcome.reason
        connection.quit()
        return None

    async def close(self) -> None:
        """Leave the server. What is under way is cut, so call it when nothing is."""
        self.closed = True
        for task in self.opening:
            task.cancel()
        await asyncio.gather(*self.opening, return_exceptions=True)
        for connection in list(self.connections):
            if connection.idle:
                connection.quit()
            else:
                connection.cut("The channel was closed.")
        self.connections.clear()
        self.turn_away(not_sent("The channel was closed."))
        await asyncio.sleep(0)  # Let the sockets close before the loop does.

    # What connections ask of us.

    def take(self, extensions: dict[str, str]) -> "Message | None":
        """The next message. Batches take turns, so that a large one does not hold up a small one."""
        while self.waiting:
            batch = self.waiting[0]
            message = batch.next(extensions)
            if message is None:
                self.waiting.popleft()
                continue
            if len(self.waiting) > 1:
                self.waiting.rotate(-1)
            return message
        return None

    def hold(self, connection: Connection) -> None:
        """Let it write together with others, as soon as half of those at work would: so a server that is near
        is woken by many at once, and wakes us once by its answers."""
        if not self.holding:
            self.enough = sum(not each.idle for each in self.connections) / 2
        self.holding.append(connection)
        if len(self.holding) >= self.enough:
            self.let_out()
        elif self.alarm is None:
            self.alarm = asyncio.get_running_loop().call_later(TOGETHER, self.let_out)

    def let_out(self) -> None:
        if self.alarm:
            self.alarm.cancel()
            self.alarm = None
        holding, self.holding = self.holding, []
        for connection in holding:
            connection.let_out()

    def lost(self, connection: Connection, outcome: Outcome, replace: bool) -> None:
        self.connections.discard(connection)
        if replace:
            self.hire()
        if not self.connections and not self.opening:
            self.turn_away(outcome)

    # How many connections there are.

    def hire(self) -> None:
        """Wake those that are idle, and open more while there is enough to do."""
        if self.closed:
            self.turn_away(not_sent("The channel was closed."))
            return
        todo = sum(len(batch.todo) for batch in self.waiting)
        enough = min(self.limit, ceil(todo / A_CONNECTIONS_SHARE))
        if self.connections and asyncio.get_running_loop().time() < self.content_until:
            enough = 0
        for _ in range(enough - len(self.connections) - len(self.opening)):
            task = asyncio.create_task(self.open())
            self.opening.add(task)
        for connection in list(self.connections):
            if connection.idle and self.waiting:
                connection.work()

    async def open(self) -> None:
        connection = Connection(self, self.server, self.timeouts)
        this = asyncio.current_task()
        assert this
        try:
            await connection.open(self.tls)
        except Unreachable as failure:
            self.opening.discard(this)
            self.content_until = asyncio.get_running_loop().time() + CONTENT
            self.lost(connection, failure.outcome, replace=False)
        else:
            self.connections.add(connection)
            connection.work()
        finally:
            self.opening.discard(this)

    def turn_away(self, outcome: Outcome) -> None:
        """Nobody is left to send what still waits."""
        while self.waiting:
            self.waiting.popleft().turn_away(outcome)

    def give_up(self, batch: "Batch") -> None:
        """Its sender was cancelled: write no more of it, and leave no connection in the middle of it. A
        connection that still waits to hear of another batch's message stays until it has heard."""
        batch.wanted = False
        if batch in self.waiting:
            self.waiting.remove(batch)
        for connection in list(self.connections):
            at_hand = connection.sent or connection.opened
            if isinstance(at_hand, Message) and at_hand.batch is batch:
                connection.cut("The sending was given up.")


class Batch:
    """What one call of `send` was given, and what became of it so far."""

    def __init__(
        self,
        channel: SmtpProvider,
        letter: Raw,
        envelopes: Sequence[Envelope],
        signed: Sequence[bytes | Unsendable] | None,
    ) -> None:
        self.channel, self.letter, self.envelopes, self.signed = channel, letter, envelopes, signed
        self.outcomes: list[Outcome | None] = [None] * len(envelopes)
        self.open = len(envelopes)
        self.todo = list(range(len(envelopes) - 1, -1, -1))  # Taken from the end.
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wanted = True

    def next(self, extensions: dict[str, str]) -> "Message | None":
        """The next message that can go out over a connection with these extensions."""
        while self.todo:
            place = self.todo.pop()
            try:
                return self.message(place, extensions)
            except Unsendable as error:
                self.settle(place, Outcome(OutcomeKind.REJECTED, reason=str(error), blame=Blame.MESSAGE))
        return None

    def message(self, place: int, extensions: dict[str, str]) -> "Message":
        envelope = self.envelopes[place]
        options = b""
        recipient = path(envelope.address)
        if not recipient.isascii():
            if "SMTPUTF8" in extensions:
                options = b" SMTPUTF8"
            else:
                recipient = in_ascii(envelope.address)
        content = self.content(place)
        if not content.isascii() and "8BITMIME" in extensions:
            options += b" BODY=8BITMIME"
        largest = extensions.get("SIZE", "")
        if largest.isdigit() and 0 < int(largest) < len(content):
            raise Unsendable(f"The message has {len(content)} bytes, and the server takes {largest}.")
        sender = self.letter.return_path(envelope)
        from_ = in_ascii(sender) if sender else b""
        commands = b"MAIL FROM:<%b>%b\r\nRCPT TO:<%b>\r\nDATA\r\n" % (from_, options, recipient)
        return Message(self, place, commands, content + DOT if self.letter.dotless else stuffed(content))

    def content(self, place: int) -> bytes:
        """Raises Unsendable."""
        if self.signed is None:
            return filled(self.letter, self.envelopes[place])
        content = self.signed[place]
        if isinstance(content, Unsendable):
            raise content
        return content

    def settle(self, place: int, outcome: Outcome) -> None:
        self.outcomes[place] = outcome
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result(None)

    def turn_away(self, outcome: Outcome) -> None:
        while self.todo:
            self.settle(self.todo.pop(), outcome)

    def give_back(self, place: int) -> None:
        self.todo.append(place)
        if self.wanted and self not in self.channel.waiting:
            self.channel.waiting.append(self)


def filled(letter: Raw, envelope: Envelope) -> bytes:
    try:
        return letter.fill(envelope)
    except Exception as error:  # The contract: what is wrong with one message stops no other
        raise Unsendable(f"The letter could not be filled: {error}") from error


def signed(letter: Raw, signer: Signs, share: Sequence[Envelope]) -> list[bytes | Unsendable]:
    """The letter for each envelope, signed, or why there is none. Runs in a thread."""
    contents: list[bytes | Unsendable] = []
    for envelope in share:
        try:
            contents.append(signer.sign(filled(letter, envelope)))
        except Unsendable as error:
            contents.append(error)
    return contents


class Message:
    """One message of a batch, ready for the wire."""

    __slots__ = ("batch", "commands", "content", "place")

    def __init__(self, batch: Batch, place: int, commands: bytes, content: bytes) -> None:
        self.batch, self.place, self.commands, self.content = batch, place, commands, content

    @property
    def wanted(self) -> bool:
        return self.batch.wanted

    def settle(self, outcome: Outcome) -> None:
        self.batch.settle(self.place, outcome)

    def give_back(self) -> None:
        self.batch.give_back(self.place)


def path(address: str) -> bytes:
    """What stands between < and >. Raises Unsendable for what is no address or could break the command."""
    if not ADDRESS.fullmatch(address):
        raise Unsendable(f"{address!r} is not an email address.")
    encoded = address.encode()
    if len(encoded) > LONGEST_ADDRESS:
        raise Unsendable(f"The address is longer than {LONGEST_ADDRESS} bytes.")
    return encoded


def in_ascii(address: str) -> bytes:
    """For servers without SMTPUTF8: a domain has a spelling in ASCII (RFC 5891), the part before it has
    none. Raises Unsendable."""
    if (encoded := path(address)).isascii():
        return encoded
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        raise Unsendable(f"{address} needs a server with SMTPUTF8, which this one lacks.")
    try:
        return local.encode() + b"@" + idna.encode(domain, uts46=True)
    except idna.IDNAError as error:
        raise Unsendable(f"{domain} is not a domain: {error}") from error


def stuffed(content: bytes) -> bytes:
    """Transparent, with the final dot (RFC 5321 §4.5.2). A letter has no lone LF; but if it had one, some
    servers would end the line there and read on for commands (SMTP smuggling), so we double that dot too."""
    if b"\n." in content:
        content = content.replace(b"\n.", b"\n..")
    if content[:1] == b".":
        content = b"." + content
    return content + DOT if content[-2:] == b"\r\n" else content + b"\r\n" + DOT
