"""Campaigns: one template to one segment, once. Drafts are rows; what is under way is a workflow."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import Query, status
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.client import Client, WorkflowHandle

from activities.obstacles import refuse_what_would_fail
from api.callers import WorkspaceId, needs
from api.deps import Db, Pages, Temporal, Transactions, noted
from api.etags import Unchanged
from api.manners import Feature
from api.runs import Started, ask, started
from api.shapes import In, Name, Out, Page, absent, example, page_of
from api.stack import Opened
from domain.campaigns import CampaignState, may_begin
from domain.errors import Conflict, Invalid
from domain.names import slug
from domain.roles import Permission
from domain.schedules import Starter, bounds
from models.base import Sessions
from models.campaigns import Campaign
from models.queries import campaigns, messages, rows, schedules, workspaces
from models.segments import Segment
from models.templates import Template
from workflows import campaigns as runs
from workflows.campaigns import CampaignWorkflow
from workflows.temporal import workflow_id

router = Feature(prefix="/campaigns", tags=["campaigns"])

Class = Literal["marketing", "transactional"]

_EXAMPLE = {
    "name": "Winter letter",
    "segment_id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
    "template_id": "0199f1c2-a4b1-7d00-9a3b-1c2d3e4f5a6b",
    "class": "marketing",
}


class CampaignIn(In):
    name: Name
    segment_id: UUID
    template_id: UUID
    message_class: Class = Field(
        "marketing", alias="class", description="Consent and frequency caps count for marketing only."
    )

    model_config = example(_EXAMPLE)


class CampaignChange(In):
    """What to change in a draft; the rest stays."""

    name: Name = Field(default_factory=absent)
    segment_id: UUID = Field(default_factory=absent)
    template_id: UUID = Field(default_factory=absent)
    message_class: Class = Field(default_factory=absent, alias="class")

    model_config = example({"name": "Winter letter, second try"})


class ScheduleOut(Out):
    """When it is, or was, to start, and by whom."""

    at: datetime
    local: str = Field(description="The same instant in its time zone.")
    time_zone: str
    starter: Starter = Field(description="Who starts it then. With n8n nothing starts by itself.")
    note: str | None = Field(description="What was decided, where the clocks change at that time.")


class CampaignOut(Out):
    id: UUID
    name: str
    state: CampaignState
    segment_id: UUID
    template_id: UUID
    template_version_id: UUID | None = Field(description="The version that is sent; pinned at the start.")
    message_class: Class = Field(serialization_alias="class")
    audience: int | None = Field(description="How many people it had when it was frozen at the start.")
    reason: str | None = Field(description="Why it failed, or did not start at its time.")
    schedule: ScheduleOut | None
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime

    model_config = example(
        _EXAMPLE
        | {
            "id": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d",
            "state": "draft",
            "template_version_id": None,
            "audience": None,
            "reason": None,
            "schedule": None,
            "started_at": None,
            "finished_at": None,
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


class Cancelled(Out):
    state: CampaignState
    not_sent: int = Field(description="Messages that were queued and will not be sent.")

    model_config = example({"state": "cancelled", "not_sent": 1204})


class CampaignStats(Out):
    """What became of a campaign's messages. Those of class test are left out."""

    state: CampaignState
    started_at: datetime | None
    finished_at: datetime | None
    total: int = Field(description="All messages: what the states add up to.")
    queued: int
    claimed: int
    sending: int
    accepted: int
    failed: int
    skipped: int
    unknown: int = Field(description="Nobody can say whether they were accepted.")
    skipped_by_reason: dict[str, int]
    opened: int = Field(description="Messages that were opened at least once.")
    clicked: int
    unsubscribed: int

    model_config = example(
        {
            "state": "completed",
            "started_at": "2026-11-21T09:00:00Z",
            "finished_at": "2026-11-21T09:00:04Z",
            "total": 213,
            "queued": 0,
            "claimed": 0,
            "sending": 0,
            "accepted": 208,
            "failed": 1,
            "skipped": 4,
            "unknown": 0,
            "skipped_by_reason": {"no consent": 3, "suppressed": 1},
            "opened": 88,
            "clicked": 31,
            "unsubscribed": 2,
        }
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.CAMPAIGNS_WRITE)])
async def create_campaign(body: CampaignIn, workspace_id: WorkspaceId, db: Db) -> CampaignOut:
    """Create a draft."""
    values = body.model_dump()
    await _check_names(db, values)
    return shown(await campaigns.create(db, workspace_id, values | {"slug": slug(body.name)}))


