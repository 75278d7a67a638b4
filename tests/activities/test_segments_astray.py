"""What could leave a segment's members wrong for good, or stop the looks at others."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import event, text

from activities.segments import LATER, Looked
from domain.errors import Conflict
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import memberships, recalculations, segments_written
from tests.activities.test_segments import FREE, PRO, a_segment, ask, begun, edit, members, some_people
from tests.activities.test_segments import heard as heard
from tests.activities.test_segments import the_segment
from tests.arrivals import a_keeper, arrival, look, pump, put
from tests.support import GivenClock, eventually


async def test_a_segment_whose_members_are_being_found_is_deleted_a_moment_later(
    sessions: Sessions, clock: GivenClock
) -> None:
    """The look holds members and then wants the segment; who deletes holds it and then wants the members."""
    await some_people(sessions, clock, u1="pro", u2="free")
    segment = await a_segment(sessions, PRO)
    await look(sessions, clock)
    await edit(sessions, segment, FREE)
    async with sessions(DEFAULT_WORKSPACE) as db:
        first = await begun(db, segment, clock)
        await recalculations.write_down(db, first)
        with pytest.raises(Conflict, match="Its members are being found just now: try again in a moment"):
            async with sessions(DEFAULT_WORKSPACE) as other:
                await segments_written.delete(other, segment)
        assert await recalculations.still_means(db, first)

    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.delete(db, segment)
    assert await ask(sessions, "select count(*) from segment_members") == [0]


async def test_nobody_looks_for_the_members_of_a_segment_that_is_being_deleted(
    sessions: Sessions, clock: GivenClock
) -> None:
    segment = await a_segment(sessions, PRO)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.delete(db, segment)
        async with sessions(DEFAULT_WORKSPACE) as other:
            assert await recalculations.ripe(other, segment, clock.now()) is None


@pytest.mark.parametrize("edited", ["the segment", "one that it names"])
async def test_an_edit_during_a_look_that_is_given_up_is_looked_at_at_once(
    sessions: Sessions, clock: GivenClock, edited: str
) -> None:
    await some_people(sessions, clock, u1="pro", u2="free")
    named = await a_segment(sessions, FREE, "Named")
    await look(sessions, clock)
    segment = await a_segment(sessions, {"kind": "segment", "segment_id": str(named)})
    async with sessions(DEFAULT_WORKSPACE) as db:  # For whom the look has to wait, until it is given up.
        await db.execute(text("lock table profiles in access exclusive mode"))
        slow = asyncio.create_task(a_keeper(sessions, clock, 1).look(DEFAULT_WORKSPACE, segment))
        await eventually(lambda: a_look_waits(sessions), what="that the look waits")
        await edit(sessions, segment if edited == "the segment" else named, PRO)
        done = await slow
    kept = await the_segment(sessions, segment)
    await look(sessions, clock)

    assert done == Looked()
    assert (kept.problem, kept.due_at) == (None, None)
    assert await members(sessions, segment) == {"u1"}


async def a_look_waits(sessions: Sessions) -> bool:
    async with sessions.engine() as db:
        asked = "select count(*) from pg_locks where relation = 'profiles'::regclass and not granted"
        return bool(await db.scalar(text(asked)))


async def test_a_look_that_fails_for_whatever_reason_does_not_stop_those_at_others(
    sessions: Sessions, clock: GivenClock
) -> None:
    await some_people(sessions, clock, u1="pro")
    deep = await a_segment(sessions, {"any": [PRO, {"kind": "tag", "tag": "deep"}]}, "Deep")
    other = await a_segment(sessions, PRO, "Other")
    engine = sessions._app.sync_engine

    def fail(_: object, __: object, statement: str, values: object, *___: object) -> None:
        if "picked" in statement and "deep" in str(values):
            raise RecursionError("maximum recursion depth exceeded")

    event.listen(engine, "before_cursor_execute", fail)
    done = await look(sessions, clock)
    event.remove(engine, "before_cursor_execute", fail)

    kept = await the_segment(sessions, deep)
    assert (done.failed, kept.problem, kept.due_at) == (1, memberships.PROBLEM, clock.now() + LATER)
    assert await members(sessions, other) == {"u1"}
    clock.move(LATER)
    await look(sessions, clock)
    assert await members(sessions, deep) == {"u1"}
