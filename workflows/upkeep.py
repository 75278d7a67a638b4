"""Upkeep, once a minute: a schedule's workflow with a single errand."""

from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)

with workflow.unsafe.imports_passed_through():
    from activities.upkeep import Upkeep, UpkeepActivities
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
    with suppress(ScheduleAlreadyRunningError):
        await client.create_schedule(
            SCHEDULE,
            Schedule(
                action=ScheduleActionStartWorkflow(
                    UpkeepWorkflow.run,
                    id="upkeep",
                    task_queue=TASK_QUEUE,
                    static_summary="Upkeep: what is overdue or unknown",
                ),
                spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(minutes=1))]),
                policy=SchedulePolicy(
                    overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1)
                ),
            ),
        )
