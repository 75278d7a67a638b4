"""Who enters by an event, and whose wait an event ends."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as any_
from pydantic import TypeAdapter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.comparisons import Property, all_hold
from domain.flows import MOST_HOPS, START, FlowState, WaitForEvent
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Db, Sessions
from models.flows import Flow
from models.queries import enrollments_moved, flows, happenings, profiles_erased, profiles_merged, ways
from models.queries.happenings import Happened
from tests.arrivals import arrival, pump, put
from tests.databases import Database
from tests.people import rows
from tests.rules import json
from tests.rules import plain_attribute as attribute
from tests.sending import NOW, a_flow, a_graph, a_template, as_json, at, people, send, some, wait
from tests.support import GivenClock, eventually

HOUR = timedelta(hours=1)
Did = tuple[UUID, str, dict[str, Any]]  # Who did what, with which properties.


def begins_with(event: str, *where: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "event", "event": event, "where": [*where]}


def wait_for(event: str, *where: dict[str, Any], then: str | None = None) -> dict[str, Any]:
    step = {"kind": "wait_for_event", "event": event, "where": [*where], "at_most": 3600}
    return step | {"then": then, "otherwise": None}


def asks(name: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"kind": "property", "name": name, "op": op, "value": value}


async def published(
    db: AsyncSession, trigger: dict[str, Any], steps: dict[str, Any] | None = None, **values: Any
) -> Flow:
    steps = steps or {"nap": wait(60)}
    flow_id = await a_flow(db, a_graph(steps, next(iter(steps)), trigger=trigger, **values))
    return (await flows.publish(db, flow_id))[0]


async def happen(
    db: Db, *did: Did, now: datetime = NOW, occurred: datetime | None = None, hops: int = 0
) -> Happened:
    """What these lead to, one after the other in one batch, as if each had a transaction of its own."""
    await happenings.prepare(db)
    for table in ("happened", "newcomers"):
        await db.execute(text(f"delete from {table}"))
    insert = text(
        """
        insert into happened (n, event_id, profile_id, name, properties, occurred_at, hops)
        values (:n, :id, :who, :what, cast(:properties as jsonb), :at, :hops)
        """
    )
    for n, (who, what, properties) in enumerate(did, 1):
        values = {"n": n, "id": uuid4(), "who": who, "what": what, "properties": as_json(properties)}
        await db.execute(insert, values | {"at": occurred or now, "hops": hops})
    return await happenings.work_in(db, DEFAULT_WORKSPACE, now)


async def places(db: AsyncSession) -> list[Any]:
    return await rows(db, "select step, waiting_for, due_at from enrollments order by entered_at, id")


# Entering.


async def test_whoever_does_what_a_flow_begins_with_enters_with_the_events_properties(
    db: AsyncSession,
) -> None:
    flow, [ada, bob] = await published(db, begins_with("cart filled")), await people(db, 2)

    assert await happen(db, (ada, "cart filled", {"total": 12}), (bob, "cart emptied", {})) == (1, 0)
    assert await some(db, "select history from enrollments") == [
        [["2026-03-02T12:00:00Z", "start", "nap", "entered"]]
    ]
    asked = "select flow_id, profile_id, entry, properties, step, due_at from enrollments"
    assert await rows(db, asked) == [
        (flow.id, ada, "once", {"total": 12}, "nap", at(0) + timedelta(seconds=60))
    ]


async def test_all_conditions_on_the_events_properties_have_to_hold(db: AsyncSession) -> None:
    dear = asks("total", ">=", 100), asks("country", "is", "DE")
    await published(db, begins_with("cart filled", *dear))
    ada, bob, eve = await people(db, 3)

    await happen(
        db,
        (ada, "cart filled", {"total": "120.00", "country": "DE"}),
        (bob, "cart filled", {"total": 99, "country": "DE"}),
        (eve, "cart filled", {"total": 120}),
    )

    assert await some(db, "select profile_id from enrollments") == [ada]


@given(
    any_.lists(attribute, max_size=3),
    any_.lists(any_.dictionaries(any_.just("plan"), json), min_size=1, max_size=5),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_conditions_mean_the_same_for_one_event_and_for_a_batch(
    sessions: Sessions, asked: list[dict[str, Any]], batch: list[dict[str, Any]]
) -> None:
    where = [each | {"kind": "property"} for each in asked]
    conditions = TypeAdapter(tuple[Property, ...]).validate_python(where)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await published(db, begins_with("seen", *where))
        crowd = await people(db, len(batch))
        await happen(db, *((who, "seen", properties) for who, properties in zip(crowd, batch, strict=True)))

        expected = {
            who for who, properties in zip(crowd, batch, strict=True) if all_hold(conditions, properties)
        }
        assert set(await some(db, "select profile_id from enrollments")) == expected
        await db.rollback()


async def test_a_person_enters_once_by_the_first_of_several_events(db: AsyncSession) -> None:
    await published(db, begins_with("seen"))
    [ada] = await people(db, 1)

    assert (await happen(db, (ada, "seen", {"n": 1}), (ada, "seen", {"n": 2}))).entered == 1
    assert (await happen(db, (ada, "seen", {"n": 3}))).entered == 0
    assert await some(db, "select properties ->> 'n' from enrollments") == ["1"]


async def test_where_re_entry_is_allowed_each_event_is_a_journey_and_an_order_is_one_by_its_key(
    db: AsyncSession,
) -> None:
    await published(db, begins_with("seen"), reentry="always")
    await published(db, begins_with("order placed"), reentry="always")
    [ada] = await people(db, 1)
    order = (ada, "order placed", {"order": "o1"})

    assert (await happen(db, (ada, "seen", {}), (ada, "seen", {}), order, order)).entered == 3
    assert (await happen(db, (ada, "seen", {}), order)).entered == 1
    assert await some(db, "select count(*) from enrollments where entry = 'o1'") == [1]


@pytest.mark.parametrize(("state", "let_in"), [("live", 1), ("paused", 1), ("draft", 0), ("archived", 0)])
async def test_a_paused_flow_keeps_its_entries_and_others_have_none(
    db: AsyncSession, state: str, let_in: int
) -> None:
    await published(db, begins_with("seen"))
    await db.execute(text("update flows set state = :state"), {"state": state})
    [ada] = await people(db, 1)

    assert (await happen(db, (ada, "seen", {}))).entered == let_in
    if state == "paused":
        assert await places(db) == [(START, None, NOW)]


async def test_who_entered_before_a_merge_does_not_enter_again_after_it(db: AsyncSession) -> None:
    await published(db, begins_with("seen"))
    alias, survivor, erased = await people(db, 3)
    await happen(db, (alias, "seen", {}))
    await profiles_merged.merge(db, alias, survivor, NOW)
    await profiles_erased.erase(db, erased, NOW)

    assert (await happen(db, (survivor, "seen", {}), (erased, "seen", {}))).entered == 0


async def test_events_that_lead_to_one_another_start_no_flow_round_and_round(db: AsyncSession) -> None:
    await published(db, begins_with("segment entered"))
    ada, bob = await people(db, 2)

    assert (await happen(db, (ada, "segment entered", {}), hops=MOST_HOPS)).entered == 1
    assert (await happen(db, (bob, "segment entered", {}), hops=MOST_HOPS + 1)).entered == 0


async def test_the_newest_version_is_entered_as_soon_as_it_is_published(db: AsyncSession) -> None:
    flow = await published(db, begins_with("seen"))
    [ada, bob] = await people(db, 2)
    await happen(db, (ada, "seen", {}))
    newer = a_graph({"nap": wait(60)}, "nap", trigger=begins_with("bought"))
    await flows.change(db, flow.id, {"definition": newer})
    await flows.publish(db, flow.id)

    assert (await happen(db, (bob, "seen", {}))).entered == 0
    assert (await happen(db, (bob, "bought", {}))).entered == 1
    assert await some(db, "select count(distinct version_id) from enrollments") == [2]


async def test_more_triggers_than_a_statement_takes_are_all_heard(db: AsyncSession) -> None:
    for n in range(45):
        await published(db, begins_with("seen", asks("page", "is", n)))
    ada, bob = await people(db, 2)

    assert (await happen(db, (ada, "seen", {"page": 44}), (ada, "seen", {"page": 3}))).entered == 2
    assert (await happen(db, *((bob, "seen", {"page": n}) for n in range(50)))).entered == 45


async def test_who_enters_where_a_message_comes_first_has_it_queued(db: AsyncSession) -> None:
    template, _ = await a_template(db)
    await published(db, begins_with("seen"), {"hello": send(template)})
    crowd = await people(db, 3)

    assert (await happen(db, *((who, "seen", {}) for who in crowd))).entered == 3
    assert await some(db, "select count(*) from messages where state = 'queued'") == [3]


# Waiting.


async def a_waiting(db: AsyncSession, who: Sequence[UUID], *where: dict[str, Any]) -> Flow:
    """A flow in which these wait for an order."""
    steps = {"order?": wait_for("order placed", *where, then="nap"), "nap": wait(60)}
    flow = await published(db, begins_with("cart filled"), steps)
    assert (await happen(db, *((one, "cart filled", {}) for one in who))).entered == len(who)
    return flow


async def moves(db: AsyncSession, flow: Flow, now: datetime) -> tuple[int, int]:
    """How many go on from the wait because the event came, and because it did not."""
    assert flow.version_id
    graph = (await ways.graphs(db, flow.id))[flow.version_id]
    came, late = graph.way("order?", "nap", "came"), graph.way("order?", None, "late")
    return (
        await enrollments_moved.advance(db, came, now, 10, came=True),
        await enrollments_moved.advance(db, late, now, 10, came=False),
    )


async def test_whoever_does_it_in_time_is_due_at_once_and_the_others_at_the_deadline(
    db: AsyncSession,
) -> None:
    ada, bob = await people(db, 2)
    flow = await a_waiting(db, [ada, bob])
    assert await places(db) == [("order?", "event", at(1))] * 2

    assert await happen(db, (ada, "order placed", {}), now=at(0.5)) == (0, 1)
    assert sorted(await places(db), key=str) == [("order?", "event", at(1)), ("order?", None, at(0.5))]
    assert await moves(db, flow, at(0.5)) == (1, 0)
    assert await moves(db, flow, at(1)) == (0, 1)
    asked = "select profile_id, step, outcome, waiting_for from enrollments order by step desc"
    assert await rows(db, asked) == [(ada, "nap", None, None), (bob, "end", "finished", None)]


async def test_an_event_of_which_the_conditions_do_not_hold_ends_no_wait(db: AsyncSession) -> None:
    [ada] = await people(db, 1)
    await a_waiting(db, [ada], asks("total", ">", 100))

    assert (await happen(db, (ada, "order placed", {"total": "99"}))).woken == 0
    assert (
        await happen(db, (ada, "order placed", {"total": "99"}), (ada, "order placed", {"total": "101"}))
    ).woken == 1


async def test_a_wait_ends_once(db: AsyncSession) -> None:
    [ada] = await people(db, 1)
    await a_waiting(db, [ada])
    order: Did = (ada, "order placed", {})

    assert (await happen(db, order, order)).woken == 1
    assert (await happen(db, order)).woken == 0


async def test_what_came_before_the_entry_ends_no_wait_and_what_comes_after_it_does(db: AsyncSession) -> None:
    ada, bob = await people(db, 2)
    steps = {"order?": wait_for("order placed", then="nap"), "nap": wait(60)}
    await published(db, begins_with("cart filled"), steps)
    cart, order = "cart filled", "order placed"

    done = await happen(db, (ada, order, {}), (ada, cart, {}), (bob, cart, {}), (bob, order, {}))

    assert done == (2, 1)
    assert await some(db, "select profile_id from enrollments where waiting_for is null") == [bob]


async def test_the_event_that_lets_somebody_in_does_not_end_the_wait_for_the_same(db: AsyncSession) -> None:
    [ada] = await people(db, 1)
    await published(db, begins_with("seen"), {"again?": wait_for("seen")})

    assert await happen(db, (ada, "seen", {})) == (1, 0)
    assert await happen(db, (ada, "seen", {})) == (0, 1)


async def test_a_journey_under_a_merged_profile_hears_of_the_person(db: AsyncSession) -> None:
    alias, survivor = await people(db, 2)
    await a_waiting(db, [alias])
    await profiles_merged.merge(db, alias, survivor, NOW)

    assert (await happen(db, (survivor, "order placed", {}))).woken == 1


async def test_in_a_paused_flow_the_event_counts_and_what_came_too_late_does_not(db: AsyncSession) -> None:
    ada, bob = await people(db, 2)
    flow = await a_waiting(db, [ada, bob])
    await flows.move(db, flow.id, [FlowState.LIVE], FlowState.PAUSED)

    assert (await happen(db, (ada, "order placed", {}), now=at(0.5))).woken == 1
    assert (await happen(db, (bob, "order placed", {}), now=at(2))).woken == 0
    assert await moves(db, flow, at(3)) == (0, 0)
    await flows.move(db, flow.id, [FlowState.PAUSED], FlowState.LIVE)
    assert await moves(db, flow, at(3)) == (1, 1)


async def test_an_event_that_came_in_time_counts_however_late_it_is_worked_in(db: AsyncSession) -> None:
    [ada] = await people(db, 1)
    await a_waiting(db, [ada])

    assert (await happen(db, (ada, "order placed", {}), now=at(2), occurred=at(0.5))).woken == 1


async def test_members_of_an_older_version_wait_for_what_that_version_says(db: AsyncSession) -> None:
    ada, bob = await people(db, 2)
    flow = await a_waiting(db, [ada], asks("total", "is", 1))
    steps = {"order?": wait_for("order placed", asks("total", "is", True)), "nap": wait(60)}
    newer = a_graph(steps, "order?", trigger=begins_with("cart filled"))
    await flows.change(db, flow.id, {"definition": newer})
    await flows.publish(db, flow.id)
    await happen(db, (bob, "cart filled", {}))

    assert (
        await happen(db, (ada, "order placed", {"total": True}), (bob, "order placed", {"total": 1}))
    ).woken == 0
    assert (
        await happen(db, (ada, "order placed", {"total": 1}), (bob, "order placed", {"total": True}))
    ).woken == 2


async def test_a_wait_for_an_event_may_lead_to_itself(db: AsyncSession) -> None:
    [ada] = await people(db, 1)
    steps = {"order?": wait_for("order placed") | {"otherwise": "order?"}}
    flow = await published(db, begins_with("cart filled"), steps)
    await happen(db, (ada, "cart filled", {}))
    assert flow.version_id
    again = (await ways.graphs(db, flow.id))[flow.version_id].way("order?", "order?", "late")

    assert await enrollments_moved.advance(db, again, at(1), 10, came=False) == 1
    assert await places(db) == [("order?", "event", at(2))]
    assert (await happen(db, (ada, "order placed", {}), now=at(1.5))).woken == 1


# Together with others.


async def test_by_a_batch_it_is_the_same_and_the_flow_is_poked(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        [ada] = await people(db, 1)
        flow = await published(db, begins_with("cart filled"), {"order?": wait_for("order placed")})
    for event, done in (("cart filled", (1, 0)), ("order placed", (0, 1)), ("nothing", (0, 0))):
        async with sessions.batch(DEFAULT_WORKSPACE) as batch:
            assert await happen(batch, (ada, event, {})) == done
        async with sessions.engine() as db:
            poked = await rows(db, "delete from pokes returning queue_id, work")
            assert poked == ([] if event == "nothing" else [(flow.id, "advance")])


async def test_the_pump_in_one_batch_hears_what_came_in_its_order(
    sessions: Sessions, clock: GivenClock
) -> None:
    steps = {"order?": wait_for("order placed", then="nap"), "nap": wait(60)}
    async with sessions(DEFAULT_WORKSPACE) as db:
        await published(db, begins_with("cart filled"), steps)
    order = {"total": "12.50", "currency": "USD", "quantity": 1, "status": "placed", "source": "api"}
    await put(
        sessions,
        arrival(name="cart filled", email="ada@shop.example"),
        arrival("order", email="bob@shop.example", properties=order | {"key": "o1"}),
        arrival(name="cart filled", email="bob@shop.example"),
        arrival("order", email="ada@shop.example", properties=order | {"key": "o2"}),
    )

    done = await pump(sessions, clock)

    assert (done.entered, done.woken) == (2, 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = await rows(
            db,
            """
            select i.value, e.waiting_for from enrollments e join identities i using (profile_id) order by 1
        """,
        )
        assert found == [("ada@shop.example", None), ("bob@shop.example", "event")]


CROWD = 4_000


async def crowd_does(db: Db, event: str) -> Happened:
    await happenings.prepare(db)
    did = """
        insert into happened
        select row_number() over (order by p.id), gen_random_uuid(), p.id, :event, '{}', :now, 0
        from profiles p where p.workspace_id = :here
    """
    await db.execute(text(did), {"event": event, "now": NOW, "here": DEFAULT_WORKSPACE})
    return await happenings.work_in(db, DEFAULT_WORKSPACE, NOW)


@pytest.mark.parametrize("kind", ["batch", "pump"])
async def test_plans_made_while_nobody_is_in_a_flow_serve_a_crowd(database: Database, kind: str) -> None:
    sessions = Sessions(database.url, database.engine_url, pool_size=1)  # All by one connection.
    open_ = getattr(sessions, kind)
    async with sessions(DEFAULT_WORKSPACE) as db:
        steps = {"order?": wait_for("order placed", then="nap"), "nap": wait(60)}
        for name in ("once", "always"):
            await published(db, begins_with("cart filled"), steps, reentry=name)
    for _ in range(2):
        async with sessions(DEFAULT_WORKSPACE) as db:
            await db.execute(
                text("insert into profiles (workspace_id) values (:here)"), {"here": DEFAULT_WORKSPACE}
            )
        for event in ("cart filled", "order placed"):
            async with open_(DEFAULT_WORKSPACE) as db:
                await crowd_does(db, event)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(
            text("insert into profiles (workspace_id) select :here from generate_series(1, :n)"),
            {"here": DEFAULT_WORKSPACE, "n": CROWD},
        )

    for event in ("cart filled", "order placed", "cart filled"):
        async with open_(DEFAULT_WORKSPACE) as db:
            before = await reads(db)
            done = await crowd_does(db, event)
            read = {table: n - before[table] for table, n in (await reads(db)).items()}
        assert sum(done) >= CROWD
        # A look-up or two for each of two flows; had they been read whole for each, it were millions.
        assert max(read.values()) < 20 * CROWD, (event, read)
    await sessions.close()


async def reads(db: Db) -> dict[str, int]:
    """How many rows this transaction has read of each table so far, by whatever way."""
    asked = """
        select c.relname, pg_stat_get_xact_tuples_returned(c.oid) + (
            select sum(pg_stat_get_xact_tuples_returned(i.indexrelid)) from pg_index i
            where i.indrelid = c.oid
        )
        from pg_class c where c.relname in ('enrollments', 'agenda', 'profiles')
    """
    return {table: int(n) for table, n in (await db.execute(text(asked))).all()}


async def it_waits(sessions: Sessions) -> None:
    async def somebody_does() -> bool:
        async with sessions.engine() as db:
            return await rows(db, "select count(*) from pg_locks where not granted") > [0]

    await eventually(somebody_does, what="the wait for the other")


async def ordered(sessions: Sessions, who: UUID, now: datetime) -> Happened:
    async with sessions.batch(DEFAULT_WORKSPACE) as batch:
        return await happen(batch, (who, "order placed", {}), now=now)


async def test_whose_time_is_over_first_is_not_woken_by_the_event(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        [ada] = await people(db, 1)
        flow = await a_waiting(db, [ada])
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await moves(db, flow, at(1)) == (0, 1)
        waking = asyncio.create_task(ordered(sessions, ada, at(1)))
        await it_waits(sessions)

    assert (await waking).woken == 0
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select step, outcome from enrollments") == [("end", "finished")]


async def test_to_whom_the_event_came_first_is_not_moved_by_the_deadline(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        [ada] = await people(db, 1)
        flow = await a_waiting(db, [ada])
    async with sessions.batch(DEFAULT_WORKSPACE) as batch:
        assert (await happen(batch, (ada, "order placed", {}), now=at(1))).woken == 1
        async with sessions(DEFAULT_WORKSPACE) as db:
            assert await moves(db, flow, at(1)) == (0, 0)  # It does not wait for the one who holds her.
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await moves(db, flow, at(1)) == (1, 0)


async def test_whoever_waits_again_when_the_event_is_worked_in_is_left_where_they_are(
    sessions: Sessions,
) -> None:
    steps = {"order?": wait_for("order placed") | {"otherwise": "order?"}}
    async with sessions(DEFAULT_WORKSPACE) as db:
        [ada] = await people(db, 1)
        flow = await published(db, begins_with("cart filled"), steps)
        await happen(db, (ada, "cart filled", {}))
        assert flow.version_id
        again = (await ways.graphs(db, flow.id))[flow.version_id].way("order?", "order?", "late")
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await enrollments_moved.advance(db, again, at(1), 10, came=False) == 1
        waking = asyncio.create_task(ordered(sessions, ada, at(1)))
        await it_waits(sessions)

    assert (await waking).woken == 0
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await places(db) == [("order?", "event", at(2))]
    assert (await ordered(sessions, ada, at(1))).woken == 1


async def test_a_flow_that_is_published_meanwhile_is_heard_as_it_is_then(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        [ada] = await people(db, 1)
        flow = await published(db, begins_with("order placed", asks("total", ">", 1)))
    async with sessions(DEFAULT_WORKSPACE) as db:
        newer = a_graph({"nap": wait(60)}, "nap", trigger=begins_with("order placed"))
        await flows.change(db, flow.id, {"definition": newer})
        again, _, _ = await flows.publish(db, flow.id)
        entering = asyncio.create_task(ordered(sessions, ada, NOW))
        await it_waits(sessions)

    assert (await entering).entered == 1
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await some(db, "select version_id from enrollments") == [again.version_id]


async def test_nobody_enters_a_flow_that_is_archived_meanwhile(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        [ada] = await people(db, 1)
        flow = await published(db, begins_with("order placed"))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await flows.move(db, flow.id, [FlowState.LIVE], FlowState.ARCHIVED)
        entering = asyncio.create_task(ordered(sessions, ada, NOW))
        await it_waits(sessions)

    assert (await entering).entered == 0


def test_a_wait_for_an_event_is_due_at_its_deadline() -> None:
    step = WaitForEvent(event="x", at_most=HOUR)
    move = ways.Move(uuid4(), uuid4(), uuid4(), START, "x", step, None, "entered")

    assert move.due_on_arrival(NOW) == at(1)
