"""A request's id goes with what the request starts, as far as the log lines of the activities."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import structlog
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from workflows.correlation import CorrelatedWorker


@activity.defn
async def what_logs_would_say() -> dict[str, Any]:
    return structlog.contextvars.get_contextvars()


@workflow.defn
class Asked:
    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self) -> dict[str, Any]:
        await workflow.wait_condition(lambda: self.told and workflow.all_handlers_finished())
        return await workflow.execute_activity(
            what_logs_would_say, start_to_close_timeout=timedelta(seconds=5)
        )

    @workflow.update
    async def tell(self) -> dict[str, Any]:
        self.told = True
        return await workflow.execute_activity(
            what_logs_would_say, start_to_close_timeout=timedelta(seconds=5)
        )


async def test_the_activities_of_a_workflow_log_the_id_of_the_request_that_asked_for_them(
    temporal: Client,
) -> None:
    queue = f"correlation-{uuid4()}"
    async with Worker(
        temporal,
        task_queue=queue,
        workflows=[Asked],
        activities=[what_logs_would_say],
        interceptors=[CorrelatedWorker()],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        with structlog.contextvars.bound_contextvars(request_id="request-that-started"):
            handle = await temporal.start_workflow(Asked.run, id=queue, task_queue=queue)
        with structlog.contextvars.bound_contextvars(request_id="request-that-told"):
            during_update = await handle.execute_update(Asked.tell)
        during_run = await handle.result()

    assert during_run["request_id"] == "request-that-started"
    assert during_update["request_id"] == "request-that-told"
    assert during_run["workflow_id"] == queue
    assert "request_id" not in structlog.contextvars.get_contextvars()
