"""A site that may be hurt: PostgreSQL, Temporal, a mail server and a worker, each a process of its own."""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from temporalio.client import Client

from dev.places import ROOT
from dev.postgres import Postgres
from dev.process import Process, free_port, listens
from dev.temporal import Temporal
from tests.databases import Database
from tests.forks import Fork
from workflows.temporal import connect

LEASE = 3  # Seconds, so that what a dead worker held comes back soon.
EVERY = 0.05  # Seconds between two looks at what a test waits for.
SLICES = 2  # What send for one campaign at a time: the default.


@dataclass
class Line:
    """One line of the ledger, as far as the tests look at it."""

    id: str
    state: str
    address: str


@dataclass
class Site:
    """Everything that a campaign needs; every part of it can be killed and started again."""

    postgres: Postgres
    database: Database
    folder: Path
    dice: random.Random
    tell: Callable[[str], None]
    temporal: Temporal = field(init=False)
    client: Client = field(init=False)
    workers: list[Process] = field(default_factory=list)
    mail: Process | None = None
    more: dict[str, object] = field(default_factory=dict)  # Settings of every process of ours.

    def __post_init__(self) -> None:
        self.temporal = Temporal(self.folder / "temporal.db", folder=self.folder / "logs")
        self.smtp_port = free_port()
        self.sink = self.folder / "sink.jsonl"
        self.seen = 0  # Bytes of the sink that were counted.
        self.mails = 0  # Lines in them.
        self.looking: psycopg.Connection | None = None
        self.held: list[set[str]] = []  # Ids that were marked and not settled, at each kill of a worker.

    async def start(self, pace: float) -> None:
        """Start all but the worker. The mail server takes `pace` seconds to answer for a mail it has kept."""
        self.temporal.start()
        self.start_mail(pace)
        self.client = await connect(self.temporal.address)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.kill_mail()
        self.temporal.kill()
        if self.looking:
            self.looking.close()

    # The mail server.

    def start_mail(self, pace: float) -> None:
        command = [sys.executable, "-m", "lab.smtp", "--port", str(self.smtp_port)]
        command += ["--keep", str(self.sink), "--pace", str(pace)]
        self.mail = Process("mail server", command, log=self.folder / "logs" / "lab.log", folder=ROOT)
        self.mail.start()
        self.mail.wait_until(lambda: listens(self.smtp_port))

    def kill_mail(self) -> None:
        if self.mail:
            self.mail.kill()

    def kept(self) -> int:
        """How many mails the sink holds, counting only what is new since the last call."""
        with suppress(FileNotFoundError), self.sink.open("rb") as file:
            file.seek(self.seen)
            new = file.read()
            self.seen += len(new)
            self.mails += new.count(b"\n")
        return self.mails

    def delivered(self) -> list[Line]:
        """Every mail that the sink took over, in order."""
        found = [json.loads(line) for line in self.sink.read_text().splitlines()]
        return [Line(mail["id"], "kept", mail["recipient"]) for mail in found]

    # The worker.

    def start_worker(self) -> Process:
        """A worker as `campanile worker` starts it. This does not wait until it is ready."""
        worker = self.campanile("worker", len(self.workers))
        self.workers.append(worker)
        return worker

    def campanile(self, command: str, nth: int = 0, **settings: object) -> Process:
        """Start one of our own processes for the nth time, against the servers of this site."""
        environment = {
            "STATE_DIR": str(self.folder),
            "DATABASE_URL": self.database.url,
            "ENGINE_DATABASE_URL": self.database.engine_url,
            "TEMPORAL_ADDRESS": self.temporal.address,
            "SMTP_URL": f"smtp://127.0.0.1:{self.smtp_port}",
            "LEASE_SECONDS": str(LEASE),
            "LINGER_SECONDS": "1",
            "SEND_SLICES": str(SLICES),
            **{name: str(value) for name, value in {**self.more, **settings}.items()},
        }
        process = Fork(
            command,
            [sys.executable, "-m", "cli", command],
            log=self.folder / "logs" / f"{command}-{nth}.log",
            environment=environment,
            folder=ROOT,
        )
        process.start()
        return process

    async def kill_worker(self) -> None:
        """Kill the newest worker with -9, unless it is dead, and note what was on the wire then."""
        before = self.kept()
        self.workers[-1].kill()
        # What it had asked of the database may still be committed: look when its connections are gone.
        await self.until(lambda: not self.ask(_CONNECTIONS), 10, "the dead worker's connections")
        held = {str(id_) for (id_,) in self.ask("select id from messages where state = 'sending'")}
        self.held.append(held)
        self.tell(f"killed a worker after {before:,} mails: {len(held)} were marked and not settled")

    # Looking at it all from outside.

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """What the database answers to its superuser, for whom there is no wall."""
        fresh = self.looking is None
        self.looking = self.looking or self.postgres.connect(self.database.name)
        try:
            return self.looking.execute(query).fetchall()
        except psycopg.OperationalError:
            self.looking.close()
            self.looking = None
            if fresh:
                raise
            return self.ask(query)  # The server was away meanwhile.

    def closed(self) -> int:
        """How many messages have come to an end, whichever."""
        [(n,)] = self.ask("select count(*) from messages where closed_at is not null and state <> 'skipped'")
        return int(str(n))

    def ledger(self) -> list[Line]:
        lines = self.ask("select id::text, state, address from messages")
        return [Line(str(id_), str(state), str(address)) for id_, state, address in lines]

    async def until(self, holds: Callable[[], bool], within: float, what: str) -> None:
        """Wait until `holds()`, for whose sake the database may be away now and then."""
        deadline = time.monotonic() + within
        while True:
            with suppress(psycopg.OperationalError):
                if holds():
                    return
            assert time.monotonic() < deadline, f"{what}: not within {within:g} s, {self.where_it_stands()}"
            await asyncio.sleep(EVERY)

    async def mails_kept(self, share: float, of: int) -> None:
        """Wait until this share of so many mails has arrived, and a random moment more."""
        await self.until(lambda: self.kept() >= share * of, 60, f"{share:.0%} of the mails")
        await asyncio.sleep(self.dice.uniform(0, 0.1))

    async def campaign_completed(self, within: float) -> None:
        done = "select 1 from campaigns where state = 'completed'"
        await self.until(lambda: bool(self.ask(done)), within, "the campaign's end")

    def where_it_stands(self) -> str:
        counts = Counter(line.state for line in self.ledger())
        return f"{self.kept():,} mails kept, the ledger has {dict(counts)}, logs in {self.folder / 'logs'}"


