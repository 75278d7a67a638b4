"""Connections that nobody needs any more go back to the server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
from sqlalchemy import text

from dev.postgres import Postgres
from domain.workspaces import DEFAULT_WORKSPACE
from models import batch, idle
from models.base import Db, Sessions
from tests.databases import Database
from tests.support import eventually

WHICH = text("select pg_backend_pid()")

OPENED: dict[str, Callable[[Sessions], AbstractAsyncContextManager[Db]]] = {
    "app": lambda sessions: sessions(DEFAULT_WORKSPACE),
    "held": lambda sessions: sessions.held(DEFAULT_WORKSPACE),
    "pinned": lambda sessions: sessions.pinned(DEFAULT_WORKSPACE),
    "pump": lambda sessions: sessions.pump(DEFAULT_WORKSPACE),
    "engine": lambda sessions: sessions.engine(),
    "batch": lambda sessions: sessions.batch(DEFAULT_WORKSPACE),
    "engine batch": lambda sessions: sessions.engine_batch(),
}


@pytest.fixture
async def hasty(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    """Keeps what nobody needs for a moment only."""
    monkeypatch.setattr(idle, "SECONDS", 0.1)
    monkeypatch.setattr(batch, "IDLE", 0.1)
    sessions = Sessions(database.url, database.engine_url)
    yield sessions
    await sessions.close()


@pytest.mark.parametrize("kind", OPENED)
async def test_after_a_burst_they_are_closed_and_come_again(
    hasty: Sessions, postgres: Postgres, kind: str
) -> None:
    for _ in range(2):
        burst = await of_a_burst(hasty, kind)
        assert len(burst) == 4

        await closed(postgres, burst)


async def test_as_many_as_are_needed_at_once_stay(hasty: Sessions, postgres: Postgres) -> None:
    async def needed_until_closed(burst: set[int]) -> set[int]:
        needed: set[int] = set()

        async def one_more() -> bool:
            async with hasty(DEFAULT_WORKSPACE) as db:
                needed.add((await db.execute(WHICH)).scalar_one())
            return not open_ones(postgres, burst)

        await eventually(one_more)
        return needed

    await needed_until_closed(await of_a_burst(hasty, "app"))

    # To close these takes longer than one look is away from the next.
    assert len(await needed_until_closed(await of_a_burst(hasty, "engine"))) == 1


async def test_where_one_is_in_use_the_next_look_is_soon(
    hasty: Sessions, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    burst = await of_a_burst(hasty, "app")
    async with hasty(DEFAULT_WORKSPACE):
        for _ in range(3):  # Each takes longer than a look is away.
            await closed(postgres, await of_a_burst(hasty, "engine"))
        monkeypatch.setattr(idle, "SECONDS", 6000)
        monkeypatch.setattr(idle, "AGAIN", 0.1 / 6000)

    await closed(postgres, burst)


async def test_one_that_is_in_use_stays_as_it_is(hasty: Sessions, postgres: Postgres) -> None:
    async with hasty.pump(DEFAULT_WORKSPACE) as db:
        mine = (await db.execute(WHICH)).scalar_one()
        await db.execute(text("insert into newcomers values (uuidv7(), 7)"))
        others = await of_a_burst(hasty, "pump")
        for _ in range(3):  # Each takes longer than a look is away.
            await closed(postgres, await of_a_burst(hasty, "engine"))

        assert (await db.execute(WHICH)).scalar_one() == mine
        assert (await db.execute(text("select n from newcomers"))).scalar_one() == 7

    await closed(postgres, {mine, *others})


async def test_nobody_looks_where_nothing_is_open(database: Database, hasty: Sessions) -> None:
    looks, look = [], idle.Idle._look

    def counted(self: idle.Idle) -> None:
        looks.append(self)
        look(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idle.Idle, "_look", counted)
        sessions = Sessions(database.url, database.engine_url)
        async with sessions(DEFAULT_WORKSPACE):
            await sessions.close()
        gone = asyncio.get_running_loop().time() + 4 * idle.SECONDS

        async def it_is_later() -> bool:
            return asyncio.get_running_loop().time() > gone

        await eventually(it_is_later)

    assert len(looks) <= 1


async def of_a_burst(sessions: Sessions, kind: str) -> set[int]:
    """The backends of four transactions that were open at once."""
    async with AsyncExitStack() as burst:
        opened = [await burst.enter_async_context(OPENED[kind](sessions)) for _ in range(4)]
        return {pid for db in opened for pid in (await db.execute(WHICH)).scalars()}


def open_ones(postgres: Postgres, backends: Collection[int]) -> list[int]:
    asked = "select pid from pg_stat_activity where pid = any(%s)"
    return [pid for (pid,) in postgres.superuser().execute(asked, [[*backends]])]


async def closed(postgres: Postgres, backends: Collection[int]) -> None:
    async def all_of_them() -> bool:
        return not open_ones(postgres, backends)

    await eventually(all_of_them, what="that all are closed")
