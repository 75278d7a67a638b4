"""What tests in every folder begin with: databases, a given clock, waiting for what must come true."""

import asyncio
import gc
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import structlog
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher
from sqlalchemy import Engine, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.util import LRUCache

from dev.first_key import FirstOwner, settle
from dev.migrations import migrate
from dev.places import ROOT
from dev.postgres import APP, ENGINE, OWNER, Postgres
from dev.process import StackError
from domain import passwords
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.people import ASTRAY

TEMPLATE = "campanile_template"
# Of the default workspace, in every test's database.
OWNER_OF_ALL = FirstOwner(
    "owner@records.example", "correct horse battery staple", "sk_the-key-of-the-tests-and-of-nothing-else-00"
)
CLONES = count(1)


@dataclass(frozen=True)
class Database:
    """One database on the tests' server."""

    name: str
    url: str  # As the application's role.
    engine_url: str
    admin_url: str  # As the owner of the schema.


class GivenClock:
    """A `domain.clock.Clock` that stands still until it is moved."""

    def __init__(self, now: datetime = datetime(2026, 3, 2, 12, tzinfo=UTC)) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def move(self, by: timedelta) -> None:
        self.time += by


async def eventually(
    holds: Callable[[], Awaitable[bool]], within: float = 10, every: float = 0.02, what: str = "it"
) -> None:
    """Wait until `holds()`. Fails, naming `what`, when that is not so within so many seconds."""
    deadline = time.monotonic() + within
    while not await holds():
        assert time.monotonic() < deadline, f"{what} did not come true within {within:g} s"
        await asyncio.sleep(every)


async def somebody_waits(sessions: Sessions) -> bool:
    """Whether a transaction of the application's waits for another one's lock."""
    waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with sessions(DEFAULT_WORKSPACE) as db:
        return bool(await db.scalar(text(f"select exists ({waiting})")))


def spend_little() -> None:
    """Have this process spend its time on the tests, and little on what surrounds them."""
    _hash_passwords_fast()
    _compile_each_statement_once()
    # What a failing test shows of our log. Rich's tracebacks took 17 seconds of a run.
    in_plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, in_plain]
    )
    gc.set_threshold(50_000, 20, 50)  # Hundreds of modules and schemas would be walked every few seconds.


def _compile_each_statement_once() -> None:
    """SQLAlchemy keeps what it compiled for each engine; here hundreds of databases have some engines each.

    All of them are made in one place (`models.base`), so what one has compiled serves the others.
    """
    compiled: LRUCache[Any, Any] = LRUCache(2000)
    Engine._compiled_cache = property(lambda _: compiled, lambda *_: None)  # type: ignore[assignment]
    PGDialectAsync_psycopg.__hash__ = lambda dialect: hash(type(dialect))  # type: ignore[assignment,method-assign]
    PGDialectAsync_psycopg.__eq__ = lambda dialect, other: type(dialect) is type(other)  # type: ignore[method-assign]


def _hash_passwords_fast() -> None:
    """At the least that argon2id can cost; production's takes 0.25 s."""
    cheap = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords._hasher = PasswordHash((cheap, BcryptHasher()))


def a_server() -> Postgres:
    """The tests' PostgreSQL, kept between runs. Runs side by side get one each."""
    for number in range(1, 17):
        server = Postgres(f"tests-{number}", durable=False)
        if server.lock.take():
            server.start()
            return server
    raise StackError("sixteen test runs are under way in this clone: wait for one to end")


def make_template(server: Postgres) -> None:
    """A database at the newest migration that clones are made of; made anew when a model changed."""
    for leftover in server.databases():
        if leftover.startswith("test_"):
            server.drop_database(leftover)
    digest = hashlib.sha256()
    made_from = [*ROOT.glob("models/**/*.py"), *ROOT.glob("domain/*.py"), ROOT / "dev" / "first_key.py"]
    made_from.append(Path(__file__))
    for path in sorted(made_from):
        digest.update(path.read_bytes())
    with server.connect() as db:
        made_of = db.execute(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = %s", [TEMPLATE]
        ).fetchone()
        if made_of != (digest.hexdigest(),):
            server.drop_database(TEMPLATE)
            server.create_database(TEMPLATE)
            migrate(server.url(TEMPLATE, OWNER))
            with server.connect(TEMPLATE) as template:
                settle(template, OWNER_OF_ALL)
            db.execute(f"comment on database {TEMPLATE} is '{digest.hexdigest()}'")
    # Whoever comes first has to note what the catalogue is like, for 4 ms; clones have the note, too.
    server.connect(TEMPLATE).close()


def a_clone(server: Postgres) -> Database:
    """A database of its own, at the newest migration, in about 0.1 s."""
    name = f"test_{next(CLONES)}"
    server.create_database(name, TEMPLATE)
    return Database(name, server.url(name, APP), server.url(name, ENGINE), server.url(name, OWNER))


# What no constraint of the database holds: who has a turn, and who is held by a lease.
_OUT_OF_STEP = (
    """
    select 'queued without a turn: ' || id from (
        select workspace_id, queue_id, due_at, id from messages where state = 'queued' except table queue
    )
    """,
    """
    select 'a turn of what is not queued: ' || message_id from (
        table queue except select workspace_id, queue_id, due_at, id from messages where state = 'queued'
    )
    """,
    """
    select state || ' without a lease: ' || id from messages m
    where state in ('claimed', 'sending') and not exists (
        select from leases l where l.workspace_id = m.workspace_id and l.id = m.attempt
            and m.id = any(l.message_ids)
    )
    """,
    f"select 'due and not on the agenda, or the reverse: ' || id from ({ASTRAY})",
)


def out_of_step(postgres: Postgres, database: Database) -> list[str]:
    """Rows of the ledger that nobody would ever find, or that are found for nothing."""
    with postgres.connect(database.name) as db:
        return [said for asked in _OUT_OF_STEP for (said,) in db.execute(asked)]