@router.get("", dependencies=[needs(Permission.CAMPAIGNS_READ)])
async def list_campaigns(
    db: Db,
    workspace_id: WorkspaceId,
    pages: Pages,
    state: CampaignState | None = None,
    scheduled_on: Annotated[
        date | None,
        Query(
            description="Whose time is on this day, in the workspace's time zone.", examples=["2026-11-21"]
        ),
    ] = None,
    starter: Annotated[Starter | None, Query(description="Who is to start it.")] = None,
) -> Page[CampaignOut]:
    """Campaigns, the newest first. Those that n8n is to start today are
    `?scheduled_on=2026-11-21&state=scheduled&starter=n8n`."""
    between = None
    if scheduled_on is not None:
        between = bounds(scheduled_on, (await workspaces.get(db, workspace_id)).time_zone)
    found = await schedules.page(db, pages.after, pages.limit, state=state, starter=starter, between=between)
    return page_of([shown(row) for row in found], [row.id for row in found], pages.limit)


@router.get("/{campaign_id}", dependencies=[needs(Permission.CAMPAIGNS_READ)])
async def read_campaign(campaign_id: UUID, db: Db) -> CampaignOut:
    """One campaign."""
    return shown(await rows.get(db, Campaign, campaign_id))


@router.patch("/{campaign_id}", dependencies=[needs(Permission.CAMPAIGNS_WRITE)])
async def change_campaign(
    campaign_id: UUID, change: CampaignChange, db: Db, unchanged: Unchanged
) -> CampaignOut:
    """Change a draft, or a campaign that waits for its time, which stays. What has begun can't be changed."""
    values = change.model_dump(exclude_unset=True)
    if not values:
        raise Invalid("Name at least one field to change.")
    if unchanged.asked:
        unchanged.check(shown(await rows.get(db, Campaign, campaign_id, lock=True)))
    await _check_names(db, values)
    return shown(await campaigns.change(db, campaign_id, values))


@router.delete(
    "/{campaign_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.CAMPAIGNS_WRITE)]
)
async def delete_campaign(campaign_id: UUID, db: Db, unchanged: Unchanged) -> None:
    """Delete one that has not begun. What has stays, so that its messages can be explained."""
    if unchanged.asked:
        unchanged.check(shown(await rows.get(db, Campaign, campaign_id, lock=True)))
    await campaigns.delete(db, campaign_id)


@router.post(
    "/{campaign_id}/start",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[needs(Permission.CAMPAIGNS_SEND), noted("start", "campaign")],
)
@router.post(
    "/{campaign_id}/send",
    status_code=status.HTTP_202_ACCEPTED,
    name="send_campaign",
    dependencies=[needs(Permission.CAMPAIGNS_SEND), noted("start", "campaign")],
)
async def start_campaign(
    campaign_id: UUID, opened: Opened, workspace_id: WorkspaceId, db: Db, temporal: Temporal
) -> Started:
    """Start the campaign now, though its time may be later. It starts once, however often it is asked to.

    Refused with 422 and the reason when it would reach nobody, has no sender or postal address, or its
    template prints what nobody in the audience has.
    """
    campaign = await rows.get(db, Campaign, campaign_id)
    if not may_begin(campaign.state, campaign.started_at):
        raise Conflict(f"This campaign is {campaign.state}; only one that has not begun can be started.")
    await refuse_what_would_fail(db, campaign, opened.clock.now())
    await runs.start(temporal, workspace_id, campaign.id, campaign.name, campaign.slug)
    return started(opened.settings, workflow_id("campaign", campaign.id, campaign.slug))


@router.post(
    "/{campaign_id}/pause", dependencies=[needs(Permission.CAMPAIGNS_SEND), noted("pause", "campaign")]
)
async def pause_campaign(
    campaign_id: UUID, workspace_id: WorkspaceId, sessions: Transactions, temporal: Temporal
) -> CampaignOut:
    """Pause: answers when nothing more will be sent until it is resumed."""
    campaign = await _read(sessions, workspace_id, campaign_id)
    await ask(
        _run(temporal, campaign).execute_update(CampaignWorkflow.pause), _not_under_way(campaign, "paused")
    )
    return shown(await _read(sessions, workspace_id, campaign_id))


