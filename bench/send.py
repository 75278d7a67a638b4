"""How fast a campaign is sent: `python -m bench.send [--quick]`.

A campaign goes through Temporal and the whole ledger, as the application's role behind its policies: two
holes a message, one address in twenty suppressed, a frequency cap that counts. Beside `smtp` stands a popular
client alone. Nothing is asserted about time; but a run whose counts do not add up counts for nothing.
"""

import argparse

from bench import fairness, machine, people, plain_smtp, send_providers, sink
from bench.campaign import Run, campaign
from bench.harness import Case, report
from bench.run import run
from bench.stack import Stack, expect
from domain.templates import Template
from domain.workspaces import DEFAULT_WORKSPACE

SIZE = 50_000
LARGE = 500_000
TIMES = 3  # Small runs last seconds: the median of three.
HOW_TO_GET_THE_SINK = "smtp-sink is missing, so the case `smtp` is left out: apt-get install postfix"


async def main(quick: bool) -> None:
    size, large = (5_000, 50_000) if quick else (SIZE, LARGE)
    with Stack() as stack:
        print(f"Settling {size:,} customers")
        stack.make_template(size)
        null = [await through_null(stack, size) for _ in range(1 if quick else TIMES)]
        smtp = [await through_smtp(stack, size, found) for _ in null] if (found := sink.program()) else []
        alone = plain_smtp.measure(stack, found, size // 2) if found else None
        long = signed = None
        if found:
            long = await through_smtp(stack, size, found, "smtp, 6 KB", people.LETTER)
            signed = await through_smtp(stack, size // 5, found, "smtp, DKIM", people.LETTER, signed=True)
        through = await send_providers.measure(stack, 2 * size)
        print(f"Settling {large:,} customers")
        stack.make_template(large)
        big = await through_null(stack, large)
        fair = await fairness.measure(stack, 6 * size, size // 5)
    if alone and long and signed:
        through = [
            alone,
            Case("smtp, 6 KB", long.rate, "messages/s", None, "higher", long.beside),
            Case("smtp, DKIM", signed.rate, "messages/s", 2_000, "higher", signed.beside),
            *through,
        ]
    else:
        print(HOW_TO_GET_THE_SINK)
    report("send", [*cases(null, smtp, big), *through, *fair, *machine.measure()], keep=not quick)


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
        done = await campaign(stack, sessions, worker, size, "null", {})
    await sessions.close()
    return done


async def through_smtp(
    stack: Stack,
    size: int,
    program: str,
    name: str = "smtp",
    letter: Template = people.SHORT,
    *,
    signed: bool = False,
) -> Run:
    if signed:
        stack.make_template(size)
    sessions = stack.fresh()
    if signed:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await people.a_domain(db)
    with (
        sink.running(program, stack.folder) as taker,
        stack.worker("bench.worker", taker.url) as worker,
    ):
        others = {"smtp-sink": taker.process}
        done = await campaign(stack, sessions, worker, size, name, others, letter=letter)
        taken, accepted = taker.count(), size - people.suppressed(size)
        expect(taken == accepted, f"the sink took {taken:,} messages and {accepted:,} are accepted")
    await sessions.close()
    return done


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.send", description="How fast a campaign is sent")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    run(main(parser.parse_args().quick))
