"""Two or three transactions that meet in the queue: each message keeps one turn, or one lease, or none.

That they are in step is looked at after every test that commits: see `out_of_step`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from uuid_utils.compat import uuid7

from domain.messages import MessageState
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import claims, ledger, queued
from models.queries.claims import Cap
from models.queries.ledger import Queue, Settled
from tests import bookkeeping
from tests.databases import Database
from tests.people import rows
from tests.sending import NOW, a_campaign, a_sender, as_json, at, counted, ids, people
from tests.support import eventually

ONE = Cap(1, "day", NOW.date())
GATE = 9
Gate = Callable[[], AbstractAsyncContextManager[None]]
# Whoever asks for a campaign with `test.slow` on has taken its snapshot, and waits at the gate.
_SLOW = f"""
    create policy gate on campaigns as restrictive for select to campanile_app using (
        case when current_setting('test.slow', true) = 'on'
            then (select pg_advisory_xact_lock_shared({GATE})::text) is not null else true end)
"""


@pytest.fixture
async def gate(database: Database) -> AsyncIterator[Gate]:
    owner = create_async_engine(database.admin_url, isolation_level="AUTOCOMMIT")
    async with owner.connect() as connection:
        await connection.execute(text(_SLOW))

        @asynccontextmanager
        async def shut() -> AsyncIterator[None]:
            await connection.execute(text(f"select pg_advisory_lock({GATE})"))
            yield
            await connection.execute(text(f"select pg_advisory_unlock({GATE})"))

        yield shut
    await owner.dispose()


async def somebody_waits(sessions: Sessions) -> bool:
    async with sessions.engine() as db:
        return await rows(db, "select count(*) from pg_locks where not granted") > [0]


async def put_back(sessions: Sessions, queue: Queue, attempt: UUID, message: UUID) -> None:
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        assert await ledger.put_back(db, queue, attempt, [message], NOW)
        await ledger.give_back(db, DEFAULT_WORKSPACE, [message])
        await bookkeeping.drop_lease(db, queue, attempt)


async def recover(sessions: Sessions, queue: Queue, attempt: UUID, message: UUID) -> None:
    async with sessions.engine() as db:
        await db.execute(text("update leases set until = clock_timestamp() - interval '1 s'"))
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        assert await ledger.recover(db, queue, NOW, NOW)


async def claim(sessions: Sessions, queue: Queue, late: bool = False) -> tuple[UUID, list[UUID]]:
    """The attempt, and what it claimed."""
    attempt = uuid7()
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        if late:
            await db.execute(text("set local test.slow = 'on'"))
        claim = await claims.claim(db, queue, attempt, at(1), 60, 1000, [ONE])
    return attempt, ids(claim.claimed)


@pytest.mark.parametrize("let_go", [put_back, recover])
async def test_a_claim_that_comes_late_counts_nobody_whom_it_does_not_take(
    sessions: Sessions, gate: Gate, let_go: Callable[..., Awaitable[None]]
) -> None:
    """Another claimed the message and let it go between this claim's snapshot and its lock."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json([{"channel": "email", "limit": 1, "period": "day"}]))
        queue = await a_campaign(db, await people(db, 1))
    async with gate():
        late = asyncio.create_task(claim(sessions, queue, late=True))
        await eventually(lambda: somebody_waits(sessions), what="the wait at the gate")
        attempt, [message] = await claim(sessions, queue)
        await let_go(sessions, queue, attempt, message)
    assert (await late)[1] == []

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await counted(db) == 0
    assert (await claim(sessions, queue))[1] == [message]


async def test_a_lease_that_nobody_took_over_for_days_is_kept_while_it_holds_a_message(
    sessions: Sessions,
) -> None:
    """The worker died, and the campaign was paused, or all was switched off, over the weekend."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        queue = await a_campaign(db, await people(db, 3))
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        for marked, settled in ((False, False), (True, False), (True, True)):
            attempt = uuid7()
            [held] = (await claims.claim(db, queue, attempt, NOW, 60, 1)).claimed
            if marked:
                await bookkeeping.mark(db, queue, attempt, [(held.id, [])], NOW)
            if settled:
                await bookkeeping.settle(
                    db, queue, attempt, [Settled(held.id, MessageState.ACCEPTED)], NOW, NOW
                )
    async with sessions.engine() as db:
        await db.execute(text("update leases set until = clock_timestamp() - interval '3 days'"))
        await ledger.drop_forgotten_leases(db)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert len(await rows(db, "select id from leases")) == 2
        assert (await queued.ahead(db, queue)).open == 2
