"""Transactions by the bare driver: what they wait for, and what passes for a commit."""

import asyncio
import time

import psycopg
import pytest
from sqlalchemy import text

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.batch import Asked
from tests.databases import Database
from tests.relay import Relay

ONE = text("select cast(:given as int) as one, current_setting('app.workspace') as here")
NAME = text("update workspaces set name = :name")


async def test_a_statement_is_executed_with_its_values_behind_the_wall(sessions: Sessions) -> None:
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        row = (await db.execute(ONE, {"given": 7})).one()

    assert (row.one, row.here) == (7, str(DEFAULT_WORKSPACE))


async def test_what_a_transaction_is_opened_with_is_answered_in_its_order(sessions: Sessions) -> None:
    asked = [Asked(ONE, {"given": 7}), Asked(NAME, {"name": "Seen"}), Asked(ONE, {"given": 8})]
    async with sessions.batch(DEFAULT_WORKSPACE, asked) as db:
        first, renamed, last = db.answers
        name = await db.execute(text("select name from workspaces"))

    assert (first.one().one, renamed.rowcount, last.one().one) == (7, 1, 8)
    assert first.one().here == str(DEFAULT_WORKSPACE)
    assert [*name.scalars()] == ["Seen"]


async def test_a_transaction_that_fails_as_it_is_opened_changes_nothing(sessions: Sessions) -> None:
    asked = [Asked(NAME, {"name": "Lost"}), Asked(text("select 1 / cast(:n as int)"), {"n": 0})]
    for _ in range(3):
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with sessions.batch(DEFAULT_WORKSPACE, asked):
                pass

    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        assert [*(await db.execute(text("select name from workspaces"))).scalars()] != ["Lost"]


async def test_what_an_interrupted_one_was_asked_is_not_answered_to_the_next(
    database: Database,
) -> None:
    sessions = Sessions(database.url, database.engine_url, pool_size=1)

    async def ask() -> None:
        async with sessions.batch(DEFAULT_WORKSPACE, [Asked(ONE, {"given": 7})] * 3):
            pass

    for _ in range(20):
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.sleep(0)
        asking.cancel()  # While the first is being seen to.
        await asyncio.wait([asking])
        async with sessions.batch(DEFAULT_WORKSPACE) as db:
            assert (await db.execute(ONE, {"given": 8})).one().one == 8
    await sessions.close()


async def test_what_a_dead_connection_was_asked_is_asked_of_the_next(database: Database) -> None:
    sessions = Sessions(database.url, database.engine_url, pool_size=2)
    async with sessions.batch(DEFAULT_WORKSPACE), sessions.batch(DEFAULT_WORKSPACE):
        pass
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(
            text(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where datname = current_database() and usename = current_user and pid <> pg_backend_pid()"
            )
        )

    async with sessions.batch(DEFAULT_WORKSPACE, [Asked(NAME, {"name": "Kept"})]) as batch:
        assert batch.answers[0].rowcount == 1
    await sessions.close()


async def test_the_next_who_gets_the_connection_is_in_no_workspace(database: Database) -> None:
    sessions = Sessions(database.url, database.engine_url, pool_size=1)
    async with sessions.batch(DEFAULT_WORKSPACE):
        pass
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with sessions.batch(DEFAULT_WORKSPACE) as db:
            await db.execute(text("select 1 / 0"))
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        assert db.in_transaction()
    await sessions.close()


async def rename(sessions: Sessions, name: str, failure: Exception | None = None) -> None:
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        await db.execute(NAME, {"name": name})
        if failure:
            raise failure


async def test_a_batch_is_committed_at_its_end_and_not_where_it_failed(sessions: Sessions) -> None:
    await rename(sessions, "Kept")
    with pytest.raises(RuntimeError):
        await rename(sessions, "Lost", RuntimeError())

    async with sessions(DEFAULT_WORKSPACE) as session:
        assert await session.scalar(text("select name from workspaces")) == "Kept"


async def swallow(sessions: Sessions) -> None:
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await db.execute(text("select 1 / 0"))


async def test_a_transaction_that_was_lost_before_its_end_does_not_pass_for_committed(
    sessions: Sessions,
) -> None:
    with pytest.raises(psycopg.OperationalError, match="lost before its commit"):
        await swallow(sessions)


async def test_who_waits_for_a_server_that_is_away_goes_on_soon_after_it_is_back(database: Database) -> None:
    relay = Relay(database.url)
    await relay.mend()
    far = Sessions(relay.url(database.url), relay.url(database.engine_url))
    async with far.batch(DEFAULT_WORKSPACE):
        pass

    async def ask() -> float:
        while True:
            try:
                async with far.batch(DEFAULT_WORKSPACE):
                    return time.monotonic()
            except psycopg.OperationalError:
                continue

    relay.cut()
    asked = [asyncio.create_task(ask()) for _ in range(3)]
    await asyncio.wait(asked, timeout=4)  # Long enough for tries that double their distance to be far apart.
    await relay.mend()
    back = time.monotonic()

    assert max(await asyncio.gather(*asked)) - back < 3
    await far.close()
