import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, Invalid
from domain.facts import Did, Person, Purchase
from domain.messages import MessageClass, MessageState, SourceKind
from domain.segments import holds, parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Json, Sessions
from models.flows import Enrollment, Flow, FlowVersion
from models.messages import Message as Line
from models.orders import OrderRollup
from models.profiles import Profile
from models.queries import segments, segments_written
from models.queries.profiles_merged import merge
from models.segments import Segment
from models.templates import Template, TemplateVersion
from tests.people import a_message
from tests.populations import furnish, rolled_up, settle
from tests.rules import NOON, NUMBERS, TEXTS

HERE: Json = {"workspace_id": DEFAULT_WORKSPACE}
CDNOW = Path(__file__).parents[2] / "samples" / "cdnow_orders.csv"
MANNERS: dict[str, Any] = {"now": NOON, "time_zone": "UTC", "currency": "USD"}
EVERYBODY = parse({"all": []})


async def test_every_operator_reads_every_attribute_as_python_does(sessions: Sessions) -> None:
    found = [*TEXTS, *NUMBERS, True, False, None, [], ["a"], {}, {"a": 1}]
    ordered = [(op, value) for op in ("is", "is not", ">", "<=") for value in (*TEXTS, *NUMBERS)]
    others = [(op, value) for op in ("contains", "starts with", "ends with") for value in TEXTS]
    more = [("is", True), ("is", False), ("in", ["a", 1, True]), ("exists", None), ("includes", "a")]
    asked = [*ordered, *others, *more]
    rules = [parse({"kind": "attribute", "name": "it", "op": op, "value": value}) for op, value in asked]
    async with sessions(DEFAULT_WORKSPACE) as db:
        people = {await a_profile(db, {"it": value}): Person(attributes={"it": value}) for value in found}
        for rule in rules:
            expected = {member for member, person in people.items() if holds(rule, person, **MANNERS)}
            assert set(await db.scalars(segments.members(rule, **MANNERS))) == expected, rule


async def test_the_good_customers_who_went_quiet_are_those_whom_the_file_says(sessions: Sessions) -> None:
    rule = parse(
        {
            "all": [
                {"kind": "orders", "measure": "total", "op": ">=", "value": "100"},
                {"kind": "orders", "measure": "count", "op": ">=", "value": 2},
                {"not": {"kind": "orders", "measure": "last", "op": "on or after", "value": "1998-01-01"}},
            ]
        }
    )
    spent: dict[str, Decimal] = defaultdict(Decimal)
    days: dict[str, list[str]] = defaultdict(list)
    with CDNOW.open(newline="") as file:
        for row in csv.DictReader(file):
            spent[row["customer_id"]] += Decimal(row["total_usd"])
            days[row["customer_id"]].append(row["ordered_on"])
    quiet = [
        customer
        for customer, when in days.items()
        if spent[customer] >= 100 and len(when) >= 2 and max(when) < "1998-01-01"
    ]
    assert (len(days), sum(map(len, days.values()))) == (2357, 6919)

    async with sessions(DEFAULT_WORKSPACE) as db:
        ids = {customer: uuid4() for customer in days}
        await db.execute(insert(Profile), [HERE | {"id": profile} for profile in ids.values()])
        rollups = [
            {"profile_id": ids[customer], "currency": "USD"}
            | rolled_up([Purchase(midnight(day), Decimal(0), "USD") for day in when])
            | {"total": spent[customer]}
            for customer, when in days.items()
        ]
        await db.execute(insert(OrderRollup), [HERE | rollup for rollup in rollups])
        found = set(await db.scalars(segments.members(rule, **MANNERS)))

        assert found == {ids[customer] for customer in quiet}


async def test_amounts_are_added_up_to_the_last_digit(sessions: Sessions) -> None:
    sizes = [1e30, 1, -1e30], [1e300, 1e-300, -1e300], ["9" * 60, "9" * 60], [0.1, 0.2], [1.7e308, 1.7e308]
    people = [
        Person(id=uuid4(), events=tuple(Did("viewed", NOON, {"it": each}) for each in these))
        for these in sizes
    ]
    asked: list[tuple[str, str, Any]]
    asked = [("sum", "is", 1), ("sum", "is", 0.3), ("sum", ">=", 1), ("sum", "<", 1), ("sum", ">", 0)]
    asked += [("sum", "is", 1e-300), ("sum", "is", "1" + "9" * 59 + "8")]
    asked += [("average", "is", "9" * 60), ("average", "is", 0.15), ("average", "is", 1.7e308)]
    words = {"kind": "event", "name": "viewed", "property": "it", "window": {"after": "30 days ago"}}
    async with sessions(DEFAULT_WORKSPACE) as db:
        await furnish(db)
        await settle(db, people)
        for measure, op, value in asked:
            rule = parse({**words, "measure": measure, "op": op, "value": value})
            expected = {each.id for each in people if holds(rule, each, **MANNERS)}
            assert set(await db.scalars(segments.members(rule, **MANNERS))) == expected, rule
            assert expected, rule


