"""Upkeep, once a minute: a schedule's workflow with a single errand."""

from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client, ScheduleActionStartWorkflow

with workflow.unsafe.imports_passed_through():
    from activities.upkeep import Upkeep, UpkeepActivities
    from workflows import temporal
    from workflows.temporal import SLICE, TASK_QUEUE

SCHEDULE = "upkeep"


@workflow.defn
class UpkeepWorkflow:
    @workflow.run
    async def run(self) -> Upkeep:
        return await workflow.execute_activity_method(
            UpkeepActivities.upkeep, summary="find what is overdue or unknown", **SLICE
        )


async def schedule(client: Client) -> None:
    """Have upkeep done every minute, once for the whole installation. Safe to call at every start."""
    action = ScheduleActionStartWorkflow(
        UpkeepWorkflow.run,
        id="upkeep",
        task_queue=TASK_QUEUE,
        static_summary="Upkeep: what is overdue or unknown",
    )
    await temporal.schedule(client, SCHEDULE, action, timedelta(minutes=1))
