"""Freezing an audience: page by page, everybody once, whoever comes and goes meanwhile."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from activities.campaigns import CampaignActivities, CampaignRef
from domain.campaigns import CampaignState
from domain.messages import SourceKind
from domain.segments import parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.campaigns import Campaign
from models.queries import campaigns, claims, profiles_merged, queued, rows, segments, segments_written
from models.queries.campaigns import Frozen
from models.queries.ledger import Queue
from tests.sending import EVERYBODY, NOW, PATIENT, a_draft, a_sender, at, people, ran, some, states
from tests.support import GivenClock


async def a_start(db: AsyncSession, size: int) -> tuple[Campaign, list[UUID]]:
    """A campaign that has begun, and its audience in the order of their ids."""
    await a_sender(db)
    audience = await people(db, size)
    return await a_draft(db, state="running", frozen_at=None, started_at=NOW), sorted(audience)


async def froze(db: AsyncSession, campaign: Campaign, size: int) -> Frozen:
    members = segments.members(parse(EVERYBODY), now=NOW, time_zone="UTC", currency="USD")
    return await campaigns.freeze(db, campaign.id, members, size, NOW)


async def test_pages_follow_each_other_until_everybody_has_one_message(db: AsyncSession) -> None:
    campaign, audience = await a_start(db, 5)

    pages = [await froze(db, campaign, 2) for _ in range(3)]

    assert pages == [(2, False), (4, False), (5, True)]
    told = await some(db, "select profile_id from messages order by id")
    assert told == audience
    await db.refresh(campaign)
    assert (campaign.queued, campaign.frozen_to, campaign.frozen_at) == (5, audience[-1], NOW)


async def test_a_last_page_that_is_full_is_followed_by_an_empty_one(db: AsyncSession) -> None:
    campaign, _ = await a_start(db, 4)

    assert [await froze(db, campaign, 2) for _ in range(3)] == [(2, False), (4, False), (4, True)]


async def test_a_freeze_that_is_over_adds_nobody(db: AsyncSession) -> None:
    campaign, _ = await a_start(db, 2)
    await froze(db, campaign, 10)
    await people(db, 1, "late")

    assert await froze(db, campaign, 10) == (2, True)
    assert await states(db, Queue(campaign.workspace_id, campaign.id, SourceKind.CAMPAIGN)) == {"queued": 2}


async def test_nobody_is_the_whole_audience_of_an_empty_segment(db: AsyncSession) -> None:
    campaign, _ = await a_start(db, 0)

    assert await froze(db, campaign, 10) == (0, True)


async def test_a_cancelled_campaign_queues_nobody_more(db: AsyncSession) -> None:
    campaign, _ = await a_start(db, 5)
    await froze(db, campaign, 2)
    await campaigns.move(db, campaign.id, (CampaignState.RUNNING,), CampaignState.CANCELLED)
    await db.refresh(campaign)

    assert await froze(db, campaign, 2) == (2, True)


async def test_a_paused_campaign_goes_on_freezing(db: AsyncSession) -> None:
    campaign, _ = await a_start(db, 5)
    await campaigns.move(db, campaign.id, (CampaignState.RUNNING,), CampaignState.PAUSED)
    await db.refresh(campaign)

    assert await froze(db, campaign, 10) == (5, True)
    assert not await campaigns.freezing(db, campaign.workspace_id, campaign.id)


async def test_an_audience_that_is_being_frozen_counts_as_open(db: AsyncSession) -> None:
    campaign, _ = await a_start(db, 2)
    queue = Queue(campaign.workspace_id, campaign.id, SourceKind.CAMPAIGN)
    assert await campaigns.freezing(db, campaign.workspace_id, campaign.id)
    assert (await queued.ahead(db, queue)).open == 1

    await froze(db, campaign, 10)

    assert not await campaigns.freezing(db, campaign.workspace_id, campaign.id)
    assert (await queued.ahead(db, queue)).open == 2


async def test_the_first_page_can_be_claimed_before_the_second_is_written(db: AsyncSession) -> None:
    campaign, _ = await a_start(db, 3)
    queue = Queue(campaign.workspace_id, campaign.id, SourceKind.CAMPAIGN)
    await froze(db, campaign, 2)

    first = await claims.claim(db, queue, UUID(int=1), at(1), 60, 10)
    await froze(db, campaign, 2)
    second = await claims.claim(db, queue, UUID(int=2), at(1), 60, 10)

    assert (len(first.claimed), len(second.claimed)) == (2, 1)


@pytest.mark.parametrize("late", [0, 3])
async def test_a_freeze_that_was_overtaken_writes_nothing_into_what_is_closed(
    sessions: Sessions, late: int
) -> None:
    """It has read the campaign, and is held up; another one ends the freeze, and the books are closed."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        campaign, _ = await a_start(db, 2)
        await froze(db, campaign, 2)
    async with sessions(DEFAULT_WORKSPACE) as overtaken:
        read = await rows.get(overtaken, Campaign, campaign.id)
        async with sessions(DEFAULT_WORKSPACE) as db:
            assert await froze(db, campaign, 2) == (2, True)
            await campaigns.move(db, campaign.id, (CampaignState.RUNNING,), CampaignState.COMPLETED)
            await people(db, late, "late")
        assert await froze(overtaken, read, 2) == (0, False)

    async with sessions(DEFAULT_WORKSPACE) as db:
        after = await rows.get(db, Campaign, campaign.id)
        assert (after.queued, after.frozen_at) == (2, NOW)
        assert await states(db, Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN)) == {"queued": 2}


async def test_a_campaign_that_has_begun_keeps_the_rule_that_it_began_with(sessions: Sessions) -> None:
    """Somebody changes the segment while the audience is being frozen."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        campaign, _ = await a_start(db, 3)
        await db.execute(text("update campaigns set state = 'draft'"))
    ref = CampaignRef(DEFAULT_WORKSPACE, campaign.id)
    acts = CampaignActivities(sessions, GivenClock(), PATIENT, slices=1)
    assert (await ran(acts.begin, ref)).started
    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.change(db, campaign.segment_id, {"rule": {"any": []}})

    assert await ran(acts.freeze, ref) == 3


@pytest.mark.parametrize("began", [at(1), NOW - timedelta(seconds=2)])
async def test_who_is_merged_into_somebody_behind_the_page_still_gets_one(
    db: AsyncSession, began: datetime
) -> None:
    """The survivor was no member when its page was written, and is one by what the other brings along.

    The merge bears the time at which its transaction began, maybe by another clock: before the campaign did.
    """
    campaign, (survivor, second, alias) = await a_start(db, 3)
    rule = parse({"kind": "attribute", "name": "vip", "op": "is", "value": True})
    members = segments.members(rule, now=NOW, time_zone="UTC", currency="USD")
    vip = text("update profiles set attributes = attributes || '{\"vip\": true}' where id = any(:ids)")
    await db.execute(vip, {"ids": [second, alias]})
    assert await campaigns.freeze(db, campaign.id, members, 1, NOW) == (1, False)

    await profiles_merged.merge(db, alias, survivor, began)
    await db.refresh(campaign)

    assert await campaigns.freeze(db, campaign.id, members, 1, at(1)) == (2, True)
    assert await some(db, "select profile_id from messages order by due_at") == [second, survivor]


async def test_who_is_merged_and_has_a_message_gets_no_second(db: AsyncSession) -> None:
    campaign, (survivor, alias) = await a_start(db, 2)
    assert await froze(db, campaign, 1) == (1, False)

    await profiles_merged.merge(db, alias, survivor, at(1))
    await db.refresh(campaign)

    assert await froze(db, campaign, 1) == (1, True)