@router.post(
    "/{campaign_id}/resume", dependencies=[needs(Permission.CAMPAIGNS_SEND), noted("resume", "campaign")]
)
async def resume_campaign(
    campaign_id: UUID, workspace_id: WorkspaceId, sessions: Transactions, temporal: Temporal
) -> CampaignOut:
    """Go on after a pause."""
    campaign = await _read(sessions, workspace_id, campaign_id)
    await ask(
        _run(temporal, campaign).execute_update(CampaignWorkflow.resume), _not_under_way(campaign, "resumed")
    )
    return shown(await _read(sessions, workspace_id, campaign_id))


@router.post(
    "/{campaign_id}/cancel", dependencies=[needs(Permission.CAMPAIGNS_SEND), noted("cancel", "campaign")]
)
async def cancel_campaign(
    campaign_id: UUID, opened: Opened, workspace_id: WorkspaceId, sessions: Transactions
) -> Cancelled:
    """Stop for good: answers how many messages were not sent. One that is scheduled never starts."""
    campaign = await _read(sessions, workspace_id, campaign_id)
    if campaign.state == CampaignState.SCHEDULED:
        async with sessions(workspace_id) as db:
            if await schedules.cancel(db, campaign_id, opened.clock.now()):
                return Cancelled(state=CampaignState.CANCELLED, not_sent=0)
    temporal = await opened.temporal.client()
    not_sent = await ask(
        _run(temporal, campaign).execute_update(CampaignWorkflow.cancel),
        _not_under_way(campaign, "cancelled"),
    )
    return Cancelled(state=CampaignState.CANCELLED, not_sent=not_sent)


@router.get("/{campaign_id}/stats", dependencies=[needs(Permission.CAMPAIGNS_READ)])
async def campaign_stats(campaign_id: UUID, db: Db) -> CampaignStats:
    """What became of its messages, and what their readers did."""
    campaign = await rows.get(db, Campaign, campaign_id)
    counts = await messages.counts(db, campaign_id)
    return CampaignStats(
        state=CampaignState(campaign.state),
        started_at=campaign.started_at,
        finished_at=campaign.finished_at,
        total=counts.all,
        **{state.value: n for state, n in counts.states.items()},
        skipped_by_reason=counts.skipped,
        opened=counts.opened,
        clicked=counts.clicked,
        unsubscribed=await messages.unsubscribed(db, campaign_id),
    )


async def _check_names(db: AsyncSession, values: dict[str, Any]) -> None:
    """Raise `Invalid`, with the field, for a segment or template that nobody has."""
    is_seen = Template.hidden.is_(False)
    for field, kind, which in (("segment_id", Segment, []), ("template_id", Template, [is_seen])):
        if field in values and not await rows.exists(db, kind, values[field], *which):
            raise Invalid(f"There is no {kind.__name__.lower()} {values[field]}.", f"/{field}")


async def _read(sessions: Sessions, workspace_id: UUID, campaign_id: UUID) -> Campaign:
    """In a transaction of its own: none stays open while a workflow is asked."""
    async with sessions(workspace_id) as db:
        return await rows.get(db, Campaign, campaign_id)


def _run(temporal: Client, campaign: Campaign) -> WorkflowHandle[CampaignWorkflow, Any]:
    return temporal.get_workflow_handle_for(
        CampaignWorkflow.run, workflow_id("campaign", campaign.id, campaign.slug)
    )


def _not_under_way(campaign: Campaign, done: str) -> str:
    states = "scheduled, running or paused" if done == "cancelled" else "running or paused"
    return f"This campaign is {campaign.state}; only one that is {states} can be {done}."


def shown(row: Campaign) -> CampaignOut:
    its = {"class": row.message_class, "audience": row.queued, "schedule": _schedule(row)}
    return CampaignOut.model_validate({**vars(row), **its})


def _schedule(row: Campaign) -> ScheduleOut | None:
    if row.scheduled_at is None or row.schedule_time_zone is None or row.starter is None:
        return None
    return ScheduleOut(
        at=row.scheduled_at,
        local=row.scheduled_at.astimezone(ZoneInfo(row.schedule_time_zone)).isoformat(),
        time_zone=row.schedule_time_zone,
        starter=Starter(row.starter),
        note=row.schedule_note,
    )
