"""How fast a campaign is sent: `python -m bench.send [--quick]`.

A campaign goes through Temporal and the whole ledger, as the application's role behind its policies: two
holes a message, one address in twenty suppressed, a frequency cap that counts. Nothing is asserted about
time; but a run whose counts do not add up counts for nothing.
"""

import argparse
import time
from dataclasses import dataclass

from sqlalchemy import text

from bench import machine, people, sink
from bench.harness import Case, report
from bench.run import run
from bench.stack import Stack, expect, peak_memory
from dev.process import Process
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from workflows import campaigns
from workflows.temporal import connect, workflow_id

SIZE = 50_000
LARGE = 500_000
TIMES = 3  # Small runs last seconds: the median of three.
HOW_TO_GET_THE_SINK = "smtp-sink is missing, so the case `smtp` is left out: apt-get install postfix"


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


async def main(quick: bool) -> None:
    size, large = (5_000, 50_000) if quick else (SIZE, LARGE)
    with Stack() as stack:
        print(f"Settling {size:,} customers")
        stack.make_template(size)
        null = [await through_null(stack, size) for _ in range(1 if quick else TIMES)]
        smtp = [await through_smtp(stack, size, found) for _ in null] if (found := sink.program()) else []
        print(f"Settling {large:,} customers")
        stack.make_template(large)
        big = await through_null(stack, large)
    if not smtp:
        print(HOW_TO_GET_THE_SINK)
    report("send", [*cases(null, smtp, big), *machine.measure()], keep=not quick)


def cases(null: list[Run], smtp: list[Run], big: Run) -> list[Case]:
    typical = the_median(null)
    found = [Case("null", typical.rate, "messages/s", 20_000, "higher", all_of(null))]
    if smtp:
        found.append(Case("smtp", the_median(smtp).rate, "messages/s", 15_000, "higher", all_of(smtp)))
    of_large = {f"events at {big.size:,}": big.events}
    found.append(Case("history events", typical.events, "events", 500, "lower", of_large))
    peaks = {f"null, {typical.size:,}": max(run.memory for run in null), f"null, {big.size:,}": big.memory}
    if smtp:
        peaks[f"smtp, {typical.size:,}"] = max(run.memory for run in smtp)
    found.append(Case("worker memory", max(peaks.values()), "MB", 300, "lower", peaks))
    growth = (big.seconds / big.size) / (typical.seconds / typical.size)
    found.append(Case("growth", growth, "times", 1.2, "lower", {"messages/s": big.rate, **big.beside}))
    return found


def the_median(runs: list[Run]) -> Run:
    return sorted(runs, key=lambda run: run.rate)[len(runs) // 2]


def all_of(runs: list[Run]) -> dict[str, object]:
    return {**the_median(runs).beside, "runs": [round(run.rate) for run in runs]}


async def through_null(stack: Stack, size: int) -> Run:
    sessions = stack.fresh()
    with stack.worker("bench.worker", "null") as worker:
        return await campaign(stack, sessions, worker, size)


async def through_smtp(stack: Stack, size: int, program: str) -> Run:
    sessions = stack.fresh()
    with (
        sink.running(program, stack.folder) as taker,
        stack.worker("bench.worker", taker.url) as worker,
    ):
        return await campaign(stack, sessions, worker, size, taker)


async def campaign(
    stack: Stack, sessions: Sessions, worker: Process, size: int, taker: sink.Sink | None = None
) -> Run:
    client = await connect(stack.temporal.address)
    async with sessions(DEFAULT_WORKSPACE) as db:
        campaign_id = await people.a_campaign(db)
    others = {"smtp-sink": taker.process} if taker else {}
    meter = stack.meter(worker, **others)
    began = time.perf_counter()
    await campaigns.start(client, DEFAULT_WORKSPACE, campaign_id, "Sale", "sale")
    handle = client.get_workflow_handle(workflow_id("campaign", campaign_id, "sale"))
    await handle.result()
    seconds = time.perf_counter() - began
    cpu = meter.read()
    events = len((await handle.fetch_history()).events)
    await check(sessions, size, taker)
    await sessions.close()
    done = Run(size, seconds, cpu, events, peak_memory(worker))
    print(f"{'smtp' if taker else 'null'}: {size:,} in {seconds:.2f} s, {done.rate:,.0f}/s, CPU {cpu}")
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


async def check(sessions: Sessions, size: int, taker: sink.Sink | None) -> None:
    """The ledger adds up: everyone has one line, every accepted line a mark and a place in the cap."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = (await db.execute(_BOOKS)).one()
    skipped = people.suppressed(size)
    told = f"the ledger does not add up: {found._asdict()} for {size:,} customers"
    expect(found.frozen == found.queued == size, told)
    expect(found.accepted + found.suppressed == size and found.suppressed == skipped, told)
    expect(found.counted == found.accepted and found.unmarked == found.leases == 0, told)
    if taker:
        taken = taker.count()
        expect(
            taken == found.accepted, f"the sink took {taken:,} messages and {found.accepted:,} are accepted"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.send", description="How fast a campaign is sent")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    run(main(parser.parse_args().quick))
