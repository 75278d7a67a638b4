"""A flow at work: it moves the members who are due, in groups, then sleeps until the next are.

Two loops side by side: one moves members, the other sends. A slow or throttled send never holds a step.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from temporalio import workflow
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.entering import EntryActivities, Published, VersionRef
    from activities.flows import FlowActivities, FlowRef
    from activities.messages import MessageActivities
    from activities.slices import Slice
    from domain.flows import FlowState
    from domain.messages import SourceKind, Work
    from models.flows import Flow
    from models.queries.ledger import Queue
    from models.queries.pokes import Poked
    from workflows.temporal import (
        ERRAND,
        SLICE,
        STATUS,
        TASK_QUEUE,
        brief,
        fair,
        search_attributes,
        workflow_id,
    )
    from workflows.turns import in_turn

Ref = TypeVar("Ref")

# Below so many open messages one slice is enough.
SMALL = 2000


@dataclass
class Standing:
    """Where a flow stands: its state, and counts since it was published first."""

    state: FlowState = FlowState.DRAFT
    name: str = ""
    version: int = 0
    moved: int = 0
    accepted: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    places: str = ""

    def add(self, done: Slice) -> None:
        self.accepted += done.accepted
        self.failed += done.failed
        self.skipped += done.skipped
        self.unknown += done.unknown

    def in_words(self) -> str:
        return (
            f"**{self.name}**, version {self.version}, is {self.state}.\n\n"
            "| messages accepted | failed | skipped | unknown |\n|---:|---:|---:|---:|\n"
            f"| {self.accepted:,} | {self.failed:,} | {self.skipped:,} | {self.unknown:,} |\n\n"
            f"| step | members | the first waits until |\n|---|---:|---|\n{self.places}\n"
        )


@dataclass(frozen=True)
class FlowRun:
    workspace_id: UUID  # First in every input: it opens the wall for this run's transactions.
    flow_id: UUID
    standing: Standing | None = None  # Carried over when the run continues with a fresh history.
    slices: int = 1


@workflow.defn
class FlowWorkflow:
    @workflow.init
    def __init__(self, run: FlowRun) -> None:
        self.flow = FlowRef(run.workspace_id, run.flow_id)
        self.queue = Queue(run.workspace_id, run.flow_id, SourceKind.FLOW)
        self.now = replace(run.standing) if run.standing else Standing()
        self.poked = {Work.ADVANCE, Work.SEND}
        self.agenda = "look who is due"
        self.slices = run.slices
        self.open = 0
        self.refused = False  # What was to be published could not be, and nothing is under way.
        self.steering = asyncio.Lock()

    @workflow.run
    async def run(self, run: FlowRun) -> Standing:
        await workflow.wait_condition(
            lambda: (
                self.now.state is not FlowState.DRAFT or (self.refused and workflow.all_handlers_finished())
            )
        )
        if self.now.state is FlowState.DRAFT:
            return self.now
        await asyncio.gather(self.advance(), self.send())
        # Whoever archives a flow does not wait for an update that is tried again and again.
        final = workflow.patched("archived-is-final")
        await workflow.wait_condition(lambda: workflow.all_handlers_finished() or (final and self.archived))
        if not self.archived:
            workflow.continue_as_new(replace(run, standing=self.now, slices=self.slices))
        await self.end_journeys()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.now

    async def advance(self) -> None:
        """Move members on while any are due; then sleep until the next are, or somebody pokes."""
        while await self.awake(Work.ADVANCE):
            done = await self.slice(FlowActivities.advance, self.flow, self.agenda)
            self.now.moved += done.moved
            self.now.places = done.places
            self.agenda = done.agenda or "look who is due"
            self.tell()
            if not done.lively:
                await self.sleep_until(done.next_due_at, Work.ADVANCE, done.idle)

    async def send(self) -> None:
        """Send while the ledger has something open; then sleep until it has."""
        while await self.awake(Work.SEND):
            slices = self.slices if self.open > SMALL else 1
            queue = replace(self.queue, alone=slices == 1 < self.slices)
            parts = await asyncio.gather(
                *(self.slice(MessageActivities.send, queue, self.sending()) for _ in range(slices))
            )
            for done in parts:
                self.now.add(done)
            self.open = min(done.open for done in parts)
            self.tell()
            due = [done.next_due_at for done in parts if done.next_due_at]
            due += [workflow.now() + timedelta(seconds=done.lease_left) for done in parts if done.lease_left]
            if not any(done.lively for done in parts):
                await self.sleep_until(min(due, default=None), Work.SEND, all(done.idle for done in parts))

    async def awake(self, work: Work) -> bool:
        """Wait until the flow is live. False when it is time to leave. The poke is answered by looking."""
        await workflow.wait_condition(lambda: self.leaving or self.now.state is FlowState.LIVE)
        self.poked.discard(work)
        return not self.leaving

    async def sleep_until(self, when: datetime | None, work: Work, idle: bool) -> None:
        """Until then, or until somebody pokes. After an idle slice a little in any case: what is due and did
        not move may be held by a pause of which we have not heard yet."""
        least = timedelta(milliseconds=200 if idle else 0)
        left = max(when - workflow.now(), least) if when else None
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: work in self.poked or self.leaving,
                timeout=left,
                timeout_summary="next members due" if work is Work.ADVANCE else "next message due",
            )

    async def slice(self, work: Callable[[Any, Ref], Awaitable[Slice]], what: Ref, summary: str) -> Slice:
        return await workflow.execute_activity_method(work, what, summary=brief(summary), **SLICE)

    async def end_journeys(self) -> None:
        """What is on the wire comes back within its lease; everything else ends now."""
        open_messages = 1
        while open_messages:
            done = await self.slice(FlowActivities.end_journeys, self.flow, "end all journeys")
            self.now.skipped += done.skipped
            open_messages = done.open
            if open_messages:
                await workflow.sleep(timedelta(seconds=1), summary="what is on the wire")
        self.now.places = ""
        self.tell()

    def sending(self) -> str:
        return f"send, {self.open:,} open" if self.open else "send what is queued"

    def enter(self, state: FlowState) -> None:
        if self.archived and workflow.patched("archived-is-final"):
            return  # This was committed before, and is heard of only now.
        self.now.state = state
        self.poked |= {Work.ADVANCE, Work.SEND}
        workflow.upsert_search_attributes([STATUS.value_set(state.value)])
        self.tell()

    def tell(self) -> None:
        """Tell whoever looks at this workflow where everyone is."""
        workflow.set_current_details(self.now.in_words())

    @property
    def archived(self) -> bool:
        return self.now.state is FlowState.ARCHIVED

    @property
    def leaving(self) -> bool:
        return self.archived or workflow.info().is_continue_as_new_suggested()

    @workflow.signal
    def poke(self, work: Work) -> None:
        """Who is due may soon have a message: the sending slice listens by then, and needs no poke."""
        self.poked |= {work, Work.SEND}

    @workflow.update
    async def publish(self) -> int:
        """Answers with the version's number when it is committed and its members have entered.

        The first of them move on meanwhile."""
        by_pages = workflow.patched("enter-while-moving")
        async with in_turn(self.steering):  # Not while members enter: a pause does not wait for them.
            try:
                published: Published = await workflow.execute_activity_method(
                    EntryActivities.publish_version if by_pages else EntryActivities.publish,
                    self.flow,
                    summary="publish",
                    **SLICE,
                )
            except ActivityError:
                self.refused = True
                raise
            self.now.name, self.now.version = published.name, published.number
            self.slices = published.slices
            self.enter(published.state)
        if by_pages and published.version_id:
            await workflow.execute_activity_method(
                EntryActivities.enter_members,
                VersionRef(self.flow.workspace_id, self.flow.flow_id, published.version_id),
                summary="let the segment's members enter",
                **SLICE,
            )
        return published.number

    @workflow.update
    async def pause(self) -> None:
        """Answers when the pause is committed where every claim, mark and move reads it."""
        async with in_turn(self.steering):
            await self.change(FlowActivities.pause, FlowState.PAUSED)

    @workflow.update
    async def resume(self) -> None:
        """Answers when the flow is live again."""
        async with in_turn(self.steering):
            await self.change(FlowActivities.resume, FlowState.LIVE)

    @workflow.update
    async def archive(self) -> None:
        """Answers when the flow is archived; its journeys end then.

        It waits for no turn: whatever commits before or after it, what was archived stays so."""
        await self.change(FlowActivities.archive, FlowState.ARCHIVED)

    async def change(self, work: Callable[[Any, FlowRef], Awaitable[bool]], to: FlowState) -> None:
        if not await workflow.execute_activity_method(work, self.flow, summary=to.value, **ERRAND):
            raise ApplicationError(f"This flow is {self.now.state}.", type="Conflict", non_retryable=True)
        self.enter(to)

    @workflow.query
    def standing(self) -> Standing:
        return self.now


Steering = workflow.UpdateMethodMultiParam[[FlowWorkflow], None]  # FlowWorkflow.pause, and so on.


async def publish(client: Client, workspace_id: UUID, flow_id: UUID, name: str, slug: str) -> int:
    """Publish the flow as it was last edited, starting its workflow if it has none. Returns the version."""
    start = _starting(FlowRun(workspace_id, flow_id), FlowState.DRAFT, name, slug)
    return await client.execute_update_with_start_workflow(
        FlowWorkflow.publish, start_workflow_operation=start
    )


async def steer(client: Client, flow: Flow, update: Steering) -> None:
    """Ask a flow that was published to pause, resume or archive.

    If somebody ended its workflow by hand, it starts again as it stood: a paused one, which has nothing due
    that upkeep could find, would be held for ever.
    """
    standing = Standing(FlowState(flow.state), flow.name)
    start = _starting(FlowRun(flow.workspace_id, flow.id, standing), standing.state, flow.name, flow.slug)
    await client.execute_update_with_start_workflow(update, start_workflow_operation=start)


def _starting(
    run: FlowRun, state: FlowState, name: str, slug: str
) -> WithStartWorkflowOperation[FlowWorkflow, Standing]:
    return WithStartWorkflowOperation(
        FlowWorkflow.run,
        run,
        id=workflow_id("flow", run.flow_id, slug),
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=search_attributes(run.workspace_id, "flow", name, state),
        static_summary=brief(f"Flow: {name}"),
        static_details=f"Moves everyone who entered from step to step. Flow {run.flow_id}.",
        priority=fair(run.workspace_id),
    )


async def wake(client: Client, poked: Poked) -> None:
    """Tell the flow's workflow that something is due. If somebody ended it by hand, it starts again.

    An archived flow has ended for good: what poked it came too late.
    """
    state = FlowState(poked.state)
    if state is FlowState.ARCHIVED:
        return
    await client.start_workflow(
        FlowWorkflow.run,
        FlowRun(poked.workspace_id, poked.queue_id, Standing(state, poked.name)),
        id=workflow_id("flow", poked.queue_id, poked.slug),
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=search_attributes(poked.workspace_id, "flow", poked.name, state),
        static_summary=brief(f"Flow: {poked.name}"),
        priority=fair(poked.workspace_id),
        start_signal="poke",
        start_signal_args=[poked.work],
    )
