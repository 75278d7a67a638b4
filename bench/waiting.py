"""What it costs that people wait: CPU time of an installation in which nobody is due."""

import asyncio
from uuid import UUID

from bench import people
from bench.harness import Case
from bench.stack import DATABASE, Meter, Stack, expect
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from workflows import flows
from workflows.temporal import connect

SETTLING = 45.0  # Seconds until the last slice has stopped lingering and autovacuum has seen the rows.

# Everyone is at the wait and due some day of the next month: as if they had come one by one.
_WAIT = """
    insert into enrollments
        (workspace_id, flow_id, version_id, profile_id, entry, step, due_at, entered_at, history)
    select workspace_id, %(flow)s, (select version_id from flows where id = %(flow)s), id, 'once', 'wait',
        now() + interval '1 day' + random() * interval '29 days', now(),
        '[["2026-11-26T01:02:03Z", "start", "wait", "entered"]]'
    from profiles limit %(size)s
"""
_AGENDA = """
    insert into agenda (workspace_id, version_id, step, due_at, enrollment_id)
    select workspace_id, version_id, step, due_at, id from enrollments
"""
_PROFILES = """
    insert into profiles (workspace_id, attributes)
    select %(workspace)s, jsonb_build_object('first_name', 'Customer ' || n)
    from generate_series(1, %(size)s) n
"""


async def measure(stack: Stack, size: int, seconds: int) -> Case:
    """A worker and its servers while so many wait, beside the same with nobody in the flow."""
    stack.make_template(1_000)
    sessions = stack.fresh()
    flow_id = await a_flow(sessions)
    with stack.worker("bench.worker", "null") as worker:
        client = await connect(stack.temporal.address)
        await flows.publish(client, DEFAULT_WORKSPACE, flow_id, "Welcome", "welcome")
        meter = stack.meter(worker)
        await asyncio.sleep(SETTLING)
        alone = await idle(meter, seconds)
        print(f"waiting: CPU seconds a minute with nobody: {alone}")
        settle(stack, flow_id, size)
        await asyncio.sleep(SETTLING)
        crowded = await idle(meter, seconds)
        print(f"waiting: CPU seconds a minute with {size:,}: {crowded}")
    check(stack, size)
    await sessions.close()
    used = crowded["worker"] + crowded["temporal"]
    beside = {"measured over, s": seconds, "with them": crowded, "with nobody": alone}
    return Case("waiting", used, "CPU s/min", 1, "lower", beside)


async def a_flow(sessions: Sessions) -> UUID:
    """A message after a month."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        definition = {
            "trigger": {"kind": "api"},
            "first": "wait",
            "steps": {
                "wait": {"kind": "wait", "duration": "P30D", "then": "hello"},
                "hello": {"kind": "send", "template_id": str(await people.a_template(db))},
            },
        }
        return await people.a_flow(db, definition)


def settle(stack: Stack, flow_id: UUID, size: int) -> None:
    """So many wait from now on, and the flow's workflow is told, so that it sleeps until the first is due."""
    values = {"flow": flow_id, "workspace": DEFAULT_WORKSPACE, "size": size}
    with stack.postgres.connect(DATABASE) as db:
        db.execute(_PROFILES, values)
        db.execute(_WAIT, values)
        db.execute(_AGENDA)
        db.execute("vacuum analyze")
        db.execute("checkpoint")
        with db.transaction():
            db.execute("select set_config('app.workspace', %s, true)", [str(DEFAULT_WORKSPACE)])
            db.execute("select poke(%(flow)s, 'advance')", values)
        db.execute("select pg_notify('campanile', '')")


async def idle(meter: Meter, seconds: int) -> dict[str, float]:
    """CPU seconds a minute of each part, measured over so many seconds."""
    meter.start()
    await asyncio.sleep(seconds)
    return {name: round(60 * used / seconds, 2) for name, used in meter.read().items()}


def check(stack: Stack, size: int) -> None:
    with stack.postgres.connect(DATABASE) as db:
        row = db.execute(
            "select count(*), count(*) filter (where due_at > now()) from enrollments"
        ).fetchone()
    expect(row == (size, size), f"{row} enrollments wait, not {size:,}")
