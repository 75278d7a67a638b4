"""What the SMTP tests share: a letter, envelopes, a channel with short tempers, and scripted servers."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from channels.contract import Envelope, Outcome, OutcomeKind
from channels.letters import Signs
from channels.smtp import SmtpProvider
from channels.smtp_connection import Connection
from channels.smtp_wire import Timeouts
from lab.smtp import Accepted, SmtpServer

PEM = Path(__file__).parent / "localhost.pem"
HASTE = Timeouts(connect=1.0, greeting=0.3, command=0.3, content=0.3, idle=10.0)
LARGE = b"a large letter\r\n" * 1_200_000  # 19 MB: more than the sockets of both sides hold together.

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
RETRY, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.UNKNOWN


@dataclass(frozen=True)
class ALetter:
    """Says its envelope's id in the header. An envelope whose only hole is "broken" can't be filled."""

    sender: str = "bounces@shop.example"
    body: bytes = b"Hello\r\n"
    signer: Signs | None = None
    dotless: bool = False

    def return_path(self, envelope: Envelope) -> str:
        return self.sender

    def fill(self, envelope: Envelope) -> bytes:
        if envelope.holes == ("broken",):
            raise ValueError("there is no first name")
        return f"X-Campanile-Message: {envelope.id}\r\nSubject: Hi\r\n\r\n".encode() + self.body


def envelope(number: int, address: str | None = None, *holes: str) -> Envelope:
    return Envelope(UUID(int=number), address or f"p{number}@example.test", holes, tracked=True)


def envelopes(count: int) -> list[Envelope]:
    return [envelope(number) for number in range(1, count + 1)]


@asynccontextmanager
async def a_channel(
    server: SmtpServer | int,
    *,
    scheme: str = "smtp",
    login: str = "",
    connections: int = 1,
    timeouts: Timeouts = HASTE,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[SmtpProvider]:
    """A channel to this server, or to this port, with one connection unless told otherwise."""
    port = server if isinstance(server, int) else server.port
    url = f"{scheme}://{login}127.0.0.1:{port}"
    channel = SmtpProvider(url, connections=connections, timeouts=timeouts, tls=tls)
    try:
        yield channel
    finally:
        await channel.close()


async def until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    """Wait for a condition, with a deadline in seconds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


async def spares(channel: SmtpProvider, count: int) -> list[Connection]:
    """Connections that are open before there is anything to send."""
    opened = [Connection(channel, channel.server, channel.timeouts) for _ in range(count)]
    for connection in opened:
        await connection.open(channel.tls)
    channel.connections.update(opened)
    return opened


def kinds(outcomes: Sequence[Outcome]) -> list[OutcomeKind]:
    return [outcome.kind for outcome in outcomes]


def counts(outcomes: Sequence[Outcome]) -> dict[OutcomeKind, int]:
    return dict(Counter(kinds(outcomes)))


def ids(accepted: Iterable[Accepted]) -> list[str]:
    return sorted(one.id or "" for one in accepted)


def the_ids_of(batch: Sequence[Envelope], outcomes: Sequence[Outcome], *wanted: OutcomeKind) -> list[str]:
    return sorted(str(one.id) for one, outcome in zip(batch, outcomes, strict=True) if outcome.kind in wanted)


Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def a_server_that(play: Play) -> AsyncIterator[int]:
    """A server that follows a script instead of the RFC, on a port."""

    async def played(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await play(reader, writer)
        writer.close()

    server = await asyncio.start_server(played, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The part of a script that every server plays alike."""
    writer.write(b"220 script\r\n")
    await reader.readuntil(b"\r\n")
    writer.write(b"250-script\r\n250 PIPELINING\r\n")


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(PEM))


def certified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    return context


def saying_after_data(words: bytes) -> Play:
    """A server that answers MAIL, RCPT and DATA with these words, whatever comes after."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readuntil(b"DATA\r\n")
        writer.write(words)
        await reader.read()

    return play
