"""What tests of sending begin with: a campaign whose audience is frozen, a flow, and a look at the ledger."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.testing import ActivityEnvironment

from activities.accounts import Accounts
from activities.bell import Bell
from activities.calls import Caller
from activities.dispatch import Dispatch
from activities.entering import EntryActivities, Published, VersionRef
from activities.flows import FlowRef
from activities.letters import Letters
from activities.messages import MessageActivities
from activities.routing import Router
from activities.slices import Timing
from channels.contract import Provider, World
from channels.egress import EgressTransport
from channels.letters import Raw
from domain.clock import Clock
from domain.messages import SourceKind
from domain.secrets import Sealer
from domain.tokens import Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.campaigns import Campaign
from models.flows import Flow, FlowVersion
from models.queries.ledger import Queue
from models.segments import Segment
from models.templates import Template, TemplateVersion
from settings import DEVELOPMENT_ENCRYPTION_KEY
from tests.people import HERE, a_message
from tests.support import GivenClock

NOW = GivenClock().now()  # Monday, 2026-03-02, 12:00 UTC.
SIGNING = b"the key that the tests sign with"
SEALER = Sealer.of(DEVELOPMENT_ENCRYPTION_KEY)
WORLD = World(EgressTransport, {}, "http://127.0.0.1:8000")
CALLER = Caller(Tokens(SIGNING), "http://127.0.0.1:8000")
PLAIN = "<p>Hello {{ name | default: 'you' }}</p>"
EVERYBODY: dict[str, Any] = {"all": []}
# Long enough for nothing to end by itself, or so short that a test need not wait.
PATIENT = Timing(slice=30, linger=0, lease=60, reconcile_after=900)
# A worker whose leases have ended when the next one looks.
HASTY = Timing(slice=30, linger=0, lease=0.4, reconcile_after=0)

T = TypeVar("T")


async def a_sender(db: AsyncSession, **values: Any) -> None:
    """The workspace can send; `values` are more columns of its row."""
    sender = values.pop("sender_email", "shop@shop.example")
    columns = {"sender_email": sender, "sending_email": sender, "postal_address": "1 Road", **values}
    casts = {"caps": "cast(:caps as jsonb)"}
    sets = ", ".join(f"{name} = {casts.get(name, ':' + name)}" for name in columns)
    await db.execute(text(f"update workspaces set {sets}, updated_at = clock_timestamp()"), columns)


async def people(db: AsyncSession, n: int, prefix: str = "p", **attributes: Any) -> list[UUID]:
    """So many who allow everything: p1@shop.example and so on, in this order."""
    return await some(
        db,
        """
        with made as (
            insert into profiles (workspace_id, attributes)
            select :here, cast(:attributes as jsonb) || jsonb_build_object('nth', n)
            from generate_series(1, :n) n returning id, attributes ->> 'nth' as nth
        ), named as (
            insert into identities (workspace_id, kind, value, profile_id)
            select :here, 'email', :prefix || nth || '@shop.example', id from made
        ), agreed as (
            insert into consents (workspace_id, profile_id, purpose, state, source, at)
            select :here, id, purpose, 'granted', 'import', :now
            from made, unnest(array['email', 'tracking']) purpose
        )
        select id from made order by cast(nth as int)
        """,
        n=n,
        prefix=prefix,
        now=NOW,
        here=DEFAULT_WORKSPACE,
        attributes=as_json(attributes),
    )


def as_json(value: Any) -> str:
    import orjson

    return orjson.dumps(value).decode()


async def some(db: AsyncSession, asked: str, **values: Any) -> list[Any]:
    return list((await db.scalars(text(asked), values)).all())


async def a_template(db: AsyncSession, html: str = PLAIN) -> tuple[UUID, UUID]:
    """A template and its first version."""
    template = Template(**HERE, name="Letter")
    db.add(template)
    await db.flush()
    version = TemplateVersion(**HERE, template_id=template.id, number=1, subject="Hi", html=html)
    db.add(version)
    await db.flush()
    return template.id, version.id


async def a_segment(db: AsyncSession, rule: dict[str, Any] | None = None) -> UUID:
    segment = Segment(**HERE, name="Everybody", rule=EVERYBODY if rule is None else rule)
    db.add(segment)
    await db.flush()
    return segment.id


async def a_draft(
    db: AsyncSession, html: str = PLAIN, name: str = "Winter letter", **values: Any
) -> Campaign:
    """A campaign to everybody, not begun unless `values` say otherwise."""
    template, version = await a_template(db, html)
    if values.get("state", "draft") != "draft":
        values = {"template_version_id": version, "rule": EVERYBODY, "frozen_at": NOW, **values}
    segment = values.pop("segment_id", None) or await a_segment(db)
    campaign = Campaign(
        **HERE, name=name, slug="winter-letter", segment_id=segment, template_id=template, **values
    )
    db.add(campaign)
    await db.flush()
    await db.refresh(campaign)
    return campaign


async def a_campaign(
    db: AsyncSession, audience: Collection[UUID], html: str = PLAIN, state: str = "running", **values: Any
) -> Queue:
    """A campaign whose audience was frozen: a queued message for each, `values` being columns of theirs."""
    campaign = await a_draft(db, html, state=state, queued=len(audience))
    for profile in audience:
        await a_queued_message(db, campaign, profile, **values)
    return Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN)


async def a_queued_message(
    db: AsyncSession, campaign: Campaign, profile_id: UUID | None, **values: Any
) -> UUID:
    known = {
        "queue_id": campaign.id,
        "source_id": campaign.id,
        "source_kind": "campaign",
        "occasion": campaign.id,
        "template_version_id": campaign.template_version_id,
        "state": "queued",
        "due_at": NOW,
        "holes": None,
        "tracked": None,
        **values,
    }
    return await a_message(db, profile_id, **known)


async def a_bare_message(db: AsyncSession, address: str, **values: Any) -> tuple[Queue, UUID]:
    """A test mail to an address, in the outbox."""
    _, version = await a_template(db)
    known = {
        "message_class": "test",
        "occasion": uuid4(),
        "template_version_id": version,
        "state": "queued",
        "due_at": NOW,
        "holes": ["Ada"],
        "tracked": None,
        **values,
    }
    message = await a_message(db, None, address, **known)
    return Queue(DEFAULT_WORKSPACE, DEFAULT_WORKSPACE, SourceKind.OUTBOX), message


async def a_flow(db: AsyncSession, definition: dict[str, Any], name: str = "Welcome") -> UUID:
    """A draft."""
    flow = Flow(**HERE, name=name, slug="welcome", definition=definition)
    db.add(flow)
    await db.flush()
    return flow.id


def version_of(flow: Flow) -> FlowVersion:
    """The version that people enter now, as far as whoever lets them in looks at it."""
    return FlowVersion(workspace_id=flow.workspace_id, id=flow.version_id, flow_id=flow.id)


async def published(sessions: Sessions, clock: Clock, flow: FlowRef) -> Published:
    """Published as the workflow does it: a version, and then those whom its trigger names enter."""
    entering = EntryActivities(sessions, clock, 2)
    made = await ran(entering.publish_version, flow)
    assert made.version_id
    version = VersionRef(flow.workspace_id, flow.flow_id, made.version_id)
    return replace(made, entered=await ran(entering.enter_members, version))


def a_graph(steps: dict[str, Any], first: str, **values: Any) -> dict[str, Any]:
    """A flow's definition, entered by hand unless `values` name another trigger."""
    return {"trigger": {"kind": "api"}, "first": first, "steps": steps, **values}


