"""A campaign as the benchmarks send it: what it cost, and books that add up."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text

from bench import people
from bench.stack import Stack, expect, peak_memory
from dev.process import Process
from domain.templates import Template
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from workflows import campaigns
from workflows.temporal import connect, workflow_id


@dataclass(frozen=True)
class Run:
    """One campaign, from start to all settled."""

    size: int
    seconds: float
    cpu: dict[str, float]  # Seconds by part.
    events: int  # Of the workflow's history.
    memory: float  # The worker's peak, in MB.

    @property
    def rate(self) -> float:
        return self.size / self.seconds

    @property
    def beside(self) -> dict[str, object]:
        return {
            "seconds": self.seconds,
            "CPU seconds": self.cpu,
            "accepted a second": (self.size - people.suppressed(self.size)) / self.seconds,
        }


async def campaign(
    stack: Stack,
    sessions: Sessions,
    worker: Process,
    size: int,
    name: str,
    others: Mapping[str, Process],
    check: bool = True,
    letter: Template = people.LETTER,
) -> Run:
    """Send one to everybody. `others` are processes whose CPU time is told, too. Without
    `check`, the caller looks at the books."""
    client = await connect(stack.temporal.address)
    async with sessions(DEFAULT_WORKSPACE) as db:
        campaign_id = await people.a_campaign(db, letter=letter)
    meter = stack.meter(worker, **others)
    began = time.perf_counter()
    await campaigns.start(client, DEFAULT_WORKSPACE, campaign_id, "Sale", "sale")
    handle = client.get_workflow_handle(workflow_id("campaign", campaign_id, "sale"))
    await handle.result()
    seconds = time.perf_counter() - began
    cpu = meter.read()
    events = len((await handle.fetch_history()).events)
    if check:
        await add_up(sessions, size)
    done = Run(size, seconds, cpu, events, peak_memory(worker))
    print(f"{name}: {size:,} in {seconds:.2f} s, {done.rate:,.0f}/s, CPU {cpu}")
    return done


_BOOKS = text(
    """
    select
        (select queued from campaigns) as frozen,
        count(*) as queued,
        count(*) filter (where state = 'accepted') as accepted,
        count(*) filter (where state = 'skipped' and reason = 'suppressed') as suppressed,
        count(*) filter (where state = 'accepted'
            and (marked_at is null or claimed_at is null or closed_at is null or attempts <> 1
                or marked_at < claimed_at or jsonb_array_length(holes) < 2)) as unmarked,
        (select coalesce(sum(n), 0) from cap_counters) as counted,
        (select count(*) from leases) as leases
    from messages
    """
)


async def add_up(sessions: Sessions, size: int) -> None:
    """The ledger adds up: everyone has one line, every accepted line a mark and a place in the cap."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = (await db.execute(_BOOKS)).one()
    skipped = people.suppressed(size)
    told = f"the ledger does not add up: {found._asdict()} for {size:,} customers"
    expect(found.frozen == found.queued == size, told)
    expect(found.accepted + found.suppressed == size and found.suppressed == skipped, told)
    expect(found.counted == found.accepted and found.unmarked == found.leases == 0, told)
