"""Looks at everybody: new segments, edited ones, those that time changes, and what goes wrong meanwhile."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text

from activities.segments import LATER, Looked
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.batch import Answer, Asked
from models.queries import follow_ups, recalculations, segments_written, taken, workspaces
from models.queries.recalculations import Look
from models.segments import Segment
from tests.arrivals import a_keeper, arrival, look, pump, put
from tests.people import rows
from tests.support import GivenClock, eventually

PRO = {"kind": "attribute", "name": "plan", "op": "is", "value": "pro"}
FREE = {**PRO, "value": "free"}
LATELY = {"kind": "event", "name": "bought", "window": {"after": "30 days ago"}}


async def a_segment(
    sessions: Sessions, rule: dict[str, Any], name: str = "Some", *, announce: bool = False
) -> UUID:
    async with sessions(DEFAULT_WORKSPACE) as db:
        made = await segments_written.create(db, DEFAULT_WORKSPACE, name, rule, announce=announce)
        return made.id


async def the_segment(sessions: Sessions, segment_id: UUID) -> Segment:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await segments_written.hold(db, segment_id)


async def edit(sessions: Sessions, segment_id: UUID, rule: dict[str, Any], *, announce: bool = False) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.change(db, segment_id, {"rule": rule}, announce=announce)


async def some_people(sessions: Sessions, clock: GivenClock, **plans: str) -> None:
    told = [arrival("identify", user_id=who, properties={"plan": plan}) for who, plan in plans.items()]
    await put(sessions, *told)
    await pump(sessions, clock)


async def members(sessions: Sessions, segment_id: UUID) -> set[str]:
    asked = """
        select i.value from segment_members m join identities i using (workspace_id, profile_id)
        where i.kind = 'user_id' and m.segment_id = :segment
    """
    return {*await ask(sessions, asked, segment=segment_id)}


async def heard(sessions: Sessions) -> list[Any]:
    return await ask(sessions, "select name from events where kind = 'system' order by id")


async def ask(sessions: Sessions, asked: str, **values: Any) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await rows(db, asked, **values)


async def test_a_first_look_takes_in_who_is_there_and_nobody_hears_of_it(
    sessions: Sessions, clock: GivenClock
) -> None:
    await some_people(sessions, clock, u1="pro", u2="free")
    segment = await a_segment(sessions, PRO)

    done = await look(sessions, clock)
    await pump(sessions, clock)

    kept = await the_segment(sessions, segment)
    assert done == Looked(first=1, again=1)  # What changed during the first is found by the second.
    assert (kept.members, kept.due_at, kept.problem, kept.reads) == (1, None, None, ["attribute:plan"])
    assert kept.took_ms is not None
    assert await members(sessions, segment) == {"u1"}
    assert await heard(sessions) == []


async def test_each_look_says_when_it_was(sessions: Sessions, clock: GivenClock) -> None:
    segment = await a_segment(sessions, LATELY)
    for _ in range(2):
        await look(sessions, clock)
        assert (await the_segment(sessions, segment)).materialized_at == clock.now()
        clock.move(timedelta(hours=1))


async def test_current_members_are_announced_where_that_is_asked_for(
    sessions: Sessions, clock: GivenClock
) -> None:
    await some_people(sessions, clock, u1="pro", u2="free")
    segment = await a_segment(sessions, PRO, announce=True)

    await look(sessions, clock)
    await pump(sessions, clock)

    assert await members(sessions, segment) == {"u1"}
    assert await heard(sessions) == ["segment entered"]


async def test_an_edit_moves_people_silently_unless_it_is_to_be_announced(
    sessions: Sessions, clock: GivenClock
) -> None:
    await some_people(sessions, clock, u1="pro", u2="free")
    segment = await a_segment(sessions, PRO)
    await look(sessions, clock)

    await edit(sessions, segment, FREE)
    await look(sessions, clock)
    silent = await members(sessions, segment), await heard(sessions)
    await edit(sessions, segment, PRO, announce=True)
    await look(sessions, clock)
    await pump(sessions, clock)

    assert silent == ({"u2"}, [])
    assert await members(sessions, segment) == {"u1"}
    assert sorted(await heard(sessions)) == ["segment entered", "segment left"]
    assert (await the_segment(sessions, segment)).version == 3


async def test_a_window_that_closes_by_itself_lets_people_go_and_says_so(
    sessions: Sessions, clock: GivenClock
) -> None:
    segment = await a_segment(sessions, LATELY)
    await look(sessions, clock)
    await put(sessions, arrival(name="bought", user_id="u1", at=clock.now()))
    await pump(sessions, clock)
    entered = await members(sessions, segment)

    clock.move(timedelta(days=31))
    await look(sessions, clock)
    await pump(sessions, clock)

    assert (entered, await members(sessions, segment)) == ({"u1"}, set())
    assert await heard(sessions) == ["segment entered", "segment left"]
    due_at = (await the_segment(sessions, segment)).due_at
    assert due_at is not None
    assert due_at >= clock.now() + timedelta(minutes=1)


async def test_a_look_that_takes_too_long_leaves_the_members_and_says_what_to_do(
    sessions: Sessions, clock: GivenClock
) -> None:
    await some_people(sessions, clock, u1="pro", u2="free")
    segment = await a_segment(sessions, PRO)
    await look(sessions, clock)
    await edit(sessions, segment, FREE)
    other = await a_segment(sessions, {"all": []}, "Everybody")

    async with sessions(DEFAULT_WORKSPACE) as db:  # For whom the look has to wait.
        await db.execute(text("select from segment_members for update"))
        done = await look(sessions, clock, seconds=0.2)
    kept = await the_segment(sessions, segment)
    clock.move(LATER)
    await look(sessions, clock)

    assert (done.failed, done.first) == (1, 1)
    assert kept.problem is not None
    assert kept.problem.startswith("Finding its members took more than 0.2 seconds and was given up")
    assert kept.materialized_at is None
    assert await members(sessions, other) == {"u1", "u2"}
    assert await members(sessions, segment) == {"u2"}
    assert (await the_segment(sessions, segment)).problem is None


async def test_a_rule_that_cannot_be_read_holds_up_nobody(sessions: Sessions, clock: GivenClock) -> None:
    await some_people(sessions, clock, u1="pro")
    broken, other = await a_segment(sessions, PRO), await a_segment(sessions, PRO, "Others")
    await look(sessions, clock)
    async with sessions(DEFAULT_WORKSPACE) as db:
        wrong = """update segments set rule = '{"kind": "star sign"}' where id = :id"""
        await db.execute(text(wrong), {"id": broken})

    await some_people(sessions, clock, u2="pro")
    done = await look(sessions, clock)

    assert await members(sessions, other) == {"u1", "u2"}
    assert await members(sessions, broken) == {"u1"}
    assert done.failed == 1
    assert "all" in str((await the_segment(sessions, broken)).problem)


async def test_more_people_than_the_pump_is_handed_at_once_come_in_the_end(
    sessions: Sessions, clock: GivenClock
) -> None:
    await some_people(sessions, clock, **{f"u{n}": "pro" for n in range(5)})
    segment = await a_segment(sessions, PRO, announce=True)
    keeper = a_keeper(sessions, clock, page=2)

    for _ in range(5):
        await keeper.round(Looked())
        await pump(sessions, clock)
        clock.move(timedelta(minutes=1))

    assert await members(sessions, segment) == {f"u{n}" for n in range(5)}
    assert await heard(sessions) == ["segment entered"] * 5
    assert (await the_segment(sessions, segment)).due_at is None


async def test_nobody_who_changes_during_a_first_look_is_lost(sessions: Sessions, clock: GivenClock) -> None:
    await some_people(sessions, clock, u1="pro", u2="free")
    segment = await a_segment(sessions, PRO)
    async with sessions(DEFAULT_WORKSPACE) as db:
        first = await begun(db, segment, clock)
        await recalculations.write_down(db, first)
        await some_people(sessions, clock, u1="free", u2="pro")  # The pump does not follow the segment yet.
        assert await recalculations.still_means(db, first)
        await recalculations.finish(db, first, timedelta(), clock.now(), announce=False)
    seen = await members(sessions, segment)  # A worker that dies here has said that another look is due.

    await look(sessions, clock)
    await pump(sessions, clock)

    assert (seen, await members(sessions, segment)) == ({"u1"}, {"u2"})
    assert await heard(sessions) == []
    assert (await the_segment(sessions, segment)).members == 1


async def begun(db: Any, segment_id: UUID, clock: GivenClock) -> Look:
    workspace = await workspaces.get(db, DEFAULT_WORKSPACE)
    found = await recalculations.ripe(db, segment_id, clock.now())
    assert found is not None
    return await recalculations.begin(db, workspace, found, clock.now(), 60)


async def test_a_second_look_waits_for_a_pump_that_does_not_follow_the_segment(
    sessions: Sessions, clock: GivenClock
) -> None:
    await some_people(sessions, clock, u1="free")
    segment = await a_segment(sessions, PRO)
    keeper = a_keeper(sessions, clock)
    async with sessions.pump(DEFAULT_WORKSPACE) as early:
        assert await taken.lock(early, DEFAULT_WORKSPACE)
        first = asyncio.create_task(a_first_look(sessions, segment, clock))
        await first
        second = asyncio.create_task(keeper.look(DEFAULT_WORKSPACE, segment))
        await eventually(lambda: someone_waits(sessions), what="that the look waits for the pump")
        await early.execute(text("""update profiles set attributes = '{"plan": "pro"}'"""))
    await second
    await pump(sessions, clock)

    assert await members(sessions, segment) == {"u1"}


async def test_a_second_look_waits_for_who_was_told_that_nobody_follows_the_segment(
    sessions: Sessions, clock: GivenClock
) -> None:
    await some_people(sessions, clock, u1="free")
    segment = await a_segment(sessions, PRO)
    keeper = a_keeper(sessions, clock)
    async with sessions(DEFAULT_WORKSPACE) as early:
        changed = await early.scalars(
            text("""update profiles set attributes = '{"plan": "pro"}' returning id""")
        )
        await follow_ups.note(early, [*changed], clock.now(), reads=["attribute:plan"])
        await a_first_look(sessions, segment, clock)
        second = asyncio.create_task(keeper.look(DEFAULT_WORKSPACE, segment))
        await eventually(lambda: someone_waits(sessions), what="that the look waits for the change")
    await second
    waiting = await in_the_inbox(sessions)
    await pump(sessions, clock)

    assert waiting == 1  # From the look: who changed the person had nothing to say.
    assert await members(sessions, segment) == {"u1"}


async def a_first_look(sessions: Sessions, segment_id: UUID, clock: GivenClock) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        first = await begun(db, segment_id, clock)
        await recalculations.write_down(db, first)
        await recalculations.finish(db, first, timedelta(), clock.now(), announce=False)


async def someone_waits(sessions: Sessions) -> bool:
    async with sessions.engine() as db:
        return bool(
            await db.scalar(text("select count(*) from pg_locks where locktype = 'advisory' and not granted"))
        )


async def in_the_inbox(sessions: Sessions) -> int:
    async with sessions.engine() as db:
        return int(await db.scalar(text("select count(*) from inbox")) or 0)


async def test_an_edit_during_a_look_takes_back_what_it_found(sessions: Sessions, clock: GivenClock) -> None:
    await some_people(sessions, clock, u1="pro", u2="free")
    segment = await a_segment(sessions, PRO)
    naming = await a_segment(sessions, {"kind": "segment", "segment_id": str(segment)}, "The same")
    for edited, looked_at in ((segment, segment), (segment, naming)):
        await look(sessions, clock)
        await edit(sessions, edited, FREE)
        async with sessions(DEFAULT_WORKSPACE) as db:
            found = await begun(db, looked_at, clock)
            await recalculations.write_down(db, found)
            await edit(sessions, edited, PRO)
            assert not await recalculations.still_means(db, found)
            await db.rollback()

    await look(sessions, clock)

    assert await members(sessions, segment) == await members(sessions, naming) == {"u1"}


async def test_where_the_workspace_changes_what_rules_mean_people_move_silently(
    sessions: Sessions, clock: GivenClock
) -> None:
    segment = await a_segment(sessions, {"kind": "orders", "measure": "total", "op": ">", "value": 5})
    order = {"key": "o1", "total": "10.00", "currency": "EUR", "quantity": 1}
    await put(sessions, arrival("order", user_id="u1", properties=order))
    await pump(sessions, clock)
    await look(sessions, clock)
    before = await members(sessions, segment)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.ask_again(db, segment, clock.now(), announce=False)
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = await begun(db, segment, clock)
        async with sessions(DEFAULT_WORKSPACE) as other:
            await segments_written.ask_all_again(other, clock.now())
            await workspaces.change(other, DEFAULT_WORKSPACE, {"currency": "EUR"})
        assert not await recalculations.still_means(db, found)
    await look(sessions, clock)
    await pump(sessions, clock)

    assert (before, await members(sessions, segment)) == (set(), {"u1"})
    assert await heard(sessions) == []


async def test_two_do_not_look_at_everybody_for_one_segment(sessions: Sessions, clock: GivenClock) -> None:
    segment = await a_segment(sessions, PRO)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await begun(db, segment, clock)

        assert await look(sessions, clock) == Looked()
    assert await look(sessions, clock) == Looked(first=1, again=1)


async def test_who_asks_again_during_a_look_gets_another(sessions: Sessions, clock: GivenClock) -> None:
    await some_people(sessions, clock, u1="pro")
    segment = await a_segment(sessions, PRO)
    await look(sessions, clock)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.ask_again(db, segment, clock.now(), announce=False)
    later = clock.now() + timedelta(seconds=1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = await begun(db, segment, clock)
        async with sessions(DEFAULT_WORKSPACE) as other:
            await segments_written.ask_again(other, segment, later, announce=True)
        await recalculations.finish(db, found, timedelta(), None, announce=True)

    assert (await the_segment(sessions, segment)).due_at == later


class Killed(BaseException):
    pass


async def test_a_look_that_dies_between_any_two_statements_loses_nobody_and_says_nothing(
    sessions: Sessions, clock: GivenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some_people(sessions, clock, u1="pro", u2="free", u3="pro")
    segment = await a_segment(sessions, PRO)
    executed, fatal = 0, 1

    def kill(*_: object) -> None:
        nonlocal executed
        executed += 1
        if executed == fatal:
            raise Killed

    async def at_once(workspace_id: UUID, asked: Sequence[Asked]) -> list[Answer]:
        kill()
        answers = await Sessions.at_once(sessions, workspace_id, asked)
        kill()
        return answers

    monkeypatch.setattr(sessions, "at_once", at_once)
    engines = sessions._app.sync_engine, sessions._engine.sync_engine
    for engine in engines:
        event.listen(engine, "after_cursor_execute", kill)
    survived = False
    while not survived:
        executed = 0
        try:
            await look(sessions, clock)
            survived = True
        except Killed:
            fatal += 1
    for engine in engines:
        event.remove(engine, "after_cursor_execute", kill)
    await pump(sessions, clock)

    assert fatal > 15
    assert await members(sessions, segment) == {"u1", "u3"}
    assert await heard(sessions) == []


async def test_each_day_keeps_how_many_came_and_went(sessions: Sessions, clock: GivenClock) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update workspaces set time_zone = 'Pacific/Auckland'"))
    await some_people(sessions, clock, u1="pro", u2="free")
    segment = await a_segment(sessions, PRO)
    await look(sessions, clock)
    await some_people(sessions, clock, u1="free", u2="pro", u3="pro")
    clock.move(timedelta(days=1))
    await some_people(sessions, clock, u2="free")

    days = await ask(
        sessions, 'select cast(day as text), entered, "left", size from segment_days order by day'
    )
    assert days == [("2026-03-03", 2, 1, 2), ("2026-03-04", 0, 1, 1)]
    assert (await the_segment(sessions, segment)).members == 1
