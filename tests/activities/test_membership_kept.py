"""Whatever happens, and however time goes by, the members that are kept are those whom the rule picks."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as some
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from dev.postgres import Postgres
from domain.errors import NotFound
from domain.profiles import ConsentSource, ConsentState, IdentityKind, Purpose
from domain.segments import as_json, parse
from models.base import Sessions
from models.queries import consents, lists, profile_notes, profiles, segments, segments_written
from models.segments import Segment, SegmentMember
from tests.arrivals import arrival, look, pump, put
from tests.databases import a_clone
from tests.people import another_workspace
from tests.populations import furnish
from tests.rules import (
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
from tests.support import GivenClock

LIVES, EXAMPLES = 24, 21  # Tests, and examples of each: more than 500 in all.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
WHO = ("ada", "bob", "eve")
MANNERS: dict[str, Any] = {"time_zone": "UTC", "currency": "USD"}

Change = tuple[str, dict[str, Any]]  # What happens, and with whom.
_who = some.sampled_from(WHO)
_said = some.sampled_from((ConsentState.GRANTED, ConsentState.DENIED))
_days = some.integers(0, 3)
changes: some.SearchStrategy[Change] = some.one_of(
    some.tuples(
        some.just("identify"),
        some.fixed_dictionaries(
            {
                "who": _who,
                "properties": some.dictionaries(some.sampled_from(NAMES), json, min_size=1, max_size=2),
            }
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
        some.sampled_from(("list", "tag", "topic", "consent")),
        some.fixed_dictionaries(
            {"who": _who, "which": some.integers(0, 1), "in": some.booleans(), "state": _said}
        ),
    ),
    some.tuples(some.just("time"), some.fixed_dictionaries({"hours": some.sampled_from((11, 24, 72))})),
)


@pytest.mark.parametrize("life", range(LIVES))
def test_members_are_kept_as_the_rule_has_them(postgres: Postgres, life: int) -> None:
    clone = a_clone(postgres)
    with asyncio.Runner() as runner:
        sessions = Sessions(clone.url, clone.engine_url)

        @settings(max_examples=EXAMPLES, deadline=None, phases=PHASES)
        @given(
            some.lists(conditions, min_size=1, max_size=2),
            rules,
            some.lists(some.lists(changes, min_size=1, max_size=3), min_size=1, max_size=2),
        )
        def example(atoms: list[Any], tree: Any, steps: list[list[Change]]) -> None:
            runner.run(lived(sessions, [*atoms, tree], steps))

        example()
        runner.run(sessions.close())
    postgres.drop_database(clone.name)


async def lived(sessions: Sessions, asked: Sequence[Any], steps: Sequence[Sequence[Change]]) -> None:
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
        clock.move(timedelta(minutes=2))  # Longer than what nobody tells the pump of may take.
        await life.settle()
        await life.check(step)
    async with sessions(life.workspace_id) as db:  # So that the next life has no looks but its own.
        await db.execute(delete(SegmentMember))
        await db.execute(delete(Segment))


@dataclass
class Life:
    """What goes on in a workspace."""

    sessions: Sessions
    clock: GivenClock
    workspace_id: UUID
    orders: int = 0

    def arrival(self, kind: str, who: str, **said: Any) -> dict[str, Any]:
        at = self.clock.now() - timedelta(days=said.pop("days", 0))
        name = said.pop("name", None)
        came = {"received_at": self.clock.now(), "occurred_at": at, "workspace_id": self.workspace_id}
        return arrival(kind, name, user_id=who, **said) | came

    async def happens(self, change: str, what: dict[str, Any]) -> None:
        match change:
            case "identify":
                await put(self.sessions, self.arrival("identify", what["who"], properties=what["properties"]))
            case "track":
                said = {key: what[key] for key in ("name", "days", "properties")}
                await put(self.sessions, self.arrival("track", what["who"], **said))
            case "order":
                self.orders += 1
                order = {
                    "key": f"o{self.orders}",
                    "total": what["total"],
                    "currency": what["currency"],
                    "quantity": 1,
                    "lines": [{"sku": what["sku"], "quantity": 1}],
                }
                came = self.arrival("order", what["who"], days=what["days"], properties=order)
                await put(self.sessions, came)
            case "cancel":
                of = {"key": f"o{self.orders}", "status": "cancelled"}
                await put(
                    self.sessions, self.arrival("order change", "ada", properties=of) | {"user_id": None}
                )
            case "merge":
                await put(self.sessions, self.arrival("alias", "ada", properties={"previous_id": "bob"}))
            case "time":
                self.clock.move(timedelta(hours=what["hours"]))
            case _:
                await pump(self.sessions, self.clock, self.workspace_id)  # So that they are known.
                async with self.sessions(self.workspace_id) as db:
                    await self.is_told(db, change, what)

    async def is_told(self, db: AsyncSession, change: str, what: dict[str, Any]) -> None:
        """What a member of the workspace says of somebody."""
        who = await profiles.find(db, IdentityKind.USER_ID, what["who"])
        assert who is not None
        now, nth, state = self.clock.now(), what["which"], what["state"]
        match change, what["in"]:
            case "list", True:
                await lists.add(db, LISTS[nth], [who], "test", now)
            case "list", False:
                await lists.take_off(db, LISTS[nth], [who], "test", now)
            case "tag", True:
                await profile_notes.tag(db, self.workspace_id, who, TAGS[nth], now)
            case "tag", False:
                with suppress(NotFound):
                    await profile_notes.untag(db, who, TAGS[nth], now)
            case "topic", _:
                await consents.choose(db, who, TOPICS[nth], state, ConsentSource.PERSON, now)
            case "consent", _:
                purpose = (Purpose.EMAIL, Purpose.SMS)[nth]
                await profiles.consent(db, who, purpose, state, ConsentSource.PERSON, now)

    async def settle(self) -> None:
        """Until the pump has nothing to do, and nobody is to be looked at."""
        for _ in range(20):
            done = await pump(self.sessions, self.clock, self.workspace_id)
            looked = await look(self.sessions, self.clock)
            if not (done.arrivals or looked.first or looked.again):
                return
        raise AssertionError("It does not come to rest.")

    async def check(self, step: Any) -> None:
        async with self.sessions(self.workspace_id) as db:
            for segment in await db.scalars(select(Segment)):
                kept = select(SegmentMember.profile_id).where(SegmentMember.segment_id == segment.id)
                picked = segments.members(parse(segment.rule), now=self.clock.now(), **MANNERS)
                assert set(await db.scalars(kept)) == set(await db.scalars(picked)), (segment.rule, step)
                assert segment.problem is None, segment.problem