def wait(seconds: float, then: str | None = None) -> dict[str, Any]:
    return {"kind": "wait", "duration": seconds, "then": then}


def send(template: UUID, then: str | None = None) -> dict[str, Any]:
    return {"kind": "send", "template_id": str(template), "then": then}


def clicked(step: str, then: str | None, otherwise: str | None) -> dict[str, Any]:
    """A branch on whether the person clicked in what that step had sent."""
    condition = {"kind": "message", "did": "clicked", "step": step}
    return {"kind": "branch", "condition": condition, "then": then, "otherwise": otherwise}


async def states(db: AsyncSession, queue: Queue) -> Counter[str]:
    """How many messages of the queue are in which state; skipped ones by their reason."""
    asked = """
        select case when state = 'skipped' then reason else state end from messages where queue_id = :queue
    """
    return Counter(await some(db, asked, queue=queue.id))


async def column(db: AsyncSession, name: str, message_id: UUID) -> Any:
    """One column of one message."""
    [value] = await some(db, f"select {name} from messages where id = :id", id=message_id)
    return value


async def counted(db: AsyncSession) -> int:
    """How many messages the caps' counters hold, all in all."""
    [n] = await some(db, "select coalesce(sum(n), 0) from cap_counters")
    return int(n)


def a_sender_of(
    sessions: Sessions,
    provider: Provider[Raw],
    bell: Bell,
    clock: Clock | None = None,
    timing: Timing = PATIENT,
) -> MessageActivities:
    """The activity that sends, by this provider where there is no route."""
    clock = clock or GivenClock()
    letters = Letters(sessions, Tokens(SIGNING), "http://127.0.0.1:8000", clock)
    router = Router(sessions, Accounts(SEALER, WORLD), provider, clock)
    return MessageActivities(sessions, Dispatch(sessions, router, letters, clock, timing), bell)


async def ran(work: Callable[..., Coroutine[Any, Any, T]], *given: Any) -> T:
    """Run an activity as a worker would."""
    answer: T = await ActivityEnvironment().run(work, *given)
    return answer


async def until_leases_end(sessions: Sessions, within: float = 5) -> None:
    """Wait until the database says that nobody holds anything any more."""
    end = asyncio.get_running_loop().time() + within
    while True:
        async with sessions(DEFAULT_WORKSPACE) as db:
            if not await some(db, "select id from leases where until > clock_timestamp()"):
                return
        assert asyncio.get_running_loop().time() < end, "a lease does not end"
        await asyncio.sleep(0.05)


def at(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def ids(found: Sequence[Any]) -> list[UUID]:
    return [each.id for each in found]
