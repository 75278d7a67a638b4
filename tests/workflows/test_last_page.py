"""The last page of a freeze is sent when it is there, whatever the slices before it were waiting for."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.campaigns import Begun, CampaignRef, Tally
from activities.slices import Slice
from domain.campaigns import CampaignState
from models.queries.ledger import Queue
from tests.support import eventually
from workflows.campaigns import CampaignRun, CampaignWorkflow, Progress

TOMORROW = datetime.now(UTC) + timedelta(days=1)


class QuietHours:
    """Whoever is on the first page sleeps until tomorrow, whoever is on the last is awake.

    The first slice looks ahead before the last page is written, and is heard of after the end of the freeze.
    """

    def __init__(self, run: "WorkflowHandle[CampaignWorkflow, Progress]") -> None:
        self.run = run
        self.looked = asyncio.Event()
        self.sent = asyncio.Event()

    @activity.defn(name="begin_campaign")
    async def begin(self, campaign: CampaignRef) -> Begun:
        return Begun(started=True, state=CampaignState.RUNNING, name="Letter", slices=1)

    @activity.defn(name="freeze_audience")
    async def freeze(self, campaign: CampaignRef) -> int:
        await self.looked.wait()
        return 2

    @activity.defn(name="send")
    async def send(self, queue: Queue) -> Slice:
        if not self.looked.is_set():
            self.looked.set()
            await eventually(self.frozen, what="the end of the freeze")
            return Slice(open=2, next_due_at=TOMORROW)
        self.sent.set()
        return Slice(accepted=2)

    async def frozen(self) -> bool:
        return (await self.run.query(CampaignWorkflow.progress)).queued == 2

    @activity.defn(name="complete_campaign")
    async def complete(self, campaign: CampaignRef) -> Tally:
        return Tally(CampaignState.COMPLETED, queued=2, accepted=2, failed=0, skipped=0, unknown=0, open=0)


async def test_a_last_page_does_not_wait_for_who_is_on_the_first(temporal: Client) -> None:
    queue = f"last-page-{uuid4()}"
    acts = QuietHours(temporal.get_workflow_handle_for(CampaignWorkflow.run, queue))
    work: list[Callable[..., Any]] = [acts.begin, acts.freeze, acts.send, acts.complete]
    async with Worker(temporal, task_queue=queue, workflows=[CampaignWorkflow], activities=work):
        run = CampaignRun(uuid4(), uuid4())
        handle = await temporal.start_workflow(CampaignWorkflow.run, run, id=queue, task_queue=queue)
        try:
            await asyncio.wait_for(acts.sent.wait(), 10)
            assert (await handle.result()).accepted == 2
        finally:
            if not acts.sent.is_set():
                await handle.terminate()
