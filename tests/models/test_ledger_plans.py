"""What a batch costs follows the batch: not the ledger, not the workspace, and not what ANALYZE has seen.

PostgreSQL counts what a transaction really reads. That sees also the plans that were made once for every
batch, which EXPLAIN would make anew.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from uuid_utils.compat import uuid7

from activities.campaigns import CampaignActivities, CampaignRef
from dev.postgres import Postgres
from domain.flows import START, Send, Wait
from domain.messages import MessageState, Skip, SourceKind
from domain.segments import parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.flows import Flow
from models.queries import campaigns, claims, enrollments, enrollments_moved, flows, ledger, segments
from models.queries.claims import Cap
from models.queries.ledger import Queue, Settled
from models.queries.ways import Move
from tests import bookkeeping
from tests.databases import Database, a_clone
from tests.sending import (
    EVERYBODY,
    NOW,
    PATIENT,
    a_draft,
    a_flow,
    a_graph,
    a_segment,
    a_sender,
    a_template,
    as_json,
    at,
    people,
    ran,
    send,
    version_of,
    wait,
)
from tests.support import GivenClock

CROWD = 6_000
BATCH = 200
CAP = Cap(5, "day", NOW.date())
MANNERS: dict[str, Any] = {"now": NOW, "time_zone": "UTC", "currency": "USD"}
SMALL = {"workspaces", "campaigns", "flows", "flow_versions", "segments", "templates", "template_versions"}


@pytest.fixture(scope="module")
async def fresh(postgres: Postgres) -> AsyncIterator[Sessions]:
    """A database that was filled a moment ago, of which the planner knows nothing."""
    database = a_clone(postgres)
    with postgres.connect(database.name) as owner:
        for table in ("agenda", "enrollments", "messages", "profiles", "queue"):
            # Or autovacuum, which looks once a minute, would tell it on a slow machine.
            owner.execute(f"alter table {table} set (autovacuum_enabled = false)")
    sessions = Sessions(database.url, database.engine_url, pool_size=1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json([{"channel": "email", "limit": 5, "period": "day"}]))
        await people(db, CROWD)
    yield sessions
    await sessions.close()
    postgres.drop_database(database.name)


async def a_frozen_campaign(sessions: Sessions) -> Queue:
    async with sessions(DEFAULT_WORKSPACE) as db:
        campaign = await a_draft(db)
        await campaigns.begin(db, campaign.id, NOW)
        members = segments.members(parse(EVERYBODY), **MANNERS)
        assert await campaigns.freeze(db, campaign.id, members, 2 * CROWD, NOW) == (CROWD, True)
    return Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN)


async def a_full_flow(sessions: Sessions) -> tuple[Flow, UUID]:
    """Everybody is due at the start. Also the version of the template that is sent next."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        template, version = await a_template(db)
        await a_segment(db)
        steps = {"nap": wait(60, "hello"), "hello": send(template)}
        flow, _, _ = await flows.publish(db, await a_flow(db, a_graph(steps, "nap")))
        members = segments.members(parse(EVERYBODY), **MANNERS)
        assert (await enrollments.enter_page(db, version_of(flow), members, NOW)).entered == CROWD
    return flow, version


_READ = text(
    """
    select relname, seq_scan, coalesce(idx_tup_fetch, 0) as fetched from pg_stat_xact_user_tables
    """
)


async def costs_a_batch(
    open_: Callable[[UUID], AbstractAsyncContextManager[Any]],
    work: Callable[[Any], Awaitable[Any]],
    times: int = 10,
) -> Any:
    """Do the work, and see that no table was read from end to end and none for much more than one batch."""
    async with open_(DEFAULT_WORKSPACE) as db:
        # What this connection has read and not reported yet, which may be more than this transaction.
        before = {table: counts for table, *counts in await db.execute(_READ)}
        answer = await work(db)
        for table, scans, fetched in await db.execute(_READ):
            scans_before, fetched_before = before[table]
            assert scans == scans_before or table in SMALL, f"{table} is read from end to end"
            read = fetched - fetched_before
            assert read <= times * BATCH, f"{read} rows of {table} for a batch of {BATCH}"
    return answer


