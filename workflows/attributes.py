"""An attribute that became hot, or ceased to be: slice after slice, until everybody's value is in line."""

from hashlib import sha256
from uuid import UUID

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy

with workflow.unsafe.imports_passed_through():
    from activities.attributes import AttributeActivities, AttributeRun
    from domain.names import slug
    from workflows.temporal import SLICE, STATUS, TASK_QUEUE, brief, fair, search_attributes


@workflow.defn
class AttributeWorkflow:
    @workflow.run
    async def run(self, run: AttributeRun) -> int:
        """Returns how many pages of profiles were read."""
        pages = 0
        while True:
            done = await workflow.execute_activity_method(
                AttributeActivities.fill, run, summary=brief(f"keep or drop {run.name}"), **SLICE
            )
            pages += done.pages
            workflow.set_current_details(f"{pages:,} pages of profiles were read.")
            if done.over:
                workflow.upsert_search_attributes([STATUS.value_set("completed")])
                return pages
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(run)


def id_of(workspace_id: UUID, name: str) -> str:
    """Names are anybody's words: two that look the same in a slug are told apart by a hash."""
    told = sha256(name.encode()).hexdigest()[:12]
    return f"attribute/{workspace_id}/{slug(name)}-{told}"


async def start(client: Client, workspace_id: UUID, name: str, task_queue: str = TASK_QUEUE) -> None:
    """Start it. One that is under way finds by itself that the attribute was changed again."""
    await client.start_workflow(
        AttributeWorkflow.run,
        AttributeRun(workspace_id, name),
        id=id_of(workspace_id, name),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=search_attributes(workspace_id, "attribute", name, "running"),
        static_summary=brief(f"Attribute: {name}"),
        static_details="Brings the values that are kept for fast search in line with the catalogue.",
        priority=fair(workspace_id),
    )
