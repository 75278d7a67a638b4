"""A person who was read from the database is the one whom a rule's SQL asks about."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.facts import Person
from domain.segments import as_json, holds, parse, reads
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import persons, segments
from models.queries.profiles_merged import merge
from tests.made_up import people
from tests.people import NOON as WHEN
from tests.people import a_person, an_event
from tests.populations import apart, furnish, settle
from tests.rules import NOON, ZONES, rules


@given(
    some.lists(people, min_size=1, max_size=4),
    some.lists(rules, min_size=1, max_size=4),
    some.sampled_from(ZONES),
)
@settings(
    max_examples=50, deadline=None, suppress_health_check=[*HealthCheck]
)  # Each example's transaction is rolled back.
async def test_every_rule_holds_of_those_who_were_read_whom_sql_picks(
    sessions: Sessions, made_up: list[Person], data: list[Any], zone: str
) -> None:
    manners: dict[str, Any] = {"now": NOON, "time_zone": zone, "currency": "USD"}
    crowd = apart(made_up)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await furnish(db)
        await settle(db, crowd)
        for rule in map(parse, data):
            picked = set(await db.scalars(segments.members(rule, **manners)))
            for one in crowd:
                loaded = await persons.load(db, one.id, reads(rule))
                assert holds(rule, loaded.person, **manners) == (one.id in picked), as_json(rule)
                assert not loaded.cut
        await db.rollback()


async def test_who_was_merged_or_never_was_is_nobody_and_what_they_did_is_the_survivors(
    sessions: Sessions,
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada, bob = await a_person(db, "ada@example.com"), await a_person(db, "bob@example.com")
        await an_event(db, bob)
        await merge(db, bob, ada, WHEN)

        loaded = await persons.load(db, ada, {"event:Product Viewed"})

        assert [each.name for each in loaded.person.events] == ["Product Viewed"]
        with pytest.raises(NotFound):
            await persons.load(db, bob, set())
        await db.rollback()


async def test_of_somebody_who_did_too_much_the_newest_is_read_and_that_is_said(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, "ada@example.com")
        await events(db, ada, persons.MOST + 5)

        loaded = await persons.load(db, ada, {"event:viewed"})

        assert loaded.cut
        assert len(loaded.person.events) == persons.MOST
        assert max(each.properties["nth"] for each in loaded.person.events) == persons.MOST + 5
        await db.rollback()


async def events(db: AsyncSession, who: Any, n: int) -> None:
    rows = """
        insert into events (workspace_id, id, received_at, profile_id, kind, name, occurred_at, properties)
        select :workspace, uuidv7(), at, :who, 'track', 'viewed', at, jsonb_build_object('nth', nth)
        from (
            select nth, cast(:now as timestamptz) + nth * interval '1 second' as at
            from generate_series(1, :n) nth
        ) made
    """
    await db.execute(text(rows), {"workspace": DEFAULT_WORKSPACE, "who": who, "now": WHEN, "n": n})
