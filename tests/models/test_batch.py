"""Transactions by the bare driver: what they wait for, and what passes for a commit."""

import asyncio
import time

import psycopg
import pytest
from sqlalchemy import text

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.relay import Relay
from tests.support import Database

ONE = text("select cast(:given as int) as one, current_setting('app.workspace') as here")
NAME = text("update workspaces set name = :name")


async def test_a_statement_is_executed_with_its_values_behind_the_wall(sessions: Sessions) -> None:
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        row = (await db.execute(ONE, {"given": 7})).one()

    assert (row.one, row.here) == (7, str(DEFAULT_WORKSPACE))


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
