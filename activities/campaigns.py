"""What a campaign does to the world, apart from sending: begin, freeze the audience, change state, end."""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.recovering import take_over
from activities.slices import Timing, heartbeating
from domain.campaigns import UNDER_WAY, CampaignState
from domain.clock import Clock
from domain.messages import SourceKind
from domain.remedies import of_campaign
from domain.segments import parse
from models.base import Sessions
from models.campaigns import Campaign
from models.queries import (
    announced_states,
    campaigns,
    failures,
    messages,
    queued,
    rows,
    segments,
    workspaces,
)
from models.queries.campaigns import Frozen
from models.queries.ledger import Queue

FIRST_PAGE, LARGEST_PAGE = 1_000, 50_000  # Members whom a freeze queues in one transaction.


@dataclass(frozen=True)
class CampaignRef:
    """A campaign. The workspace comes first in every input: it opens the wall."""

    workspace_id: UUID
    campaign_id: UUID


@dataclass(frozen=True)
class Begun:
    """What the workflow needs to know of a campaign that has begun."""

    started: bool  # False: it had been started before, or is no draft.
    state: CampaignState
    name: str
    slices: int  # How many slices may send for it at a time.


@dataclass(frozen=True)
class Tally:
    """A campaign's state, and its messages by theirs, test messages left out."""

    state: CampaignState
    queued: int
    accepted: int
    failed: int
    skipped: int
    unknown: int
    open: int
    reasons: dict[str, int] = field(default_factory=dict)  # Skipped, by reason.


class CampaignActivities:
    def __init__(self, sessions: Sessions, clock: Clock, timing: Timing, slices: int) -> None:
        self.sessions = sessions
        self.clock = clock
        self.timing = timing
        self.slices = slices

    @activity.defn(name="begin_campaign")
    async def begin(self, campaign: CampaignRef) -> Begun:
        """Move draft or scheduled to running. This, not the workflow's id, is what makes it start once.

        A campaign that is under way already is this workflow's own: Temporal runs one at a time under its
        id. An earlier run may have committed this and never heard so, or somebody ended it by hand.
        """
        async with self.sessions(campaign.workspace_id) as db:
            now = self.clock.now()
            begun = await campaigns.begin(db, campaign.campaign_id, now)
            if begun is not None:
                await announced_states.campaign_started(db, begun, now)
            row = begun or await rows.get(db, Campaign, campaign.campaign_id)
            started = begun is not None or row.state in UNDER_WAY
            return Begun(started, CampaignState(row.state), row.name, self.slices)

    @activity.defn(name="freeze_audience")
    async def freeze(self, campaign: CampaignRef) -> int:
        """Queue a message for everyone whom the segment picks, page by page. Returns how many.

        The first page is small, so that sending begins; each that follows is larger than what is sent
        meanwhile.
        """
        size = FIRST_PAGE
        async with heartbeating():
            while True:
                async with self.sessions(campaign.workspace_id) as db:
                    frozen = await self._freeze_page(db, campaign, size)
                if frozen.over:
                    return frozen.queued
                size = min(3 * size, LARGEST_PAGE)

    async def _freeze_page(self, db: AsyncSession, campaign: CampaignRef, size: int) -> Frozen:
        row = await rows.get(db, Campaign, campaign.campaign_id)
        assert row.rule is not None
        workspace = await workspaces.get(db, campaign.workspace_id)
        now = self.clock.now()
        members = segments.members(
            parse(row.rule),
            now=row.started_at or now,  # The rule means the same on every page.
            time_zone=workspace.time_zone,
            currency=workspace.currency,
        )
        return await campaigns.freeze(db, campaign.campaign_id, members, size, now)

    @activity.defn(name="pause_campaign")
    async def pause(self, campaign: CampaignRef) -> bool:
        return await self._move(campaign, (CampaignState.RUNNING,), CampaignState.PAUSED)

    @activity.defn(name="resume_campaign")
    async def resume(self, campaign: CampaignRef) -> bool:
        return await self._move(campaign, (CampaignState.PAUSED,), CampaignState.RUNNING)

    @activity.defn(name="cancel_campaign")
    async def cancel(self, campaign: CampaignRef) -> bool:
        now = self.clock.now()
        return await self._move(campaign, UNDER_WAY, CampaignState.CANCELLED, finished_at=now)

    @activity.defn(name="skip_unsent")
    async def skip_unsent(self, campaign: CampaignRef) -> Tally:
        """Close what a cancelled campaign still has in the queue, and take over from dead workers."""
        queue = Queue(campaign.workspace_id, campaign.campaign_id, SourceKind.CAMPAIGN)
        async with heartbeating():
            skipped = 1
            while skipped:
                now = self.clock.now()
                async with self.sessions.batch(campaign.workspace_id) as db:
                    await take_over(db, queue, now, now + timedelta(seconds=self.timing.reconcile_after))
                    skipped = await queued.cancel(db, queue, now)
        return await self.tally(campaign)

    @activity.defn(name="tally_campaign")
    async def tally(self, campaign: CampaignRef) -> Tally:
        async with self.sessions(campaign.workspace_id) as db:
            row = await rows.get(db, Campaign, campaign.campaign_id)
            counts = await messages.tally(db, campaign.campaign_id)
            return Tally(state=CampaignState(row.state), **counts)

    @activity.defn(name="complete_campaign")
    async def complete(self, campaign: CampaignRef) -> Tally:
        """Close the books: nothing is open any more. An earlier cancel stands."""
        await self._move(campaign, UNDER_WAY, CampaignState.COMPLETED, finished_at=self.clock.now())
        return await self.tally(campaign)

    @activity.defn(name="fail_campaign")
    async def fail(self, campaign: CampaignRef, reason: str) -> Tally:
        """End a campaign that can't go on, and say why where its owner looks. An earlier cancel stands."""
        now, here = self.clock.now(), campaign.workspace_id
        async with self.sessions(here) as db:
            values = {"reason": reason, "finished_at": now}
            if await campaigns.move(db, campaign.campaign_id, UNDER_WAY, CampaignState.FAILED, **values):
                await failures.note(db, here, [of_campaign(campaign.campaign_id, reason)], now)
                await announced_states.campaign_moved(db, campaign.campaign_id, CampaignState.FAILED, now)
        return await self.skip_unsent(campaign)

    async def _move(
        self,
        campaign: CampaignRef,
        origins: tuple[CampaignState, ...],
        to: CampaignState,
        **values: object,
    ) -> bool:
        """Whether the campaign is in the state now: asking twice is answered alike."""
        async with self.sessions(campaign.workspace_id) as db:
            if await campaigns.move(db, campaign.campaign_id, origins, to, **values):
                await announced_states.campaign_moved(db, campaign.campaign_id, to, self.clock.now())
                return True
            return (await rows.get(db, Campaign, campaign.campaign_id)).state == to
