"""What fails in Temporal is noted: an activity that raises, a workflow that somebody or something ended."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.bell import Bell
from activities.campaigns import CampaignRef
from activities.failures import FailureActivities
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.sending import PATIENT
from tests.support import GivenClock, eventually
from workflows.noticing import Noticing, of_workspace
from workflows.temporal import WORKSPACE, search_attributes

TRIES = 0
NAMED = UUID(int=7)


@activity.defn
async def stumble(campaign: CampaignRef) -> int:
    """Twice it raises, with words that nobody else must read."""
    global TRIES  # noqa: PLW0603 - an activity is a function here
    TRIES += 1
    if TRIES < 3:
        raise ValueError("ada@shop.example")
    raise ApplicationError("It is refused.", non_retryable=True)


@workflow.defn
class Stumbling:
    @workflow.run
    async def run(self, workspace_id: UUID) -> int:
        return await workflow.execute_activity(
            stumble, CampaignRef(workspace_id, workspace_id), start_to_close_timeout=timedelta(seconds=5)
        )


async def test_an_activity_that_raises_is_noted_once_an_hour_and_a_workflow_that_failed_as_well(
    sessions: Sessions, temporal: Client
) -> None:
    queue, clock = f"noticing-{uuid4()}", GivenClock(datetime.now(UTC))
    async with Worker(
        temporal,
        task_queue=queue,
        workflows=[Stumbling],
        activities=[stumble],
        interceptors=[Noticing(sessions, clock)],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        handle = await temporal.start_workflow(
            Stumbling.run,
            DEFAULT_WORKSPACE,
            id=queue,
            task_queue=queue,
            search_attributes=search_attributes(DEFAULT_WORKSPACE, "campaign", "Stumbling", "running"),
        )
        await eventually(lambda: ended(handle), what="the workflow's end")
    looking = FailureActivities(
        sessions, Bell(""), clock, PATIENT, "https://campanile.example", temporal, WORKSPACE
    )

    async def noted() -> bool:
        await looking.look()
        return len(await found(sessions, queue)) == 2

    await eventually(noted, every=0.3, what="the note of the workflow's end")
    assert await looking.look() == 0
    assert await found(sessions, queue) == [
        ("slice", "ours", "stumble raised ValueError."),
        ("workflow", "ours", "The workflow failed before it had done its work."),
    ]


@pytest.mark.parametrize("given", [NAMED, CampaignRef(NAMED, uuid4())])
def test_a_failure_is_noted_where_the_activity_was_at_work(given: object) -> None:
    assert of_workspace([given]) == NAMED
    assert of_workspace([]) == of_workspace(["a word"]) == DEFAULT_WORKSPACE


async def ended(handle: WorkflowHandle[Any, Any]) -> bool:
    return (await handle.describe()).close_time is not None


async def found(sessions: Sessions, workflow_id: str) -> list[tuple[str, str, str]]:
    asked = "select subject, category, reason from failure_logs where subject_id = :id order by id"
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [(row[0], row[1], row[2]) for row in await db.execute(text(asked), {"id": workflow_id})]
