"""An import through Temporal: slice by slice, told in words, and replayable."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.imports import ImportActivities, ImportSlice
from domain.imports import ImportState
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import imports
from tests.importing import counts, uploaded
from tests.support import GivenClock
from workflows.imports import ImportWorkflow, id_of, start
from workflows.temporal import KIND, NAME, STATUS, connect

RUNNER = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_all_modules())
HISTORY = Path(__file__).with_name("histories") / "import.json"
PEOPLE = "customer_id\n" + "".join(f"{n}\n" for n in range(100))


@asynccontextmanager
async def worked(client: Client, load: Callable[..., Any]) -> AsyncIterator[str]:
    """A worker for imports alone, on a task queue of its own."""
    queue = f"imports {uuid4()}"
    async with Worker(
        client, task_queue=queue, workflows=[ImportWorkflow], activities=[load], workflow_runner=RUNNER
    ):
        yield queue


async def test_an_import_goes_on_slice_by_slice_and_tells_its_story_in_words(
    sessions: Sessions, temporal_address: str
) -> None:
    client = await connect(temporal_address)
    run = await uploaded(sessions, "customers", PEOPLE + "0,too many\n")
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = await imports.get(db, run.import_id)
    # A slice that is over at once stores one batch.
    async with worked(client, ImportActivities(sessions, GivenClock(), seconds=0, batch=30).load) as queue:
        await start(client, row, queue)
        await start(client, row, queue)
        handle = client.get_workflow_handle(id_of(row), result_type=ImportSlice)
        done = await handle.result()
        details = await handle.query("__temporal_workflow_metadata")

    assert done.state is ImportState.COMPLETED
    assert counts(done) == (100, 0, 1)
    told = await handle.describe()
    assert told.typed_search_attributes[NAME] == "customers.csv"
    assert told.typed_search_attributes[KIND] == "import"
    assert told.typed_search_attributes[STATUS] == "completed"
    assert await told.static_summary() == "Import of customers: customers.csv"
    history = await handle.fetch_history()
    slices = [event for event in history.events if event.HasField("activity_task_scheduled_event_attributes")]
    assert len(slices) == 4
    assert "101 | 100 | 0 | 1" in str(details)


async def test_a_finished_history_still_replays() -> None:
    history = WorkflowHistory.from_json("import/of-the-sample", HISTORY.read_text())

    await Replayer(
        workflows=[ImportWorkflow], workflow_runner=RUNNER, data_converter=pydantic_data_converter
    ).replay_workflow(history)
