"""A shop of a million customers, made up by arithmetic: the same one on every machine and in every run.

| what | how many, in full |
|---|---|
| profiles | 1,000,000 over three years; 10,000 of them merged into others; 6 time zones |
| events | 10,000,000 of 20 names, in sessions of 5, over the last 400 days (15 partitions) |
| orders | 3,000,000 over three years, in USD and EUR; 3 in 10 with lines; 2 % cancelled, 5 % refunded |
| messages | 495,000 of five campaigns, 10 to 120 days ago; 35 % of them opened, 8 % clicked |
| identities | an email address each, a phone number for 40 %, a user id for 50 % |
| consents | email granted 70 %, denied 12 %; tracking granted 60 %; sms granted by half of the phones |
| suppressions | 3 % of the addresses |
| lists, tags | five lists of 300,000 to 5,000 (90 % are members); four tags, on 5 % to 0.5 % |
| hot attributes | plan, country, score |

A tenth of the people do a third of everything. `NOW` is the present of all that, and no clock's. Chance is
a hash of the row's number, so that nothing depends on the order of the work. It takes five minutes, once.
"""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import sql

from bench import segments_rows
from bench.segments_rows import HERE, NOW, Size
from dev.migrations import FOLDER, migrate
from dev.postgres import OWNER, Postgres

MIGRATIONS = FOLDER / "versions"
HOT = ("plan", "country", "score")
FULL = Size(1_000_000, 10_000_000, 3_000_000, 500_000)
SMALL = Size(20_000, 200_000, 60_000, 10_000)
ATTRIBUTES = {
    "string": ("first_name", "plan", "country", "city"),
    "number": ("score", "age"),
    "boolean": ("vip",),
    "date": ("birthday", "signed_up_on"),
    "list": ("interests",),
}

# Without these while the rows come; what is written in order of the key is kept.
_INDEXES = """
    select c.relname, pg_get_indexdef(i.indexrelid) from pg_index i
    join pg_class c on c.oid = i.indexrelid
    where i.indrelid = any(%s::regclass[]) and not i.indisprimary
        and not exists (select from pg_constraint k where k.conindid = i.indexrelid)
    order by 1
"""


def fingerprint(size: Size) -> str:
    """Of what decides what the database holds: the statements, which attributes are hot, and the schema."""
    schema = [each.read_text() for each in sorted(MIGRATIONS.glob("*.py"))]
    told = f"{segments_rows.statements(size)}{HOT}{schema}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def ready(postgres: Postgres, size: Size) -> bool:
    """Whether the people of this size are there, as this module makes them."""
    with postgres.connect() as db:
        asked = "select shobj_description(oid, 'pg_database') from pg_database where datname = %s"
        return db.execute(asked, [size.database]).fetchone() == (fingerprint(size),)


def make(postgres: Postgres, size: Size) -> None:
    """Make the database anew, but for the values of hot attributes, which the program itself fills."""
    name = size.database
    postgres.drop_database(name)
    postgres.create_database(name)
    migrate(postgres.url(name, OWNER))
    with postgres.connect(name) as db:
        for statement in segments_rows.words(size):
            db.execute(statement)
        db.execute("select make_event_months(%s - interval '401 days', 15)", [NOW])
        tables = ["events", "orders", "messages", "identities", "consents"]
        indexes = db.execute(_INDEXES, [tables]).fetchall()
        for index, _ in indexes:
            db.execute(sql.SQL("drop index {}").format(sql.Identifier(index)))
    with ThreadPoolExecutor(2) as pool:
        _both(pool, postgres, name, segments_rows.events(size), segments_rows.others(size))
        _both(
            pool,
            postgres,
            name,
            *_halves([definition.replace(" ON ONLY ", " ON ") for _, definition in indexes]),
        )
    with postgres.connect(name) as db:
        _catalogue(db)


def keep(postgres: Postgres, size: Size) -> None:
    """After everything is there: tidy up, and note that it need not be made again."""
    with postgres.connect(size.database) as db:
        db.execute("vacuum (freeze, analyze)")
        db.execute("checkpoint")
        comment = sql.SQL("comment on database {} is {}")
        db.execute(comment.format(sql.Identifier(size.database), sql.Literal(fingerprint(size))))


def _both(pool: ThreadPoolExecutor, postgres: Postgres, name: str, *parts: Iterable[str]) -> None:
    """One connection for each core. Foreign keys are not checked, and the audit log hears of nothing."""

    def work(statements: Iterable[str]) -> None:
        with postgres.connect(name) as db:
            db.execute("set session_replication_role = replica")
            db.execute("set maintenance_work_mem = '1GB'")
            db.execute("set synchronous_commit = off")
            for statement in statements:
                db.execute(statement)

    for done in [pool.submit(work, part) for part in parts]:
        done.result()


def _halves(statements: list[str]) -> tuple[list[str], list[str]]:
    """Those of the events, which are most of the work, and the rest."""
    first = [each for each in statements if " events " in each or ".events " in each]
    return first, [each for each in statements if each not in first]


def _catalogue(db: psycopg.Connection) -> None:
    """What is known of attributes and events by name, as the pump would have noted it."""
    for type_, names in ATTRIBUTES.items():
        db.execute(
            f"""
            insert into attributes (workspace_id, name, type, values, first_seen_at, last_seen_at)
            select {HERE}, name, %(type)s, 1, %(now)s, %(now)s from unnest(%(names)s::text[]) a (name)
            """,
            {"type": type_, "names": [*names], "now": NOW},
        )
    db.execute(
        f"""
        insert into event_names (workspace_id, name, kind, volume, first_seen_at, last_seen_at)
        select {HERE}, name, min(kind), count(*), min(occurred_at), max(occurred_at)
        from events group by name
        """
    )
