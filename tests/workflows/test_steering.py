"""Whoever steers a campaign or a flow twice at once gets what was asked last, in the row and in the workflow.

An answer that is held tells of what is committed already: by then somebody else asks for something else.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError, WorkflowUpdateStage

from domain.campaigns import CampaignState
from domain.flows import FlowState
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.databases import Database
from tests.sending import a_graph, people, wait
from tests.support import eventually
from tests.workflows.site import Site, SlowProvider, at_work, slices_of, told
from workflows.campaigns import CampaignWorkflow, Progress
from workflows.flows import FlowWorkflow, Standing

CAMPAIGN, FLOW = "select state from campaigns", "select state from flows"
PLACES = "select coalesce(outcome, step) from enrollments order by 1"
ACCEPTED = WorkflowUpdateStage.ACCEPTED

CampaignHandle = WorkflowHandle[CampaignWorkflow, Progress]
FlowHandle = WorkflowHandle[FlowWorkflow, Standing]


@pytest.fixture
def channel() -> SlowProvider:
    return SlowProvider()


@pytest.fixture
async def site(
    temporal: Client, sessions: Sessions, database: Database, channel: SlowProvider
) -> AsyncIterator[Site]:
    async with at_work(temporal, sessions, database, channel=channel) as working:
        yield working


async def a_campaign_at_work(site: Site, channel: SlowProvider) -> CampaignHandle:
    handle = await site.start(await site.a_campaign(600))

    async def it_sends() -> bool:
        return bool(channel.sent)

    await eventually(it_sends, what="a mail")
    return handle


async def a_flow_at_work(site: Site, members: int = 3) -> tuple[UUID, FlowHandle]:
    """Its members take a nap."""
    flow = await site.a_flow(a_graph({"nap": wait(3600)}, "nap"))
    await site.publish(flow)
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        who = await people(db, members)
    await site.enroll(flow, *who)
    await site.becomes(PLACES, ["nap"] * members)
    return flow, site.flow(flow)


async def is_asked(handle: WorkflowHandle[Any, Any], update: Any) -> "asyncio.Task[Any]":
    """The workflow has taken up the update, and done what it does of it at once."""
    asked = await handle.start_update(update, wait_for_stage=ACCEPTED)
    return asyncio.create_task(asked.result())


async def stands(handle: FlowHandle) -> FlowState:
    return (await handle.query(FlowWorkflow.standing)).state


async def test_a_campaign_that_is_resumed_while_it_is_being_paused_goes_on(
    site: Site, channel: SlowProvider
) -> None:
    handle = await a_campaign_at_work(site, channel)
    paused = site.answers.hold("pause_campaign")
    pause = await is_asked(handle, CampaignWorkflow.pause)
    await paused.given.wait()

    resume = await is_asked(handle, CampaignWorkflow.resume)
    assert "resume_campaign" not in await slices_of(handle)
    paused.tell()
    await asyncio.gather(pause, resume)

    assert await site.ask(CAMPAIGN) == ["running"]
    assert (await handle.query(CampaignWorkflow.progress)).state is CampaignState.RUNNING
    assert (await told(handle))[3]["CampanileStatus"] == "running"
    progress = await asyncio.wait_for(handle.result(), 20)
    assert (progress.state, progress.accepted) == (CampaignState.COMPLETED, 600)
    assert len(set(channel.sent)) == len(channel.sent) == 600


async def test_a_pause_that_is_tried_again_does_not_undo_a_resume(site: Site, channel: SlowProvider) -> None:
    handle = await a_campaign_at_work(site, channel)
    paused = site.answers.hold("pause_campaign")
    pause = await is_asked(handle, CampaignWorkflow.pause)
    await paused.given.wait()

    resume = await is_asked(handle, CampaignWorkflow.resume)
    assert "resume_campaign" not in await slices_of(handle)
    paused.lose()
    await asyncio.gather(pause, resume)

    assert await site.ask(CAMPAIGN) == ["running"]
    progress = await asyncio.wait_for(handle.result(), 20)
    assert (progress.state, progress.accepted) == (CampaignState.COMPLETED, 600)


async def test_many_who_pause_and_resume_a_campaign_at_once_leave_row_and_workflow_agreed(
    site: Site, channel: SlowProvider
) -> None:
    channel.pause = 0.2  # So that it is not over before the last of them.
    handle = await a_campaign_at_work(site, channel)
    await handle.execute_update(CampaignWorkflow.pause)

    asked = [CampaignWorkflow.resume, CampaignWorkflow.pause] * 10
    await asyncio.gather(*(handle.execute_update(update) for update in asked))

    state = (await handle.query(CampaignWorkflow.progress)).state
    assert await site.ask(CAMPAIGN) == [state]
    channel.pause = 0.02
    await handle.execute_update(CampaignWorkflow.resume)
    assert (await asyncio.wait_for(handle.result(), 20)).accepted == 600


async def test_a_cancel_waits_for_no_pause_that_is_not_answered(site: Site, channel: SlowProvider) -> None:
    handle = await a_campaign_at_work(site, channel)
    paused = site.answers.hold("pause_campaign")
    pause = await is_asked(handle, CampaignWorkflow.pause)
    await paused.given.wait()
    resume = await is_asked(handle, CampaignWorkflow.resume)

    unsent = await asyncio.wait_for(handle.execute_update(CampaignWorkflow.cancel), 10)

    assert unsent == 600 - len(channel.sent) > 0
    assert await site.ask(CAMPAIGN) == ["cancelled"]
    paused.tell()
    await pause
    with pytest.raises(WorkflowUpdateFailedError) as refusal:
        await resume
    assert "cancelled" in str(refusal.value.cause)
    assert (await handle.result()).state is CampaignState.CANCELLED


async def test_a_flow_that_is_resumed_while_it_is_being_paused_goes_on(site: Site) -> None:
    _, handle = await a_flow_at_work(site)
    paused = site.answers.hold("pause_flow")
    pause = await is_asked(handle, FlowWorkflow.pause)
    await paused.given.wait()

    resume = await is_asked(handle, FlowWorkflow.resume)
    assert "resume_flow" not in await slices_of(handle)
    paused.tell()
    await asyncio.gather(pause, resume)

    assert await site.ask(FLOW) == ["live"]
    assert await stands(handle) is FlowState.LIVE
    assert (await told(handle))[3]["CampanileStatus"] == "live"


async def test_a_flow_that_is_archived_while_it_is_being_paused_ends_with_its_journeys(site: Site) -> None:
    _, handle = await a_flow_at_work(site)
    paused = site.answers.hold("pause_flow")
    pause = await is_asked(handle, FlowWorkflow.pause)
    await paused.given.wait()

    await asyncio.wait_for(handle.execute_update(FlowWorkflow.archive), 10)
    await site.becomes(PLACES, ["archived"] * 3)  # Whether the pause is ever answered or not.
    paused.tell()
    await pause

    assert (await asyncio.wait_for(handle.result(), 10)).state is FlowState.ARCHIVED
    assert (await told(handle))[3]["CampanileStatus"] == "archived"


async def test_a_flow_stays_archived_whatever_was_asked_at_the_same_time(site: Site) -> None:
    _, handle = await a_flow_at_work(site)
    await handle.execute_update(FlowWorkflow.pause)
    resumed = site.answers.hold("resume_flow")
    resume = await is_asked(handle, FlowWorkflow.resume)
    await resumed.given.wait()
    late = [await is_asked(handle, update) for update in (FlowWorkflow.pause, FlowWorkflow.publish)]

    await asyncio.wait_for(handle.execute_update(FlowWorkflow.archive), 10)
    resumed.tell()
    await resume
    refused = await asyncio.gather(*late, return_exceptions=True)

    assert [type(each) for each in refused] == [WorkflowUpdateFailedError] * 2
    assert (await asyncio.wait_for(handle.result(), 10)).state is FlowState.ARCHIVED
    await site.becomes(PLACES, ["archived"] * 3)
    assert await site.ask(FLOW) == ["archived"]
    assert await site.ask("select max(number) from flow_versions") == [1]


async def test_a_flow_that_is_archived_while_a_version_is_being_published_ends(site: Site) -> None:
    _, handle = await a_flow_at_work(site)
    published = site.answers.hold("publish_version")
    publish = await is_asked(handle, FlowWorkflow.publish)
    await published.given.wait()

    await asyncio.wait_for(handle.execute_update(FlowWorkflow.archive), 10)
    published.tell()

    assert await publish == 2
    await site.becomes(PLACES, ["archived"] * 3)
    assert (await asyncio.wait_for(handle.result(), 10)).state is FlowState.ARCHIVED


async def test_a_flow_that_is_resumed_while_a_version_is_being_published_goes_on(site: Site) -> None:
    flow, handle = await a_flow_at_work(site)
    await handle.execute_update(FlowWorkflow.pause)
    published = site.answers.hold("publish_version")
    publish = await is_asked(handle, FlowWorkflow.publish)
    await published.given.wait()

    resume = await is_asked(handle, FlowWorkflow.resume)
    assert "resume_flow" not in await slices_of(handle)
    published.tell()

    assert await publish == 2
    await resume
    assert await stands(handle) is FlowState.LIVE
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        who = await people(db, 1, "q")
    await site.enroll(flow, *who)
    await site.becomes(PLACES, ["nap"] * 4)


async def test_a_flow_that_is_paused_while_it_is_being_published_is_paused(site: Site) -> None:
    _, handle = await a_flow_at_work(site)
    published = site.answers.hold("publish_version")
    publish = await is_asked(handle, FlowWorkflow.publish)
    await published.given.wait()

    pause = await is_asked(handle, FlowWorkflow.pause)
    assert "pause_flow" not in await slices_of(handle)
    published.tell()
    await asyncio.gather(publish, pause)

    assert await site.ask(FLOW) == ["paused"]
    assert await stands(handle) is FlowState.PAUSED


async def test_a_pause_does_not_wait_until_everyone_has_entered(site: Site) -> None:
    _, handle = await a_flow_at_work(site)
    entered = site.answers.hold("enter_members")
    publish = await is_asked(handle, FlowWorkflow.publish)
    await entered.given.wait()

    await asyncio.wait_for(handle.execute_update(FlowWorkflow.pause), 2)

    assert await site.ask(FLOW) == ["paused"]
    entered.tell()
    assert await publish == 2
    assert await stands(handle) is FlowState.PAUSED
