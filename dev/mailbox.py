"""The development mailbox: a mail server that keeps what it gets, and shows it in a browser.

`python -m dev.mailbox FOLDER SMTP_PORT RELAY_PORT HTTP_PORT` serves them on the loopback address. A mail is
answered with 250 only when it is on disk; mails that come at the same time share one commit. A mail to an
address at refused.example is refused for good. The relay keeps its mails beside the others, until it was told
to give up.
"""

import asyncio
import signal
import sqlite3
import sys
from pathlib import Path

from lab.smtp_server import Mail, SmtpServer

BUSY = "452 4.3.1 The mailbox can't be written, try again"
KEPT = "250 2.0.0 Kept"
REFUSED = "550 5.1.1 There is nobody of that name here"
REFUSES = "@refused.example"  # Whose addresses nobody has, so that a failure can be looked at.
GIVEN_UP = "451 4.3.2 This relay takes no mail now"
LARGEST_GROUP = 2000  # Mails in a commit.

SCHEMA = """
create table if not exists mails (
    id integer primary key,
    received_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    sender text not null,
    recipients text not null,
    subject text not null,
    content blob not null
);
create index if not exists mails_by_recipient on mails (recipients);
"""


class Mailbox:
    """Mails in one SQLite file. `receive` is called on the event loop, which a commit never blocks."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self.db = self.connect()  # Only one thread at a time writes.
        self.db.execute("pragma journal_mode = wal")
        self.db.executescript(SCHEMA)
        self.waiting: asyncio.Queue[tuple[Mail, asyncio.Future[str]]] = asyncio.Queue(LARGEST_GROUP)

    def connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.file, timeout=10, check_same_thread=False)
        db.execute("pragma synchronous = normal")  # A killed process loses nothing.
        db.row_factory = sqlite3.Row
        return db

    async def receive(self, mail: Mail) -> str:
        """The reply to a mail, when it is on disk."""
        if any(one.lower().endswith(REFUSES) for one in mail.recipients):
            return REFUSED
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await self.waiting.put((mail, answer))
        return await answer

    async def write_forever(self) -> None:
        """Commit what waits, group by group: what comes during one commit is in the next."""
        while True:
            group = [await self.waiting.get()]
            while len(group) < LARGEST_GROUP and not self.waiting.empty():
                group.append(self.waiting.get_nowait())
            try:
                await asyncio.to_thread(self.write, [mail for mail, _ in group])
                reply = KEPT
            except sqlite3.Error:
                reply = BUSY
            for _, answer in group:
                if not answer.done():  # Its connection may be gone.
                    answer.set_result(reply)

    def write(self, mails: list[Mail]) -> None:
        rows = [
            (mail.sender, "\n".join(mail.recipients), subject_of(mail.content), mail.content)
            for mail in mails
        ]
        with self.db:
            self.db.executemany(
                "insert into mails (sender, recipients, subject, content) values (?, ?, ?, ?)", rows
            )


class Relay:
    """A provider that gives up: it takes as many more mails as its patience says, and no others."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.patience: int | None = None  # None is for ever.

    async def receive(self, mail: Mail) -> str:
        """The reply to a mail."""
        if self.patience is not None:
            if self.patience <= 0:
                return GIVEN_UP
            self.patience -= 1
        return await self.mailbox.receive(mail)


def subject_of(content: bytes) -> str:
    """The Subject line as it was sent, unfolded; decoded only when it is shown."""
    headers = content[:65536].split(b"\r\n\r\n", 1)[0].replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    for line in headers.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.lower() == b"subject":
            return value.strip().decode("utf-8", "replace")
    return ""


async def serve(folder: Path, smtp_port: int, relay_port: int, http_port: int) -> None:
    """All three servers, until SIGTERM or SIGINT."""
    from dev.mailbox_page import server

    mailbox = Mailbox(folder / "mails.db")
    relay = Relay(mailbox)
    page = server(mailbox, relay, {"smtp": smtp_port, "relay": relay_port}, http_port)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, page.stop)
    writer = asyncio.create_task(mailbox.write_forever())
    async with SmtpServer(mailbox.receive, port=smtp_port), SmtpServer(relay.receive, port=relay_port):
        await page.serve()
    writer.cancel()


def main() -> None:
    import uvloop

    folder, *ports = sys.argv[1:]
    uvloop.run(serve(Path(folder), *map(int, ports)))


if __name__ == "__main__":
    main()
