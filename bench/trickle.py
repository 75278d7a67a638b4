"""How soon a message follows an entry: many small flows, each with one entry a second.

The clock begins when the entry is written (the member is due at once) and ends when the provider has said
yes. All times are rows', from clocks of one machine. A flow that sleeps is woken by a signal, and those are
rationed, so what happens before the last of so many flows has woken is told apart.
"""

import asyncio
from typing import Any
from uuid import UUID

from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from bench import people
from bench.harness import Case
from bench.stack import Stack, expect, peak_memory
from domain.clock import SystemClock
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import enrollments
from workflows import flows
from workflows.temporal import connect, workflow_id

TICK = 0.05  # Seconds: who is due to enter within one enters in one transaction, as by an ingest.
WAKING = 15  # Seconds: at twenty signals a second, everyone was woken within ten.
PATIENCE = 120.0  # Seconds for the last messages.


async def measure(stack: Stack, size: int, seconds: int) -> list[Case]:
    """So many flows for so many seconds, after those that they take to wake."""
    entries = size * (WAKING + seconds)
    stack.make_template(entries)
    sessions = stack.fresh()
    client = await connect(stack.temporal.address)
    async with sessions(DEFAULT_WORKSPACE) as db:
        send = {"kind": "send", "template_id": str(await people.a_template(db))}
        definition = {"trigger": {"kind": "api"}, "first": "hello", "steps": {"hello": send}}
        flow_ids = [await people.a_flow(db, definition, f"Welcome-{n}") for n in range(size)]
        profiles = list((await db.execute(text("select id from profiles order by id"))).scalars())
    # Two slices of every flow linger side by side, since there is always more to come.
    with stack.worker("bench.worker", "null", worker_slots=3 * size) as worker:
        await asyncio.gather(*(publish(client, n, flow_id) for n, flow_id in enumerate(flow_ids)))
        woken = size * WAKING
        await enter(sessions, flow_ids, profiles[:woken])
        begun, awake = await activities(client, flow_ids), SystemClock().now()
        meter = stack.meter(worker)
        late = await enter(sessions, flow_ids, profiles[woken:])
        cpu = meter.read()
        tasks = await activities(client, flow_ids) - begun
        await until_sent(sessions)
        memory = peak_memory(worker)
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = (await db.execute(_TIMES, {"awake": awake})).one()
    await sessions.close()
    expected = entries - people.suppressed(entries)
    expect(found.sent == expected, f"{found.sent:,} messages of {expected:,} were accepted")
    beside = {
        "median, ms": found.median,
        "slowest, ms": found.slowest,
        "of these in the ledger, p99, ms": found.in_the_ledger,
        "p99 while they woke, ms": found.waking,
        "entries": size * seconds,
        "the slowest entry was late by, ms": 1000 * late,
        "CPU seconds a minute": {name: round(60 * used / seconds, 1) for name, used in cpu.items()},
        "worker memory, MB": memory,
    }
    print(f"trickle: p99 {found.p99:,.0f} ms, {beside}")
    return [
        Case("trickle p99", found.p99, "ms", 2_000, "lower", beside),
        Case("trickle activities", tasks / seconds, "activities/s", None, "lower"),
    ]


async def publish(client: Client, number: int, flow_id: UUID) -> None:
    name = f"Welcome-{number}"
    await flows.publish(client, DEFAULT_WORKSPACE, flow_id, name, name.lower())


async def enter(sessions: Sessions, flow_ids: list[UUID], profiles: list[UUID]) -> float:
    """One entry a second in each flow, evenly spread. Returns by how much the latest was late (s)."""
    loop, clock = asyncio.get_running_loop(), SystemClock()
    began, late, entered = loop.time(), 0.0, 0
    while entered < len(profiles):
        due = min(int((loop.time() - began) * len(flow_ids)), len(profiles))
        async with sessions.batch(DEFAULT_WORKSPACE) as db:
            for number in range(entered, due):
                flow_id = flow_ids[number % len(flow_ids)]
                who = [(profiles[number], "once", dict[str, Any]())]
                await enrollments.enroll(db, DEFAULT_WORKSPACE, flow_id, who, clock.now())
        late = max(late, loop.time() - began - entered / len(flow_ids))
        entered = due
        await asyncio.sleep(TICK - (loop.time() - began) % TICK)
    return late


async def activities(client: Client, flow_ids: list[UUID]) -> int:
    """How many activities the flows have begun so far."""

    async def of(number: int, flow_id: UUID) -> int:
        handle = client.get_workflow_handle(workflow_id("flow", flow_id, f"welcome-{number}"))
        history = await handle.fetch_history()
        scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        return sum(event.event_type == scheduled for event in history.events)

    return sum(await asyncio.gather(*(of(number, flow_id) for number, flow_id in enumerate(flow_ids))))


async def until_sent(sessions: Sessions) -> None:
    under_way = text("select exists (select from enrollments where ended_at is null)")
    async with asyncio.timeout(PATIENCE):
        while True:
            async with sessions(DEFAULT_WORKSPACE) as db:
                if not await db.scalar(under_way):
                    return
            await asyncio.sleep(0.25)


_TIMES = text(
    """
    with sent as (
        select e.entered_at >= :awake as awake, 1000 * extract(epoch from m.closed_at - e.entered_at) as took,
            1000 * extract(epoch from m.closed_at - m.due_at) as took_in_the_ledger
        from messages m join enrollments e on e.id = m.occasion
        where m.state = 'accepted'
    )
    select count(*) as sent,
        percentile_cont(0.5) within group (order by took) filter (where awake)::float8 as median,
        percentile_cont(0.99) within group (order by took) filter (where awake)::float8 as p99,
        (max(took) filter (where awake))::float8 as slowest,
        percentile_cont(0.99) within group (order by took) filter (where not awake)::float8 as waking,
        percentile_cont(0.99) within group (order by took_in_the_ledger)
            filter (where awake)::float8 as in_the_ledger
    from sent
    """
)
