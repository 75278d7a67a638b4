"""Scheduled campaigns: when they are to start, and the alarms that the poker sets in Temporal for it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.campaigns import CampaignState
from domain.errors import Conflict
from domain.schedules import Meant, Starter
from models.base import changed
from models.campaigns import Campaign
from models.queries import campaigns, rows
from models.schedules import OUT_OF_STEP

_UNPLANNED = {"scheduled_at": None, "schedule_time_zone": None, "schedule_note": None, "starter": None}


async def schedule(
    db: AsyncSession, campaign_id: UUID, meant: Meant, time_zone: str, starter: Starter
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
    return await campaigns.change(db, campaign_id, values)


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
    """Note why it did not start at its time. False when it is not planned for that any more."""
    failed = (
        update(Campaign)
        .where(Campaign.id == campaign_id, *awaits(at))
        .values(state=CampaignState.FAILED, reason=reason, finished_at=now, updated_at=func.now())
    )
    return bool(await changed(db, failed))


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