_CONNECTIONS = """
select pid from pg_stat_activity
where datname = current_database() and usename like 'campanile%'
"""


def everyone_is_accounted_for(site: Site) -> Counter[str]:
    """The ledger and the sink tell the same story, message by message. Returns the ledger's counts."""
    ledger = {line.id: line for line in site.ledger()}
    mails = site.delivered()
    counts = Counter(line.state for line in ledger.values())
    assert set(counts) <= {"accepted", "failed", "skipped", "unknown"}, counts
    assert len({mail.id for mail in mails}) == len(mails), "a message is in the sink twice"
    for mail in mails:
        line = ledger[mail.id]
        assert line.address == mail.address, "a mail went to somebody else"
        assert line.state in ("accepted", "unknown"), f"a mail arrived that the ledger calls {line.state}"
    missing = {line.id for line in ledger.values() if line.state == "accepted"} - {mail.id for mail in mails}
    assert not missing, f"{len(missing)} are called accepted and never arrived"
    counted = "select coalesce(sum(n), 0) from cap_counters"
    assert site.ask(counted) == [(counts["accepted"] + counts["unknown"],)], "caps count what was not sent"
    site.tell(f"ended with {', '.join(f'{n:,} {state}' for state, n in sorted(counts.items()))}")
    return counts


def only_what_was_on_the_wire_is_unknown(site: Site) -> None:
    unknown = {line.id for line in site.ledger() if line.state == "unknown"}
    assert unknown <= set().union(*site.held), "something settled, or never marked, became unknown"
