"""How fast segments are asked and kept: `python -m bench.segments [--quick]`, or `make bench-segments`.

Twelve segments over a shop of a million (`bench/segments_people.py`, made once and kept): how long an
estimate takes and how good it is, how long it takes to find all members anew, and how soon a person who
changed is where they belong. Beside each: the same question as SQL that was written by hand
(`bench/segments_by_hand.py`), under the same role, by turns with ours; its count must be the same.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any
from uuid import UUID

from sqlalchemy import Select, TextClause, literal, select, text
from sqlalchemy.dialects.postgresql import Insert, insert

from bench import machine, segments_people
from bench.harness import Case, report
from bench.run import run
from bench.segments_by_hand import QUESTIONS, Question, values
from bench.segments_fresh import RATE, freshness, put_back, set_aside
from bench.segments_people import FULL, HOT, SMALL
from bench.segments_rows import CURRENCY, DAYS, NOW, ZONE, Size
from bench.stack import Stack
from dev.postgres import SUPERUSER
from domain.segments import Rule, parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions, changed
from models.queries import attributes, estimates, segments, segments_written
from models.segments import SegmentMember

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
    exactly: float  # Without a limit; the same where the estimate was exact.
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
        return median(turn.exactly for turn in self.turns) / median(turn.by_hand for turn in self.turns)

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
            beside["exactly, ms"] = median(turn.exactly for turn in self.turns)
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
    """Ours and by hand in turn, after one turn that warms up."""
    rule = parse(question.rule)
    true, _ = await timed(sessions, rule, PATIENT)
    by_hand, _ = await count_by_hand(sessions, question)
    turns = []
    for _ in range(TIMES):
        found, took = await timed(sessions, rule)
        exactly = took if found.exact else (await timed(sessions, rule, PATIENT))[1]
        turns.append(Turn(found, took, exactly, (await count_by_hand(sessions, question))[1]))
    return Asked(question, true.count, by_hand, turns)


async def timed(
    sessions: Sessions, rule: Rule, count_for: int = estimates.COUNT_FOR
) -> tuple[estimates.Estimate, float]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        began = time.perf_counter()
        found = await estimates.estimate(
            db, rule, now=NOW, time_zone=ZONE, currency=CURRENCY, count_for=count_for
        )
        return found, 1000 * (time.perf_counter() - began)


async def count_by_hand(sessions: Sessions, question: Question) -> tuple[int, float]:
    counting = text(f"select count(*) from ({question.by_hand}) found")
    async with sessions(DEFAULT_WORKSPACE) as db:
        began = time.perf_counter()
        found = (await db.execute(counting, values(question, NOW))).scalar_one()
        return found, 1000 * (time.perf_counter() - began)


async def recalculations(sessions: Sessions) -> tuple[list[Case], UUID]:
    """Everybody looked at for each segment, from nothing. Also returns the id of the first segment."""
    cases, ids = [], []
    for question in QUESTIONS:
        async with sessions(DEFAULT_WORKSPACE) as db:
            segment = await segments_written.create(db, DEFAULT_WORKSPACE, question.name, question.rule)
            segment.materialized_at = NOW
            ids.append(segment.id)
        by_hand = text(_BY_HAND.format(question.by_hand))
        bound = {"segment": segment.id, "at": NOW, **values(question, NOW)}
        hand_took, _ = await written(sessions, by_hand, bound, keep=False)
        picked = segments.members(parse(question.rule), now=NOW, time_zone=ZONE, currency=CURRENCY)
        took, members = await written(sessions, _ours(segment.id, picked))
        beside = {"members": members, "by hand, ms": hand_took, "ratio": took / hand_took}
        cases.append(Case(f"recalculation: {question.name}", took, "ms", None, "lower", beside))
    slowest = max(cases, key=lambda case: case.value)
    which = {"which": slowest.case.partition(": ")[2]}
    return [*cases, Case("slowest recalculation", slowest.value, "ms", 10_000, "lower", which)], ids[0]


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


_BY_HAND = f"""
    insert into segment_members (workspace_id, segment_id, profile_id, entered_at)
    select '{DEFAULT_WORKSPACE}', :segment, found.id, :at from ({{}}) found (id)
"""


def _ours(segment_id: UUID, picked: Select[UUID]) -> Insert:
    them = picked.subquery()
    rows = select(literal(DEFAULT_WORKSPACE), literal(segment_id), them.c.id, literal(NOW))
    columns = ["workspace_id", "segment_id", "profile_id", "entered_at"]
    return insert(SegmentMember).from_select(columns, rows)


async def written(
    sessions: Sessions,
    statement: Insert | TextClause,
    bound: Mapping[str, Any] | None = None,
    keep: bool = True,
) -> tuple[float, int]:
    """Milliseconds to write members down, with the commit, and how many they are."""
    began = time.perf_counter()
    async with sessions(DEFAULT_WORKSPACE) as db:
        members = await changed(db, statement, bound)
        if not keep:
            await db.rollback()
    return 1000 * (time.perf_counter() - began), members


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="with a fiftieth of the people; not kept")
    run(main(parser.parse_args().quick))