async def test_merged_and_erased_profiles_are_nobody(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        kept, merged, erased = [await a_profile(db, {}) for _ in range(3)]
        await db.execute(
            text("update profiles set merged_into = :kept where id = :id"), {"kept": kept, "id": merged}
        )
        await db.execute(text("update profiles set erased_at = now() where id = :id"), {"id": erased})

        assert list(await db.scalars(segments.members(EVERYBODY, **MANNERS))) == [kept]


def test_a_segment_cannot_ask_about_messages() -> None:
    rule = parse({"kind": "message", "did": "clicked", "step": "welcome"}, in_flow=True)

    with pytest.raises(Invalid, match="Only a branch"):
        segments.members(rule, **MANNERS)


@pytest.mark.parametrize("did", ["received", "bounced", "opened", "clicked"])
async def test_a_message_to_a_bare_address_makes_nobody_a_member(sessions: Sessions, did: str) -> None:
    many = {"kind": "messages", "did": did, "op": ">=", "value": 1, "window": {"after": "90 days ago"}}
    of_two = {"all": [many, {**many, "channel": "email"}]}
    async with sessions(DEFAULT_WORKSPACE) as db:
        person = await a_profile(db, {})
        for whose in (None, person):
            await a_message(db, whose, opened_at=NOON, clicked_at=NOON, fate="soft bounce")
        for rule in map(parse, (many, of_two)):
            for find in (segments.members, segments.all_members):
                assert [*await db.scalars(find(rule, **MANNERS))] == [person]


async def test_another_journeys_message_does_not_count(sessions: Sessions) -> None:
    rule = parse({"kind": "message", "did": "clicked", "step": "welcome"}, in_flow=True)
    clicked = Person(replies={"welcome": frozenset({"received", "clicked"})})
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow = await a_flow(db)
        profile_id = await a_member(db, flow, clicked)
        await a_journey(db, flow, profile_id, Person(), entry="again")
        met = segments.where(rule, profile_id=Enrollment.profile_id, enrollment=Enrollment.id, **MANNERS)

        picked = {row.entry: row.met for row in await db.execute(select(Enrollment.entry, met.label("met")))}
        assert picked == {"once": True, "again": False}


async def test_a_journey_under_a_merged_profile_is_asked_about_the_person(sessions: Sessions) -> None:
    gone = Person(
        attributes={"plan": "basic"},
        purchases=(Purchase(NOON, Decimal(100), "USD"),),
        replies={"welcome": frozenset({"clicked"})},
    )
    rule = parse(
        {
            "all": [
                {"kind": "attribute", "name": "plan", "op": "is", "value": "gold"},
                {"kind": "orders", "measure": "total", "op": "is", "value": 100},
                {"kind": "message", "did": "clicked", "step": "welcome"},
            ]
        },
        in_flow=True,
    )
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow = await a_flow(db)
        alias = await a_member(db, flow, gone)
        await merge(db, alias, await a_profile(db, {"plan": "gold"}), NOON)
        met = segments.where(rule, profile_id=Enrollment.profile_id, enrollment=Enrollment.id, **MANNERS)

        assert list(await db.scalars(select(Enrollment.profile_id).where(met))) == [alias]


async def test_a_segment_that_a_flow_begins_with_is_not_deleted(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        segment = await segments_written.create(db, DEFAULT_WORKSPACE, "Everybody", {"all": []})
        definition = {"trigger": {"kind": "segment", "segment_id": str(segment.id)}}
        flow = Flow(**HERE, name="Welcome", slug="welcome", definition=definition)
        db.add(flow)
        await db.flush()
        with pytest.raises(Conflict, match='The flow "Welcome"'):
            await segments_written.delete(db, segment.id)
        await db.delete(flow)
        await db.flush()
        await segments_written.delete(db, segment.id)

        assert await db.scalar(select(Segment)) is None


@dataclass(frozen=True)
class Published:
    flow_id: UUID
    version_id: UUID
    template_version_id: UUID


async def a_flow(db: AsyncSession) -> Published:
    template = Template(**HERE, name="Hello")
    flow = Flow(**HERE, name="Welcome", slug="welcome", definition={})
    db.add_all([template, flow])
    await db.flush()
    content = TemplateVersion(**HERE, template_id=template.id, number=1, subject="Hello", html="<p>Hello")
    version = FlowVersion(**HERE, flow_id=flow.id, number=1, definition={}, templates={})
    db.add_all([content, version])
    await db.flush()
    return Published(flow.id, version.id, content.id)


async def a_profile(db: AsyncSession, attributes: Mapping[str, Any]) -> UUID:
    added = insert(Profile).values(**HERE, attributes=dict(attributes)).returning(Profile.id)
    return (await db.scalars(added)).one()


async def a_member(db: AsyncSession, flow: Published, person: Person) -> UUID:
    """This person as rows, with a journey in the flow. Returns the profile's id."""
    profile_id = await a_profile(db, person.attributes)
    if person.purchases:
        rollup = {"profile_id": profile_id, "currency": "USD"} | rolled_up(person.purchases)
        await db.execute(insert(OrderRollup), [HERE | rollup])
    await a_journey(db, flow, profile_id, person)
    return profile_id


async def a_journey(
    db: AsyncSession, flow: Published, profile_id: UUID, person: Person, entry: str = "once"
) -> None:
    place = {"flow_id": flow.flow_id, "version_id": flow.version_id, "profile_id": profile_id, "entry": entry}
    entered = insert(Enrollment).values(**HERE, **place, step="start", entered_at=NOON)
    enrollment = (await db.scalars(entered.returning(Enrollment.id))).one()
    if person.replies:
        await db.execute(
            insert(Line),
            [line(flow, profile_id, enrollment, step, done) for step, done in person.replies.items()],
        )


def line(flow: Published, profile_id: UUID, enrollment: UUID, step: str, done: frozenset[str]) -> Json:
    state = MessageState.ACCEPTED if "received" in done else MessageState.UNKNOWN
    return HERE | {
        "queue_id": flow.flow_id,
        "source_id": flow.flow_id,
        "source_kind": SourceKind.FLOW,
        "step": step,
        "profile_id": profile_id,
        "occasion": enrollment,
        "channel": "email",
        "message_class": MessageClass.MARKETING,
        "template_version_id": flow.template_version_id,
        "state": state,
        "due_at": NOON,
        "closed_at": NOON,
        "opened_at": NOON if "opened" in done else None,
        "clicked_at": NOON if "clicked" in done else None,
    }


def midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)
