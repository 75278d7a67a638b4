"""A workflow that somebody ended by hand strands nobody: upkeep finds its rows, and it starts again."""

from datetime import timedelta

from sqlalchemy import text
from temporalio.client import Client

import worker
from activities.bell import Bell
from activities.slices import Timing
from activities.upkeep import UpkeepActivities
from channels.null import NullProvider
from domain.clock import SystemClock
from domain.messages import MessageState
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import pokes
from settings import Settings
from tests.databases import Database
from tests.sending import a_campaign, a_sender, people, ran, states
from tests.support import GivenClock
from workflows import campaigns
from workflows.temporal import workflow_id


async def test_a_campaign_whose_workflow_was_ended_by_hand_is_found_by_upkeep_and_goes_on(
    database: Database, sessions: Sessions, temporal: Client
) -> None:
    clock = SystemClock()
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        queue = await a_campaign(db, await people(db, 3), due_at=clock.now())
        await db.execute(text("update campaigns set started_at = :now"), {"now": clock.now()})

    later = GivenClock(clock.now() + timedelta(minutes=2))
    found = await ran(UpkeepActivities(sessions, later).upkeep)
    async with sessions.engine() as db:
        [poke] = await pokes.waiting(db, 0, 10)
    bell = Bell(database.engine_url)
    await bell.start(sessions)
    parts = worker.Parts(NullProvider(), clock, Timing(), 1)
    async with worker.build(temporal, sessions, bell, parts, Settings()):
        await campaigns.start(temporal, poke.workspace_id, poke.queue_id, poke.name, poke.slug)
        handle = temporal.get_workflow_handle(
            workflow_id("campaign", queue.id, poke.slug), result_type=campaigns.Progress
        )
        progress = await handle.result()
    await bell.close()

    assert found.poked == 1
    assert (progress.queued, progress.accepted) == (3, 3)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {MessageState.ACCEPTED: 3}
        assert await db.scalar(text("select state from campaigns")) == "completed"
