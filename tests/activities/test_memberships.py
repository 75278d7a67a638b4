"""Who is in a segment follows what comes in, and what the API and files change."""

from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.flows import MOST_HOPS
from domain.profiles import SuppressionReason
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import follow_ups, profiles, segments_written
from tests.arrivals import arrival, look, pump, put
from tests.databases import Database
from tests.people import another_workspace
from tests.support import GivenClock

PRO = {"kind": "attribute", "name": "plan", "op": "is", "value": "pro"}
BUYERS = {"kind": "orders", "measure": "count", "op": ">=", "value": 1}


async def a_segment_of(sessions: Sessions, rule: dict[str, Any], name: str = "Some") -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.create(db, DEFAULT_WORKSPACE, name, rule)


async def members(db: AsyncSession) -> set[str]:
    asked = """
        select i.value from segment_members m join identities i using (workspace_id, profile_id)
        where i.kind = 'user_id'
    """
    return {*(await db.scalars(text(asked)))}


async def are_in(sessions: Sessions) -> set[str]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await members(db)


async def crossings(sessions: Sessions) -> list[str]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [*(await db.scalars(text("select name from events where kind = 'system' order by id")))]


async def test_a_new_segment_takes_in_who_is_there_and_says_nothing_of_it(
    sessions: Sessions, clock: GivenClock
) -> None:
    await put(sessions, arrival("identify", user_id="u1", properties={"plan": "pro"}), arrival(user_id="u2"))
    await pump(sessions, clock)
    await a_segment_of(sessions, PRO)

    await look(sessions, clock)

    assert await are_in(sessions) == {"u1"}
    assert await crossings(sessions) == []


async def test_who_comes_to_meet_the_rule_enters_and_who_does_not_any_more_leaves(
    sessions: Sessions, clock: GivenClock
) -> None:
    await a_segment_of(sessions, PRO)
    await look(sessions, clock)
    await put(sessions, arrival("identify", user_id="u1", properties={"plan": "pro"}))
    await pump(sessions, clock)
    entered = await are_in(sessions)
    await put(sessions, arrival("identify", user_id="u1", properties={"plan": None}))
    done = await pump(sessions, clock)

    assert (entered, await are_in(sessions), done.crossed) == ({"u1"}, set(), 1)
    assert await crossings(sessions) == ["segment entered", "segment left"]


async def test_history_moves_people_without_a_word(sessions: Sessions, clock: GivenClock) -> None:
    await a_segment_of(sessions, PRO)
    await look(sessions, clock)
    await put(sessions, arrival("identify", user_id="u1", properties={"plan": "pro"}, historical=True))

    await pump(sessions, clock)

    assert await are_in(sessions) == {"u1"}
    assert await crossings(sessions) == []


async def test_an_order_brings_its_buyer_in_and_a_cancellation_takes_them_out(
    sessions: Sessions, clock: GivenClock
) -> None:
    await a_segment_of(sessions, BUYERS)
    await look(sessions, clock)
    order = {"key": "o1", "total": "10.00", "currency": "USD", "quantity": 1}
    await put(sessions, arrival("order", user_id="u1", properties=order))
    await pump(sessions, clock)
    bought = await are_in(sessions)
    await put(sessions, arrival("order change", properties={"key": "o1", "status": "cancelled"}))
    await pump(sessions, clock)

    assert (bought, await are_in(sessions)) == ({"u1"}, set())


async def test_what_somebody_else_changed_is_followed_up(sessions: Sessions, clock: GivenClock) -> None:
    await a_segment_of(sessions, PRO)
    await look(sessions, clock)
    await put(sessions, arrival(user_id="u1"))
    await pump(sessions, clock)
    async with sessions(DEFAULT_WORKSPACE) as db:
        changed = await db.scalars(
            text("""update profiles set attributes = '{"plan": "pro"}' returning id""")
        )
        await follow_ups.note(db, [*changed], clock.now())

    await pump(sessions, clock)

    assert await are_in(sessions) == {"u1"}


async def test_segments_of_other_workspaces_stay_as_they_are(sessions: Sessions, clock: GivenClock) -> None:
    """The pump is the engine, which sees beyond the wall."""
    other = await another_workspace(sessions)
    await a_segment_of(sessions, {"all": []})
    await look(sessions, clock)
    await put(sessions, arrival(user_id="theirs", workspace_id=other))
    await pump(sessions, clock, other)
    await put(sessions, arrival(user_id="ours"))

    await pump(sessions, clock)

    assert await are_in(sessions) == {"ours"}


