"""Segments kept at work, for ever: a schedule sees to it that there is always one run of this."""

from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client, ScheduleActionStartWorkflow

with workflow.unsafe.imports_passed_through():
    from activities.segments import Looked, SegmentActivities
    from workflows import temporal
    from workflows.temporal import SLICE, TASK_QUEUE

SCHEDULE = "segments"


@workflow.defn
class SegmentsWorkflow:
    @workflow.init
    def __init__(self) -> None:
        self.total = Looked()

    @workflow.run
    async def run(self) -> None:
        while not workflow.info().is_continue_as_new_suggested():
            done = await workflow.execute_activity_method(
                SegmentActivities.keep, summary="find the members of segments that are due", **SLICE
            )
            self.total.add(done)
            workflow.set_current_details(in_words(self.total))
        workflow.continue_as_new()


def in_words(done: Looked) -> str:
    """What this run did so far, as Markdown."""
    return (
        "| first looks | later looks | people found astray | failed |\n|---:|---:|---:|---:|\n"
        f"| {done.first:,} | {done.again:,} | {done.astray:,} | {done.failed:,} |\n"
    )


async def schedule(client: Client) -> None:
    """Have segments kept, once for the whole installation. Safe to call at every start."""
    action = ScheduleActionStartWorkflow(
        SegmentsWorkflow.run,
        id="segments",
        task_queue=TASK_QUEUE,
        static_summary="Segments: who is in which, where time or an edit changed it",
    )
    await temporal.schedule(client, SCHEDULE, action, timedelta(seconds=30), at_once=True)