async def claimed(sessions: Sessions, queue: Queue, attempt: UUID, lease: float = 60) -> claims.Claim:
    async def work(db: Any) -> claims.Claim:
        return await claims.claim(db, queue, attempt, NOW, lease, BATCH, [CAP])

    claim: claims.Claim = await costs_a_batch(sessions.batch, work)
    assert len(claim.claimed) == BATCH
    return claim


async def test_claiming_marking_and_settling_cost_what_the_batch_costs(fresh: Sessions) -> None:
    queue = await a_frozen_campaign(fresh)
    for state in (MessageState.ACCEPTED, MessageState.QUEUED, MessageState.FAILED, MessageState.UNKNOWN):
        attempt = uuid7()
        ids = [message.id for message in (await claimed(fresh, queue, attempt)).claimed]
        letters = [(id_, ["Ada"]) for id_ in ids]
        answers = [Settled(id_, state) for id_ in ids]

        async def mark(db: Any, attempt: UUID = attempt, letters: Any = letters) -> set[UUID]:
            return await bookkeeping.mark(db, queue, attempt, letters, NOW)

        async def settle(db: Any, attempt: UUID = attempt, answers: Any = answers) -> Any:
            found = await bookkeeping.settle(db, queue, attempt, answers, NOW, NOW)
            await ledger.give_back(db, DEFAULT_WORKSPACE, list(found))
            await bookkeeping.drop_lease(db, queue, attempt)
            return found

        assert len(await costs_a_batch(fresh.batch, mark)) == BATCH
        assert len(await costs_a_batch(fresh.batch, settle)) == BATCH


async def test_taking_over_and_putting_back_cost_what_the_batch_costs(fresh: Sessions) -> None:
    queue = await a_frozen_campaign(fresh)
    for _ in range(3):
        attempt = uuid7()
        await claimed(fresh, queue, attempt, lease=-1)

        async def recover(db: Any) -> Any:
            return await ledger.recover(db, queue, NOW, NOW)

        assert len(await costs_a_batch(fresh.batch, recover)) == BATCH
        ids = [message.id for message in (await claimed(fresh, queue, attempt)).claimed]

        async def put_back(db: Any, attempt: UUID = attempt, ids: Any = ids) -> Any:
            errors = [ledger.Unsendable(ids[0], Skip.TEMPLATE_ERROR, "why")]
            await ledger.skip_unsendable(db, queue, attempt, errors, NOW)
            back = await ledger.put_back(db, queue, attempt, ids, NOW)
            await bookkeeping.drop_lease(db, queue, attempt)
            return back

        assert len(await costs_a_batch(fresh.batch, put_back)) == BATCH - 1


async def test_moving_a_group_costs_what_the_group_costs(fresh: Sessions) -> None:
    flow, template_version = await a_full_flow(fresh)
    assert flow.version_id
    nap = Wait(duration=timedelta(seconds=60))
    naps = Move(DEFAULT_WORKSPACE, flow.id, flow.version_id, START, "nap", nap, None, "")
    hello = Send(template_id=UUID(int=1))
    sends = naps._replace(origin="nap", to="hello", step=hello, template_version_id=template_version)
    for open_ in (fresh, fresh.batch, fresh.pinned):
        for move, now in ((naps, NOW), (sends, at(1))) * 3:

            async def advance(db: Any, move: Move = move, now: Any = now) -> int:
                return await enrollments_moved.advance(db, move, now, BATCH)

            assert await costs_a_batch(open_, advance) == BATCH


