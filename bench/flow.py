"""How fast flows move people, what waiting costs, and how soon a message follows an entry.

`python -m bench.flow [--quick] [flow] [baseline] [trickle] [waiting]`: everything unless some are named.
"""

import argparse
import asyncio
import time
from uuid import UUID

from sqlalchemy import text

from bench import baseline, machine, people, trickle, waiting
from bench.harness import Case, report
from bench.run import run
from bench.stack import Stack, expect
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from workflows import flows
from workflows.temporal import connect, workflow_id

SIZE = 100_000
MESSAGES = 3
WAIT = 1  # Seconds between two messages.
PARTS = ("flow", "baseline", "trickle", "waiting")


async def main(quick: bool, parts: list[str]) -> None:
    size = 5_000 if quick else SIZE
    found: list[Case] = []
    with Stack() as stack:
        if "flow" in parts:
            print(f"Settling {size:,} customers")
            stack.make_template(size)
            found.append(await through_a_flow(stack, size))
        if "baseline" in parts:
            found.append(await baseline.measure(stack, 100 if quick else 1_000, WAIT))
        if "flow" in parts and "baseline" in parts:
            ratio = found[0].value / found[1].value
            found.append(Case("ratio", ratio, "times", None, "higher"))
        if "trickle" in parts:
            found += await trickle.measure(stack, *((20, 10) if quick else (200, 40)))
        if "waiting" in parts:
            found.append(await waiting.measure(stack, *((10_000, 20) if quick else (1_000_000, 120))))
    report("flow", [*found, *machine.measure()], keep=not quick and set(parts) == set(PARTS))


def three_messages(template_id: UUID, segment_id: UUID) -> dict[str, object]:
    """A message, a wait, a message, a wait, a message."""
    send = {"kind": "send", "template_id": str(template_id)}
    wait = {"kind": "wait", "duration": WAIT}
    return {
        "trigger": {"kind": "segment", "segment_id": str(segment_id)},
        "first": "hello",
        "steps": {
            "hello": {**send, "then": "pause"},
            "pause": {**wait, "then": "reminder"},
            "reminder": {**send, "then": "longer pause"},
            "longer pause": {**wait, "then": "goodbye"},
            "goodbye": send,
        },
    }


async def through_a_flow(stack: Stack, size: int) -> Case:
    """Everyone enters when the flow is published, and has three messages when it is over."""
    sessions = stack.fresh()
    client = await connect(stack.temporal.address)
    async with sessions(DEFAULT_WORKSPACE) as db:
        definition = three_messages(await people.a_template(db), await people.everyone(db))
        flow_id = await people.a_flow(db, definition)
    with stack.worker("bench.worker", "null") as worker:
        meter = stack.meter(worker)
        began = time.perf_counter()
        await flows.publish(client, DEFAULT_WORKSPACE, flow_id, "Welcome", "welcome")
        entered = time.perf_counter() - began
        await until_over(sessions)
        seconds = time.perf_counter() - began
        cpu = meter.read()
    history = await client.get_workflow_handle(workflow_id("flow", flow_id, "welcome")).fetch_history()
    sent = await check(sessions, size)
    await sessions.close()
    print(f"flow: {sent:,} sends in {seconds:.2f} s, {sent / seconds:,.0f}/s, CPU {cpu}")
    beside = {
        "seconds": seconds,
        "of these to enter": entered,
        "CPU seconds": cpu,
        "messages decided a second": MESSAGES * size / seconds,
        "history events": len(history.events),
    }
    return Case("flow", sent / seconds, "sends/s", 20_000, "higher", beside)


# Whoever is under way is due, or has a message. No index of the enrollments would find the last of them. What
# is small comes first: the others have more dead entries than living ones at their beginning.
_UNDER_WAY = text(
    """
    select exists (select from leases) or exists (select from queue) or exists (select from agenda)
    """
)


async def until_over(sessions: Sessions) -> None:
    """Until nobody is under way any more."""
    under_way = True
    while under_way:
        await asyncio.sleep(0.1)
        async with sessions(DEFAULT_WORKSPACE) as db:
            under_way = await db.scalar(_UNDER_WAY)


_BOOKS = text(
    """
    select count(*) as messages,
        count(*) filter (where state = 'accepted' and marked_at is not null) as accepted,
        count(*) filter (where state = 'skipped' and reason = 'suppressed') as suppressed,
        (select count(*) from enrollments where outcome = 'finished' and visit = :each) as finished,
        (select coalesce(sum(n), 0) from cap_counters) as counted
    from messages
    """
)


async def check(sessions: Sessions, size: int) -> int:
    """Everyone has finished with three messages. Returns how many of those were sent."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = (await db.execute(_BOOKS, {"each": MESSAGES})).one()
    told = f"the flow does not add up: {found._asdict()} for {size:,} customers"
    expect(found.messages == MESSAGES * size and found.finished == size, told)
    expect(found.suppressed == MESSAGES * people.suppressed(size), told)
    expect(found.accepted == found.counted == found.messages - found.suppressed, told)
    return int(found.accepted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.flow", description="What flows cost")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"there is no {', '.join(unknown)}")
    run(main(asked.quick, asked.parts or list(PARTS)))
