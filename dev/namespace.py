"""`campanile namespace`: where our workflows live in Temporal, with the attributes that people search by.

The embedded server is started with them. Another one has neither, and refuses a workflow that carries an
attribute which it does not know.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dev.process import StackError
from settings import Settings
from workflows.temporal import KIND, NAME, STATUS, WORKSPACE, connect

ATTRIBUTES = tuple(key.name for key in (WORKSPACE, KIND, STATUS, NAME))
KEPT = timedelta(days=30)  # How long the history of a workflow that ended can be read.
PATIENCE = 120.0  # Seconds. A server's caches learn of a namespace and of attributes within a minute.
EVERY = 1.0  # Seconds between two tries.
LATER = (RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED)


def run(settings: Settings) -> int:
    """Returns when a workflow of ours could be started there. Raises `StackError`."""
    asyncio.run(prepare(settings.temporal_address, settings.temporal_namespace))
    print(f"Temporal has the namespace {settings.temporal_namespace}, with our search attributes.")
    return 0


async def prepare(address: str, namespace: str) -> None:
    """The namespace is there, and workflows in it can carry our search attributes."""
    client = await connect(address, namespace)
    await until(lambda: register(client, namespace))
    await until(lambda: name_attributes(client, namespace))
    await until(lambda: search(client))


async def register(client: Client, namespace: str) -> None:
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        wish = RegisterNamespaceRequest(
            namespace=namespace,
            description="Campanile",
            workflow_execution_retention_period=Duration(seconds=int(KEPT.total_seconds())),
        )
        await client.workflow_service.register_namespace(wish)


async def name_attributes(client: Client, namespace: str) -> None:
    """Add the attributes that are missing. Raises `StackError` where one is there as another type."""
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    asked = ListSearchAttributesRequest(namespace=namespace)
    there = (await client.operator_service.list_search_attributes(asked)).custom_attributes
    wrong = [name for name in ATTRIBUTES if there.get(name, keyword) != keyword]
    if wrong:
        raise StackError(
            f"the search attribute {wrong[0]} is no Keyword in the namespace {namespace}: "
            "remove it there, or set TEMPORAL_NAMESPACE to a namespace of our own"
        )
    missing = {name: keyword for name in ATTRIBUTES if name not in there}
    if missing:
        wish = AddSearchAttributesRequest(namespace=namespace, search_attributes=missing)
        await client.operator_service.add_search_attributes(wish)


async def search(client: Client) -> None:
    """Ask by each of them: the server knows them by now, or says that it does not."""
    await client.count_workflows(" AND ".join(f"{name} = 'none'" for name in ATTRIBUTES))


async def until(succeeds: Callable[[], Awaitable[None]]) -> None:
    """Try again while the server does not know yet what it was told. Raises `StackError` in the end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await succeeds()
        except RPCError as error:
            unknown = error.status is RPCStatusCode.INVALID_ARGUMENT and "search attribute" in error.message
            if not (unknown or error.status in LATER) or time.monotonic() > deadline:
                raise StackError(f'Temporal said "{error.message}": see its log, then try again') from None
        await asyncio.sleep(EVERY)