async def test_a_plan_that_was_made_when_nobody_was_due_does_for_many(
    database: Database, sessions: Sessions
) -> None:
    """An agenda is empty time and again, and then the planner may think that there is nothing to look up."""
    one = Sessions(database.url, database.engine_url, pool_size=1)
    owner = create_async_engine(database.admin_url, isolation_level="AUTOCOMMIT")
    async with owner.connect() as connection:
        await connection.execute(text("vacuum analyze agenda"))
    async with one(DEFAULT_WORKSPACE) as db:
        await people(db, CROWD)
        flow, _, _ = await flows.publish(db, await a_flow(db, a_graph({"nap": wait(60)}, "nap")))
    assert flow.version_id
    nap = Wait(duration=timedelta(seconds=60))
    naps = Move(DEFAULT_WORKSPACE, flow.id, flow.version_id, START, "nap", nap, None, "")
    ends = naps._replace(origin="nap", to=None, step=None)

    async def advance(db: Any) -> list[int]:
        return [await enrollments_moved.advance(db, move, at(1), BATCH) for move in (naps, ends)]

    for _ in range(3):
        assert await costs_a_batch(one.batch, advance) == [0, 0]
    async with one(DEFAULT_WORKSPACE) as db:
        everybody = segments.members(parse(EVERYBODY), **MANNERS)
        assert (await enrollments.enter_page(db, version_of(flow), everybody, NOW)).entered
    for _ in range(3):
        assert (await costs_a_batch(one.batch, advance))[0] == BATCH
    await one.close()
    await owner.dispose()


async def test_a_cancel_that_was_planned_when_nobody_waited_does_for_many(
    database: Database, sessions: Sessions
) -> None:
    """Cancels of small campaigns, while the queue was empty and vacuumed, make the plan for a large one."""
    one = Sessions(database.url, database.engine_url, pool_size=1)
    cancels = CampaignActivities(one, GivenClock(), PATIENT, slices=1).skip_unsent
    owner = create_async_engine(database.admin_url, isolation_level="AUTOCOMMIT")
    async with owner.connect() as connection:
        await connection.execute(text("vacuum analyze queue"))
    async with sessions(DEFAULT_WORKSPACE) as db:
        small, large = await a_draft(db), await a_draft(db, state="running", frozen_at=None)
        await people(db, 3 * CROWD)
    for _ in range(8):
        await ran(cancels, CampaignRef(DEFAULT_WORKSPACE, small.id))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await campaigns.freeze(db, large.id, segments.members(parse(EVERYBODY), **MANNERS), 4 * CROWD, NOW)

    async with asyncio.timeout(10):  # Reading the queue once for each message takes a minute.
        assert (await ran(cancels, CampaignRef(DEFAULT_WORKSPACE, large.id))).skipped == 3 * CROWD
    await one.close()
    await owner.dispose()


async def test_ending_all_journeys_costs_what_they_are(fresh: Sessions) -> None:
    await a_full_flow(fresh)
    flow, _ = await a_full_flow(fresh)

    async def end(db: Any) -> enrollments.Ended:
        return await enrollments.end_all(db, DEFAULT_WORKSPACE, flow.id, enrollments.FIRST, NOW)

    ended: enrollments.Ended = await costs_a_batch(fresh.batch, end, times=4 * CROWD // BATCH)
    assert ended.journeys == CROWD


async def test_the_agenda_looks_at_each_step_and_not_at_those_who_wait(fresh: Sessions) -> None:
    flow, _ = await a_full_flow(fresh)

    async def agenda(db: Any) -> Any:
        return await enrollments.agenda(db, DEFAULT_WORKSPACE, flow.id, at(-1))

    for _ in range(3):
        [item] = await costs_a_batch(fresh, agenda, times=1)
        assert (item.step, item.due) == (START, 0)


async def test_the_member_of_a_closed_message_goes_on_by_key(fresh: Sessions) -> None:
    flow, _ = await a_full_flow(fresh)
    assert flow.version_id
    end = Move(DEFAULT_WORKSPACE, flow.id, flow.version_id, "hello", None, None, None, "")
    queue = await a_frozen_campaign(fresh)
    ids = [message.id for message in (await claimed(fresh, queue, uuid7())).claimed]

    async def go_on(db: Any) -> int:
        return (await enrollments_moved.go_on(db, DEFAULT_WORKSPACE, flow.id, ids, [end], NOW)).freed

    for _ in range(3):
        assert await costs_a_batch(fresh.batch, go_on) == 0
