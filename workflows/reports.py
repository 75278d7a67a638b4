"""What providers report is settled, for ever: a schedule sees to it that there is always one run of this."""

from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client, ScheduleActionStartWorkflow

with workflow.unsafe.imports_passed_through():
    from activities.reports import ReportActivities, Reported
    from workflows import temporal
    from workflows.temporal import SLICE, TASK_QUEUE

SCHEDULE = "reports"


@workflow.defn
class ReportsWorkflow:
    def __init__(self) -> None:
        self.total = Reported()

    @workflow.run
    async def run(self) -> None:
        while not workflow.info().is_continue_as_new_suggested():
            done = await workflow.execute_activity_method(
                ReportActivities.settle, summary="settle what providers report", **SLICE
            )
            self.total.add(done)
            workflow.set_current_details(in_words(self.total))
        workflow.continue_as_new()


def in_words(done: Reported) -> str:
    """What this run did so far, as Markdown."""
    return (
        f"What came in last had waited for {done.lag:.1f} s. {done.early:,} wait for their message.\n\n"
        "| webhooks | reports | repeated | fates raised | unknown no more | not sent again | suppressed "
        "| stray | unread |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        f"| {done.hooks:,} | {done.reports:,} | {done.repeated:,} | {done.raised:,} | {done.known:,} "
        f"| {done.closed:,} | {done.suppressed:,} | {done.stray:,} | {done.unread:,} |\n"
    )


async def schedule(client: Client) -> None:
    """Have reports settled, once for the whole installation. Safe to call at every start."""
    action = ScheduleActionStartWorkflow(
        ReportsWorkflow.run,
        id="reports",
        task_queue=TASK_QUEUE,
        static_summary="Reports: what providers say became of messages",
    )
    await temporal.schedule(client, SCHEDULE, action, timedelta(seconds=30), at_once=True)
