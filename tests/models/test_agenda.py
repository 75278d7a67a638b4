"""The agenda holds exactly those who are due, whoever ends their journeys, and no move touches an index.

That nobody is astray is looked at after every test, here and elsewhere: see `nobody_is_astray`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.flows import START, Step, Wait
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import enrollments, enrollments_moved, profiles_erased, profiles_merged
from models.queries.ways import Move
from tests.people import a_flow, a_journey, rows, write_the_agenda
from tests.sending import NOW, at, people
from tests.support import eventually

Flow = tuple[UUID, UUID]
MOVED = {"step", "visit", "due_at", "waiting_for", "history", "ended_at", "outcome"}
AGENDA = "select step, due_at, enrollment_id from agenda order by due_at"


def a_nap(flow: Flow) -> Move:
    step: Step = Wait(duration=timedelta(hours=1))
    return Move(DEFAULT_WORKSPACE, flow[0], flow[1], START, "nap", step, None, "entered")


async def erase(db: AsyncSession, flow: Flow, alias: UUID, survivor: UUID) -> None:
    await profiles_erased.erase(db, alias, NOW)


async def merge(db: AsyncSession, flow: Flow, alias: UUID, survivor: UUID) -> None:
    await profiles_merged.merge(db, alias, survivor, NOW)


async def archive(db: AsyncSession, flow: Flow, alias: UUID, survivor: UUID) -> None:
    await enrollments.end_all(db, DEFAULT_WORKSPACE, flow[0], enrollments.FIRST, NOW)


@pytest.mark.parametrize("end", [erase, merge, archive])
async def test_a_journey_that_ends_while_it_moves_on_leaves_the_agenda(
    sessions: Sessions, end: Callable[[AsyncSession, Flow, UUID, UUID], Awaitable[None]]
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow, [alias, survivor] = await a_flow(db), await people(db, 2)
        journey = await a_journey(db, flow, alias, step=START, due_at=NOW)
        await a_journey(db, flow, survivor, step="nap", due_at=None, waiting_for="message")

    async def end_it() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await end(db, flow, alias, survivor)

    async def it_waits() -> bool:
        async with sessions.engine() as db:
            return await rows(db, "select count(*) from pg_locks where not granted") > [0]

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await enrollments_moved.advance(db, a_nap(flow), NOW, 10) == 1
        ending = asyncio.create_task(end_it())
        await eventually(it_waits, what="the wait for the member who moves")
    await ending

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select due_at from enrollments where id = :id", id=journey) == [None]
        assert await rows(db, AGENDA) == []


async def test_whoever_is_due_again_has_a_new_place_on_the_agenda(db: AsyncSession) -> None:
    flow, [person] = await a_flow(db), await people(db, 1)
    journey = await a_journey(db, flow, person, step=START, due_at=NOW)

    assert await enrollments_moved.advance(db, a_nap(flow), NOW, 10) == 1
    assert await rows(db, AGENDA) == [("nap", at(1), journey)]


async def test_whoever_is_on_the_agenda_and_not_where_it_says_is_not_moved(db: AsyncSession) -> None:
    flow, [person] = await a_flow(db), await people(db, 1)
    await a_journey(db, flow, person, step=START, due_at=NOW)
    await db.execute(text("update enrollments set due_at = :later"), {"later": at(2)})

    assert await enrollments_moved.advance(db, a_nap(flow), NOW, 10) == 0
    await write_the_agenda(db)


async def test_a_walk_over_more_journeys_than_a_page_has_ends_them_all(db: AsyncSession) -> None:
    flow, [person] = await a_flow(db), await people(db, 1)
    await a_journey(db, flow, person, "done", due_at=None, ended_at=NOW, outcome="finished")
    many = """
        insert into enrollments
            (workspace_id, flow_id, version_id, profile_id, entry, step, due_at, entered_at)
        select workspace_id, flow_id, version_id, profile_id, n::text, 'wait', :now, :now
        from enrollments cross join generate_series(1, 20000) n
    """
    await db.execute(text(many), {"now": NOW})
    await write_the_agenda(db)

    first = await enrollments.end_all(db, DEFAULT_WORKSPACE, flow[0], enrollments.FIRST, at(1))
    assert first.last
    second = await enrollments.end_all(db, DEFAULT_WORKSPACE, flow[0], first.last, at(1))
    assert second.last
    third = await enrollments.end_all(db, DEFAULT_WORKSPACE, flow[0], second.last, at(1))

    assert third == (0, None)
    assert first.journeys + second.journeys == 20_000
    asked = "select outcome, count(*) from enrollments group by outcome order by outcome"
    assert await rows(db, asked) == [("archived", 20_000), ("finished", 1)]


async def test_no_index_of_an_enrollment_knows_what_a_move_changes(db: AsyncSession) -> None:
    found = await rows(
        db,
        """
        select i.indexrelid::regclass::text, array(
            select a.attname::text from pg_attribute a
            where a.attrelid = i.indrelid and a.attnum > 0
                and (a.attnum = any(i.indkey) or pg_get_expr(i.indpred, i.indrelid) ~ a.attname))
        from pg_index i where i.indrelid = 'enrollments'::regclass
        """,
    )
    assert {name for name, _ in found} == {
        "pk_enrollments",
        "uq_enrollments_workspace_id_flow_id_profile_id_entry",
    }
    for name, columns in found:
        assert not MOVED & set(columns), f"every move writes a new entry of {name}"
