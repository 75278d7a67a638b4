"""A workflow whose history has grown long goes on in a new run, and nobody notices."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle

from dev.temporal import Temporal
from domain.campaigns import CampaignState
from domain.flows import FlowState
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.databases import Database
from tests.sending import a_graph, people, wait
from tests.workflows.site import BRISK, Site, SlowProvider, at_work
from workflows.campaigns import CampaignWorkflow, Progress
from workflows.flows import FlowWorkflow
from workflows.temporal import connect

SHORT = replace(BRISK, slice=0.03, linger=0)


class Forgetful(Temporal):
    """A server that wants a new run after a few dozen events."""

    def command(self) -> list[str | Path]:
        return [*super().command(), "--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=40"]


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Temporal]:
    server = Forgetful(folder=tmp_path_factory.mktemp("forgetful") / "logs")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def channel() -> SlowProvider:
    return SlowProvider(batch=5)


@pytest.fixture
async def site(
    forgetful: Temporal, sessions: Sessions, database: Database, channel: SlowProvider
) -> AsyncIterator[Site]:
    client: Client = await connect(forgetful.address)
    async with at_work(client, sessions, database, channel=channel, timing=SHORT) as working:
        yield working


async def stop_and_go(handle: "WorkflowHandle[CampaignWorkflow, Progress]", times: int) -> None:
    """Each time makes the history longer."""
    for _ in range(times):
        await handle.execute_update(CampaignWorkflow.pause)
        await handle.execute_update(CampaignWorkflow.resume)


async def test_a_campaign_is_counted_over_all_its_runs(site: Site, channel: SlowProvider) -> None:
    handle = await site.start(await site.a_campaign(150))
    first = (await handle.describe()).run_id

    await stop_and_go(handle, 6)

    assert (await handle.describe()).run_id != first
    progress = await handle.result()
    assert (progress.state, progress.queued, progress.accepted) == (CampaignState.COMPLETED, 150, 150)
    assert len(set(channel.sent)) == len(channel.sent) == 150


@pytest.mark.parametrize("times", range(5))
async def test_a_cancel_that_comes_at_any_moment_ends_the_campaign(
    site: Site, channel: SlowProvider, times: int
) -> None:
    """Also while a run waits for its updates before the next one begins."""
    handle = await site.start(await site.a_campaign(300))
    await stop_and_go(handle, times)

    asked = [handle.execute_update(CampaignWorkflow.pause), handle.execute_update(CampaignWorkflow.cancel)]
    *_, unsent = await asyncio.gather(*asked, return_exceptions=True)

    progress = await handle.result()
    assert progress.state is CampaignState.CANCELLED
    assert unsent == progress.queued - len(channel.sent)
    if times:
        assert progress.queued == 300


async def test_who_waits_for_a_turn_is_answered_before_the_next_run_begins(
    site: Site, channel: SlowProvider
) -> None:
    handle = await site.start(await site.a_campaign(150))
    first = (await handle.describe()).run_id

    for _ in range(6):
        asked = [CampaignWorkflow.pause, CampaignWorkflow.resume, CampaignWorkflow.pause]
        await asyncio.gather(*(handle.execute_update(update) for update in asked))
        await handle.execute_update(CampaignWorkflow.pause)  # So that it is not over before the last of them.
    await handle.execute_update(CampaignWorkflow.resume)

    assert (await handle.describe()).run_id != first
    assert (await handle.result()).accepted == len(channel.sent) == 150


async def test_a_flow_goes_on_and_ends_in_any_run(site: Site) -> None:
    fork = {"kind": "branch", "condition": {"all": []}, "then": "nap"}
    flow = await site.a_flow(a_graph({"fork": fork, "nap": wait(3600)}, "fork"))
    await site.publish(flow)
    first = (await site.flow(flow).describe()).run_id
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        members = await people(db, 12)
    for n, member in enumerate(members, 1):
        await site.enroll(flow, member)
        await site.becomes("select count(*) from enrollments where step = 'nap'", [n])
    assert (await site.flow(flow).describe()).run_id != first

    await site.flow(flow).execute_update(FlowWorkflow.archive)

    standing = await site.flow(flow).result()
    assert (standing.state, standing.version, standing.moved) == (FlowState.ARCHIVED, 1, 24)
    assert await site.ask("select distinct outcome from enrollments") == ["archived"]