async def test_who_does_what_a_segment_asks_about_enters_and_the_event_says_why(
    sessions: Sessions, clock: GivenClock
) -> None:
    await a_segment_of(sessions, {"kind": "event", "name": "bought"})
    await look(sessions, clock)
    [bought, *_] = await put(
        sessions, arrival(name="bought", user_id="u1"), arrival(name="left", user_id="u2")
    )
    done = await pump(sessions, clock)

    assert (await are_in(sessions), done.crossed) == ({"u1"}, 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        [crossed] = await db.execute(text("select cause, hops from events where kind = 'system'"))
    assert tuple(crossed) == (bought, 1)


async def test_consent_that_comes_with_an_identify_moves_people(
    sessions: Sessions, clock: GivenClock
) -> None:
    await a_segment_of(sessions, {"kind": "consent", "purpose": "email", "state": "granted"})
    await look(sessions, clock)
    await put(sessions, arrival("identify", user_id="u1", consents={"email": "granted"}))
    await put(sessions, arrival("identify", user_id="u2", consents={"email": "denied"}))
    await pump(sessions, clock)
    granted = await are_in(sessions)
    await put(sessions, arrival("identify", user_id="u1", consents={"email": "denied"}))
    await pump(sessions, clock)

    assert (granted, await are_in(sessions)) == ({"u1"}, set())


async def test_a_name_that_somebody_is_given_moves_them(sessions: Sessions, clock: GivenClock) -> None:
    rule = {"kind": "identity", "name": "email", "op": "ends with", "value": "@example.com"}
    await a_segment_of(sessions, rule)
    await put(sessions, arrival(user_id="u1"))
    await pump(sessions, clock)
    await look(sessions, clock)
    await put(sessions, arrival("identify", user_id="u1", email="ada@example.com"))

    await pump(sessions, clock)

    assert await are_in(sessions) == {"u1"}


async def test_a_segment_that_names_another_follows_what_that_one_asks(
    sessions: Sessions, clock: GivenClock
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        inner = await segments_written.create(db, DEFAULT_WORKSPACE, "Inner", PRO)
    await look(sessions, clock)
    await a_segment_of(sessions, {"not": {"kind": "segment", "segment_id": str(inner.id)}}, "Others")
    await look(sessions, clock)
    await put(sessions, arrival("identify", user_id="u1", properties={"plan": "pro"}), arrival(user_id="u2"))
    await pump(sessions, clock)
    await put(sessions, arrival("identify", user_id="u1", properties={"plan": "free"}))
    await pump(sessions, clock)

    assert sorted(await crossings(sessions)) == ["segment entered"] * 3 + ["segment left"]
    assert await are_in(sessions) == {"u1", "u2"}


def counted(name: str, *times: int) -> dict[str, Any]:
    return {"any": [{"kind": "event", "name": name, "op": "is", "value": each} for each in times]}


async def test_segments_that_chase_each_other_come_to_rest(sessions: Sessions, clock: GivenClock) -> None:
    """Each crossing is an event that brings somebody into the other one, or out: round and round."""
    await a_segment_of(sessions, counted("segment left", *range(0, 40, 2)), "Left an even number of times")
    await a_segment_of(
        sessions, counted("segment entered", *range(1, 40, 2)), "Entered an odd number of times"
    )
    await look(sessions, clock)
    await put(sessions, arrival(user_id="u1"))
    batches = 0
    while (await pump(sessions, clock)).arrivals:
        batches += 1

    async with sessions(DEFAULT_WORKSPACE) as db:
        hops = [*await db.scalars(text("select hops from events where kind = 'system' order by id"))]
        causes = await db.scalar(text("select count(cause) from events where kind = 'system' and hops > 1"))
    assert batches == MOST_HOPS + 1
    assert hops == [*range(1, MOST_HOPS + 2)]
    assert causes == MOST_HOPS


@pytest.mark.parametrize("broken", ["the rule", "a table"])
async def test_a_rule_that_cannot_be_asked_holds_up_neither_others_nor_the_inbox(
    sessions: Sessions, database: Database, clock: GivenClock, broken: str
) -> None:
    """Everybody is looked at again for it, which says what is wrong."""
    await a_segment_of(sessions, {"kind": "tag", "tag": "early"})
    await a_segment_of(sessions, {"kind": "event", "name": "bought"}, "Buyers")
    await look(sessions, clock)
    with psycopg.connect(database.admin_url.replace("+psycopg", "")) as owner:
        if broken == "a table":
            owner.execute("alter table profile_tags rename to gone")
        else:
            owner.execute("alter table segments no force row level security")
            owner.execute("""update segments set rule = '{"kind": "star sign"}' where name = 'Some'""")
            owner.execute("alter table segments force row level security")
    await put(sessions, arrival(name="bought", user_id="u1"))

    done = await pump(sessions, clock)

    async with sessions(DEFAULT_WORKSPACE) as db:
        asked = text("select name, problem is not null, due_at from segments order by name")
        problems = [tuple(each) for each in await db.execute(asked)]
    assert (done.arrivals, done.crossed, done.quarantined) == (1, 1, 0)
    assert problems == [("Buyers", False, None), ("Some", True, clock.now())]


async def test_an_address_that_another_workspace_suppressed_is_none_of_ours(
    sessions: Sessions, clock: GivenClock
) -> None:
    """The pump is the engine, which sees the suppressions of all."""
    other = await another_workspace(sessions)
    async with sessions(other) as db:
        await profiles.suppress(
            db, "email", "ada@example.com", SuppressionReason.COMPLAINED, "test", clock.now()
        )
    await a_segment_of(sessions, {"kind": "suppressed", "channel": "email"})
    await look(sessions, clock)
    await put(
        sessions, arrival("identify", user_id="u1", email="ada@example.com", properties={"plan": "pro"})
    )

    await pump(sessions, clock)
    await look(sessions, clock)

    assert await are_in(sessions) == set()
    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles.suppress(
            db, "email", "ada@example.com", SuppressionReason.COMPLAINED, "test", clock.now()
        )
    await pump(sessions, clock)
    assert await are_in(sessions) == {"u1"}
