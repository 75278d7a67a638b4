"""A workspace's outbox at work: it sends what belongs to no campaign or flow, and ends when it is empty.

Transactional messages have a queue and a workflow of their own, the express, which goes before all others
wherever Temporal has a choice.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy

with workflow.unsafe.imports_passed_through():
    from activities.messages import MessageActivities
    from activities.slices import Slice
    from domain.messages import SourceKind, Work
    from domain.outboxes import express, outbox
    from models.queries.ledger import Queue
    from workflows.temporal import SLICE, TASK_QUEUE, fair, search_attributes, urgent


@dataclass(frozen=True)
class OutboxRun:
    workspace_id: UUID  # First in every input: it opens the wall for this run's transactions.
    express: bool = False  # Whether it sends transactional messages, or the others.


@workflow.defn
class OutboxWorkflow:
    @workflow.init
    def __init__(self, run: OutboxRun) -> None:
        queue_id = outbox(run.workspace_id, transactional=run.express)
        self.queue = Queue(run.workspace_id, queue_id, SourceKind.OUTBOX)
        self.poked = True

    @workflow.run
    async def run(self, run: OutboxRun) -> None:
        while self.poked and not workflow.info().is_continue_as_new_suggested():
            self.poked = False
            done: Slice = await workflow.execute_activity_method(
                MessageActivities.send, self.queue, summary="send what is queued", **SLICE
            )
            if done.open:
                await self.sleep_until_something_can_move(done)
                self.poked = True
        if self.poked:
            workflow.continue_as_new(run)

    async def sleep_until_something_can_move(self, done: Slice) -> None:
        waits = [timedelta(seconds=done.lease_left)] if done.lease_left is not None else []
        if done.next_due_at:
            waits.append(done.next_due_at - workflow.now())
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self.poked,
                timeout=max(min(waits, default=timedelta(seconds=1)), timedelta(milliseconds=200)),
                timeout_summary="next message due",
            )

    @workflow.signal
    def poke(self, work: Work) -> None:
        self.poked = True


async def wake(client: Client, workspace_id: UUID, queue_id: UUID | None = None) -> None:
    """Have a queue of the workspace's outbox sent: its workflow is started, or told if it is under way."""
    is_express = queue_id == express(workspace_id)
    name = "express" if is_express else "outbox"
    await client.start_workflow(
        OutboxWorkflow.run,
        OutboxRun(workspace_id, is_express),
        id=f"outbox/{workspace_id}/express" if is_express else f"outbox/{workspace_id}",
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=search_attributes(workspace_id, "outbox", name, "running"),
        static_summary="Express: transactional messages"
        if is_express
        else "Outbox: single messages and test sends",
        priority=urgent(workspace_id) if is_express else fair(workspace_id),
        start_signal="poke",
        start_signal_args=[Work.SEND],
    )
