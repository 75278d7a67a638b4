"""The way other products built on Temporal do it: one workflow per profile. In its best form, so that the
comparison is worth something, and on the same server, the same ledger and the same letter.

A journey keeps its place itself, so it needs no row for that. Each message is a local activity (half the
round trips), which writes its line, claims and marks it in one transaction, sends it, and settles it in
another. The workflows are not sandboxed, every one fits into the cache, and slots and pollers are many.
`python -m bench.baseline` is its worker.
"""

import asyncio
import signal
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
import uvloop
from sqlalchemy import text
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker
from uuid_utils.compat import uuid7

from activities.letters import Letters, Writer
from bench import people
from bench.harness import Case
from bench.stack import Stack, expect, peak_memory
from channels.contract import Envelope
from channels.null import NullProvider
from dev.process import leave
from domain.clock import SystemClock
from domain.messages import MessageState, SourceKind
from domain.tokens import Tokens
from domain.workspaces import DEFAULT_WORKSPACE, Cap, period_start
from logs import configure_logging
from models.base import Sessions
from models.queries import claims, ledger, templates, workspaces
from models.queries.ledger import Queue, Settled
from models.workspaces import Workspace
from settings import Settings
from workflows.temporal import connect

TIMES = 3
QUEUE = "baseline"
STEPS = ("hello", "reminder", "goodbye")
LEASE = 60.0  # Seconds.
AT_A_TIME = 200  # Slots of each kind; starts under way.

log = structlog.get_logger()


@dataclass(frozen=True)
class JourneyRun:
    workspace_id: UUID
    profile_id: UUID
    template_version_id: UUID
    wait: float  # Seconds between two messages.


@dataclass(frozen=True)
class Line:
    """One message to one profile."""

    workspace_id: UUID
    profile_id: UUID
    template_version_id: UUID
    step: str


_WRITE = text(
    """
    with line as (
        insert into messages (workspace_id, queue_id, source_id, source_kind, step, profile_id, occasion,
            channel, class, template_version_id, state, due_at)
        values (:workspace, :profile, :workspace, 'outbox', :step, :profile, :profile, 'email',
            'marketing', :version, 'queued', :now)
        on conflict do nothing
        returning workspace_id, queue_id, due_at, id
    )
    insert into queue (workspace_id, queue_id, due_at, message_id) select * from line
    """
)


class JourneyActivities:
    def __init__(self, sessions: Sessions, workspace: Workspace, settings: Settings) -> None:
        self.sessions = sessions
        self.workspace = workspace
        self.clock = SystemClock()
        self.channel = NullProvider()
        tokens = Tokens(settings.signing_key.encode())
        self.letters = Letters(sessions, tokens, settings.public_url, self.clock)

    @activity.defn(name="send_one")
    async def send_one(self, line: Line) -> str:
        """One message of one journey through the ledger. Returns the state that it ends in."""
        now, attempt = self.clock.now(), uuid7()
        # A queue of its own: nobody else looks at it, so that its claim finds this one line.
        queue = Queue(line.workspace_id, line.profile_id, SourceKind.OUTBOX)
        writer = (await self.letters.of(self.workspace, [line.template_version_id]))[line.template_version_id]
        assert isinstance(writer, Writer)
        async with self.sessions.batch(line.workspace_id) as db:
            values = {"workspace": line.workspace_id, "profile": line.profile_id, "step": line.step}
            await db.execute(_WRITE, {**values, "version": line.template_version_id, "now": now})
            claim = await claims.claim(db, queue, attempt, now, LEASE, 1, [self.cap(now)])
            if not claim.claimed:
                return MessageState.SKIPPED
            message = claim.claimed[0]
            holes = writer.holes(message)
            await db.execute(*ledger.marking(queue, attempt, [(message.id, holes)], now))
        envelope = Envelope(message.id, message.address, holes, message.tracked)
        await self.channel.send(writer.letter, [envelope])
        async with self.sessions.batch(line.workspace_id) as db:
            settled = [Settled(message.id, MessageState.ACCEPTED)]
            await db.execute(*ledger.settling(queue, attempt, settled, now, now))
            await db.execute(*ledger.dropping_lease(queue, attempt))
        return MessageState.ACCEPTED

    def cap(self, now: datetime) -> claims.Cap:
        cap = Cap.model_validate(self.workspace.caps[0])
        return claims.Cap(cap.limit, cap.period, period_start(cap.period, now, self.workspace.time_zone))


