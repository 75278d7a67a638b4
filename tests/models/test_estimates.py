"""How many a rule picks: exactly, from a sample, or not at all."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Invalid
from domain.segments import parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import estimates
from tests.sending import NOW

MANNERS: dict[str, Any] = {"now": NOW, "time_zone": "UTC", "currency": "USD"}
ONE_IN_FOUR = parse({"kind": "attribute", "name": "nth", "op": "<", "value": 5_000})
NOBODY = parse({"any": []})


async def a_crowd(db: AsyncSession, n: int = 20_000) -> None:
    await db.execute(
        text(
            "insert into profiles (workspace_id, attributes) select :workspace,"
            " jsonb_build_object('nth', n * 7919 % :n) from generate_series(0, :n - 1) n"
        ),
        {"workspace": DEFAULT_WORKSPACE, "n": n},
    )


async def test_a_crowd_is_counted_and_some_of_them_are_shown(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_crowd(db)
        found = await estimates.estimate(db, ONE_IN_FOUR, **MANNERS, count_for=60_000)

        assert (found.count, found.exact, found.error) == (5_000, True, 0)
        assert len({each.profile_id for each in found.members}) == estimates.SHOWN
        await db.rollback()


async def test_more_members_than_are_looked_up_have_a_reach_with_an_error(sessions: Sessions) -> None:
    everybody = parse({"all": []})
    named = """
        insert into identities (workspace_id, kind, value, profile_id)
        select workspace_id, 'email', id || '@example.com', id from profiles
    """
    agreed = """
        insert into consents (workspace_id, profile_id, purpose, state, source, at)
        select workspace_id, id, 'email', 'granted', 'test', :now from profiles
        where cast(attributes ->> 'nth' as int) % 2 = 0
    """
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_crowd(db)
        await db.execute(text(named))
        await db.execute(text(agreed), {"now": NOW})
        found = await estimates.estimate(db, everybody, **MANNERS, count_for=60_000)
        await db.rollback()

    assert (found.count, found.exact) == (20_000, True)
    assert found.reach is not None
    email = found.reach["email"]
    assert not email.exact
    assert 0 < email.error < 0.1
    assert abs(email.count - 10_000) < 2 * email.error * email.count


async def test_a_count_that_takes_too_long_is_sampled_and_says_so(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_crowd(db)
        found = await estimates.estimate(db, ONE_IN_FOUR, **MANNERS, count_for=1, answer_in=1, least=60_000)

        assert not found.exact
        assert 0 < found.error < 1
        assert abs(found.count - 5_000) < 2 * found.error * found.count
        assert await db.scalar(text("show statement_timeout")) == "0"
        assert await db.scalar(text("show enable_hashjoin")) == "on"
        await db.rollback()


async def test_with_time_enough_the_sample_is_everybody(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_crowd(db, 2_000)
        rule = parse({"kind": "attribute", "name": "nth", "op": "matches", "value": "^1"})
        counted = await estimates.estimate(db, rule, **MANNERS, count_for=60_000)
        asked = await estimates.estimate(db, rule, **MANNERS, count_for=1, answer_in=60_000)

        assert (asked.count, asked.exact) == (counted.count, True)
        await db.rollback()


async def test_what_not_even_a_sample_says_in_time_is_refused(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_crowd(db)
        with pytest.raises(Invalid, match="takes too long to count") as refused:
            await estimates.estimate(db, ONE_IN_FOUR, **MANNERS, count_for=1, answer_in=1, least=1)

        assert refused.value.field == "/rule"
        assert (await estimates.estimate(db, NOBODY, **MANNERS)).count == 0  # The transaction goes on.
        await db.rollback()
