"""A workspace's announcements at work: its webhooks are told what is due, and it ends when nothing is left.

It sleeps until the first delivery may be tried again, however long its webhook rests. Whoever announces
something pokes it.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy

with workflow.unsafe.imports_passed_through():
    from activities.webhook_ends import Delivered
    from activities.webhooks import WebhookActivities
    from domain.messages import Work
    from workflows.temporal import SLICE, TASK_QUEUE, fair, search_attributes

SOONEST = timedelta(milliseconds=200)


@dataclass(frozen=True)
class WebhooksRun:
    workspace_id: UUID  # First in every input: it opens the wall for this run's transactions.


@workflow.defn
class WebhooksWorkflow:
    @workflow.init
    def __init__(self, run: WebhooksRun) -> None:
        self.poked = True

    @workflow.run
    async def run(self, run: WebhooksRun) -> None:
        while self.poked and not workflow.info().is_continue_as_new_suggested():
            self.poked = False
            done: Delivered = await workflow.execute_activity_method(
                WebhookActivities.deliver, run.workspace_id, summary="tell webhooks what is due", **SLICE
            )
            workflow.set_current_details(in_words(done))
            if done.pending:
                if not done.lively:
                    await self.sleep_until_something_is_due(done)
                self.poked = True
        if self.poked:
            workflow.continue_as_new(run)

    async def sleep_until_something_is_due(self, done: Delivered) -> None:
        waits = [timedelta(seconds=done.lease_left)] if done.lease_left is not None else []
        if done.next_due_at:
            waits.append(done.next_due_at - workflow.now())
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self.poked,
                timeout=max(min(waits, default=timedelta(seconds=1)), SOONEST),
                timeout_summary="next delivery due",
            )

    @workflow.signal
    def poke(self, work: Work) -> None:
        self.poked = True


def in_words(done: Delivered) -> str:
    """What the last slice came to."""
    said = f"{done.delivered:,} delivered, {done.again:,} to be tried again, {done.failed:,} given up"
    return f"{said}, {done.disabled:,} webhooks disabled" if done.disabled else said


async def wake(client: Client, workspace_id: UUID) -> None:
    """Have the workspace's webhooks told: its workflow is started, or poked if it is under way."""
    await client.start_workflow(
        WebhooksWorkflow.run,
        WebhooksRun(workspace_id),
        id=f"webhooks/{workspace_id}",
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=search_attributes(workspace_id, "webhooks", "webhooks", "running"),
        static_summary="Webhooks: what is announced to others' programs",
        priority=fair(workspace_id),
        start_signal="poke",
        start_signal_args=[Work.DELIVER],
    )
