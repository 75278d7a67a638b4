"""Scheduled campaigns: a time, a time zone, and who starts it then."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from activities.obstacles import refuse_what_would_fail
from api.callers import WorkspaceId, needs
from api.deps import Db
from api.manners import Feature
from api.routes.campaigns import CampaignOut, shown
from api.shapes import In, example
from api.stack import Opened
from domain.clock import time_zones
from domain.roles import Permission
from domain.schedules import Starter, planned
from models.queries import campaigns, schedules, workspaces

router = Feature(prefix="/campaigns", tags=["campaigns"])


def _zone(name: str) -> str:
    if name not in time_zones():
        raise ValueError("This is no time zone of IANA's, such as Europe/Berlin.")
    return name


class ScheduleIn(In):
    at: datetime = Field(
        description="ISO 8601: local in `time_zone`, or with an offset; at most two years ahead."
    )
    time_zone: Annotated[str, AfterValidator(_zone)] | None = Field(
        None, description="IANA; when left out, that of the time before, else the workspace's."
    )
    starter: Starter | None = Field(
        None,
        description="Who starts it then; when left out, as before, else campanile. With n8n nothing starts "
        "by itself: it asks which are its to start, and starts them by `/start`.",
    )

    model_config = example({"at": "2026-11-21T08:00", "time_zone": "Europe/Berlin", "starter": "campanile"})


@router.post("/{campaign_id}/schedule", dependencies=[needs(Permission.CAMPAIGNS_SEND)])
async def schedule_campaign(
    campaign_id: UUID, body: ScheduleIn, opened: Opened, workspace_id: WorkspaceId, db: Db
) -> CampaignOut:
    """Have the campaign start at a time, or at another one than before.

    A local time that a clock change skips is as much later as the clocks go forward, and of one that comes
    twice the first is taken; `schedule.note` says so. Refused with 422 for what `/start` is refused for; it
    is looked at again when the time comes.
    """
    campaign = await campaigns.draft(db, campaign_id)
    now = opened.clock.now()
    time_zone = body.time_zone or campaign.schedule_time_zone
    time_zone = time_zone or (await workspaces.get(db, workspace_id)).time_zone
    starter = body.starter or Starter(campaign.starter or Starter.CAMPANILE)
    meant = planned(body.at, time_zone, now)
    await refuse_what_would_fail(db, campaign, now)
    return shown(await schedules.schedule(db, campaign_id, meant, time_zone, starter, now))


@router.post("/{campaign_id}/unschedule", dependencies=[needs(Permission.CAMPAIGNS_SEND)])
async def unschedule_campaign(campaign_id: UUID, db: Db) -> CampaignOut:
    """Make a campaign that waits for its time a draft again."""
    return shown(await schedules.unschedule(db, campaign_id))
