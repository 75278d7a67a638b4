"""A campaign at work: begin, freeze the audience, send slice after slice, close the books."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypedDict, TypeVar
from uuid import UUID

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import Priority, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.campaigns import Begun, CampaignActivities, CampaignRef, Tally
    from activities.messages import MessageActivities
    from activities.slices import Slice
    from domain.campaigns import ENDED, UNDER_WAY, CampaignState
    from domain.messages import Skip, SourceKind
    from models.queries.ledger import Queue
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

T = TypeVar("T")

# Below so many open messages one slice is enough.
SMALL = 2000


@dataclass(frozen=True)
class CampaignRun:
    workspace_id: UUID  # First in every input: it opens the wall for this run's transactions.
    campaign_id: UUID
    progress: "Progress | None" = None  # Carried over when the run continues with a fresh history.


@dataclass
class Progress:
    """Where a campaign stands, for whoever asks: counts of messages."""

    state: CampaignState = CampaignState.DRAFT
    name: str = ""
    slices: int = 1
    queued: int = 0
    accepted: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    open: int = 0
    cancelled: int = 0  # Of those skipped.
    agenda: str = ""  # Why the rest waits, in words.

    def add(self, done: Slice) -> None:
        self.accepted += done.accepted
        self.failed += done.failed
        self.skipped += done.skipped
        self.unknown += done.unknown

    def settle(self, tally: Tally) -> None:
        """The ledger's own counts, in place of what the slices reported."""
        self.queued, self.open = tally.queued, tally.open
        self.accepted, self.failed = tally.accepted, tally.failed
        self.skipped, self.unknown = tally.skipped, tally.unknown
        self.cancelled = tally.reasons.get(Skip.CANCELLED, 0)

    def in_words(self) -> str:
        waits = self.agenda and self.open
        return (
            f"**{self.name}** is {self.state}.\n\n"
            "| queued | accepted | failed | skipped | unknown | still open |\n"
            "|---:|---:|---:|---:|---:|---:|\n"
            f"| {self.queued:,} | {self.accepted:,} | {self.failed:,} | {self.skipped:,} "
            f"| {self.unknown:,} | {self.open:,} |\n"
            + (f"\nThe rest waits: {self.agenda}.\n" if waits else "")
        )


