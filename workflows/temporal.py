"""What every workflow shares: the task queue, named policies, search attributes, and the way to connect."""

from contextlib import suppress
from datetime import timedelta
from typing import TypedDict
from uuid import UUID

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
from temporalio.common import (
    Priority,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import GrpcCompression

from workflows.correlation import CorrelatedClient

TASK_QUEUE = "campanile"

WORKSPACE = SearchAttributeKey.for_keyword("CampanileWorkspace")
KIND = SearchAttributeKey.for_keyword("CampanileKind")
STATUS = SearchAttributeKey.for_keyword("CampanileStatus")
NAME = SearchAttributeKey.for_keyword("CampanileName")


class Manner(TypedDict):
    """How an activity is asked to run."""

    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


# What was refused in words is refused again however often one asks.
REFUSALS = ["Invalid", "Refused", "NotFound", "Conflict"]

# A slice tells every second that it lives, and what it leaves behind is in the ledger: it is tried
# again until it succeeds, however long the database is away.
SLICE = Manner(
    start_to_close_timeout=timedelta(minutes=10),
    heartbeat_timeout=timedelta(seconds=5),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=500),
        maximum_interval=timedelta(seconds=10),
        non_retryable_error_types=REFUSALS,
    ),
)


class Errand(TypedDict):
    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


# One short transaction.
ERRAND = Errand(
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200),
        maximum_interval=timedelta(seconds=10),
        non_retryable_error_types=REFUSALS,
    ),
)


def brief(text: str) -> str:
    """`text` as long as a summary may be: Temporal refuses one of more than 400 bytes."""
    return text[:200].encode()[:390].decode(errors="ignore")


def workflow_id(kind: str, id: UUID, slug: str) -> str:  # noqa: A002 - the word for it
    """Deterministic and readable, because the web UI's list shows little else."""
    return f"{kind}/{id}/{slug}"


def search_attributes(workspace_id: UUID, kind: str, name: str, status: str) -> TypedSearchAttributes:
    """What operators filter the list by."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(WORKSPACE, str(workspace_id)),
            SearchAttributePair(KIND, kind),
            SearchAttributePair(NAME, name[:170]),  # 2,048 bytes at most, and JSON makes 12 of an emoji.
            SearchAttributePair(STATUS, status),
        ]
    )


def fair(workspace_id: UUID) -> Priority:
    """Fairness between workspaces: a big sender's backlog does not starve a small one."""
    return Priority(fairness_key=str(workspace_id))


def urgent(workspace_id: UUID) -> Priority:
    """The same before everybody's other work: 1 is the first of five, and 3 the usual."""
    return Priority(priority_key=1, fairness_key=str(workspace_id))


async def connect(address: str, namespace: str = "default", *, lazy: bool = False) -> Client:
    """A client of the Temporal server at `address` (host:port)."""
    return await Client.connect(
        address,
        namespace=namespace,
        data_converter=pydantic_data_converter,
        lazy=lazy,
        interceptors=[CorrelatedClient()],
        grpc_compression=GrpcCompression.NONE,
    )


async def schedule(
    client: Client,
    name: str,
    action: ScheduleActionStartWorkflow,
    every: timedelta,
    *,
    at_once: bool = False,
) -> None:
    """Have a workflow started again and again, once for the whole installation, unless it is under way.

    Safe to call at every start. `at_once` starts it the first time without waiting.
    """
    with suppress(ScheduleAlreadyRunningError):
        await client.create_schedule(
            name,
            Schedule(
                action=action,
                spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
                policy=SchedulePolicy(
                    overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1)
                ),
            ),
            trigger_immediately=at_once,
        )
