"""What tests about people begin with: a person, a mail that reached them, a flow they are in."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.events import Event, EventName, Quarantined, Refusal
from models.flows import Enrollment, Flow, FlowVersion
from models.messages import Lease, Message, Queued
from models.orders import Order, OrderRollup
from models.profiles import Consent, Identity, Profile
from models.templates import Template, TemplateVersion
from models.workspaces import Workspace

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
HERE: dict[str, Any] = {"workspace_id": DEFAULT_WORKSPACE}
HTML = (
    '<p>Hi {{ name }}: <a href="https://shop.example/sale">sale</a> '
    '<a href="https://shop.example/for/{{ name }}">yours</a></p>'
)


async def another_workspace(sessions: Sessions) -> UUID:
    """Its id; there is nothing in it."""
    workspace_id = uuid4()
    async with sessions.engine() as db:
        db.add(Workspace(id=workspace_id, name="Another"))
    return workspace_id


async def a_person(
    db: AsyncSession, email: str | None = None, consents: dict[str, str] | None = None, **attributes: Any
) -> UUID:
    """Somebody who granted marketing and tracking, by import, unless `consents` says otherwise."""
    profile = Profile(**HERE, attributes=attributes)
    db.add(profile)
    await db.flush()
    if email:
        db.add(Identity(**HERE, kind="email", value=email, profile_id=profile.id))
    for purpose, state in (
        {"email": "granted", "tracking": "granted"} if consents is None else consents
    ).items():
        db.add(Consent(**HERE, profile_id=profile.id, purpose=purpose, state=state, source="import", at=NOON))
    await db.flush()
    return profile.id


async def a_version(db: AsyncSession, html: str = HTML) -> UUID:
    """The first version of a template."""
    template = Template(**HERE, name="Letter")
    db.add(template)
    await db.flush()
    version = TemplateVersion(**HERE, template_id=template.id, number=1, subject="Hi", html=html)
    db.add(version)
    await db.flush()
    return version.id


async def a_message(
    db: AsyncSession, profile_id: UUID | None, address: str = "ada@shop.example", **values: Any
) -> UUID:
    """A tracked mail that was accepted, unless `values` say otherwise."""
    known = {
        "queue_id": DEFAULT_WORKSPACE,
        "source_id": DEFAULT_WORKSPACE,
        "source_kind": "outbox",
        "step": "send",
        "occasion": uuid4(),
        "channel": "email",
        "message_class": "marketing",
        "state": "accepted",
        "due_at": NOON,
        "holes": ["Ada"],
        "tracked": True,
        **values,
    }
    if "template_version_id" not in known:
        known["template_version_id"] = await a_version(db)
    closed = None if known["state"] in ("queued", "claimed", "sending") else NOON
    bare = address if profile_id is None else None
    message = Message(**HERE, profile_id=profile_id, address=address, bare=bare, closed_at=closed, **known)
    db.add(message)
    await db.flush()
    if message.state == "queued":
        db.add(Queued(**HERE, queue_id=message.queue_id, due_at=message.due_at, message_id=message.id))
    elif message.closed_at is None:
        message.attempt = uuid4()
        db.add(
            Lease(**HERE, id=message.attempt, queue_id=message.queue_id, message_ids=[message.id], until=NOON)
        )
    await db.flush()
    return message.id


async def a_flow(db: AsyncSession) -> tuple[UUID, UUID]:
    """A live flow and its version."""
    flow = Flow(**HERE, name="Welcome", slug="welcome", state="live", definition={})
    db.add(flow)
    await db.flush()
    version = FlowVersion(**HERE, flow_id=flow.id, number=1, definition={}, templates={})
    db.add(version)
    await db.flush()
    return flow.id, version.id


async def a_journey(
    db: AsyncSession, flow: tuple[UUID, UUID], profile_id: UUID, entry: str = "once", **values: Any
) -> UUID:
    known = {"step": "wait", "due_at": LATER, "entered_at": NOON, **values}
    journey = Enrollment(
        **HERE, flow_id=flow[0], version_id=flow[1], profile_id=profile_id, entry=entry, **known
    )
    db.add(journey)
    await db.flush()
    await write_the_agenda(db)
    return journey.id


async def write_the_agenda(db: AsyncSession) -> None:
    """For a test that wrote enrollments by hand: the agenda follows."""
    for statement in _WRITE_THE_AGENDA:
        await db.execute(text(statement))


async def nobody_is_astray(db: AsyncSession) -> None:
    """The agenda holds exactly those who are due. Every test ends with this, or with `out_of_step`."""
    assert await rows(db, ASTRAY) == []


_DUE = """
    select workspace_id, version_id, step, due_at, id from enrollments
    where ended_at is null and due_at is not null
