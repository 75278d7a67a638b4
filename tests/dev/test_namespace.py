"""`campanile namespace` and `worker --check`, with a real server that knows nothing of ours."""

import asyncio
import socket
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, RemoveSearchAttributesRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from dev import at_work
from dev.namespace import ATTRIBUTES, prepare
from dev.process import StackError
from domain.workspaces import DEFAULT_WORKSPACE
from settings import Settings
from tests.support import eventually
from workflows.temporal import connect, search_attributes


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None: ...


@pytest.fixture
def named() -> str:
    return f"ours-{uuid4().hex[:8]}"


@pytest.fixture
async def client(temporal_address: str, temporal: Client, named: str) -> Client:
    """Of a namespace that is being made."""
    await prepare(temporal_address, named)
    return await connect(temporal_address, named)


async def test_a_workflow_with_our_attributes_starts_and_is_found(
    client: Client, temporal_address: str, named: str
) -> None:
    await prepare(temporal_address, named)  # Again, as every start of the stack does.

    await client.start_workflow(
        Nothing.run,
        id="one",
        task_queue="nobody",
        search_attributes=search_attributes(DEFAULT_WORKSPACE, "campaign", "Spring", "running"),
    )

    async def found() -> bool:
        return (await client.count_workflows("CampanileKind = 'campaign'")).count == 1

    await eventually(found)


async def test_an_attribute_of_another_type_is_named(
    client: Client, temporal_address: str, named: str
) -> None:
    name = ATTRIBUTES[1]
    number = IndexedValueType.INDEXED_VALUE_TYPE_INT
    operator = client.operator_service
    await operator.remove_search_attributes(
        RemoveSearchAttributesRequest(namespace=named, search_attributes=[name])
    )
    await operator.add_search_attributes(
        AddSearchAttributesRequest(namespace=named, search_attributes={name: number})
    )

    with pytest.raises(StackError, match=f"{name} is no Keyword in the namespace {named}"):
        await prepare(temporal_address, named)


async def test_a_worker_is_at_work_when_temporal_hears_it(
    client: Client, temporal_address: str, named: str
) -> None:
    settings = Settings(_env_file=None, temporal_address=temporal_address, temporal_namespace=named)
    host = socket.gethostname()

    assert await at_work.last_heard(settings, host, "here") is None
    with pytest.raises(StackError, match="has not heard a worker"):
        await asyncio.to_thread(at_work.run, settings, "here")

    async with Worker(
        client, task_queue="here", workflows=[Nothing], workflow_runner=UnsandboxedWorkflowRunner()
    ):

        async def heard() -> bool:
            return await at_work.last_heard(settings, host, "here") is not None

        await eventually(heard)
        assert await asyncio.to_thread(at_work.run, settings, "here") == 0
        last = await at_work.last_heard(settings, host, "here")
        assert last is not None
        assert abs((datetime.now(UTC) - last).total_seconds()) < at_work.LATELY.total_seconds()
        assert await at_work.last_heard(settings, "another-host", "here") is None
