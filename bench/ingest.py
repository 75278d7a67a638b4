"""How fast events come in and are worked in: `python -m bench.ingest [--quick]`, or `make bench-ingest`.

One process of the tracking API on granian, as `campanile tracking` starts it, loaded on the same two cores:
as much as it takes by `wrk`, and steadily by a load that does not wait. What was acknowledged is counted
against the inbox after each case. The pump works through a filled inbox alone, and then with the load.
Beside each: what the machine could do at all, which is COPY of the same rows by one connection.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import orjson
import psycopg
from psycopg.types.json import Jsonb

from activities.bell import Bell
from activities.ingest import BATCH, IngestActivities
from activities.slices import Timing
from bench import machine
from bench.api import served
from bench.harness import Case, report
from bench.run import run
from bench.stack import DATABASE, Stack, expect, peak_memory
from bench.steady import steady
from bench.wrk import Loaded, load
from dev.postgres import ENGINE
from dev.process import Process
from domain import keys
from domain.clock import SystemClock
from domain.roles import KeyKind
from domain.workspaces import DEFAULT_WORKSPACE

PEOPLE = 100_000
ROWS = 1_000_000
TRIGGERS, SEGMENTS = 10, 5
UNLIMITED = 1_000_000_000


@dataclass(frozen=True)
class Plan:
    """How long and how much; a quick one is only tried for its working."""

    seconds: float = 8
    rows: int = ROWS
    together: float = 60


async def main(quick: bool) -> None:
    plan = Plan(1, 20_000, 3) if quick else Plan()
    key = keys.new_key(KeyKind.PUBLIC)
    with Stack() as stack:
        stack.make_template(0)
        taken_in = await taking_in(stack, key, plan)
        pumped = await pumping(stack, plan)
        together = await both(stack, key, plan)
    report("ingest", [*taken_in, *pumped, *together, *machine.measure()], keep=not quick)


async def taking_in(stack: Stack, key: str, plan: Plan) -> list[Case]:
    """The tracking API alone."""
    await stack.fresh().close()
    with stack.postgres.connect(DATABASE) as db:
        allow(db, key)
        bare = {"COPY alone, rows/s": copied(db, 256), "5,000 a commit, rows/s": copied(db, 5_000)}
        taker = served(stack, "bench.bare:create_taker")
        with taker:
            bare["a bare ASGI application, requests/s"] = (
                await load(taker.port, key, 256, plan.seconds / 2)
            ).rate
        with tracking(stack) as (port, api):
            few = await acknowledged(db, port, key, 64, plan.seconds)
            many = await acknowledged(db, port, key, 256, plan.seconds)
            batches = await acknowledged(db, port, key, 64, plan.seconds, 100)
            empty(db)
            slow = await steady(port, single(key), 5_000, plan.seconds)
            expect(not slow.refused, f"{slow.refused} of the steady requests were refused")
            memory = peak_memory(api)
    return [
        Case("track, 64 connections", few.rate, "requests/s", None, "higher", {"p99, ms": few.p99}),
        Case("track", many.rate, "requests/s", 20_000, "higher", {"p99, ms": many.p99, **bare}),
        Case("track p99", slow.p(0.99), "ms", 20, "lower", {"at, requests/s": 5_000, "p50, ms": slow.p(0.5)}),
        Case("batch", 100 * batches.rate, "events/s", 150_000, "higher", {"p99, ms": batches.p99, **bare}),
        Case("memory", memory, "MB", 200, "lower", {"of": "the tracking API's process, at its peak"}),
    ]


async def pumping(stack: Stack, plan: Plan) -> list[Case]:
    """The pump alone, over a full inbox."""
    sessions = stack.fresh()
    with stack.postgres.connect(DATABASE) as db:
        settle(db)
        fill(db, plan.rows)
        pump = IngestActivities(sessions, Bell(""), SystemClock(), Timing())
        began = time.perf_counter()
        events = 0
        while (done := await pump.batch(DEFAULT_WORKSPACE, BATCH)).arrivals:
            events += done.events
        seconds = time.perf_counter() - began
        expect(events == plan.rows == count(db, "events"), f"{events:,} of {plan.rows:,} events were kept")
    await sessions.close()
    beside = {"seconds": seconds, "people": PEOPLE, "triggers": TRIGGERS, "segments": SEGMENTS}
    return [Case("pump", events / seconds, "events/s", 40_000, "higher", beside)]


async def both(stack: Stack, key: str, plan: Plan) -> list[Case]:
    """The tracking API and the pump together, as much as comes in, and then steadily."""
    sessions = stack.fresh()
    with stack.postgres.connect(DATABASE) as db:
        settle(db)
        allow(db, key)
        with tracking(stack) as (port, _), stack.worker("bench.worker", "null"):
            before, began = count(db, "events"), time.perf_counter()
            most = await load(port, key, 256, plan.together)
            kept, seconds = count(db, "events") - before, time.perf_counter() - began
            left = count(db, "inbox")
            await until_empty(db)
            lags: list[float] = []
            watching = asyncio.create_task(watch(stack, lags))
            slow = await steady(port, single(key), 2_000, plan.together / 3)
            watching.cancel()
            await until_empty(db)
            expect(not slow.refused, f"{slow.refused} of the steady requests were refused")
    await sessions.close()
    lags.sort()
    beside = {"acknowledged, requests/s": most.rate, "left in the inbox": left, "seconds": seconds}
    return [
        Case("sustained", kept / seconds, "events/s", 15_000, "higher", beside),
        Case(
            "lag p99",
            lags[int(0.99 * len(lags))],
            "ms",
            1_000,
            "lower",
            {"at, events/s": 2_000, "median": lags[len(lags) // 2], "of": "the oldest that waits"},
        ),
    ]


@contextmanager
def tracking(stack: Stack) -> Iterator[tuple[int, Process]]:
    """The tracking API in a process of its own: its port, and the process."""
    api = served(stack, "api.outside:create_app", events_a_minute=UNLIMITED, log_level="WARNING")
    with api:
        yield api.port, api.process


async def acknowledged(
    db: psycopg.Connection, port: int, key: str, connections: int, seconds: float, each: int = 1
) -> Loaded:
    """The load, and that what was acknowledged is in the inbox, which is empty before."""
    empty(db)
    seen = await load(port, key, connections, seconds, each)
    stored = count(db, "inbox")
    expect(not seen.refused, f"{seen.refused} requests were refused")
    expect(
        stored >= seen.answered * each, f"{seen.answered * each:,} were acknowledged, {stored:,} are there"
    )
    return seen


async def watch(stack: Stack, lags: list[float]) -> None:
    """Every 50 ms, how many milliseconds ago the oldest that waits in the inbox came in."""
    url = stack.postgres.url(DATABASE, ENGINE).replace("postgresql+psycopg://", "postgresql://")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        while True:
            cursor = await db.execute(
                "select extract(epoch from clock_timestamp() - received_at)::float8 from inbox "
                "order by workspace_id, id limit 1"
            )
            row = await cursor.fetchone()
            lags.append(1000 * row[0] if row else 0.0)
            await asyncio.sleep(0.05)


async def until_empty(db: psycopg.Connection, within: float = 120) -> None:
    deadline = time.perf_counter() + within
    while count(db, "inbox"):
        expect(time.perf_counter() < deadline, "the pump did not come to the end of the inbox")
        await asyncio.sleep(0.1)


def single(key: str) -> Callable[[int], bytes]:
    """A /track request for each number, as bytes on the wire."""

    def request(n: int) -> bytes:
        body = orjson.dumps(
            {
                "email": f"p{n * 7919 % PEOPLE}@example.com",
                "name": f"event {n % 50}",
                "properties": {"page": f"/p/{n % 1000}", "value": n % 97, "ref": "newsletter"},
            }
        )
        head = (
            f"POST /track HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    return request


def allow(db: psycopg.Connection, key: str) -> None:
    """Have the workspace know this public key."""
    db.execute(
        "insert into keys (workspace_id, id, kind, name, prefix, hash, permissions) "
        "values (%s, %s, 'pk', 'bench', %s, %s, array['events:write'])",
        [DEFAULT_WORKSPACE, uuid4(), key[: keys.SHOWN], keys.hash_of(key)],
    )


def settle(db: psycopg.Connection) -> None:
    """Segments with members to come, and flows that begin with an event of a certain kind."""
    for n in range(SEGMENTS):
        rule = {"kind": "attribute", "name": f"plan {n}", "op": "is", "value": "pro"}
        db.execute(
            "insert into segments (workspace_id, name, rule, reads, materialized_at) "
            "values (%s, %s, %s, %s, now())",
            [DEFAULT_WORKSPACE, f"Segment {n}", Jsonb(rule), [f"attribute:plan {n}"]],
        )
    for n in range(TRIGGERS):
        only = {"kind": "property", "name": "value", "op": "<", "value": 1}
        trigger = {"kind": "event", "event": f"event {n}", "where": [only]}
        wait = {"kind": "wait", "duration": "P30D", "then": None}
        definition = {"trigger": trigger, "first": "wait", "steps": {"wait": wait}, "reentry": "once"}
        [flow], [version] = (
            db.execute("select uuidv7()").fetchone() or (),
            db.execute("select uuidv7()").fetchone() or (),
        )
        db.execute(
            "insert into flows (workspace_id, id, name, slug, state, definition, version_id) "
            "values (%s, %s, %s, %s, 'live', %s, %s)",
            [DEFAULT_WORKSPACE, flow, f"Flow {n}", f"flow-{n}", Jsonb(definition), version],
        )
        db.execute(
            "insert into flow_versions (workspace_id, id, flow_id, number, definition, templates) "
            "values (%s, %s, %s, 1, %s, '{}')",
            [DEFAULT_WORKSPACE, version, flow, Jsonb(definition)],
        )


_ARRIVALS = """
    select %(workspace)s::uuid as workspace_id, uuidv7() as id, now() as received_at, 'track' as kind,
        false as trusted, false as historical, null::text as message_id, now() as occurred_at,
        'event ' || n %% 50 as name, 'p' || n * 7919 %% %(people)s || '@example.com' as email,
        null::text as phone, null::text as user_id, null::text as anonymous_id,
        jsonb_build_object('page', '/p/' || n %% 1000, 'value', n %% 97, 'ref', 'newsletter') as properties,
        null::jsonb as context, null::jsonb as consents
    from generate_series(1, %(rows)s::bigint) n
