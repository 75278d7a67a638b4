"""A workspace with something in every table, and what a test needs to ask for it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.channels import Channel
from domain.failures import Category, Failure, Subject
from domain.flows import Call
from domain.imports import CustomerLine, ImportKind, OrderLine, Refusal
from domain.keys import new_key
from domain.lists import MemberState
from domain.messages import MessageClass, SourceKind
from domain.profiles import SuppressionReason
from domain.roles import KeyKind, Role
from domain.schedules import Meant, Starter
from domain.templates import Template
from domain.workspaces import DEFAULT_WORKSPACE
from models.attributes import Attribute
from models.base import Base, Sessions
from models.campaigns import Campaign
from models.failures import Alert, FailureLog
from models.flows import Flow
from models.imports import Import, ImportKey
from models.integrations import Integration
from models.lists import List, ListMember, Topic, TopicConsent
from models.members import AuditLine, Membership
from models.messages import CapCounter, MessageEvent
from models.profiles import Identity, ProfileNote, ProfileTag
from models.providers import Breaker, BreakerChange, Bucket, Provider, ProviderDay, Route
from models.queries import (
    attributes,
    bodies,
    domains,
    enrollments,
    failures,
    flows,
    idempotency,
    imported,
    imports,
    invitations,
    issuers,
    keys,
    profiles,
    queued,
    schedules,
    singles,
    verified_senders,
    ways,
)
from models.queries.attachments import File
from models.queries.idempotency import Asked
from models.queries.ledger import Queue
from models.queries.singles import Single
from models.queries.ways import Move
from models.reports import Delivery, EarlyReport, Hold, HookDay, LastWord, Reported, SoftBounce
from models.segments import SegmentDay, SegmentMember, SegmentVersion
from models.webhooks import Webhook, WebhookDelivery
from tests.calling import call
from tests.people import HERE, a_message, a_person, an_event, an_order, put_aside
from tests.sending import (
    CALLER,
    NOW,
    a_draft,
    a_flow,
    a_graph,
    a_segment,
    a_sender,
    a_template,
    send,
    some,
    wait,
)

SOON = NOW + timedelta(days=1)
CUSTOMER = CustomerLine(2, "c9", "new@shop.example", "granted", None, None, '{"name": "Nora"}')
ORDER = OrderLine(2, "c1", "2026-03-01T10:00:00Z", 1, "12.00", "USD", "o9", 0)

DOMAIN = {"name": "shop.example", "dkim_selector": "bell", "dkim_record": "p=", "dkim_key": "v1.x.x"}
ISSUER = {"name": "Staff", "issuer": "https://a.example", "client_id": "x", "client_secret": "v1.x.x"}


@dataclass
class Filled:
    """Ids of the default workspace. What is told apart by its state has one of each."""

    other: UUID  # Another workspace, with nothing in it.
    owner: UUID
    marketer: UUID
    ada: UUID
    bob: UUID
    template: UUID
    version: UUID
    segment: UUID
    unused_template: UUID
    unused_segment: UUID
    draft: Campaign
    planned: UUID  # To start soon.
    awaited: UUID  # Which n8n should have started.
    running: Campaign
    queued: UUID
    claimed: UUID
    attempt: UUID  # Of the claimed.
    sending: UUID
    wire: UUID  # The attempt of the one that is sending.
    accepted: UUID
    lost: Queue  # Its worker's lease has ended.
    flow: Flow  # Begins with an order.
    move: Move  # Ada's.
    letters: Flow  # Begins with a message, which Ada waits for.
    news: UUID  # A list with Bob on it, and Ada asked whether she wants to be.
    topic: UUID  # Which Ada chose.
    note: UUID  # About Ada, who has the tag "early".
    suppression: UUID
    onward: list[Move]
    closed: UUID  # That message.
    waiting: Flow  # In which Ada waits for an order.
    unpublished: UUID
    order: UUID
    aside: UUID  # In quarantine.
    customers: Import
    orders: Import
    invitation: UUID
    key: UUID
    issuer: UUID
    provider: UUID
    route: UUID  # To that provider, for marketing by email.
    unrouted: UUID  # A provider to which no route leads.
    single: UUID  # A message to Bob with a file, in words of its own.
    domain: UUID  # Verified: it vouches for "shop@shop.example".
    sender: UUID  # Which mail comes from.
    webhook: UUID
    uncalled_webhook: UUID
    calling: Flow  # It calls the webhook.
    place: tuple[UUID, str]  # Its version and its step.
    call: UUID  # About Ada, who waits for a callback.
    called: UUID  # Ada's journey.
    uncalled: UUID  # Bob's: he has just come to the step.
    failure: UUID
    alert: UUID
    delivery: UUID
    journey: UUID  # Ada's, in `flow`.
    once: Asked  # A request that is under way, and was not answered yet.

    @property
    def id(self) -> UUID:
        return DEFAULT_WORKSPACE

    @property
    def queue(self) -> Queue:
        return Queue(DEFAULT_WORKSPACE, self.running.id, SourceKind.CAMPAIGN)


async def filled(sessions: Sessions) -> Filled:
    other = uuid4()
    async with sessions.engine() as db:
        await db.execute(text("insert into workspaces (id, name) values (:id, 'Another')"), {"id": other})
        marketer = uuid4()
        await db.execute(
            text("insert into users (id, email, name) values (:id, 'grace@records.example', 'Grace')"),
            {"id": marketer},
        )
    async with sessions(DEFAULT_WORKSPACE, '{"kind": "user", "name": "Ada"}') as db:
        return await _things(db, other, marketer)


async def _things(db: AsyncSession, other: UUID, marketer: UUID) -> Filled:
    db.add(Membership(**HERE, user_id=marketer, role=Role.MARKETER))
    [owner] = await some(db, "select user_id from memberships where role = 'owner'")
    await a_sender(db, caps='[{"channel": "email", "limit": 9, "period": "day"}]')
    ada = await a_person(db, "ada@shop.example", name="Ada")
    bob = await a_person(db, "bob@shop.example", name="Bob")
    db.add(Identity(**HERE, kind="user_id", value="c1", profile_id=ada))
    db.add(Identity(**HERE, kind="phone", value="+12025550100", profile_id=ada))
    db.add(
        Attribute(
            **HERE,
            name="name",
            type="string",
            first_seen_at=NOW,
            last_seen_at=NOW,
            hot=True,
            filled_to=attributes.FROM_THE_START,
        )
    )
    db.add(Attribute(**HERE, name="plan", type="string", first_seen_at=NOW, last_seen_at=NOW, hot=True))
    await profiles.suppress(db, "email", "never@shop.example", SuppressionReason.COMPLAINED, "test", NOW)
    [suppression] = await some(db, "select id from suppressions")
    news, topic = List(**HERE, name="News"), Topic(**HERE, name="Concerts", purpose="email")
    note = ProfileNote(**HERE, profile_id=ada, text="Called.", author="Grace", at=NOW)
    db.add_all([news, topic, note, ProfileTag(**HERE, profile_id=ada, tag="early", at=NOW)])
    await db.flush()
    for who, state in ((ada, MemberState.PENDING), (bob, MemberState.MEMBER)):
        db.add(ListMember(**HERE, list_id=news.id, profile_id=who, state=state, source="test", at=NOW))
    granted = {"state": "granted", "source": "test", "at": NOW}
    db.add(TopicConsent(**HERE, profile_id=ada, topic_id=topic.id, **granted))
    await an_order(db, bob, 30, NOW)
    [order] = await some(db, "select id from orders")
    await an_event(db, bob)
    template, version = await a_template(db)
    segment = await a_segment(db, {"kind": "attribute", "name": "name", "op": "exists"})
    its = {**HERE, "segment_id": segment}
    db.add(SegmentMember(**its, profile_id=ada, entered_at=NOW))
    db.add(SegmentDay(**its, day=NOW.date(), entered=1, size=1))
    db.add(SegmentVersion(**its, number=1, rule={"all": []}))
    await db.flush()
    unused_template, _ = await a_template(db)
    unused_segment = await a_segment(db)
    draft = await a_draft(db)
    planned = await a_draft(db)
    await schedules.schedule(db, planned.id, Meant(SOON), "UTC", Starter.CAMPANILE, NOW)
    awaited = await a_draft(db)
    await schedules.schedule(db, awaited.id, Meant(NOW), "UTC", Starter.N8N, NOW)
    running = await a_draft(db, state="running", started_at=NOW, frozen_at=None)
    it: dict[str, Any] = {
        "queue_id": running.id,
        "source_id": running.id,
        "source_kind": "campaign",
        "template_version_id": running.template_version_id,
    }
    made = {
        state: await a_message(
            db, bob, "bob@shop.example", state=state, occasion=running.id, step=state, **it
        )
        for state in ("queued", "claimed", "sending", "accepted")
    }
    lost = await a_draft(db, state="running")
    its = it | {"queue_id": lost.id, "source_id": lost.id}
    await a_message(db, bob, state="claimed", occasion=lost.id, **its)
    for kind in ("clicked", "unsubscribed"):
        db.add(MessageEvent(**HERE, message_id=made["accepted"], kind=kind, at=NOW))
    db.add_all(_reports(bob, made["accepted"]))
    db.add(CapCounter(**HERE, profile_id=bob, channel="email", period="day", starts_on=NOW.date(), n=3))
    await db.flush()
    await db.execute(text("update messages set claimed_at = :now where state = 'claimed'"), {"now": NOW})
    attempts = {
        state: (await some(db, "select attempt from messages where id = :id", id=made[state]))[0]
        for state in ("claimed", "sending")
    }
    holds = "update leases set until = clock_timestamp() + interval '1 hour' where id = any(:ids)"
    await db.execute(text(holds), {"ids": [*attempts.values()]})
    return Filled(
        other=other,
        owner=owner,
        marketer=marketer,
        ada=ada,
        bob=bob,
        news=news.id,
        topic=topic.id,
        note=note.id,
        suppression=suppression,
        template=template,
        version=version,
        segment=segment,
        unused_template=unused_template,
        unused_segment=unused_segment,
        draft=draft,
        planned=planned.id,
        awaited=awaited.id,
        running=running,
        queued=made["queued"],
        claimed=made["claimed"],
        attempt=attempts["claimed"],
        sending=made["sending"],
        wire=attempts["sending"],
        accepted=made["accepted"],
        lost=Queue(DEFAULT_WORKSPACE, lost.id, SourceKind.CAMPAIGN),
        order=order,
        aside=await put_aside(db),
        **await _journeys(db, template, ada),
        **await _files(db),
        **await _people(db, ada, bob),
        single=await _single(db, bob),
    )


def _reports(who: UUID, message: UUID) -> list[Base]:
    """What providers reported: marketing by SMS is held for it."""
    hashed = b"x" * 32
    return [
        Reported(**HERE, key="x 1", at=NOW),
        EarlyReport(**HERE, since=NOW, due_at=NOW, report={}),
        SoftBounce(**HERE, channel="email", address_hash=hashed, message_id=message, at=NOW),
        LastWord(**HERE, about="email", address_hash=hashed, at=NOW),
        Delivery(**HERE, channel="email", day=NOW.date(), delivered=7),
        Hold(**HERE, channel="sms", at=NOW, reason="It was too much."),
        HookDay(**HERE, provider_id=who, day=NOW.date(), reports=7),
    ]


async def _single(db: AsyncSession, bob: UUID) -> UUID:
    provider = Provider(**HERE, name="Texts", kind="simulated", channel="sms")
    db.add(provider)
    await db.flush()
    to = {"channel": "sms", "message_class": "transactional", "provider_id": provider.id}
    db.add(Route(**HERE, **to))
    said = Template("Hi", "<p>Hi</p>")
    one = Single(
        channel=Channel.EMAIL,
        message_class=MessageClass.TRANSACTIONAL,
        template_version_id=await bodies.version(db, DEFAULT_WORKSPACE, said),
        profile_id=bob,
        bare=None,
        holes=[],
        due_at=NOW,
        expires_at=None,
        note="Ada asked for it.",
        files=[File("a.txt", "text/plain", b"x")],
    )
    [made] = await singles.write(db, DEFAULT_WORKSPACE, [one], NOW)
    return made


async def _journeys(db: AsyncSession, template: UUID, ada: UUID) -> dict[str, Any]:
    bought = {"kind": "event", "event": "order placed"}
    graphs = {
        "flow": a_graph({"a": wait(60, "b"), "b": send(template)}, "a", trigger=bought),
        "letters": a_graph({"b": send(template, "a"), "a": wait(60)}, "b"),
        "waiting": a_graph({"w": {"kind": "wait_for_event", "event": "order placed", "at_most": 60}}, "w"),
    }
    made: dict[str, Any] = {"unpublished": await a_flow(db, graphs["letters"], "Draft")}
    for name, graph in graphs.items():
        flow, version, _ = await flows.publish(db, await a_flow(db, graph, name))
        await db.refresh(flow)
        made[name] = flow
        await enrollments.enroll(db, DEFAULT_WORKSPACE, flow.id, [(ada, "once", {})], NOW)
        known = await ways.graphs(db, flow.id)
        if name == "flow":
            made["move"] = known[version.id].way("a", "b", "waited")
        elif name == "letters":
            made["onward"] = [*ways.after_messages(known)]
    await queued.cancel(db, Queue(DEFAULT_WORKSPACE, made["letters"].id, SourceKind.FLOW), NOW)
    found = await some(db, "select id from messages where queue_id = :flow", flow=made["letters"].id)
    [journey] = await some(db, "select id from enrollments where flow_id = :flow", flow=made["flow"].id)
    return made | {"closed": found[0], "journey": journey}


async def _files(db: AsyncSession) -> dict[str, Any]:
    made = {}
    for kind in (ImportKind.CUSTOMERS, ImportKind.ORDERS):
        made[kind.value] = file = await imports.upload(
            db, DEFAULT_WORKSPACE, kind, f"{kind}.csv", a_piece(), live=False
        )
        await imports.refuse(db, file, [Refusal(2, "email", "new@shop.example is no address.")])
    db.add(ImportKey(**HERE, import_id=made["orders"].id, key="x", n=1))
    await db.flush()
    return made


async def a_piece() -> AsyncIterator[bytes]:
    yield b"customer_id\n1\n"


async def _calls(db: AsyncSession, webhook: UUID, ada: UUID, bob: UUID) -> dict[str, Any]:
    graph = a_graph({"ask": call(webhook), "nap": wait(60)}, "ask")
    flow, version, _ = await flows.publish(db, await a_flow(db, graph, "Asking"))
    await db.refresh(flow)
    known = (await ways.graphs(db, flow.id))[version.id]
    for who in (ada, bob):
        await enrollments.enroll(db, DEFAULT_WORKSPACE, flow.id, [(who, "once", {})], NOW)
        if who == ada:
            step = known.flow.steps["ask"]
            assert isinstance(step, Call)
            await CALLER.call(db, known, "ask", step, NOW)
    [called, uncalled] = await some(
        db, "select id from enrollments where flow_id = :flow order by waiting_for", flow=flow.id
    )
    [made] = await some(db, "select id from calls")
    place = (version.id, "ask")
    return {"calling": flow, "place": place, "call": made, "called": called, "uncalled": uncalled}


async def _people(db: AsyncSession, ada: UUID, bob: UUID) -> dict[str, Any]:
    here = DEFAULT_WORKSPACE
    token = "a-token-of-the-tests"
    asked = await invitations.create(db, here, "eve@shop.example", "viewer", token, "Ada", NOW)
    key = await keys.create(db, here, new_key(KeyKind.SECRET), "n8n", ["campaigns:read"])
    issuer = await issuers.create(db, here, uuid4(), ISSUER)
    provider, unrouted = (
        Provider(workspace_id=here, name=name, kind="smtp", channel="email") for name in ("Ours", "Spare")
    )
    db.add_all([provider, unrouted])
    await db.flush()
    by = {"workspace_id": here, "provider_id": provider.id}
    route = Route(**by, channel="email", message_class="marketing")
    db.add_all(
        [route, ProviderDay(**by, day=NOW.date(), accepted=1), BreakerChange(**by, at=NOW, state="open")]
    )
    priced = {"prices": {"+1": "0.0079"}}
    texts = Provider(workspace_id=here, name="Texts", kind="twilio", channel="sms", settings=priced)
    db.add(texts)
    await db.flush()
    db.add(Route(workspace_id=here, provider_id=texts.id, channel="sms", message_class="marketing"))
    db.add(Breaker(**by, since=NOW, window_began=NOW, state="open", until=NOW))
    db.add(Bucket(workspace_id=here, name="workspace", tokens=5, refilled_at=NOW))
    await db.flush()
    domain = await domains.create(db, here, uuid4(), DOMAIN)
    domain.verified_at = NOW
    sender, _ = await verified_senders.put(db, here, "shop@shop.example", NOW)
    once = Asked(here, uuid4(), "twice")
    await idempotency.begin(db, once, b"x", NOW)
    accounts: dict[str, Any] = {"provider": provider.id, "route": route.id, "unrouted": unrouted.id}
    accounts |= {"domain": domain.id, "sender": sender.id}
    webhook = Webhook(
        workspace_id=here, name="n8n", url="https://n8n.example/x", event_types=["*"], secret="sealed"
    )
    db.add(webhook)
    await db.flush()
    delivery = WebhookDelivery(
        workspace_id=here,
        webhook_id=webhook.id,
        event_type="message.failed",
        body="{}",
        created_at=NOW,
        due_at=NOW,
    )
    db.add(delivery)
    await db.flush()
    uncalled = Webhook(workspace_id=here, name="x", url="https://x.example", event_types=[], secret="sealed")
    db.add(uncalled)
    await db.flush()
    accounts |= {"webhook": webhook.id, "delivery": delivery.id, "uncalled_webhook": uncalled.id}
    by_key = {"kind": "key", "id": str(key.id)}
    db.add(AuditLine(workspace_id=here, actor=by_key, action="start", object_kind="campaign"))
    db.add(Integration(workspace_id=here, kind="n8n", url="https://n8n.example", key_id=key.id))
    await db.flush()
    accounts |= await failed(db, here)
    accounts |= await _calls(db, webhook.id, ada, bob)
    return {"invitation": asked.id, "key": key.id, "issuer": issuer.id, "once": once, **accounts}


async def failed(db: AsyncSession, here: UUID) -> dict[str, Any]:
    """A failure that was told of, and one that was not."""
    failure = Failure(Subject.OUTSIDE, "n8n", Category.OURS, "It broke.", "Mend it.")
    await failures.note(db, here, [failure], NOW)
    alert = Alert(
        workspace_id=here,
        kind="x",
        subject="outside",
        category="ours",
        first_at=NOW,
        last_at=NOW,
        next_at=NOW,
    )
    db.add(alert)
    found = (await db.scalars(select(FailureLog.id).where(FailureLog.workspace_id == here))).one()
    await db.flush()
    return {"failure": found, "alert": alert.id}


async def take_in(db: AsyncSession, kind: ImportKind) -> imported.Ready:
    """One row of a file, handed to the database for `store`."""
    rows = imported.ready(kind, [CUSTOMER] if kind is ImportKind.CUSTOMERS else [ORDER])
    await imported.fill(db, kind, rows)
    return rows
