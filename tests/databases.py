"""The tests' PostgreSQL, and the databases in it: clones of one template."""

import hashlib
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import LiteralString

from dev.first_key import settle
from dev.migrations import migrate
from dev.places import ROOT
from dev.postgres import APP, ENGINE, OWNER, Postgres
from dev.process import StackError
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


def out_of_step(postgres: Postgres, database: Database) -> list[str]:
    """Rows of the ledger that nobody would ever find, or that are found for nothing."""
    with postgres.connect(database.name) as db:
        return [said for asked in _OUT_OF_STEP for (said,) in db.execute(asked)]
