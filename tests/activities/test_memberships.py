"""Who is in a segment follows what comes in, and what the API and files change."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import follow_ups, segments_written
from tests.arrivals import arrival, look, pump, put
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
