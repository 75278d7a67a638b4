"""Made-up people (`tests.made_up.people`) as rows of a database. Some of them were two profiles once."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.facts import Person, Purchase, Sent
from domain.messages import Fate, MessageClass, MessageState, SourceKind
from domain.orders import OrderStatus
from domain.profiles import ADDRESS_KIND, address_hash
from domain.workspaces import DEFAULT_WORKSPACE
from models.attributes import Attribute
from models.base import Json
from models.events import Event
from models.flows import Enrollment, Flow, FlowVersion
from models.lists import List, ListMember, Topic, TopicConsent
from models.messages import Message
from models.orders import Order, OrderRollup
from models.profiles import Consent, Identity, Profile, ProfileTag, Suppression
from models.queries import attributes
from tests.made_up import reachable
from tests.rules import FLOWS, LISTS, NOON, TOPICS, some_id

HERE: Json = {"workspace_id": DEFAULT_WORKSPACE}
FAR_AWAY = NOON + timedelta(days=3_000)
HOT = ("plan", "age")  # Attributes whose values are kept in an index as well.
BRANCHING = some_id(100)  # A flow in which everybody is; the flows that rules ask about are others.


async def furnish(db: AsyncSession, workspace_id: UUID = DEFAULT_WORKSPACE) -> None:
    """What the rules of `tests.rules` name: flows, lists and topics."""
    here = {"workspace_id": workspace_id}
    for flow in (BRANCHING, *FLOWS):
        named = {"name": str(flow), "slug": str(flow), "definition": {}}
        await db.execute(insert(Flow).values(**here, id=flow, **named))
        version = {"id": flow, "flow_id": flow, "number": 1, "definition": {}, "templates": {}}
        await db.execute(insert(FlowVersion).values(**here, **version))
    for name in HOT:
        seen = {"type": "string", "first_seen_at": NOON, "last_seen_at": NOON}
        await db.execute(insert(Attribute).values(**here, name=name, hot=True, **seen))
    for each in LISTS:
        await db.execute(insert(List).values(**here, id=each, name=str(each)))
    for each in TOPICS:
        await db.execute(insert(Topic).values(**here, id=each, name=str(each), purpose="email"))


def apart(crowd: Sequence[Person]) -> list[Person]:
    """The same people, each with an id and with names that nobody else has."""
    taken: set[tuple[str, str]] = set()
    people = []
    for person in crowd:
        names = {}
        for kind, values in person.names.items():
            if own := frozenset(value for value in values if (kind, value) not in taken):
                names[kind] = own
                taken |= {(kind, value) for value in own}
        people.append(reachable(replace(person, id=uuid4(), names=names, messages=_all_messages(person))))
    return people


def _all_messages(person: Person) -> tuple[Sent, ...]:
    """The journey's messages are among those of the ledger."""
    of_the_journey = (
        Sent(
            source_id=BRANCHING,
            channel="push",
            at=FAR_AWAY,
            received="received" in did,
            opened_at=FAR_AWAY if "opened" in did else None,
            clicked_at=FAR_AWAY if "clicked" in did else None,
        )
        for did in person.replies.values()
    )
    return (*person.messages, *of_the_journey)


async def settle(db: AsyncSession, crowd: Sequence[Person]) -> None:
    """Write these people down, each with a journey in `BRANCHING`.

    Every other one was merged from two: every other event, message and journey is still the alias's.
    """
    tables: dict[Any, list[Json]] = {}
    for nth, person in enumerate(crowd):
        for table, row in _rows(person, uuid4() if nth % 2 else None):
            tables.setdefault(table, []).append(HERE | row)
    for table, rows in tables.items():
        for _, alike in groupby(rows, key=sorted):
            await db.execute(insert(table), list(alike))
    await attributes.keep_values(db, DEFAULT_WORKSPACE, [person.id for person in crowd])


