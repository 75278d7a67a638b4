"""A scheduled campaign's time has come: begin it, or say why not."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.obstacles import refuse_what_would_fail
from activities.slices import heartbeating
from domain.campaigns import UNDER_WAY, CampaignState
from domain.clock import Clock
from domain.errors import CampanileError, NotFound
from domain.schedules import Starter, is_missed, missed_in_words
from models.base import Sessions
from models.campaigns import Campaign
from models.queries import announced_states, campaigns, rows, schedules, workspaces

CHANGED = "It was changed at the last moment, and does not wait for this."


@dataclass(frozen=True)
class ScheduledStart:
    """A campaign that was to start at this time. The workspace comes first in every input."""

    workspace_id: UUID
    campaign_id: UUID
    at: datetime


@dataclass(frozen=True)
class Launched:
    """What became of a scheduled start."""

    begun: bool  # The campaign is under way, and needs its workflow.
    name: str
    slug: str
    said: str  # In words, for who looks at the workflow.


class ScheduleActivities:
    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self.sessions = sessions
        self.clock = clock

    @activity.defn(name="launch_campaign")
    async def launch(self, start: ScheduledStart) -> Launched:
        """Move the campaign to running if it still waits for this start, and nothing stands in its way.

        If something does, or the time is long past, it has failed, with the reason. One that is under way
        already gets its workflow all the same: an earlier try may have committed this and died.
        """
        async with heartbeating(), self.sessions(start.workspace_id) as db:
            try:
                row = await rows.get(db, Campaign, start.campaign_id)
            except NotFound as error:
                return Launched(False, "", "", error.message)
            begun, said = await self._launch(db, row, start)
            return Launched(begun, row.name, row.slug, said)

    async def _launch(self, db: AsyncSession, row: Campaign, start: ScheduledStart) -> tuple[bool, str]:
        """Whether it is under way, and what became of the start."""
        if not _awaits(row, start.at):
            return row.state in UNDER_WAY, f"The campaign is {row.state}, and does not wait for this."
        if not await workspaces.is_open(db):
            return False, "The workspace was deleted."
        now = self.clock.now()
        if reason := await self._in_the_way(db, row, now):
            failed = await schedules.fail(db, row.id, start.at, reason, now)
            return False, reason if failed else CHANGED
        begun = await campaigns.begin(db, row.id, now, *schedules.awaits(start.at))
        if begun is not None:
            await announced_states.campaign_started(db, begun, now)
            return True, "It has begun."
        return False, CHANGED

    async def _in_the_way(self, db: AsyncSession, row: Campaign, now: datetime) -> str | None:
        """Why it can't start now, in sentences."""
        assert row.scheduled_at is not None
        assert row.schedule_time_zone is not None
        if is_missed(row.scheduled_at, now):
            return missed_in_words(row.scheduled_at, row.schedule_time_zone)
        try:
            await refuse_what_would_fail(db, row, now)
        except CampanileError as error:
            return error.message
        return None


def _awaits(row: Campaign, at: datetime) -> bool:
    return (row.state, row.starter, row.scheduled_at) == (CampaignState.SCHEDULED, Starter.CAMPANILE, at)