"""


def fill(db: psycopg.Connection, rows: int) -> None:
    values = {"workspace": DEFAULT_WORKSPACE, "people": PEOPLE, "rows": rows}
    db.execute(f"insert into inbox {_ARRIVALS}", values)
    db.execute("checkpoint")


def copied(db: psycopg.Connection, a_commit: int, commits: int = 100) -> float:
    """Rows a second that one connection copies into the inbox, so many a commit, made durable each time."""
    values = {"workspace": DEFAULT_WORKSPACE, "people": PEOPLE, "rows": a_commit * commits}
    db.execute(f"create temporary table bare as {_ARRIVALS}", values)
    with db.cursor().copy("copy bare to stdout (format binary)") as copy:
        blob = b"".join(bytes(piece) for piece in copy)
    rows = tuples(blob)
    db.execute("drop table bare")
    began = time.perf_counter()
    for n in range(0, len(rows), a_commit):
        with db.cursor().copy("copy inbox from stdin (format binary)") as copy:
            copy.write(blob[:19] + b"".join(rows[n : n + a_commit]) + b"\xff\xff")
    took = time.perf_counter() - began
    empty(db)
    return len(rows) / took


def tuples(blob: bytes) -> list[bytes]:
    """The rows of a binary COPY, apart (its documentation says how they lie)."""
    found, at = [], 19
    while (columns := int.from_bytes(blob[at : at + 2], signed=True)) != -1:
        end = at + 2
        for _ in range(columns):
            end += 4 + max(0, int.from_bytes(blob[end : end + 4], signed=True))
        found.append(blob[at:end])
        at = end
    return found


def empty(db: psycopg.Connection) -> None:
    db.execute("truncate inbox")
    db.execute("checkpoint")


def count(db: psycopg.Connection, table: str) -> int:
    row = db.execute(f"select count(*) from {table}").fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a little of it, which is not kept")
    run(main(parser.parse_args().quick))