def _rows(person: Person, alias: UUID | None) -> Iterator[tuple[Any, Json]]:
    me: Json = {"profile_id": person.id}
    yield (
        Profile,
        {
            "id": person.id,
            "attributes": dict(person.attributes),
            "time_zone": person.time_zone,
            "created_at": person.known_since,
            "merged_into": None,
        },
    )
    if alias:
        yield (
            Profile,
            {"id": alias, "attributes": {}, "time_zone": None, "created_at": NOON, "merged_into": person.id},
        )
    whose = [me, {"profile_id": alias or person.id}]
    for kind, values in person.names.items():
        for nth, value in enumerate(sorted(values)):
            yield Identity, me | {"kind": kind, "value": value, "is_primary": nth == 0}
    for channel, reason in person.suppressed.items():
        address = min(person.names[ADDRESS_KIND[channel]])
        hashed = {"channel": channel, "address_hash": address_hash(address)}
        yield Suppression, hashed | {"reason": reason, "source": "test", "at": NOON}
    yield from _orders(person, me)
    for nth, did in enumerate(person.events):
        at = {"occurred_at": did.at, "received_at": did.at + timedelta(days=nth % 2)}
        kept = {"id": uuid4(), "kind": "track", "name": did.name, "properties": dict(did.properties)}
        yield Event, whose[nth % 2] | at | kept
    yield from _messages(person, whose)
    for purpose, state in person.consents.items():
        yield from _chosen(Consent, me | {"purpose": purpose}, state)
    for topic, state in person.topics.items():
        yield from _chosen(TopicConsent, me | {"topic_id": topic}, state)
    for each in LISTS:
        state = "member" if each in person.lists else "left"
        yield ListMember, me | {"list_id": each, "state": state, "source": "test", "at": NOON}
    for tag in person.tags:
        yield ProfileTag, me | {"tag": tag, "at": NOON}
    yield Enrollment, _place(me, BRANCHING, "start", None) | {"id": person.id, "entry": "once"}
    for nth, journey in enumerate(person.journeys):
        ended = NOON if journey.ended else None
        place = _place(whose[nth % 2], journey.flow_id, journey.step, ended)
        yield Enrollment, place | {"id": uuid4(), "entry": str(nth)}


def _place(whose: Json, flow: UUID, step: str, ended: datetime | None) -> Json:
    return whose | {"flow_id": flow, "version_id": flow, "step": step, "entered_at": NOON, "ended_at": ended}


def _chosen(table: Any, what: Json, state: str) -> Iterator[tuple[Any, Json]]:
    """The current state, and before it the opposite one."""
    before = {"state": "denied" if state == "granted" else "granted", "source": "test", "at": NOON}
    yield table, what | before | {"ended_at": NOON}
    yield table, what | {"state": state, "source": "test", "at": NOON, "ended_at": None}


def _orders(person: Person, me: Json) -> Iterator[tuple[Any, Json]]:
    """A part of each order was refunded, and a cancelled one counts nowhere."""
    for nth, purchase in enumerate((*person.purchases, _cancelled(person))):
        yield (
            Order,
            me
            | {
                "key": str(uuid4()),
                "ordered_at": purchase.at,
                "quantity": 1,
                "total": purchase.total + 1,
                "refunded": 1,
                "currency": purchase.currency,
                "source": "test",
                "status": OrderStatus.PLACED if nth < len(person.purchases) else OrderStatus.CANCELLED,
                "lines": [{"sku": product, "quantity": 1} for product in sorted(purchase.products)] or None,
            },
        )
    for currency in {purchase.currency for purchase in person.purchases}:
        bought = [purchase for purchase in person.purchases if purchase.currency == currency]
        yield OrderRollup, me | {"currency": currency} | rolled_up(bought)


def _cancelled(person: Person) -> Purchase:
    return Purchase(NOON, Decimal(100), "USD", frozenset({"LP-1"}))


def rolled_up(bought: Sequence[Purchase]) -> Json:
    times, totals = [each.at for each in bought], [each.total for each in bought]
    sums = {"total": sum(totals, Decimal(0)), "count": len(bought), "largest": max(totals)}
    return sums | {"first_at": min(times), "last_at": max(times)}


def _messages(person: Person, whose: Sequence[Json]) -> Iterator[tuple[Any, Json]]:
    for nth, sent in enumerate(person.messages):
        if sent.source_id == BRANCHING:
            continue
        kind = SourceKind.FLOW if sent.source_id in FLOWS else SourceKind.CAMPAIGN
        line = _line(whose[nth % 2], sent.source_id, kind, uuid4(), "send")
        fate = (Fate.SOFT_BOUNCE, Fate.HARD_BOUNCE)[nth % 2] if sent.bounced else None
        yield (
            Message,
            line
            | {
                "channel": sent.channel,
                "state": MessageState.ACCEPTED if sent.received else MessageState.FAILED,
                "closed_at": sent.at,
                "opened_at": sent.opened_at,
                "clicked_at": sent.clicked_at,
                "fate": fate,
            },
        )
    for step, did in person.replies.items():
        line = _line(whose[0], BRANCHING, SourceKind.FLOW, person.id, step)
        yield (
            Message,
            line
            | {
                "channel": "push",
                "state": MessageState.ACCEPTED if "received" in did else MessageState.UNKNOWN,
                "closed_at": FAR_AWAY,
                "opened_at": FAR_AWAY if "opened" in did else None,
                "clicked_at": FAR_AWAY if "clicked" in did else None,
                "fate": None,
            },
        )


def _line(whose: Json, source: UUID, kind: SourceKind, occasion: UUID, step: str) -> Json:
    return whose | {
        "id": uuid4(),
        "queue_id": source,
        "source_id": source,
        "source_kind": kind,
        "step": step,
        "occasion": occasion,
        "message_class": MessageClass.MARKETING,
        "template_version_id": source,
        "due_at": NOON,
    }
