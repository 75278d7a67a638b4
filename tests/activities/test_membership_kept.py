"""Whatever happens, and however time goes by, the members that are kept are those whom the rule picks."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import Phase, given, settings
from hypothesis import strategies as some
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from dev.postgres import Postgres
from domain.profiles import ConsentSource, ConsentState, Purpose
from domain.segments import as_json, parse
from models.base import Sessions
from models.queries import consents, lists, profile_notes, profiles, segments, segments_written
from models.segments import SegmentMember
from tests.arrivals import arrival, look, pump, put
from tests.people import another_workspace
from tests.populations import furnish
from tests.rules import (
    ATOMS,
    CURRENCIES,
    EVENTS,
    LISTS,
    NAMES,
    NOON,
    PRODUCTS,
    TAGS,
    TOPICS,
    conditions,
    json,
    rules,
)
from tests.support import GivenClock, a_clone

EXAMPLES = 120
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
WHO = ("ada", "bob", "eve")
MANNERS: dict[str, Any] = {"time_zone": "UTC", "currency": "USD"}

# What others than the pump change, and tell it.
Change = tuple[str, Any]
_who = some.sampled_from(WHO)
_said = some.sampled_from((ConsentState.GRANTED, ConsentState.DENIED))
_days = some.integers(0, 3)
changes: some.SearchStrategy[tuple[str, dict[str, Any]]] = some.one_of(
    some.tuples(
        some.just("identify"),
        some.fixed_dictionaries(
            {"who": _who, "properties": some.dictionaries(some.sampled_from(NAMES), json, min_size=1, max_size=2)}
        ),
    ),
    some.tuples(
        some.just("track"),
        some.fixed_dictionaries(
            {
                "who": _who,
                "name": some.sampled_from(EVENTS),
                "days": _days,
                "properties": some.dictionaries(some.sampled_from(("price", "category")), json, max_size=2),
            }
        ),
    ),
    some.tuples(
        some.just("order"),
        some.fixed_dictionaries(
            {
                "who": _who,
                "days": _days,
                "total": some.sampled_from(("0.00", "99.99", "100.00")),
                "currency": some.sampled_from(CURRENCIES),
                "sku": some.sampled_from(PRODUCTS),
            }
        ),
    ),
    some.tuples(some.sampled_from(("cancel", "merge")), some.just({})),
    some.tuples(
        some.sampled_from(("list", "tag", "topic", "consent", "suppress")),
        some.fixed_dictionaries({"who": _who, "which": some.integers(0, 1), "in": some.booleans(), "state": _said}),
    ),
    some.tuples(some.just("time"), some.fixed_dictionaries({"hours": some.sampled_from((11, 24, 72))})),
)


def test_members_are_kept_as_the_rule_has_them(postgres: Postgres) -> None:
    clone = a_clone(postgres)
    with asyncio.Runner() as runner:
        sessions = Sessions(clone.url, clone.engine_url)

        @settings(max_examples=EXAMPLES, deadline=None, phases=PHASES)
        @given(
            some.lists(conditions, min_size=3, max_size=4),
            rules,
            some.lists(some.lists(changes, min_size=1, max_size=3), min_size=2, max_size=4),
        )
        def example(atoms: list[Any], tree: Any, steps: list[list[tuple[str, Any]]]) -> None:
            runner.run(lived(sessions, [*atoms, tree], steps))

        example()
        runner.run(sessions.close())
    postgres.drop_database(clone.name)


async def lived(sessions: Sessions, asked: Sequence[Any], steps: Sequence[Sequence[tuple[str, Any]]]) -> None:
    """Let these things happen in a workspace of their own, and look after each step who is where."""
    clock = GivenClock(NOON)
    life = Life(sessions, clock, await another_workspace(sessions))
    async with sessions(life.workspace_id) as db:
        await furnish(db, life.workspace_id)
        for rule in asked:
            await segments_written.create(db, life.workspace_id, str(uuid4()), as_json(parse(rule)))
    await put(sessions, *(life.arrival("identify", who) for who in WHO))
    await life.settle()
    for step in steps:
        for change, what in step:
            await life.happens(change, what)
        clock.advance(timedelta(minutes=2))  # Longer than what nobody tells the pump of may take.
        await life.settle()
        await life.check(step)
