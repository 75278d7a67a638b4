"""The pumps at work, for ever: a schedule sees to it that there is always one run of this."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client, ScheduleActionStartWorkflow

with workflow.unsafe.imports_passed_through():
    from activities.ingest import IngestActivities, Pumped
    from workflows import temporal
    from workflows.temporal import SLICE, TASK_QUEUE

SCHEDULE = "ingest"


@dataclass(frozen=True)
class IngestRun:
    pumps: int = 1  # At work at a time, each for another workspace.


@workflow.defn
class IngestWorkflow:
    @workflow.init
    def __init__(self, run: IngestRun) -> None:
        self.total = Pumped()

    @workflow.run
    async def run(self, run: IngestRun) -> None:
        await asyncio.gather(*(self.keep_pumping() for _ in range(run.pumps)))
        workflow.continue_as_new(run)

    async def keep_pumping(self) -> None:
        while not workflow.info().is_continue_as_new_suggested():
            done = await workflow.execute_activity_method(
                IngestActivities.pump, summary="work in what came in", **SLICE
            )
            self.total.add(done)
            workflow.set_current_details(in_words(self.total))


def in_words(done: Pumped) -> str:
    """What this run did so far, as Markdown."""
    return (
        f"What came in last had waited for {done.lag:.1f} s.\n\n"
        "| arrivals | events | repeated | people merged | segments entered or left | flows entered "
        "| waits ended | quarantined |\n|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        f"| {done.arrivals:,} | {done.events:,} | {done.repeated:,} | {done.merged:,} | {done.crossed:,} "
        f"| {done.entered:,} | {done.woken:,} | {done.quarantined:,} |\n"
    )


async def schedule(client: Client, pumps: int = 1) -> None:
    """Have the pumps run, once for the whole installation. Safe to call at every start."""
    action = ScheduleActionStartWorkflow(
        IngestWorkflow.run,
        IngestRun(pumps),
        id="ingest",
        task_queue=TASK_QUEUE,
        static_summary="Ingest: what came in becomes people, events and orders",
    )
    await temporal.schedule(client, SCHEDULE, action, timedelta(seconds=30), at_once=True)
