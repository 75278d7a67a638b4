"""Failures are told of, for ever: a schedule sees to it that there is always one run of this."""

from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client, ScheduleActionStartWorkflow

with workflow.unsafe.imports_passed_through():
    from activities.failures import FailureActivities, Told
    from workflows import temporal
    from workflows.temporal import ERRAND, SLICE, TASK_QUEUE

SCHEDULE = "failures"


@workflow.defn
class FailuresWorkflow:
    def __init__(self) -> None:
        self.total = Told()

    @workflow.run
    async def run(self) -> None:
        while not workflow.info().is_continue_as_new_suggested():
            done = await workflow.execute_activity_method(
                FailureActivities.tell, summary="tell of failures", **SLICE
            )
            self.total.add(done)
            await workflow.execute_activity_method(
                FailureActivities.look, summary="look for workflows that ended unfinished", **ERRAND
            )
            workflow.set_current_details(
                f"This run told of {self.total.failures:,} failures in {self.total.digests:,} digests."
            )
        workflow.continue_as_new()


async def schedule(client: Client) -> None:
    """Have failures told of, once for the whole installation. Safe to call at every start."""
    action = ScheduleActionStartWorkflow(
        FailuresWorkflow.run,
        id="failures",
        task_queue=TASK_QUEUE,
        static_summary="Failures: digests of what did not work",
    )
    await temporal.schedule(client, SCHEDULE, action, timedelta(seconds=30), at_once=True)