@workflow.defn
class Journey:
    @workflow.run
    async def run(self, run: JourneyRun) -> None:
        for step in STEPS:
            if step != STEPS[0]:
                await workflow.sleep(run.wait)
            await workflow.execute_local_activity_method(
                JourneyActivities.send_one,
                Line(run.workspace_id, run.profile_id, run.template_version_id, step),
                start_to_close_timeout=timedelta(seconds=30),
            )


async def measure(stack: Stack, size: int, wait: float) -> Case:
    """The best of three runs for so many profiles."""
    stack.make_template(size)
    runs = [await journeys(stack, size, wait) for _ in range(TIMES)]
    rate, beside = max(runs, key=lambda run: run[0])
    return Case(
        "baseline", rate, "sends/s", None, "higher", {**beside, "runs": [round(rate) for rate, _ in runs]}
    )


async def journeys(stack: Stack, size: int, wait: float) -> tuple[float, dict[str, object]]:
    sessions = stack.fresh()
    client = await connect(stack.temporal.address)
    async with sessions(DEFAULT_WORKSPACE) as db:
        version = await templates.newest(db, await people.a_template(db))
        profiles = (await db.execute(text("select id from profiles"))).scalars().all()
    with stack.worker("bench.baseline") as worker:
        meter = stack.meter(worker)
        began = time.perf_counter()
        await start_all(client, [JourneyRun(DEFAULT_WORKSPACE, each, version.id, wait) for each in profiles])
        await until_closed(sessions, len(STEPS) * size)
        seconds = time.perf_counter() - began
        beside = {"seconds": seconds, "CPU seconds": meter.read(), "worker memory, MB": peak_memory(worker)}
    sent = await check(sessions, size)
    await sessions.close()
    print(f"baseline: {sent:,} sends in {seconds:.2f} s, {sent / seconds:,.0f}/s, {beside}")
    return sent / seconds, beside


async def start_all(client: Client, runs: list[JourneyRun]) -> None:
    slots = asyncio.Semaphore(AT_A_TIME)

    async def start(run: JourneyRun) -> None:
        async with slots:
            await client.start_workflow(Journey.run, run, id=f"journey/{run.profile_id}", task_queue=QUEUE)

    await asyncio.gather(*map(start, runs))


_CLOSED = text("select count(*) from messages where closed_at is not null")
_ACCEPTED = text("select count(*) from messages where state = 'accepted' and marked_at is not null")


async def until_closed(sessions: Sessions, messages: int) -> None:
    closed = 0
    while closed < messages:
        await asyncio.sleep(0.1)
        async with sessions(DEFAULT_WORKSPACE) as db:
            closed = await db.scalar(_CLOSED) or 0


async def check(sessions: Sessions, size: int) -> int:
    async with sessions(DEFAULT_WORKSPACE) as db:
        accepted = await db.scalar(_ACCEPTED) or 0
    expected = len(STEPS) * (size - people.suppressed(size))
    expect(accepted == expected, f"{accepted:,} messages of the baseline were accepted, not {expected:,}")
    return accepted


async def work(settings: Settings) -> None:
    client = await connect(settings.temporal_address)
    sessions = Sessions(settings.database_url, settings.engine_database_url, pool_size=20)
    async with sessions(DEFAULT_WORKSPACE) as db:
        workspace = await workspaces.get(db, DEFAULT_WORKSPACE)
    activities = JourneyActivities(sessions, workspace, settings)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[Journey],
        activities=[activities.send_one],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=5_000,
        max_concurrent_workflow_tasks=AT_A_TIME,
        max_concurrent_local_activities=AT_A_TIME,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(minimum=5, maximum=50, initial=20),
    ):
        log.info("The worker is ready")
        await stop.wait()
    await sessions.close()


if __name__ == "__main__":
    configure_logging("INFO", "baseline")
    uvloop.run(work(Settings()))
    leave(0)
