"""Scheduled campaigns: when they are to start, and the alarms that the poker sets in Temporal for it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.announced import CampaignScheduled
from domain.announcements import Announcement, AnnouncementType
from domain.campaigns import CampaignState
from domain.errors import Conflict
from domain.schedules import Meant, Starter, forgotten, forgotten_in_words, not_started
from models.campaigns import Campaign
from models.queries import announced_states, announcing, campaigns, failures, rows
from models.schedules import OUT_OF_STEP

_UNPLANNED = {"scheduled_at": None, "schedule_time_zone": None, "schedule_note": None, "starter": None}


async def schedule(
    db: AsyncSession, campaign_id: UUID, meant: Meant, time_zone: str, starter: Starter, now: datetime
) -> Campaign:
    """Plan its start, or plan it anew. Raises `NotFound`, and `Conflict` when it has begun."""
    values = {
        "state": CampaignState.SCHEDULED,
        "reason": None,
        "finished_at": None,
        "scheduled_at": meant.at,
        "schedule_time_zone": time_zone,
        "schedule_note": meant.note,
        "starter": starter,
    }
    campaign = await campaigns.change(db, campaign_id, values)
    planned = CampaignScheduled(
        campaign_id=campaign_id,
        name=campaign.name,
        scheduled_at=meant.at,
        time_zone=time_zone,
        starter=starter.value,
        at=now,
    )
    told = Announcement(AnnouncementType.CAMPAIGN_SCHEDULED, planned.model_dump(mode="json"))
    await announcing.announce(db, campaign.workspace_id, [told], now)
    return campaign


async def unschedule(db: AsyncSession, campaign_id: UUID) -> Campaign:
    """Make it a draft again. Raises `NotFound`, and `Conflict` when it is not scheduled."""
    campaign = await rows.get(db, Campaign, campaign_id, lock=True)
    if campaign.state != CampaignState.SCHEDULED:
        raise Conflict(f"This campaign is {campaign.state}; only one that is scheduled can be unscheduled.")
    return await campaigns.change(db, campaign_id, {"state": CampaignState.DRAFT, **_UNPLANNED})


def awaits(at: datetime) -> list[ColumnElement[bool]]:
    """Which campaigns Campanile is to start at this time, and did not yet."""
    return [
        Campaign.state == CampaignState.SCHEDULED,
        Campaign.starter == Starter.CAMPANILE,
        Campaign.scheduled_at == at,
    ]


async def fail(db: AsyncSession, campaign_id: UUID, at: datetime, reason: str, now: datetime) -> bool:
    """Say why it did not start at its time. False when it is not planned for that any more."""
    campaign = await _end(db, campaign_id, CampaignState.FAILED, now, reason, *awaits(at))
    if campaign is None:
        return False
    await failures.note(db, campaign.workspace_id, [not_started(campaign_id, at, reason, now)], now)
    return True


async def unstarted(db: AsyncSession, before: datetime) -> list[tuple[UUID, UUID]]:
    """Campaigns of any workspace (workspace, id) that n8n should have started before then, and of which
    nobody was told yet; as the engine."""
    return [(workspace_id, id_) for workspace_id, id_ in await db.execute(_UNSTARTED, {"before": before})]


_UNSTARTED = text(
    """
    select c.workspace_id, c.id from campaigns c
    join workspaces w on w.id = c.workspace_id and w.deleted_at is null
    where c.state = 'scheduled' and c.starter = 'n8n' and c.scheduled_at < :before and c.reason is null
    order by c.scheduled_at limit 100
    """
)


async def leave(db: AsyncSession, campaign_id: UUID, now: datetime) -> None:
    """Note once that n8n did not start it. It stays scheduled, and may still be started."""
    campaign = await rows.get(db, Campaign, campaign_id, lock=True)
    at, time_zone = campaign.scheduled_at, campaign.schedule_time_zone
    waits = campaign.state == CampaignState.SCHEDULED and campaign.starter == Starter.N8N
    if not waits or campaign.reason or at is None or time_zone is None:
        return
    campaign.reason = forgotten_in_words(at, time_zone)
    await failures.note(db, campaign.workspace_id, [forgotten(campaign_id, at, campaign.reason)], now)


async def cancel(db: AsyncSession, campaign_id: UUID, now: datetime) -> bool:
    """Give it up before it begins. False when it is not scheduled any more."""
    waits = Campaign.state == CampaignState.SCHEDULED
    return await _end(db, campaign_id, CampaignState.CANCELLED, now, None, waits) is not None


async def _end(
    db: AsyncSession,
    campaign_id: UUID,
    state: CampaignState,
    now: datetime,
    reason: str | None,
    *which: ColumnElement[bool],
) -> Campaign | None:
    """End a campaign that never began, if it is `which` it should be, and announce it."""
    ended = (
        update(Campaign)
        .where(Campaign.id == campaign_id, *which)
        .values(state=state, reason=reason, finished_at=now, updated_at=func.now())
        .returning(Campaign)
        .execution_options(populate_existing=True)
    )
    campaign = (await db.scalars(ended)).one_or_none()
    if campaign is not None:
        await announced_states.campaign_moved(db, campaign_id, state, now)
    return campaign


class Ringing(NamedTuple):
    """An alarm, with what its Schedule and its workflow are called by."""

    workspace_id: UUID
    campaign_id: UUID
    rings_at: datetime | None  # None: it is to be removed.
    name: str  # Empty where the campaign was deleted, as is the next.
    slug: str


_OUT_OF_STEP = text(
    f"""
    select a.workspace_id, a.campaign_id, a.rings_at, coalesce(c.name, ''), coalesce(c.slug, '')
    from alarms a left join campaigns c on c.workspace_id = a.workspace_id and c.id = a.campaign_id
    where {OUT_OF_STEP}
    order by a.rings_at nulls first limit 100
    """
)


async def out_of_step(db: AsyncSession) -> list[Ringing]:
    """Alarms of any workspace that Temporal does not know as they are; as the engine."""
    return [Ringing(*row) for row in await db.execute(_OUT_OF_STEP)]


_GIVEN = """
    unnest(cast(:workspaces as uuid[]), cast(:campaigns as uuid[]), cast(:times as timestamptz[]))
        as t(workspace_id, campaign_id, rings_at)
