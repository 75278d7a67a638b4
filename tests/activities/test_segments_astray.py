"""What could leave a segment's members wrong for good, or stop the looks at others."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, text

from activities.segments import LATER, Looked
from domain.errors import Conflict
from domain.segments import parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import (
    kept_events,
    memberships,
    people_lock,
    profiles_erased,
    profiles_merged,
    recalculations,
    segments,
    segments_written,
    workspaces,
)
from tests.activities.test_segments import (
    FREE,
    PRO,
    a_segment,
    ask,
    begun,
    edit,
    heard,
    members,
    some_people,
    the_segment,
)
from tests.arrivals import a_keeper, a_pump, arrival, look, pump, put
from tests.people import another_workspace
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


async def test_months_of_events_that_are_dropped_take_who_was_in_by_them_along_silently(
    sessions: Sessions, clock: GivenClock
) -> None:
    old = clock.now() - timedelta(days=300)
    async with sessions.engine() as db:
        await db.execute(text("select make_event_months(:old, 1)"), {"old": old})
    bought = arrival(name="bought", user_id="u1", at=old)
    theirs = arrival(name="bought", user_id="u2", at=old, workspace_id=await another_workspace(sessions))
    await put(sessions, bought, theirs)
    await pump(sessions, clock)
    await pump(sessions, clock, theirs["workspace_id"])
    once = {"kind": "event", "name": "bought"}
    ours = await a_segment(sessions, once)
    never = await a_segment(sessions, once | {"op": "is", "value": 0}, "Never")
    others = await a_segment(sessions, PRO, "Others")
    async with sessions(theirs["workspace_id"]) as db:
        await segments_written.create(db, theirs["workspace_id"], "Theirs", once)
    await look(sessions, clock)

    await forget_events(sessions, clock.now() - timedelta(days=400), clock.now())
    kept = await the_segment(sessions, ours)
    await forget_events(sessions, clock.now() - timedelta(days=200), clock.now())
    asked = await the_segment(sessions, others)
    done = await look(sessions, clock)
    await pump(sessions, clock)

    assert (kept.due_at, asked.due_at) == (None, None)
    assert (done.again, done.astray) == (3, 3)
    assert (await members(sessions, ours), await members(sessions, never)) == (set(), {"u1"})
    assert await heard(sessions) == []


async def forget_events(sessions: Sessions, before: datetime, now: datetime) -> None:
    async with sessions.engine() as db:
        await kept_events.forget(db, now, events=before, seen=before, refusals=before)


async def test_months_are_not_dropped_in_the_middle_of_a_batch(sessions: Sessions, clock: GivenClock) -> None:
    """Each would hold what the other wants: the pump segments and then events, the other the reverse."""
    segment = await a_segment(sessions, {"kind": "event", "name": "bought", "op": "is", "value": 0})
    old = clock.now() - timedelta(days=300)
    async with sessions.engine() as db:
        await db.execute(text("select make_event_months(:old, 1)"), {"old": old})
    await look(sessions, clock)
    async with sessions.pump(DEFAULT_WORKSPACE) as db:
        await kept_events.hold(db)
        await db.execute(text("update segments set members = 7 where id = :id"), {"id": segment})
        drop = forget_events(sessions, clock.now() - timedelta(days=200), clock.now())
        dropping = asyncio.create_task(drop)
        await eventually(lambda: someone_drops(sessions), what="that months wait for the batch")
        await db.execute(text("select count(*) from events"))
        await db.execute(text("insert into events select * from events where false"))
    await dropping

    assert (await the_segment(sessions, segment)).due_at == clock.now()


async def someone_drops(sessions: Sessions) -> bool:
    async with sessions.engine() as db:
        asked = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and not granted"
        return bool(await db.scalar(text(asked)))


async def test_where_crossings_go_round_until_nobody_is_told_a_look_sets_right_who_is_in(
    sessions: Sessions, clock: GivenClock
) -> None:
    rules = [{"kind": "event", "name": "segment entered", "value": n} for n in range(1, 16)]
    chain = [await a_segment(sessions, rule, f"{n} times") for n, rule in enumerate(rules, 1)]
    await a_segment(sessions, PRO)
    await look(sessions, clock)
    await some_people(sessions, clock, u1="pro")

    rounds = 0
    while (await pump(sessions, clock)).arrivals or (await look(sessions, clock)).any:
        rounds += 1

    assert rounds < 20
    picked = []
    async with sessions(DEFAULT_WORKSPACE) as db:
        for rule in rules:
            who = segments.members(parse(rule), now=clock.now(), time_zone="UTC", currency="USD")
            picked.append(len((await db.execute(who)).all()))
    assert [len(await members(sessions, each)) for each in chain] == picked
    assert 0 in picked
    assert 1 in picked


async def test_a_rule_that_takes_too_long_for_the_people_of_a_batch_is_left_to_a_look(
    sessions: Sessions, clock: GivenClock
) -> None:
    slow = await a_segment(sessions, {"kind": "tag", "tag": "vip"}, "Slow")
    quick = await a_segment(sessions, {"kind": "event", "name": "bought"}, "Quick")
    await look(sessions, clock)
    await put(sessions, arrival(name="bought", user_id="u1"))
    async with sessions(DEFAULT_WORKSPACE) as db:  # For whom the rule has to wait.
        await db.execute(text("lock table profile_tags in access exclusive mode"))
        done = await a_pump(sessions, clock, seconds=0.2).batch(DEFAULT_WORKSPACE, 10)
    kept = await the_segment(sessions, slow)

    assert (done.arrivals, done.crossed) == (1, 1)
    assert await members(sessions, quick) == {"u1"}
    assert str(kept.problem).startswith("Asking it about the people who change took more than 0.2 seconds")
    assert kept.due_at == clock.now() + memberships.BREATH
    clock.move(memberships.BREATH)
    await look(sessions, clock)
    assert (await the_segment(sessions, slow)).problem is None


async def test_what_the_pump_may_take_for_a_rule_bounds_nothing_else(
    sessions: Sessions, clock: GivenClock
) -> None:
    await a_segment(sessions, PRO)
    await look(sessions, clock)
    await some_people(sessions, clock, u1="pro")
    async with sessions.pump(DEFAULT_WORKSPACE) as db:
        before = await db.scalar(text("show statement_timeout"))
        workspace = await workspaces.get(db, DEFAULT_WORKSPACE)
        news = memberships.News({"attribute:plan"}, people=False)
        await memberships.follow(db, workspace, news, clock.now(), 0.5)

        assert await db.scalar(text("show statement_timeout")) == before


async def test_what_the_pump_gives_up_during_a_look_is_made_up_for_by_another(
    sessions: Sessions, clock: GivenClock
) -> None:
    segment = await a_segment(sessions, {"kind": "event", "name": "bought"})
    await look(sessions, clock)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.ask_again(db, segment, clock.now() - timedelta(seconds=1), announce=True)
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = await begun(db, segment, clock)
        await recalculations.doubt(db, found, 10)
        await put(sessions, arrival(name="bought", user_id="u1"))
        async with sessions(DEFAULT_WORKSPACE) as other:
            await other.execute(text("lock table segment_members in share row exclusive mode"))
            await a_pump(sessions, clock, seconds=0.2).batch(DEFAULT_WORKSPACE, 10)
        later = clock.now() + timedelta(minutes=3)
        await recalculations.finish(db, found, timedelta(), None, announce=True, spared_until=later)

    assert (await the_segment(sessions, segment)).due_at == later


async def test_a_merge_and_an_erasure_count_down_the_segments_that_the_person_was_in(
    sessions: Sessions, clock: GivenClock
) -> None:
    await some_people(sessions, clock, u1="pro", u2="pro", u3="pro", u4="free")
    segment = await a_segment(sessions, PRO)
    await look(sessions, clock)
    who = dict(await ask(sessions, "select value, profile_id from identities"))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await people_lock.take_here(db)
        await profiles_merged.merge(db, who["u1"], who["u2"], clock.now())
        await profiles_merged.merge(db, who["u4"], who["u2"], clock.now())
    merged = (await the_segment(sessions, segment)).members
    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles_erased.erase(db, who["u3"], clock.now())
        await profiles_erased.erase(db, who["u3"], clock.now())
    erased = (await the_segment(sessions, segment)).members
    await some_people(sessions, clock, u5="pro")

    assert (merged, erased) == (2, 1)
    assert await ask(sessions, 'select entered, "left", size from segment_days') == [(1, 0, 2)]
    assert (await the_segment(sessions, segment)).members == 2
    assert await ask(sessions, "select count(*) from segment_members") == [2]
