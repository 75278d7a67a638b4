"""Scheduled campaigns and Temporal: at their time, once, whoever else starts them and whatever was lost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from temporalio.client import Client, ScheduleHandle
from temporalio.service import RPCError

from activities.schedules import ScheduledStart
from activities.upkeep import UpkeepActivities
from domain.campaigns import CampaignState
from domain.schedules import CATCH_UP, Meant, Starter
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.campaigns import Campaign
from models.queries import campaigns, pokes, schedules
from tests.databases import Database
from tests.sending import a_segment, ran
from tests.support import GivenClock
from tests.workflows.site import Site, SlowProvider, at_work
from workflows.schedules import ScheduledStartWorkflow, schedule_id
from workflows.temporal import TASK_QUEUE, workflow_id

FAR = timedelta(days=30)
STATE = "select state from campaigns"
TOLD = "select event_type from webhook_deliveries order by id"
ALARMS = "select count(*) from alarms"


@pytest.fixture
def channel() -> SlowProvider:
    return SlowProvider()


@pytest.fixture
async def site(
    temporal: Client, sessions: Sessions, database: Database, channel: SlowProvider
) -> AsyncIterator[Site]:
    async with at_work(temporal, sessions, database, channel=channel) as working:
        yield working


async def plan(site: Site, campaign: Campaign, at: datetime, starter: Starter = Starter.CAMPANILE) -> None:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await schedules.schedule(
            db, campaign.id, Meant(at.replace(microsecond=0)), "UTC", starter, site.clock.now()
        )


def alarm(site: Site, campaign: Campaign) -> ScheduleHandle:
    return site.client.get_schedule_handle(schedule_id(campaign.id))


async def in_step(site: Site) -> None:
    """Until Temporal knows of every alarm as it is."""
    await site.becomes("select count(*) from alarms where set_for is distinct from rings_at", [0])


async def is_gone(site: Site, campaign: Campaign) -> None:
    await site.becomes(ALARMS, [0])
    with pytest.raises(RPCError):
        await alarm(site, campaign).describe()


async def asked_for(site: Site) -> None:
    """A webhook that asks for what becomes of campaigns, and is rather slow to be told."""
    webhook = (
        "insert into webhooks (workspace_id, name, url, event_types, secret, rests_until) "
        "values (:here, 'n8n', 'https://n8n.example/x', '{campaign.*}', 'sealed', '2099-01-01')"
    )
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text(webhook), {"here": DEFAULT_WORKSPACE})


def run_of(site: Site, campaign: Campaign) -> str:
    id_ = workflow_id("campaign", campaign.id, campaign.slug)
    site.started.append(id_)
    return id_


async def test_temporal_starts_a_campaign_at_its_time_under_its_usual_id_and_the_schedule_goes(
    site: Site, channel: SlowProvider
) -> None:
    campaign = await site.a_campaign(5)
    await asked_for(site)
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    await plan(site, campaign, at)

    await site.becomes(STATE, ["completed"], within=20)

    await site.client.get_workflow_handle(run_of(site, campaign)).result()
    begun = f"start/{campaign.id}/{campaign.slug}-{at:%Y-%m-%dT%H:%M:%SZ}"
    assert (await site.client.get_workflow_handle(begun).result())["said"] == "It has begun."
    assert len(channel.sent) == 5
    await is_gone(site, campaign)
    assert await site.ask("select scheduled_at from campaigns") == [at]
    assert await site.ask(TOLD) == [f"campaign.{word}" for word in ("scheduled", "started", "completed")]


async def test_temporal_follows_whatever_becomes_of_the_row(site: Site) -> None:
    campaign = await site.a_campaign(1)
    at = site.clock.now().replace(microsecond=0) + FAR
    seen: list[datetime] = []
    for days in (0, 1):
        await plan(site, campaign, at + timedelta(days=days))
        await in_step(site)
        told = await alarm(site, campaign).describe()
        seen += told.info.next_action_times
        assert (told.schedule.state.remaining_actions, told.schedule.policy.catchup_window) == (1, CATCH_UP)
    await plan(site, campaign, at, Starter.N8N)
    await is_gone(site, campaign)
    await plan(site, campaign, at)
    await in_step(site)
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await campaigns.delete(db, campaign.id)
    await is_gone(site, campaign)

    assert seen == [at, at + timedelta(days=1)]


async def test_two_starters_at_the_same_moment_make_one_run(site: Site, channel: SlowProvider) -> None:
    campaign = await site.a_campaign(30)
    await plan(site, campaign, site.clock.now() + FAR)
    await in_step(site)

    handle, *_ = await asyncio.gather(
        site.start(campaign), site.start(campaign), alarm(site, campaign).trigger()
    )
    progress = await handle.result()

    await site.becomes(STATE, ["completed"])
    assert progress.accepted == len(channel.sent) == len(set(channel.sent)) == 30
    await is_gone(site, campaign)
    # What rings afterwards finds that nobody waits for it.
    assert (await (await site.start(campaign)).result()).state is CampaignState.COMPLETED
    assert len(channel.sent) == 30


async def test_what_n8n_is_to_start_does_not_start_by_itself_and_starts_once_when_it_does(
    site: Site, channel: SlowProvider
) -> None:
    campaign = await site.a_campaign(3)
    await plan(site, campaign, site.clock.now() - timedelta(minutes=5), Starter.N8N)
    await _look(site)
    assert await site.ask(ALARMS) == [0]
    assert await site.ask(STATE) == ["scheduled"]
    later = GivenClock(site.clock.now() + timedelta(days=2))
    for _ in range(2):
        await ran(UpkeepActivities(site.sessions, later).upkeep)
    assert await site.ask("select title from failure_logs") == ["n8n did not start a campaign"]
    assert await site.ask("select reason like 'n8n was to start it at %' from campaigns") == [True]

    first, second = await asyncio.gather(site.start(campaign), site.start(campaign))

    assert await first.result() == await second.result()
    assert len(channel.sent) == 3
    assert await site.ask("select reason from campaigns") == [None]


async def test_a_schedule_that_was_lost_costs_a_moment_and_not_the_campaign(
    site: Site, channel: SlowProvider
) -> None:
    campaign = await site.a_campaign(3)
    await plan(site, campaign, site.clock.now() + FAR)
    await in_step(site)
    await alarm(site, campaign).delete()

    run_of(site, campaign)
    site.clock.move(FAR + timedelta(minutes=1))
    await _look(site)

    await site.becomes(STATE, ["completed"])
    assert len(channel.sent) == 3


async def test_who_is_far_too_late_or_has_something_in_the_way_fails_with_the_reason_and_may_be_started_later(
    site: Site, channel: SlowProvider
) -> None:
    late = await site.a_campaign(2, name="Late")
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        nobody = await a_segment(db, {"any": []})
    empty = await site.a_campaign(0, name="Empty", segment_id=nobody)
    await asked_for(site)
    await plan(site, late, site.clock.now() - CATCH_UP - timedelta(minutes=1))
    await plan(site, empty, site.clock.now() - timedelta(minutes=1))

    await site.becomes("select state from campaigns order by name", ["failed", "failed"])
    [why_empty, why_late] = await site.ask("select reason from campaigns order by name")
    assert "is empty" in why_empty
    assert "went by while Campanile could not start it" in why_late
    noted = "select category from failure_logs order by category"
    assert await site.ask(noted) == ["configuration", "ours"]
    assert sorted(await site.ask(TOLD)) == ["campaign.failed"] * 2 + ["campaign.scheduled"] * 2
    assert channel.sent == []
    await site.becomes(ALARMS, [0])

    progress = await (await site.start(late)).result()
    assert (progress.state, progress.accepted) == (CampaignState.COMPLETED, 2)


async def test_a_start_that_comes_after_the_campaign_was_planned_for_another_time_does_nothing(
    site: Site,
) -> None:
    campaign = await site.a_campaign(1)
    at = site.clock.now()
    await plan(site, campaign, at + FAR)

    launched = await site.client.execute_workflow(
        ScheduledStartWorkflow.run,
        ScheduledStart(DEFAULT_WORKSPACE, campaign.id, at),
        id=f"start/{campaign.id}",
        task_queue=TASK_QUEUE,
    )

    assert not launched.begun
    assert launched.said == "The campaign is scheduled, and does not wait for this."
    assert await site.ask(STATE) == ["scheduled"]
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await schedules.unschedule(db, campaign.id)
    await is_gone(site, campaign)


async def _look(site: Site) -> None:
    """Have the poker look at once."""
    async with site.sessions.engine() as db:
        await pokes.wake_poker(db)
