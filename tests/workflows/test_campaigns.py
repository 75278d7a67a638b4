"""Campaigns through Temporal: begun once, paused, resumed, cancelled, failed, and told in words."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowUpdateFailedError

import activities.campaigns
from channels.smtp import SmtpProvider
from domain.campaigns import CampaignState
from domain.messages import Skip
from domain.workspaces import DEFAULT_WORKSPACE
from lab.smtp import Fault, Phase, SmtpLab
from models.base import Sessions
from models.reports import Hold
from tests.databases import Database
from tests.sending import a_segment
from tests.support import eventually
from tests.workflows.site import Site, SlowProvider, at_work, slices_of, told
from workflows.campaigns import CampaignWorkflow

STATES = "select state || ' ' || count(*) from messages group by state order by state"


@pytest.fixture
def channel() -> SlowProvider:
    return SlowProvider()


@pytest.fixture
async def site(
    temporal: Client, sessions: Sessions, database: Database, channel: SlowProvider
) -> AsyncIterator[Site]:
    async with at_work(temporal, sessions, database, channel=channel) as working:
        yield working


async def some_are_sent(channel: SlowProvider, n: int = 1) -> None:
    async def holds() -> bool:
        return len(channel.sent) >= n

    await eventually(holds, what="a mail")


async def test_a_campaign_completes_and_tells_name_state_and_counts_in_words(
    site: Site, channel: SlowProvider
) -> None:
    campaign = await site.a_campaign(25, name="Winter letter")
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("delete from consents where id in (select id from consents limit 2)"))

    handle = await site.start(campaign)
    progress = await handle.result()

    assert (progress.state, progress.queued, progress.accepted, progress.skipped, progress.open) == (
        CampaignState.COMPLETED,
        25,
        23,
        2,
        0,
    )
    assert len(set(channel.sent)) == len(channel.sent) == 23
    await site.becomes("select state from campaigns", ["completed"])
    assert await handle.query(CampaignWorkflow.progress) == progress
    summary, details, current, attributes = await told(handle)
    assert summary == "Campaign: Winter letter"
    assert str(campaign.id) in details
    assert "**Winter letter** is completed." in current
    assert "| 25 | 23 | 0 | 2 | 0 | 0 |" in current
    assert attributes == {
        "CampanileKind": "campaign",
        "CampanileName": "Winter letter",
        "CampanileStatus": "completed",
        "CampanileWorkspace": str(DEFAULT_WORKSPACE),
    }


async def test_a_campaign_whose_marketing_is_held_says_what_the_rest_waits_for(site: Site) -> None:
    campaign = await site.a_campaign(3)
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        db.add(Hold(workspace_id=DEFAULT_WORKSPACE, channel="email", at=site.clock.now(), reason="Too much."))

    handle = await site.start(campaign)

    async def it_says_so() -> bool:
        return "The rest waits: marketing by email is held" in (await told(handle))[2]

    await eventually(it_says_so, what="its details")
    await handle.execute_update(CampaignWorkflow.cancel)
    assert "The rest waits" not in (await handle.result()).in_words()


async def test_two_starts_make_one_run(site: Site, channel: SlowProvider) -> None:
    campaign = await site.a_campaign(30)

    first, second = await asyncio.gather(site.start(campaign), site.start(campaign))
    assert await first.result() == await second.result()

    assert len(channel.sent) == 30
    assert (await slices_of(first)).count("begin_campaign") == 1
    assert (await first.describe()).run_id == (await second.describe()).run_id


async def test_starting_a_completed_campaign_changes_nothing(site: Site, channel: SlowProvider) -> None:
    campaign = await site.a_campaign(3)
    await (await site.start(campaign)).result()
    before = await site.ask("select to_jsonb(c) from campaigns c")

    again = await (await site.start(campaign)).result()

    assert again.state is CampaignState.COMPLETED
    assert len(channel.sent) == 3
    assert await site.ask("select to_jsonb(c) from campaigns c") == before


async def test_a_pause_takes_effect_within_two_seconds_and_resume_goes_on(
    site: Site, channel: SlowProvider
) -> None:
    handle = await site.start(await site.a_campaign(600))
    await some_are_sent(channel, 50)

    asked = time.monotonic()
    await handle.execute_update(CampaignWorkflow.pause)
    await eventually(lambda: _quiet(channel), within=2, what="silence")
    assert time.monotonic() - asked < 2
    sent = len(channel.sent)
    assert 50 <= sent < 600
    assert (await handle.query(CampaignWorkflow.progress)).state is CampaignState.PAUSED
    await site.becomes(STATES, [f"accepted {sent}", f"queued {600 - sent}"])
    assert (await told(handle))[3]["CampanileStatus"] == "paused"
    await handle.execute_update(CampaignWorkflow.pause)  # Once more is answered alike.

    await handle.execute_update(CampaignWorkflow.resume)
    assert (await handle.result()).accepted == 600
    assert len(set(channel.sent)) == len(channel.sent) == 600


async def _quiet(channel: SlowProvider) -> bool:
    """Whether nothing is sent for the time of several batches."""
    before = len(channel.sent)
    await asyncio.sleep(0.25)
    return len(channel.sent) == before


async def test_a_cancel_stops_and_answers_how_many_were_not_sent(site: Site, channel: SlowProvider) -> None:
    handle = await site.start(await site.a_campaign(600))
    await some_are_sent(channel, 50)

    unsent = await handle.execute_update(CampaignWorkflow.cancel)

    sent = len(channel.sent)
    assert unsent == 600 - sent > 0
    assert (await handle.result()).state is CampaignState.CANCELLED
    assert await site.ask(STATES) == [f"accepted {sent}", f"skipped {unsent}"]
    assert await site.ask("select distinct reason from messages where state = 'skipped'") == [Skip.CANCELLED]
    assert await site.ask("select state from campaigns") == ["cancelled"]


async def test_a_paused_campaign_can_be_cancelled(site: Site, channel: SlowProvider) -> None:
    handle = await site.start(await site.a_campaign(300))
    await some_are_sent(channel)
    await handle.execute_update(CampaignWorkflow.pause)

    unsent = await handle.execute_update(CampaignWorkflow.cancel)

    assert unsent == 300 - len(channel.sent)
    with pytest.raises(Exception, match=r"already completed|not found"):
        await handle.execute_update(CampaignWorkflow.resume)


async def test_a_campaign_that_runs_can_not_be_resumed(site: Site, channel: SlowProvider) -> None:
    handle = await site.start(await site.a_campaign(300))
    await some_are_sent(channel)

    await handle.execute_update(CampaignWorkflow.resume)  # It runs, which is all that was asked.
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update campaigns set state = 'failed'"))
    with pytest.raises(WorkflowUpdateFailedError) as refusal:
        await handle.execute_update(CampaignWorkflow.resume)
    assert "running" in str(refusal.value.cause)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """One person a page, so that a freeze takes a while."""
    for size in ("FIRST_PAGE", "LARGEST_PAGE"):
        monkeypatch.setattr(activities.campaigns, size, 1)


@pytest.mark.usefixtures("small_pages")
async def test_the_first_are_sent_to_while_the_audience_is_being_frozen(
    site: Site, channel: SlowProvider
) -> None:
    handle = await site.start(await site.a_campaign(150))
    await some_are_sent(channel)
    [frozen_at] = await site.ask("select frozen_at from campaigns")
    progress = await handle.result()

    assert frozen_at is None
    assert (progress.state, progress.queued, progress.accepted) == (CampaignState.COMPLETED, 150, 150)
    assert len(channel.sent) == len(set(channel.sent)) == 150


@pytest.mark.usefixtures("small_pages")
async def test_a_cancel_stops_a_freeze_and_leaves_nothing_open(site: Site, channel: SlowProvider) -> None:
    handle = await site.start(await site.a_campaign(400))
    await some_are_sent(channel)
    unsent = await handle.execute_update(CampaignWorkflow.cancel)
    progress = await handle.result()

    assert progress.state is CampaignState.CANCELLED
    assert progress.queued == progress.accepted + unsent < 400
    assert await site.ask("select count(*) from messages where closed_at is null") == [0]
    assert await site.ask("select queued from campaigns") == [progress.queued]


@pytest.mark.usefixtures("small_pages")
async def test_a_campaign_paused_while_it_is_being_frozen_goes_on_to_the_end(
    site: Site, channel: SlowProvider
) -> None:
    handle = await site.start(await site.a_campaign(100))
    await handle.execute_update(CampaignWorkflow.pause)
    await site.becomes("select frozen_at is not null from campaigns", [True])
    sent = len(channel.sent)
    assert sent < 100
    await handle.execute_update(CampaignWorkflow.resume)
    progress = await handle.result()

    assert (progress.state, progress.accepted) == (CampaignState.COMPLETED, 100)


async def test_an_audience_that_can_not_be_frozen_fails_the_campaign_with_the_reason(site: Site) -> None:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        segment = await a_segment(db, {"kind": "star sign", "is": "Leo"})
    handle = await site.start(await site.a_campaign(2, segment_id=segment))

    assert (await handle.result()).state is CampaignState.FAILED
    [state] = await site.ask("select state from campaigns")
    [reason] = await site.ask("select reason from campaigns")
    assert (state, await site.ask("select id from messages")) == ("failed", [])
    assert reason.startswith(
        'There is no condition of the kind "star sign"'
    )  # In words for the owner, not for us.
    assert "failed" in (await told(handle))[2]


async def test_an_empty_audience_completes_at_once(site: Site) -> None:
    progress = await (await site.start(await site.a_campaign(0))).result()

    assert (progress.state, progress.queued) == (CampaignState.COMPLETED, 0)


async def test_what_was_refused_is_sent_when_it_is_due_again(
    temporal: Client, sessions: Sessions, database: Database
) -> None:
    async with SmtpLab() as lab:
        lab.fail(Fault(Phase.RCPT, reply="450 4.2.1 Busy", times=2))
        channel = SmtpProvider(f"smtp://127.0.0.1:{lab.port}")
        async with at_work(temporal, sessions, database, channel=channel) as site:
            handle = await site.start(await site.a_campaign(5))
            await site.becomes(STATES, ["accepted 3", "queued 2"])
            site.clock.time = max(await site.ask("select due_at from messages"))

            assert (await handle.result()).accepted == 5
        await channel.close()
    assert len({mail.id for mail in lab.accepted}) == len(lab.accepted) == 5