"""
_LISTED = "select workspace_id, version_id, step, due_at, enrollment_id from agenda"
_WRITE_THE_AGENDA = (
    f"""
    delete from agenda where (workspace_id, version_id, step, due_at, enrollment_id) in (
        {_LISTED} except {_DUE})
    """,
    f"""
    insert into agenda (workspace_id, version_id, step, due_at, enrollment_id)
    ({_DUE}) except {_LISTED}
    """,
)
# Who is due and not on the agenda, and who is on it and not due.
ASTRAY = f"(({_DUE}) except {_LISTED}) union all ({_LISTED} except ({_DUE}))"


async def an_order(
    db: AsyncSession, profile_id: UUID, total: int, at: datetime, currency: str = "USD"
) -> None:
    """An order, added up as an import would."""
    values = {**HERE, "profile_id": profile_id, "currency": currency}
    db.add(Order(key=str(uuid4()), ordered_at=at, quantity=1, total=total, source="test", **values))
    known = await db.get(OrderRollup, (DEFAULT_WORKSPACE, profile_id, currency))
    if known is None:
        db.add(OrderRollup(total=total, count=1, first_at=at, last_at=at, largest=total, **values))
    else:
        known.total, known.count = known.total + total, known.count + 1
        known.first_at, known.last_at = min(known.first_at, at), max(known.last_at, at)
        known.largest = max(known.largest, Decimal(total))
    await db.flush()


async def an_event(
    db: AsyncSession, profile_id: UUID, name: str = "Product Viewed", at: datetime = NOON, **values: Any
) -> UUID:
    """An event, in the catalogue and on somebody's timeline."""
    known = {"kind": "track", "properties": {"sku": "LP"}, "occurred_at": at, **values}
    event = Event(**HERE, id=uuid7(), received_at=at, name=name, profile_id=profile_id, **known)
    db.add(event)
    seen = {"first_seen_at": at, "last_seen_at": at, "properties": {"sku": {"string": 1}}, "volume": 1}
    if await db.get(EventName, (DEFAULT_WORKSPACE, name)) is None:
        db.add(EventName(**HERE, name=name, kind=event.kind, **seen))
    await db.flush()
    return event.id


async def put_aside(
    db: AsyncSession, kind: str = "track", name: str | None = "Broken", **values: Any
) -> UUID:
    """An arrival in quarantine, and something that was refused."""
    id_ = uuid7()
    arrival: dict[str, Any] = {
        "id": str(id_),
        "workspace_id": str(DEFAULT_WORKSPACE),
        "received_at": NOON.isoformat(),
    }
    arrival |= {"kind": kind, "name": name, "trusted": True, "historical": False, "email": "a@shop.example"}
    arrival |= {"occurred_at": NOON.isoformat(), "message_id": f"m-{id_}", "properties": {}, **values}
    db.add(Quarantined(**HERE, id=id_, at=NOON, reason="It broke.", arrival=arrival))
    refused = {"kind": kind, "name": name, "message_id": "m-2", "pointer": "/email", "reason": "It is known."}
    db.add(Refusal(**HERE, at=NOON, stage="name", **refused))
    await db.flush()
    return id_


async def rows(db: AsyncSession, asked: str, **values: Any) -> list[Any]:
    """What a query answers: plain values where it asks for one column, tuples otherwise."""
    found = (await db.execute(text(asked), values)).all()
    return [row[0] if len(row) == 1 else tuple(row) for row in found]
