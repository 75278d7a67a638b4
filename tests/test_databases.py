"""A database that one test has after another is for each as if it were new, or goes."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from dev.postgres import Postgres
from domain.workspaces import DEFAULT_WORKSPACE
from tests.databases import Databases, KeptDatabase

WRITES: dict[str, str] = {
    "somebody": "insert into profiles (workspace_id) select id from workspaces",
    "a change": "update workspaces set name = 'Elsewhere'",
    "a loss": "delete from workspaces",
}
SPOILS: dict[str, str] = {
    "a column": "alter table profiles add column shoe_size int",
    "a table": "create table notes (words text)",
    "a table less": "drop table message_notes",
    "a condition": "alter table profiles add constraint never check (id is null) not valid",
    "a policy": "create policy gate on profiles as restrictive using (false)",
    "a trigger": "create trigger again before update on profiles"
    " execute function suppress_redundant_updates_trigger()",
    "lost connections": "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
    " where datname = current_database() and application_name = 'kept'",
}


@pytest.fixture
async def lender(postgres: Postgres) -> AsyncIterator[Databases]:
    lender = Databases(postgres)
    yield lender
    await lender.close()


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_the_next_one_finds_it_as_it_was_at_first(
    lender: Databases, postgres: Postgres, write: str
) -> None:
    first = lender.lend()
    before = everything(postgres, first)
    with postgres.connect(first.database.name) as db:
        db.execute("set session_replication_role = replica")
        db.execute(write)
    assert everything(postgres, first) != before

    await lender.take_back(first)
    second = lender.lend()

    assert second is first
    assert everything(postgres, second) == before
    await second.drop()


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
async def test_what_cannot_be_as_it_was_goes(lender: Databases, postgres: Postgres, spoil: str) -> None:
    first = lender.lend()
    await use(first)
    with postgres.connect(first.database.name) as db:
        db.execute(spoil)

    await lender.take_back(first)
    second = lender.lend()

    assert first.database.name not in postgres.databases()
    assert second.database.name in postgres.databases()
    await use(second)
    await second.drop()


async def test_it_goes_where_somebody_is_still_at_work_in_it(lender: Databases, postgres: Postgres) -> None:
    first = lender.lend()
    async with first.sessions(DEFAULT_WORKSPACE):
        assert not first.restore()
    await lender.take_back(first)
    assert lender.lend() is first
    await first.drop()


async def test_who_else_is_connected_is_cut_off(lender: Databases, postgres: Postgres) -> None:
    first = lender.lend()
    with postgres.connect(first.database.name) as left_over:
        await lender.take_back(first)
        assert lender.lend() is first
        with pytest.raises(psycopg.OperationalError):
            left_over.execute("select")
    await first.drop()


async def use(kept: KeptDatabase) -> None:
    """Have each kind of its connections open."""
    async with kept.sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("table profiles"))
    async with kept.sessions.engine() as db:
        await db.execute(text("table profiles"))
    async with kept.sessions.batch(DEFAULT_WORKSPACE) as batch:
        await batch.execute(text("table profiles"))


def everything(postgres: Postgres, kept: KeptDatabase) -> dict[str, list[Any]]:
    """What is in its tables."""
    tables = "select table_name from information_schema.tables where table_schema = 'public'"
    with postgres.connect(kept.database.name) as db:
        names = [name for (name,) in db.execute(tables)]
        return {name: sorted(row for (row,) in db.execute(f"select t::text from {name} t")) for name in names}
