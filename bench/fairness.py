"""What one workspace notices of another that sends a lot: its single messages, and its own campaign."""

import asyncio
import statistics
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from temporalio.client import Client, WorkflowHandle
from uuid_utils.compat import uuid7

from bench import people
from bench.harness import Case
from bench.stack import Stack, expect
from domain.messages import MessageClass
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import messages
from workflows import campaigns
from workflows.temporal import connect, workflow_id

OTHER = UUID("01920000-0000-7000-8000-00000000fa17")  # The one that sends a lot.
EVERY = 0.5  # Seconds between two single messages.
PATIENCE = 60.0

_TIMES = text(
    """
    select state, extract(epoch from closed_at - created_at) * 1000 as ms from messages
    where class = 'transactional'
    """
)


async def measure(stack: Stack, large: int, small: int) -> list[Case]:
    """A workspace sends `large` messages; meanwhile another sends single ones, and a campaign to `small`."""
    print(f"Settling {large:,} customers of one workspace, and {small:,} of another")
    stack.make_template(small)
    with stack.postgres.connect("bench_template") as db:
        db.execute("insert into workspaces (id, name) values (%s, 'The big one')", [OTHER])
        people.settle(db, large, OTHER)
    alone = await own_campaign(stack, crowded=False)
    beside = await own_campaign(stack, crowded=True)
    delays = beside.delays
    p99 = statistics.quantiles(delays, n=100)[-1] if len(delays) > 1 else delays[0]
    longer = beside.seconds / (2 * alone.seconds)
    told = {"alone, s": alone.seconds, "beside it, s": beside.seconds}
    return [
        Case(
            "fairness p99",
            p99,
            "ms",
            2_000,
            "lower",
            {"median, ms": statistics.median(delays), "messages": len(delays)},
        ),
        Case("fairness, campaign", longer, "half shares", 1.5, "lower", told),
    ]


class Took:
    def __init__(self, seconds: float, delays: list[float]) -> None:
        self.seconds, self.delays = seconds, delays


async def own_campaign(stack: Stack, *, crowded: bool) -> Took:
    """How long the small workspace's campaign takes, and its single messages (ms) meanwhile."""
    sessions = stack.fresh()
    client = await connect(stack.temporal.address)
    with stack.worker("bench.worker", "null"):
        if crowded:
            await start(client, sessions, OTHER)
            await asyncio.sleep(2)  # Until its slices are under way.
        telling = asyncio.create_task(single_messages(sessions))
        began = time.perf_counter()
        handle = await start(client, sessions, DEFAULT_WORKSPACE)
        await handle.result()
        seconds = time.perf_counter() - began
        if crowded:
            async with sessions(OTHER) as db:
                left = await db.scalar(text("select count(*) from queue"))
            expect(bool(left), "the large campaign was over before the small one, so nothing was shared")
            await asyncio.sleep(min(20.0, 10 * seconds))  # More single messages, while it still sends.
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await until_sent(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = (await db.execute(_TIMES)).all()
    await sessions.close()
    expect(all(state == "accepted" for state, _ in found), "a single message was not accepted")
    return Took(seconds, [float(ms) for _, ms in found])


async def start(client: Client, sessions: Sessions, workspace_id: UUID) -> WorkflowHandle[Any, Any]:
    async with sessions(workspace_id) as db:
        campaign_id = await people.a_campaign(db, workspace_id)
    slug = f"sale-{workspace_id.hex[-4:]}"
    await campaigns.start(client, workspace_id, campaign_id, "Sale", slug)
    return client.get_workflow_handle(workflow_id("campaign", campaign_id, slug))


async def single_messages(sessions: Sessions) -> None:
    """A transactional message now and then, until it is told to stop."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        await people.a_template(db)
        version = await db.scalar(text("select id from template_versions order by id desc limit 1"))
    n = 0
    while True:
        n += 1
        async with sessions(DEFAULT_WORKSPACE) as db:
            await messages.queue_letters(
                db,
                DEFAULT_WORKSPACE,
                [(f"someone-{n}@example.com", ["Ada", "Town"])],
                step="single",
                message_class=MessageClass.TRANSACTIONAL,
                template_version_id=version,
                request_id=uuid7(),
                now=datetime.now(UTC),
            )
        await asyncio.sleep(EVERY)


async def until_sent(sessions: Sessions) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        async with sessions(DEFAULT_WORKSPACE) as db:
            open_ = await db.scalar(
                text("select count(*) from messages where class = 'transactional' and closed_at is null")
            )
        if not open_:
            return
        expect(time.monotonic() < deadline, f"{open_} single messages are still open")
        await asyncio.sleep(0.1)
