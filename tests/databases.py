"""The tests' PostgreSQL, and the databases in it: clones of one template, and one that tests have in turn."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import LiteralString

from psycopg import sql

from dev.first_key import settle
from dev.migrations import migrate
from dev.places import ROOT
from dev.postgres import APP, ENGINE, OWNER, Postgres
from dev.process import StackError
from models.base import Sessions
from tests.people import ASTRAY
from tests.support import OWNER_OF_ALL

TEMPLATE = "campanile_template"
CLONES = count(1)


@dataclass(frozen=True)
class Database:
    """One database on the tests' server."""

    name: str
    url: str  # As the application's role.
    engine_url: str
    admin_url: str  # As the owner of the schema.


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
    made_from += [Path(__file__), Path(__file__).with_name("support.py")]
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
_OUT_OF_STEP: tuple[LiteralString, ...] = (
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
_TABLES = """
    select relname from pg_class
    where relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace
"""
_SHAPE = """
    select sum(hashtextextended(oid || ' ' || xmin, 0)) from (
        select oid, xmin from pg_class where relpersistence = 'p'
        union all select oid, xmin from pg_policy
        union all select oid, xmin from pg_trigger
    )
"""
_CONNECTED = """
    select pid, application_name, state from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
"""
_KEPT = "kept"  # As its connections call themselves.
_MANY = 5_000  # Rows that were removed: what they leave behind slows the next test more than a clone would.


class KeptDatabase:
    """A database that one test has after another, and its connections: each finds it as a clone would be.

    A clone, and connections that know nothing of it yet, take 65 ms of the processor a test; this takes 10.
    """

    def __init__(self, server: Postgres) -> None:
        self.database = a_clone(server)
        app, engine = (
            f"{url}?application_name={_KEPT}" for url in (self.database.url, self.database.engine_url)
        )
        self.sessions = Sessions(app, engine)
        self._server = server
        self._db = server.connect(self.database.name)
        self._db.execute("set session_replication_role = replica")  # No trigger, and no foreign key.
        self._tables = [name for (name,) in self._db.execute(_TABLES)]
        # Statistics of what a test has left would be those by which another's statements are planned.
        off = sql.SQL("alter table {} set (autovacuum_enabled = false)")
        plain = [name for (name,) in self._db.execute(f"{_TABLES} and relkind = 'r'")]
        self._db.execute(sql.SQL("; ").join(off.format(sql.Identifier(name)) for name in plain))
        self._seeds = self._full(self._tables)
        for name in self._seeds:
            self._execute("create temporary table {} as table {}", f"seed_{name}", name)
        self._shape = self._db.execute(_SHAPE).fetchone()
        self._removed = 0

    def out_of_step(self) -> list[str]:
        """Rows of the ledger that nobody would ever find, or that are found for nothing."""
        return [said for asked in _OUT_OF_STEP for (said,) in self._db.execute(asked)]

    def restore(self) -> bool:
        """Have it as it was at first. Returns whether the next test may have it.

        Not where the schema changed, or a connection was lost or is still at work.
        """
        if self._db.execute(_SHAPE).fetchone() != self._shape:
            return False
        idle = 0
        for pid, name, state in self._db.execute(_CONNECTED):
            if name != _KEPT:
                self._db.execute("select pg_terminate_backend(%s, 5000)", [pid])
            elif state != "idle":
                return False
            else:
                idle += 1
        if idle != _pooled(self.sessions):
            return False
        with self._db.transaction():
            for name in {*self._full(self._tables), *self._seeds}:
                self._removed += self._execute("delete from {}", name)
            for name in self._seeds:
                self._execute("insert into {} table {}", name, f"seed_{name}")
        return self._removed < _MANY

    async def drop(self) -> None:
        await self.sessions.close()
        self._db.close()
        self._server.drop_database(self.database.name)

    def _full(self, tables: Iterable[str]) -> list[str]:
        """Those that have rows."""
        each = sql.SQL("select {name} where exists (select from {table})")
        asked = (each.format(name=name, table=sql.Identifier(name)) for name in tables)
        return [name for (name,) in self._db.execute(sql.SQL(" union all ").join(asked))]

    def _execute(self, statement: LiteralString, *names: str) -> int:
        return self._db.execute(sql.SQL(statement).format(*map(sql.Identifier, names))).rowcount


def _pooled(sessions: Sessions) -> int:
    """How many connections wait to be used again."""
    engines = sessions._app, sessions._held, sessions._pinned, sessions._engine, sessions._pumps
    batches = sessions._batches, sessions._engine_batches
    ringing = sessions._ringer._connection
    return (
        sum(engine.pool.checkedin() for engine in engines)  # type: ignore[attr-defined] # It is a queue.
        + sum(each._pool.get_stats()["pool_size"] for each in batches)
        + bool(ringing and not ringing.closed)
    )


class Databases:
    """Lends out a database after another: the same one as long as it can be as it was."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._kept: KeptDatabase | None = None

    def lend(self) -> KeptDatabase:
        kept, self._kept = self._kept or KeptDatabase(self._server), None
        return kept

    async def take_back(self, kept: KeptDatabase) -> None:
        if self._kept is None and kept.restore():
            self._kept = kept
        else:
            await kept.drop()

    async def close(self) -> None:
        if self._kept:
            await self._kept.drop()