"""
_SET = text(
    f"""
    update alarms a set set_for = a.rings_at from {_GIVEN}
    where a.workspace_id = t.workspace_id and a.campaign_id = t.campaign_id and a.rings_at = t.rings_at
    """
)
_REMOVE = text(
    f"""
    delete from alarms a using {_GIVEN}
    where a.workspace_id = t.workspace_id and a.campaign_id = t.campaign_id
        and a.rings_at is null and t.rings_at is null
    """
)


async def told(db: AsyncSession, alarms: Sequence[Ringing]) -> None:
    """Temporal knows of these; as the engine. One that was changed meanwhile stays out of step."""
    workspaces, ids, times, *_ = (list(each) for each in zip(*alarms, strict=True))
    values = {"workspaces": workspaces, "campaigns": ids, "times": times}
    await db.execute(_SET, values)
    await db.execute(_REMOVE, values)


_OVERDUE = text(
    """
    select a.workspace_id, a.campaign_id, a.rings_at, c.name, c.slug
    from alarms a
    join workspaces w on w.id = a.workspace_id and w.deleted_at is null
    join campaigns c on c.workspace_id = a.workspace_id and c.id = a.campaign_id
    where a.rings_at < :before
    order by a.rings_at limit 100
    """
)


async def overdue(db: AsyncSession, before: datetime) -> list[Ringing]:
    """Alarms of any workspace that should have rung before then, and whose campaigns still wait; as the
    engine."""
    return [Ringing(*row) for row in await db.execute(_OVERDUE, {"before": before})]


async def page(
    db: AsyncSession,
    after: UUID | None,
    limit: int,
    *,
    state: CampaignState | None = None,
    starter: Starter | None = None,
    between: tuple[datetime, datetime] | None = None,
) -> list[Campaign]:
    """A page of campaigns, the newest first: of this state, with this starter, planned within these times."""
    which: list[ColumnElement[bool]] = []
    if state is not None:
        which.append(Campaign.state == state)
    if starter is not None:
        which.append(Campaign.starter == starter)
    if between is not None:
        begins, ends = between
        which += [Campaign.scheduled_at >= begins, Campaign.scheduled_at < ends]
    return await rows.page(db, Campaign, after, limit, *which)
