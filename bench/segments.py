"""How fast segments are asked and kept: `python -m bench.segments [--quick]`, or `make bench-segments`.

Twelve segments over a shop of a million (`bench/segments_people.py`, made once and kept): how long an
estimate takes and how good it is, how long it takes to find all members anew, and how soon a person who
changed is where they belong. Beside each: the same question as SQL that was written by hand
(`bench/segments_by_hand.py`), under the same role, by turns with ours; its count must be the same.
"""

import argparse
import time
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from uuid import UUID

from sqlalchemy import Executable, func, select, text

from activities.bell import Bell
from activities.segments import SegmentActivities
from activities.slices import Timing
from bench import machine, segments_people
from bench.harness import Case, report
from bench.run import run
from bench.segments_by_hand import QUESTIONS, Question, values
from bench.segments_fresh import RATE, freshness, put_back, set_aside
from bench.segments_people import FULL, HOT, SMALL
from bench.segments_rows import CURRENCY, DAYS, NOW, ZONE, Size
from bench.stack import Stack, expect
from dev.postgres import SUPERUSER
from domain.segments import Rule, parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import attributes, estimates, hot_values, segments, segments_written

TIMES = 5
SECONDS = 30  # Of changes.
PATIENT = 120_000  # Milliseconds: to count exactly, however long it takes.


class Kept(Stack):
    """A server of its own, whose data outlive the run. They are made first where they are missing."""

    def __init__(self, size: Size) -> None:
        super().__init__("segments")
        self.size = size
        self.database = size.database

    def __enter__(self) -> "Kept":
        self.postgres.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.temporal.stop()
        self.postgres.stop()

    async def settle(self) -> None:
        """Have everybody be there, and the schema be the newest."""
        if not segments_people.ready(self.postgres, self.size):
            print(f"Making up {self.size.people:,} people. This takes minutes, once.", flush=True)
            segments_people.make(self.postgres, self.size)
            await fill(self.sessions())
            segments_people.keep(self.postgres, self.size)


async def fill(sessions: Sessions) -> None:
    """Keep the values of hot attributes, as the program does."""
    for name in HOT:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await attributes.change(db, DEFAULT_WORKSPACE, name, hot=True)
        more = True
        while more:
            async with sessions.pinned(DEFAULT_WORKSPACE) as db:
                more = await attributes.fill(db, DEFAULT_WORKSPACE, name)
    await sessions.close()


@dataclass(frozen=True)
class Turn:
    """One question asked once, in milliseconds."""

    estimate: estimates.Estimate
    took: float
    counted: float  # The members counted and nothing else, as `by_hand` is.
    by_hand: float


@dataclass(frozen=True)
class Asked:
    """What became of one question."""

    question: Question
    people: int
    by_hand: int  # How many people there are by hand.
    turns: list[Turn]

    @property
    def took(self) -> float:
        return median(turn.took for turn in self.turns)

    @property
    def ratio(self) -> float:
        return median(turn.counted for turn in self.turns) / median(turn.by_hand for turn in self.turns)

    @property
    def exact(self) -> bool:
        return all(turn.estimate.exact for turn in self.turns)

    @property
    def off(self) -> float:
        """By how many percent the worst estimate misses."""
        return max(100 * abs(turn.estimate.count / max(1, self.people) - 1) for turn in self.turns)

    @property
    def case(self) -> Case:
        beside: dict[str, object] = {"people": self.people}
        if not self.exact:
            beside["sampled, off by %"] = self.off
        beside["counted, ms"] = median(turn.counted for turn in self.turns)
        beside["by hand, ms"] = median(turn.by_hand for turn in self.turns)
        beside["ratio"] = self.ratio
        if self.by_hand != self.people:
            beside["people by hand"] = self.by_hand
        return Case(f"estimate: {self.question.name}", self.took, "ms", None, "lower", beside)


async def main(quick: bool) -> None:
    size = SMALL if quick else FULL
    with Kept(size) as stack:
        await stack.settle()
        with stack.postgres.connect(stack.database) as db:
            put_back(db)  # What a run left that was broken off.
        sessions = stack.sessions()
        cases = await estimated(sessions)
        try:
            found, segment_id = await recalculations(sessions)
            cases += [*found, await fresh(stack, sessions, segment_id, 3 if quick else SECONDS)]
        finally:
            await sessions.close()
            with stack.postgres.connect(stack.database) as db:
                put_back(db)
    report("segments", [*cases, *machine.measure()], keep=not quick)


async def estimated(sessions: Sessions) -> list[Case]:
    asked = [await ask(sessions, question) for question in QUESTIONS]
    slowest, worst = max(asked, key=lambda each: each.took), max(asked, key=lambda each: each.ratio)
    sampled = [each for each in asked if not each.exact]
    ratios = {"which": worst.question.name, "median": median(each.ratio for each in asked)}
    return [
        *(each.case for each in asked),
        Case("slowest estimate", slowest.took, "ms", 1_000, "lower", {"which": slowest.question.name}),
        Case("median estimate", median(each.took for each in asked), "ms", 200, "lower"),
        Case("exact estimates", len(asked) - len(sampled), "of 12", 8, "higher"),
        Case("sampled estimates, off by", max((each.off for each in sampled), default=0.0), "%", 2, "lower"),
        Case("ratio", worst.ratio, "of by hand", 1.3, "lower", ratios),
    ]


