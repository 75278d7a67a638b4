"""Who enters a flow and who does not, who is due, and how a group moves on."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.flows import START, Send, Wait
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.flows import Flow
from models.orders import Order
from models.profiles import Profile
from models.queries import enrollments, enrollments_moved, flows, happenings, profiles_erased, profiles_merged
from models.queries.ways import Move
from tests.people import HERE, write_the_agenda
from tests.sending import NOW, a_flow, a_graph, a_template, at, people, send, some, version_of, wait
from tests.support import eventually, somebody_waits

NAP = timedelta(seconds=60)


async def a_live_flow(db: AsyncSession, **values: Any) -> Flow:
    """It begins with a condition, so that who enters stays at the start until somebody decides."""
    fork = {"kind": "branch", "condition": {"all": []}, "then": "nap"}
    return await published(db, {"fork": fork, "nap": wait(60)}, "fork", **values)


async def published(db: AsyncSession, steps: dict[str, Any], first: str, **values: Any) -> Flow:
    flow_id = await a_flow(db, a_graph(steps, first, **values))
    flow, _, _ = await flows.publish(db, flow_id)
    return flow


async def enrolled(db: AsyncSession, flow: Flow, *entries: tuple[UUID, str]) -> int:
    who = [(person, entry, {"by": "hand"}) for person, entry in entries]
    return await enrollments.enroll(db, DEFAULT_WORKSPACE, flow.id, who, NOW)


async def an_order(db: AsyncSession, person: UUID, key: str) -> UUID:
    order = Order(
        **HERE, key=key, profile_id=person, ordered_at=NOW, quantity=1, total=9, currency="USD", source="x"
    )
    db.add(order)
    await db.flush()
    return order.id


async def by_orders(db: AsyncSession, *orders: UUID) -> None:
    """What a batch of these leads to, as if it had a transaction of its own."""
    await happenings.of_orders(db, DEFAULT_WORKSPACE, orders, NOW)
    await db.execute(text("delete from happened"))
    await db.execute(text("delete from newcomers"))


async def set_state(db: AsyncSession, flow: Flow, state: str) -> None:
    await db.execute(text("update flows set state = :state where id = :id"), {"state": state, "id": flow.id})


def a_move(flow: Flow, to: str | None = "nap", origin: str = START) -> Move:
    assert flow.version_id
    step = Wait(duration=NAP) if to else None
    return Move(DEFAULT_WORKSPACE, flow.id, flow.version_id, origin, to, step, None, "because")


# Entering.


async def test_who_enters_is_due_at_the_start_with_what_let_them_in(db: AsyncSession) -> None:
    flow, [person] = await a_live_flow(db), await people(db, 1)

    assert await enrolled(db, flow, (person, "x")) == 1
    [row] = (
        await db.execute(text("select step, due_at, entered_at, properties, entry from enrollments"))
    ).all()
    assert row == (START, NOW, NOW, {"by": "hand"}, "once")


async def test_a_person_enters_once_however_often_they_are_let_in(db: AsyncSession) -> None:
    flow, [person] = await a_live_flow(db), await people(db, 1)

    assert await enrolled(db, flow, (person, "x"), (person, "y")) == 1
    assert await enrolled(db, flow, (person, "z")) == 0


async def test_where_re_entry_is_allowed_each_occasion_counts_once(db: AsyncSession) -> None:
    flow, [person] = await a_live_flow(db, reentry="always"), await people(db, 1)

    assert await enrolled(db, flow, (person, "x"), (person, "y"), (person, "x")) == 2
    assert await enrolled(db, flow, (person, "y"), (person, "z")) == 1


@pytest.mark.parametrize(("state", "let_in"), [("live", 1), ("paused", 1), ("draft", 0), ("archived", 0)])
async def test_a_paused_flow_keeps_its_entries_and_others_have_none(
    db: AsyncSession, state: str, let_in: int
) -> None:
    flow, [person] = await a_live_flow(db), await people(db, 1)
    await set_state(db, flow, state)

    assert await enrolled(db, flow, (person, "x")) == let_in


async def test_nobody_enters_who_was_erased_or_is_unknown(db: AsyncSession) -> None:
    flow, [person] = await a_live_flow(db), await people(db, 1)
    await profiles_erased.erase(db, person, NOW)

    assert await enrolled(db, flow, (person, "x"), (uuid4(), "x")) == 0


async def test_two_profiles_of_one_person_enter_as_that_person(db: AsyncSession) -> None:
    flow, [alias, survivor] = await a_live_flow(db), await people(db, 2)
    await profiles_merged.merge(db, alias, survivor, NOW)

    assert await enrolled(db, flow, (alias, "x"), (survivor, "x")) == 1
    assert await some(db, "select profile_id from enrollments") == [survivor]


async def test_who_entered_before_a_merge_does_not_enter_again_after_it(db: AsyncSession) -> None:
    flow, [alias, survivor] = await a_live_flow(db), await people(db, 2)
    await enrolled(db, flow, (alias, "x"))
    await profiles_merged.merge(db, alias, survivor, NOW)

    assert await enrolled(db, flow, (survivor, "x")) == 0
    them = select(Profile.id).where(Profile.id == survivor)
    assert (await enrollments.enter_page(db, version_of(flow), them, NOW)).entered == 0


async def test_who_entered_on_another_occasion_before_a_merge_may_enter_again(db: AsyncSession) -> None:
    flow, [alias, survivor] = await a_live_flow(db, reentry="always"), await people(db, 2)
    await enrolled(db, flow, (alias, "x"))
    await profiles_merged.merge(db, alias, survivor, NOW)

    assert await enrolled(db, flow, (survivor, "x"), (survivor, "y")) == 1


@pytest.mark.parametrize("in_already", [True, False])
async def test_who_is_being_merged_enters_as_who_they_become(sessions: Sessions, in_already: bool) -> None:
    async def enter() -> int:
        async with sessions(DEFAULT_WORKSPACE) as db:
            return await enrolled(db, flow, (survivor, "x"), (alias, "x"))

    async with sessions(DEFAULT_WORKSPACE) as db:
        flow, [alias, survivor] = await a_live_flow(db), await people(db, 2)
        if in_already:
            await enrolled(db, flow, (alias, "x"))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles_merged.merge(db, alias, survivor, NOW)
        entering = asyncio.create_task(enter())
        await eventually(lambda: somebody_waits(sessions))

    assert await entering == (0 if in_already else 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await some(db, "select profile_id from enrollments") == [alias if in_already else survivor]


async def test_everyone_whom_a_segment_names_enters_once(db: AsyncSession) -> None:
    flow, members = await a_live_flow(db), await people(db, 3)
    await enrolled(db, flow, (members[0], "x"))
    which = select(Profile.id)

    assert await enrollments.enter_page(db, version_of(flow), which, NOW) == (2, 3, max(members))
    assert await enrollments.enter_page(db, version_of(flow), which, NOW) == (0, 3, max(members))
    assert sorted(await some(db, "select profile_id from enrollments")) == sorted(members)


async def test_buyers_enter_the_flows_that_begin_with_an_order(db: AsyncSession) -> None:
    trigger = {"kind": "event", "event": "order placed"}
    once, always = (
        await a_live_flow(db, trigger=trigger),
        await a_live_flow(db, trigger=trigger, reentry="always"),
    )
    by_hand = await a_live_flow(db)
    ada, bob = await people(db, 2)
    orders = [await an_order(db, person, key) for person, key in ((ada, "1"), (ada, "2"), (bob, "3"))]

    for _ in range(2):
        await by_orders(db, *orders)

    asked = "select entry from enrollments where flow_id = :flow order by entry"
    assert await some(db, asked, flow=once.id) == ["once", "once"]
    assert await some(db, asked, flow=always.id) == ["1", "2", "3"]
    assert await some(db, asked, flow=by_hand.id) == []
    first = "select properties ->> 'order' from enrollments where flow_id = :flow and profile_id = :who"
    assert await some(db, first, flow=once.id, who=ada) == ["1"]


@pytest.mark.parametrize("onward", [True, False])
async def test_who_enters_by_an_old_id_while_they_are_merged_again_makes_a_journey_once(
    sessions: Sessions, onward: bool
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow = await a_live_flow(db)
        alias, survivor, other = await people(db, 3)
        await profiles_merged.merge(db, alias, survivor, NOW)
        assert await enrolled(db, flow, (other, "x")) == 1

    async def enter_by_the_alias() -> int:
        async with sessions(DEFAULT_WORKSPACE) as db:
            return await enrolled(db, flow, (alias, "x"))

    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles_merged.merge(db, *((survivor, other) if onward else (other, survivor)), NOW)
        entering = asyncio.create_task(enter_by_the_alias())
        await eventually(lambda: somebody_waits(sessions))

    assert await entering == 0
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await some(db, "select count(*) from enrollments") == [1]


async def test_who_is_being_erased_does_not_enter(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow, [person] = await a_live_flow(db), await people(db, 1)

    async def enter() -> int:
        async with sessions(DEFAULT_WORKSPACE) as db:
            return await enrolled(db, flow, (person, "x"))

    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles_erased.erase(db, person, NOW)
        entering = asyncio.create_task(enter())
        await eventually(lambda: somebody_waits(sessions))

    assert await entering == 0


async def test_a_buyer_who_entered_before_a_merge_does_not_enter_again_after_it(db: AsyncSession) -> None:
    flow = await a_live_flow(db, trigger={"kind": "event", "event": "order placed"})
    alias, survivor = await people(db, 2)
    await enrolled(db, flow, (alias, "x"))
    await profiles_merged.merge(db, alias, survivor, NOW)
    await by_orders(db, await an_order(db, survivor, "1"))

    assert await some(db, "select profile_id from enrollments") == [alias]


async def the_pokes(sessions: Sessions) -> list[tuple[UUID, str]]:
    async with sessions.engine() as db:
        return [
            (row.queue_id, row.work) for row in await db.execute(text("select queue_id, work from pokes"))
        ]


async def test_who_enters_pokes_the_flow(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow, [person] = await a_live_flow(db), await people(db, 1)
        await enrolled(db, flow, (person, "x"))
    assert await the_pokes(sessions) == [(flow.id, "advance")]


async def test_who_enters_is_at_the_first_step_when_that_is_committed(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow, [person] = await published(db, {"nap": wait(60)}, "nap"), await people(db, 1)
        await enrolled(db, flow, (person, "x"))
        assert (await db.execute(text("select step, due_at from enrollments"))).all() == [("nap", NOW + NAP)]
    assert await the_pokes(sessions) == [(flow.id, "advance")]


async def test_who_enters_where_a_message_comes_first_has_it_queued_and_is_sent_it(
    sessions: Sessions,
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        template, version = await a_template(db)
        flow, [person] = await published(db, {"hello": send(template)}, "hello"), await people(db, 1)
        await enrolled(db, flow, (person, "x"))
        lines = await db.execute(
            text("select step, profile_id, queue_id, template_version_id, state from messages")
        )
        assert lines.all() == [("hello", person, flow.id, version, "queued")]
    assert await the_pokes(sessions) == [(flow.id, "send")]


async def test_who_enters_a_paused_flow_waits_at_the_start(db: AsyncSession) -> None:
    flow, [person] = await published(db, {"nap": wait(60)}, "nap"), await people(db, 1)
    await set_state(db, flow, "paused")
    await enrolled(db, flow, (person, "x"))

    assert await some(db, "select step from enrollments") == [START]


async def test_an_archive_waits_for_those_who_are_entering_and_lets_in_nobody_after_it(
    sessions: Sessions,
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow, [person, late] = await a_live_flow(db), await people(db, 2)
    async with sessions(DEFAULT_WORKSPACE) as entering:
        assert await enrolled(entering, flow, (person, "x")) == 1
        async with sessions(DEFAULT_WORKSPACE) as db:
            await db.execute(text("set local lock_timeout = '50ms'"))
            with pytest.raises(DBAPIError, match="lock timeout"):
                await set_state(db, flow, "archived")
            await db.rollback()
    async with sessions(DEFAULT_WORKSPACE) as db:
        await set_state(db, flow, "archived")
        assert await enrolled(db, flow, (late, "x")) == 0


# Being due, and moving on.


async def test_the_agenda_names_the_steps_where_somebody_is_or_will_be_due(db: AsyncSession) -> None:
    flow, members = await a_live_flow(db), await people(db, 4)
    await enrolled(db, flow, *((person, "x") for person in members))
    assert await enrollments_moved.advance(db, a_move(flow), NOW, 2) == 2

    items = await enrollments.agenda(db, DEFAULT_WORKSPACE, flow.id, at(0))

    assert [(item.step, item.due, item.next_due_at) for item in items] == [
        (START, 2, NOW),
        ("nap", 0, NOW + NAP),
    ]
    assert [item.due for item in await enrollments.agenda(db, DEFAULT_WORKSPACE, flow.id, NOW + NAP)] == [
        2,
        2,
    ]


async def test_a_flow_in_which_everybody_has_finished_has_no_agenda(db: AsyncSession) -> None:
    flow, [person] = await a_live_flow(db), await people(db, 1)
    await enrolled(db, flow, (person, "x"))
    assert await enrollments_moved.advance(db, a_move(flow, None), NOW, 10) == 1

    assert await enrollments.agenda(db, DEFAULT_WORKSPACE, flow.id, at(99)) == []
    [row] = (await db.execute(text("select step, due_at, ended_at, outcome from enrollments"))).all()
    assert row == ("end", None, NOW, "finished")


async def test_history_says_who_moved_where_when_and_why(db: AsyncSession) -> None:
    flow, [person] = await a_live_flow(db), await people(db, 1)
    await enrolled(db, flow, (person, "x"))
    await enrollments_moved.advance(db, a_move(flow), NOW, 10)
    await enrollments_moved.advance(db, a_move(flow, None, "nap"), NOW + NAP, 10)

    [history] = await some(db, "select history from enrollments")
    assert history == [
        ["2026-03-02T12:00:00Z", "start", "nap", "because"],
        ["2026-03-02T12:01:00Z", "nap", "end", "because"],
    ]


@pytest.mark.parametrize("state", ["paused", "archived", "draft"])
async def test_nobody_moves_unless_the_flow_is_live(db: AsyncSession, state: str) -> None:
    flow, [person] = await a_live_flow(db), await people(db, 1)
    await enrolled(db, flow, (person, "x"))
    await set_state(db, flow, state)

    assert await enrollments_moved.advance(db, a_move(flow), NOW, 10) == 0


async def test_who_is_not_due_yet_stays(db: AsyncSession) -> None:
    flow, [person] = await a_live_flow(db), await people(db, 1)
    await enrolled(db, flow, (person, "x"))

    assert await enrollments_moved.advance(db, a_move(flow), NOW - timedelta(microseconds=1), 10) == 0


async def test_two_who_advance_at_once_move_each_member_once(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow, members = await a_live_flow(db), await people(db, 5)
        await enrolled(db, flow, *((person, "x") for person in members))
    async with sessions(DEFAULT_WORKSPACE) as one, sessions(DEFAULT_WORKSPACE) as other:
        first = await enrollments_moved.advance(one, a_move(flow), NOW, 3)
        second = await enrollments_moved.advance(other, a_move(flow), NOW, 3)

    assert (first, second) == (3, 2)


async def test_arriving_at_a_send_step_writes_a_line_for_each_visit(db: AsyncSession) -> None:
    flow, [person], (template, version) = await a_live_flow(db), await people(db, 1), await a_template(db)
    await enrolled(db, flow, (person, "x"))
    to_send = a_move(flow)._replace(step=Send(template_id=template), to="hello", template_version_id=version)
    for _ in range(2):
        assert await enrollments_moved.advance(db, to_send, NOW, 10) == 1
        await db.execute(text("update enrollments set step = 'start', due_at = :now"), {"now": NOW})
        await write_the_agenda(db)

    lines = await db.execute(
        text("select step, visit, profile_id, queue_id, class, state, due_at from messages order by visit")
    )
    assert [tuple(line) for line in lines] == [
        ("hello", visit, person, flow.id, "marketing", "queued", NOW) for visit in (1, 2)
    ]


async def test_places_tell_how_many_are_where_and_until_when(db: AsyncSession) -> None:
    flow, members = await a_live_flow(db), await people(db, 3)
    await enrolled(db, flow, *((person, "x") for person in members))
    await enrollments_moved.advance(db, a_move(flow), NOW, 2)

    places = await enrollments.places(db, DEFAULT_WORKSPACE, flow.id)

    assert [tuple(place) for place in places] == [("nap", 2, NOW + NAP), (START, 1, NOW)]


async def all_ended(db: AsyncSession, flow: Flow) -> int:
    """How many journeys a walk over all of them ended."""
    ended, after = 0, enrollments.FIRST
    while True:
        page = await enrollments.end_all(db, DEFAULT_WORKSPACE, flow.id, after, at(1))
        ended += page.journeys
        if page.last is None:
            return ended
        after = page.last


async def test_archiving_ends_every_journey_that_is_under_way(db: AsyncSession) -> None:
    flow, other, members = await a_live_flow(db), await a_live_flow(db), await people(db, 2)
    for each in (flow, other):
        await enrolled(db, each, *((person, "x") for person in members))
    await enrollments_moved.advance(db, a_move(flow, None), NOW, 1)

    assert await all_ended(db, flow) == 1
    assert await all_ended(db, flow) == 0
    asked = "select outcome from enrollments where flow_id = :flow order by outcome"
    assert await some(db, asked, flow=flow.id) == ["archived", "finished"]
    assert await some(db, asked, flow=other.id) == [None, None]
