"""A finished run of each workflow still replays: a change that these refuse would strand runs under way.

`python -m tests.workflows.record` records them anew.
"""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from worker import WORKFLOWS

RUNNER = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_all_modules())
HISTORIES = sorted(Path(__file__).with_name("histories").glob("*.json"))


def the_workflow_of(history: WorkflowHistory) -> str:
    return history.events[0].workflow_execution_started_event_attributes.workflow_type.name


def read(recorded: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(recorded.stem, recorded.read_text())


@pytest.mark.parametrize("recorded", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_run_replays(recorded: Path) -> None:
    history = read(recorded)

    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=RUNNER, data_converter=pydantic_data_converter)
    await replayer.replay_workflow(history)


def test_every_workflow_has_a_recorded_run() -> None:
    recorded = {the_workflow_of(read(path)) for path in HISTORIES}

    assert recorded == {each.__name__ for each in WORKFLOWS}
