"""A mail server that does as it is told: the first piece of the provider lab.

`SmtpLab` keeps a record of what it accepted and fails on command, inside a test (`async with SmtpLab() as
lab`) or as a process of its own (`python -m lab.smtp`). It may write afterwards that mails came back or were
complained about: see `lab.notices`.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import ssl
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from lab.faults import Fault, Faults, Phase
from lab.notices import OUTCOMES, Notices
from lab.smtp_server import EXTENSIONS, Handler, Mail, SmtpServer

__all__ = ["EXTENSIONS", "Accepted", "Fault", "Faults", "Handler", "Mail", "Phase", "SmtpLab", "SmtpServer"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """One mail that the lab took over, for one recipient."""

    id: str | None  # The header X-Campanile-Message.
    message_id: str | None
    recipient: str
    sender: str
    size: int  # Bytes.


class Record:
    """What was accepted, in memory and in a file to which each line is one write (O_APPEND).

    `pace` is how many seconds pass between the keeping of a mail and the answer to it.
    """

    def __init__(self, keep: Path | None, pace: float = 0, notices: Notices | None = None) -> None:
        self.accepted: list[Accepted] = []
        self.pace = pace
        self.notices = notices
        self.file = os.open(keep, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if keep else None

    async def accept(self, mail: Mail) -> str:
        head = mail.content[: mail.content.find(b"\r\n\r\n") + 2]
        ours, theirs = header(head, b"X-Campanile-Message"), header(head, b"Message-ID")
        lines = [Accepted(ours, theirs, one, mail.sender, len(mail.content)) for one in mail.recipients]
        self.accepted += lines
        if self.file is not None:
            os.write(self.file, "".join(json.dumps(asdict(line)) + "\n" for line in lines).encode())
        if self.notices is not None:
            self.notices.expect(mail)
        if self.pace:
            await asyncio.sleep(self.pace)
        return f"250 2.0.0 Kept as {len(self.accepted)}"


def header(head: bytes, name: bytes) -> str | None:
    """A header's value, unfolded lines only."""
    found = re.search(rb"^" + name + rb":[ \t]*(.*?)\r?$", head, re.IGNORECASE | re.MULTILINE)
    return found[1].decode("utf-8", "replace") if found else None


class SmtpLab(SmtpServer):
    """The server with faults on command and a record: `accepted`, and with `keep` a line of JSON each in
    that file, written before the client hears of it, so that it outlives any process."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keep: Path | None = None,
        pace: float = 0,
        notices: Notices | None = None,
        credentials: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        extensions: tuple[str, ...] = EXTENSIONS,
        mechanisms: str = "PLAIN LOGIN",
    ) -> None:
        self.record = Record(keep, pace, notices)
        self.orders = Faults()
        super().__init__(
            self.record.accept,
            host=host,
            port=port,
            faults=self.orders,
            credentials=credentials,
            tls=tls,
            implicit_tls=implicit_tls,
            extensions=extensions,
            mechanisms=mechanisms,
        )

    @property
    def accepted(self) -> list[Accepted]:
        return self.record.accepted

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        if self.record.notices is not None:
            self.record.notices.close()

    def fail(self, *faults: Fault) -> None:
        """Let these go wrong from now on, beside what already does."""
        self.orders.pending.extend(faults)

    def lose_the_next_reply(self) -> None:
        """Accept the next mail, and hang up before the client hears of it."""
        self.fail(Fault(Phase.DOT, cut=True, keep=True, times=1))


async def serve(lab: SmtpLab) -> None:
    """Serve until SIGINT or SIGTERM. The first line on standard output is JSON with the port."""
    stop = asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    async with lab:
        sys.stdout.write(json.dumps({"port": lab.port}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.smtp", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--keep", type=Path, help="a file that gets a line of JSON for each recipient")
    parser.add_argument("--pace", type=float, default=0, help="seconds from keeping a mail to answering")
    parser.add_argument(
        "--fault", type=Fault.of, action="append", default=[], help="the fields of Fault, as JSON"
    )
    parser.add_argument("--notices", type=Path, help="a Maildir folder for status notices and abuse reports")
    parser.add_argument("--delay", type=float, default=0, help="seconds from keeping a mail to its notice")
    for outcome in OUTCOMES:
        words = f"a pattern of addresses whose mails {outcome}; may be given again"
        parser.add_argument(f"--{outcome}", action="append", default=[], metavar="PATTERN", help=words)
    given = parser.parse_args(arguments)
    rules = [(outcome, glob) for outcome in OUTCOMES for glob in getattr(given, outcome)]
    notices = Notices(given.notices, rules, given.delay) if given.notices else None
    lab = SmtpLab(host=given.host, port=given.port, keep=given.keep, pace=given.pace, notices=notices)
    lab.fail(*given.fault)
    uvloop.run(serve(lab))


if __name__ == "__main__":
    main(sys.argv[1:])