@workflow.defn
class CampaignWorkflow:
    @workflow.init
    def __init__(self, run: CampaignRun) -> None:
        self.campaign = CampaignRef(run.workspace_id, run.campaign_id)
        self.queue = Queue(run.workspace_id, run.campaign_id, SourceKind.CAMPAIGN)
        self.now = replace(run.progress) if run.progress else Progress()
        self.freezing = False
        self.done = False
        self.steering = asyncio.Lock()

    @workflow.run
    async def run(self, run: CampaignRun) -> Progress:
        if run.progress:
            await self.send()
        elif await self.begin():
            if workflow.patched("send-while-freezing"):
                self.freezing = True
                await asyncio.gather(self.freeze(), self.send())
            else:
                await self.freeze()
                await self.send()
        if self.under_way and (self.now.open or self.paused):
            # The history is long enough. A cancel that comes now waits for what follows here.
            await workflow.wait_condition(lambda: workflow.all_handlers_finished() or not self.under_way)
            if self.under_way:
                workflow.continue_as_new(replace(run, progress=self.now))
        if self.now.state is CampaignState.RUNNING:
            self.end(await self.errand(CampaignActivities.complete, "close the books"))
        if self.now.state in (CampaignState.CANCELLED, CampaignState.FAILED):
            await self.skip_unsent()
        self.done = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.now

    async def begin(self) -> bool:
        """Draft to running. False when somebody else has begun."""
        begun: Begun = await self.errand(CampaignActivities.begin, "begin")
        self.now.name, self.now.slices = begun.name, begun.slices
        self.enter(begun.state)
        return begun.started

    async def freeze(self) -> None:
        """The audience into the ledger, page by page, while the first of it are sent to."""
        try:
            self.now.queued = self.now.open = await workflow.execute_activity_method(
                CampaignActivities.freeze,
                self.campaign,
                summary="freeze the audience",
                **SLICE,
            )
        except ActivityError as error:
            cause = error.cause
            reason = cause.message if isinstance(cause, ApplicationError) else str(cause or error)
            self.end(
                await workflow.execute_activity_method(
                    CampaignActivities.fail,
                    args=[self.campaign, reason],
                    summary="give up",
                    **SLICE,
                )
            )
        self.freezing = False
        self.tell()

    async def send(self) -> None:
        """Slice after slice while the ledger has something open, or may have, and the campaign may send."""
        while (self.now.open or self.paused or self.freezing) and not self.leaving:
            if self.paused:
                await workflow.wait_condition(lambda: not self.paused or self.leaving)
                continue
            freezing = self.freezing
            slices = self.now.slices if self.now.open > SMALL or freezing else 1
            done = await asyncio.gather(*(self.slice() for _ in range(slices)))
            for part in done:
                self.now.add(part)
            last = done[-1]
            self.now.open = min(part.open for part in done)
            self.now.agenda = last.agenda
            self.tell()
            # Of an audience that was frozen meanwhile, they may not have seen the last page.
            missed = freezing and not self.freezing
            if (self.now.open or self.freezing) and all(part.idle for part in done) and not missed:
                await self.sleep_until_something_can_move(last)

    async def slice(self) -> Slice:
        return await workflow.execute_activity_method(
            MessageActivities.send,
            self.queue,
            summary="send what is frozen" if self.freezing else f"send, {self.now.open:,} open",
            **SLICE,
        )

    async def sleep_until_something_can_move(self, last: Slice) -> None:
        """Until a message is due, a dead worker's lease has ended, or somebody decides otherwise."""
        waits = [timedelta(seconds=last.lease_left)] if last.lease_left is not None else []
        if last.next_due_at:
            waits.append(last.next_due_at - workflow.now())
        state, freezing = self.now.state, self.freezing
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self.now.state is not state or self.leaving or self.freezing is not freezing,
                timeout=max(min(waits, default=timedelta(seconds=1)), timedelta(milliseconds=200)),
                timeout_summary="next message due",
            )

    async def skip_unsent(self) -> None:
        """What is still claimed comes back within its lease; then everything unsent is skipped."""
        while True:
            tally: Tally = await workflow.execute_activity_method(
                CampaignActivities.skip_unsent,
                self.campaign,
                summary="skip what was not sent",
                **SLICE,
            )
            self.now.settle(tally)
            self.tell()
            if not tally.open:
                return
            await workflow.sleep(timedelta(seconds=1), summary="what is on the wire")

    async def errand(self, work: Callable[[Any, CampaignRef], Awaitable[T]], what: str) -> T:
        return await workflow.execute_activity_method(work, self.campaign, summary=what, **ERRAND)

    def end(self, tally: Tally) -> None:
        """The row has the last word: somebody may have cancelled what was about to end otherwise."""
        self.now.settle(tally)
        self.enter(tally.state)

    def enter(self, state: CampaignState) -> None:
        self.now.state = state
        workflow.upsert_search_attributes([STATUS.value_set(state.value)])
        self.tell()

    def tell(self) -> None:
        """Tell whoever looks at this workflow how far it is."""
        workflow.set_current_details(self.now.in_words())

    @property
    def paused(self) -> bool:
        return self.now.state is CampaignState.PAUSED

    @property
    def under_way(self) -> bool:
        return self.now.state in UNDER_WAY

    @property
    def leaving(self) -> bool:
        ended = (CampaignState.CANCELLED, CampaignState.FAILED)
        return self.now.state in ended or workflow.info().is_continue_as_new_suggested()

    @workflow.update
    async def pause(self) -> None:
        """Answers when the pause is committed where every claim and mark reads it."""
        async with in_turn(self.steering):
            await self.change(CampaignActivities.pause, CampaignState.PAUSED)

    @workflow.update
    async def resume(self) -> None:
        """Answers when the campaign may send again."""
        async with in_turn(self.steering):
            await self.change(CampaignActivities.resume, CampaignState.RUNNING)

    @workflow.update
    async def cancel(self) -> int:
        """Answers when nothing more will be sent, with how many messages were not.

        It waits for no turn: whatever commits before or after it, what was cancelled stays so."""
        await self.change(CampaignActivities.cancel, CampaignState.CANCELLED)
        await workflow.wait_condition(lambda: self.done)
        return self.now.cancelled

    async def change(self, work: Callable[[Any, CampaignRef], Awaitable[bool]], to: CampaignState) -> None:
        await workflow.wait_condition(lambda: self.now.state is not CampaignState.DRAFT)
        if not await self.errand(work, to.value):
            raise ApplicationError(f"This campaign is {self.now.state}.", type="Conflict", non_retryable=True)
        if self.now.state not in ENDED:  # It may have ended between the commit and the news of it.
            self.enter(to)

    @workflow.query
    def progress(self) -> Progress:
        return self.now


class Labels(TypedDict):
    """How a campaign's workflow is started, by whomever."""

    task_queue: str
    search_attributes: TypedSearchAttributes
    static_summary: str
    static_details: str
    priority: Priority


def labels(workspace_id: UUID, campaign_id: UUID, name: str) -> Labels:
    return Labels(
        task_queue=TASK_QUEUE,
        search_attributes=search_attributes(workspace_id, "campaign", name, CampaignState.DRAFT),
        static_summary=brief(f"Campaign: {name}"),
        static_details=f"Sends one message to everyone in its segment. Campaign {campaign_id}.",
        priority=fair(workspace_id),
    )


async def start(client: Client, workspace_id: UUID, campaign_id: UUID, name: str, slug: str) -> None:
    """Start the campaign now. A second start finds the first one's run and changes nothing."""
    await client.start_workflow(
        CampaignWorkflow.run,
        CampaignRun(workspace_id, campaign_id),
        id=workflow_id("campaign", campaign_id, slug),
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        **labels(workspace_id, campaign_id, name),
    )
