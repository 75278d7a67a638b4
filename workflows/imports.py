"""An import at work: slice after slice, until the file is read."""

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy

with workflow.unsafe.imports_passed_through():
    from activities.imports import ImportActivities, ImportRun, ImportSlice
    from domain.imports import ImportState
    from domain.names import slug
    from models.imports import Import
    from workflows.temporal import (
        SLICE,
        STATUS,
        TASK_QUEUE,
        brief,
        fair,
        search_attributes,
        workflow_id,
    )


@workflow.defn
class ImportWorkflow:
    @workflow.init
    def __init__(self, run: ImportRun) -> None:
        self.state = ImportState.UPLOADED
        self.about_to = "read the header and the first rows"

    @workflow.run
    async def run(self, run: ImportRun) -> ImportSlice:
        while True:
            done = await workflow.execute_activity_method(
                ImportActivities.load, run, summary=self.about_to, **SLICE
            )
            self.note(done)
            if done.over:
                return done
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(run)

    def note(self, done: ImportSlice) -> None:
        """Tell whoever looks at this workflow how far the file is read, and what became of its rows."""
        workflow.set_current_details(in_words(done))
        self.about_to = brief(f"go on at {done.percent} % of {done.file_name}")
        if done.state is not self.state:
            self.state = done.state
            workflow.upsert_search_attributes([STATUS.value_set(done.state.value)])


def in_words(done: ImportSlice) -> str:
    """How far an import is, as Markdown."""
    reason = f" {done.reason}" if done.reason else ""
    return (
        f"**{done.file_name}** is {done.state}, {done.percent} % read.{reason}\n\n"
        "| rows | imported | unchanged | rejected |\n|---:|---:|---:|---:|\n"
        f"| {done.rows:,} | {done.imported:,} | {done.unchanged:,} | {done.rejected:,} |\n"
    )


def id_of(row: Import) -> str:
    """The id of an import's workflow, as the web UI's list shows it."""
    return workflow_id("import", row.id, slug(row.file_name))


async def start(client: Client, row: Import, task_queue: str = TASK_QUEUE) -> None:
    """Start the import's workflow. It does no harm if it runs, or ran, already."""
    what = "orders that start flows" if row.live else row.kind
    await client.start_workflow(
        ImportWorkflow.run,
        ImportRun(row.workspace_id, row.id),
        id=id_of(row),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=search_attributes(row.workspace_id, "import", row.file_name, ImportState.UPLOADED),
        static_summary=brief(f"Import of {what}: {row.file_name}"),
        static_details=f"Reads {row.file_name} ({row.size:,} bytes), row by row. Import {row.id}.",
        priority=fair(row.workspace_id),
    )