async def ask(sessions: Sessions, question: Question) -> Asked:
    """The estimate, and the members counted by our SQL and by hand, in turn, after one that warms up."""
    rule = parse(question.rule)
    async with sessions(DEFAULT_WORKSPACE) as db:
        hot = await hot_values.ready(db)
    ours = segments.all_members(rule, now=NOW, time_zone=ZONE, currency=CURRENCY, hot=hot)
    ours_counted = select(func.count()).select_from(ours.subquery())
    by_hand = text(f"select count(*) from ({question.by_hand}) found").bindparams(**values(question, NOW))
    people, _ = await count(sessions, ours_counted)
    people_by_hand, _ = await count(sessions, by_hand)
    await estimate(sessions, rule)
    turns = []
    for _ in range(TIMES):
        found, took = await estimate(sessions, rule)
        _, counted = await count(sessions, ours_counted)
        turns.append(Turn(found, took, counted, (await count(sessions, by_hand))[1]))
    return Asked(question, people, people_by_hand, turns)


async def estimate(sessions: Sessions, rule: Rule) -> tuple[estimates.Estimate, float]:
    """What the API answers, and the milliseconds it took: with whom for instance, and whom one can reach."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        began = time.perf_counter()
        found = await estimates.estimate(db, rule, now=NOW, time_zone=ZONE, currency=CURRENCY)
        return found, 1000 * (time.perf_counter() - began)


async def count(sessions: Sessions, statement: Executable) -> tuple[int, float]:
    """What it counts, and the milliseconds it took."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        began = time.perf_counter()
        found = (await db.execute(statement)).scalar_one()
        return found, 1000 * (time.perf_counter() - began)


async def recalculations(sessions: Sessions) -> tuple[list[Case], UUID]:
    """Everybody looked at for each segment, from nothing, and once more for what went astray meanwhile.

    Also returns the id of the first segment.
    """
    looks = SegmentActivities(sessions, Bell(""), Fixed(), Timing(), seconds=PATIENT / 1000)
    cases, ids = [], []
    for question in QUESTIONS:
        async with sessions(DEFAULT_WORKSPACE) as db:
            ids.append(
                (await segments_written.create(db, DEFAULT_WORKSPACE, question.name, question.rule)).id
            )
        by_hand = await written_by_hand(sessions, question, ids[-1])
        took = await looked(looks, ids[-1])
        again = await looked(looks, ids[-1])
        beside = {"once more, ms": again, "by hand, ms": by_hand, "ratio": took / by_hand}
        cases.append(Case(f"recalculation: {question.name}", took, "ms", None, "lower", beside))
    slowest = max(cases, key=lambda case: case.value)
    which = {"which": slowest.case.partition(": ")[2]}
    return [*cases, Case("slowest recalculation", slowest.value, "ms", 10_000, "lower", which)], ids[0]


async def looked(looks: SegmentActivities, segment_id: UUID) -> float:
    """Milliseconds of one look at everybody."""
    began = time.perf_counter()
    done = await looks.look(DEFAULT_WORKSPACE, segment_id)
    took = 1000 * (time.perf_counter() - began)
    expect(done.first + done.again == 1, "a segment's members could not be found")
    return took


async def written_by_hand(sessions: Sessions, question: Question, segment_id: UUID) -> float:
    """Milliseconds to write the members down by hand. It is taken back."""
    statement = text(
        f"""
        insert into segment_members (workspace_id, segment_id, profile_id, entered_at)
        select '{DEFAULT_WORKSPACE}', :segment, found.id, :at from ({question.by_hand}) found (id)
        """
    )
    bound = {"segment": segment_id, "at": NOW, **values(question, NOW)}
    began = time.perf_counter()
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(statement, bound)
        took = 1000 * (time.perf_counter() - began)
        await db.rollback()
    return took


class Fixed:
    """The clock stands still at the shop's present."""

    def now(self) -> datetime:
        return NOW


async def fresh(stack: Kept, sessions: Sessions, segment_id: UUID, seconds: int) -> Case:
    """Changes that come in while the worker keeps all twelve."""
    stack.forget_workflows()
    with stack.postgres.connect(stack.database) as db:
        changing = set_aside(db, stack.size.people, seconds * RATE)
    url = stack.postgres.url(stack.database, SUPERUSER).replace("+psycopg", "")
    with stack.worker("bench.worker", "null", NOW.isoformat(), events_kept_days=DAYS * 3):
        waits = await freshness(sessions, url, changing, segment_id)
    beside = {
        "at, changes/s": RATE,
        "median": median(waits),
        "people": len(waits),
        "segments": len(QUESTIONS),
    }
    return Case("freshness p99", waits[int(0.99 * len(waits))], "ms", 1_000, "lower", beside)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="with a fiftieth of the people; not kept")
    run(main(parser.parse_args().quick))
