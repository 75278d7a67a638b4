"""`campanile worker --check`: whether the worker on this machine asks for work.

A worker serves no port. What shows that it is well is that Temporal heard it ask for tasks lately: a worker
whose loop is stuck, or that lost its connection, is heard no more.
"""

import asyncio
import socket
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

from dev.process import StackError
from settings import Settings
from workflows.temporal import TASK_QUEUE, connect

LATELY = timedelta(minutes=2)  # One question waits for a task for a minute at most.
PATIENCE = 8.0  # Seconds.


def run(settings: Settings, queue: str = TASK_QUEUE) -> int:
    """0 when it is at work. Raises `StackError`."""
    host = socket.gethostname()
    heard = asyncio.run(last_heard(settings, host, queue))
    if heard is None or datetime.now(UTC) - heard > LATELY:
        raise StackError(f"Temporal has not heard a worker on {host} lately: see the worker's log")
    print(f"A worker on {host} is at work.")
    return 0


async def last_heard(settings: Settings, host: str, queue: str) -> datetime | None:
    """When a worker of this host asked for work, as the server tells; its identity is `pid@host`."""
    async with asyncio.timeout(PATIENCE):
        client = await connect(settings.temporal_address, settings.temporal_namespace)
        asked = DescribeTaskQueueRequest(
            namespace=settings.temporal_namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        pollers = (await client.workflow_service.describe_task_queue(asked)).pollers
    times = [
        each.last_access_time.ToDatetime(tzinfo=UTC) for each in pollers if each.identity.endswith(f"@{host}")
    ]
    return max(times, default=None)
