"""How many people a rule picks, whom for instance, and how many of them can be reached on each channel.

Counted where that is quick. Where it is not, a random sample of everybody is asked one by one, by keys of
tables, as many as there is time for. They are drawn by a hash of their ids from pages of the table that are
chosen once for all, so a sample is much the same each time.
"""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any
from uuid import UUID

from psycopg.errors import QueryCanceled
from sqlalchemy import (
    BigInteger,
    Executable,
    Select,
    Uuid,
    any_,
    cast,
    func,
    literal,
    literal_column,
    select,
    tablesample,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import aliased

from domain.errors import Invalid
from domain.profiles import ADDRESS_KIND
from domain.segments import Rule
from models.profiles import Profile
from models.queries import hot_values, segments
from models.queries.profiles import HERE

COUNT_FOR = 1_500  # Milliseconds that counting may take; then people are sampled, which is far less exact.
ANSWER_IN = 1_900  # Milliseconds in which all is said. A sample is as large as they allow.
LEAST = 1_500  # Milliseconds that a part of a sample gets in any case: what lies on the disk is read once.
KNOWN = 2_000  # Members up to this number are looked up one by one.
ASKED = 1_000  # Of more members, so many are looked up.
SHOWN = 10  # Members in the answer.
SURE = 1.96  # Standard deviations: 95 % of all samples are that near.

CLASSES = 1024  # Everybody is in one of them, by the hash of their id.
FIRST = 8  # Classes of the first sample, which tells how long the others will take.
DRAWN = 150_000  # People on the pages that samples are drawn from.
# One in sixteen members is enough to choose `ASKED` from when there are many. Their hash is another one.
_ONE_IN = 16


@dataclass(frozen=True)
class Reach:
    """How many may be written to: at their primary address, which is not suppressed, with their consent."""

    count: int
    exact: bool
    error: float  # As of an estimate.


@dataclass(frozen=True)
class Member:
    """One of those picked, and what they go by."""

    profile_id: UUID
    email: str | None
    user_id: str | None


@dataclass(frozen=True)
class Estimate:
    """How many profiles a rule picks; if not exact, worked out from a sample."""

    count: int
    exact: bool
    error: float = 0.0  # The true count is nearer than this share of the count, in 95 of 100 samples.
    members: tuple[Member, ...] = ()  # Up to `SHOWN`, at random.
    reach: Mapping[str, Reach] | None = None  # By channel.


@dataclass(frozen=True)
class _Found:
    count: int
    error: float  # 0: counted.
    ids: Sequence[UUID]  # All of them, or some at random.


async def estimate(
    db: AsyncSession,
    rule: Rule,
    *,
    now: datetime,
    time_zone: str,
    currency: str,
    count_for: int = COUNT_FOR,
    answer_in: int = ANSWER_IN,
    least: int = LEAST,
) -> Estimate:
    """Answers within about `answer_in` milliseconds, of which it counts for `count_for` at most.

    Where these are over, a sample still gets `least`.

    The rule is one without other segments in it (`segments_written.resolved`). Raises `Invalid` where not
    even a sample can be asked in time.
    """
    began = perf_counter()
    connection = await db.connection()
    manners: dict[str, Any] = {"now": now, "time_zone": time_zone, "currency": currency}
    everyone = segments.all_members(rule, **manners, hot=await hot_values.ready(db))
    found = await _counted(connection, everyone, count_for)
    if found is None:
        time = _Time(began + answer_in / 1000, least)
        found = await _sampled(connection, segments.members(rule, **manners, each=True), time)
    ids = [str(each) for each in found.ids]
    hits = {row.channel: row.n for row in await connection.execute(_REACH, {"ids": ids})}
    shown = await connection.execute(_MEMBERS, {"ids": ids[:SHOWN]})
    return Estimate(
        count=found.count,
        exact=found.error == 0,
        error=found.error,
        members=tuple(Member(*row) for row in shown),
        reach={channel: _reach(hits.get(channel, 0), found) for channel in ADDRESS_KIND},
    )


def _reach(hits: int, found: _Found) -> Reach:
    looked_up = len(found.ids)
    if looked_up == found.count:
        return Reach(hits, True, 0.0)
    if not hits:
        return Reach(0, False, 1.0 if not looked_up else round(3 / looked_up, 4))
    share = hits / looked_up
    off = SURE * math.sqrt((1 - share) / hits)
    return Reach(round(found.count * share), False, round(math.hypot(off, found.error), 4))


async def _counted(connection: AsyncConnection, picked: Select[UUID], count_for: int) -> _Found | None:
    """None where it takes longer than so many milliseconds.

    Of many members some are enough, and come with the count; where they are few, all are asked for again.
    """
    members = picked.subquery("members")
    hashed = func.uuid_hash_extended(members.c.id, 1)
    some = func.array_agg(members.c.id).filter(hashed.op("&")(_ONE_IN - 1) == 0)
    row = await _within(connection, select(func.count().label("n"), some.label("ids")), count_for)
    if row is None:
        return None
    n, ids = row.n, row.ids or []
    if n <= KNOWN:
        all_ = await _within(connection, select(func.array_agg(members.c.id).label("ids")), count_for)
        if all_ is not None:
            ids = all_.ids or []
            n = len(ids)
    random.Random(n).shuffle(ids)
    return _Found(n, 0.0, ids if n <= KNOWN else ids[:ASKED])


@dataclass(frozen=True)
class _Time:
    """Until when a sample is asked."""

    deadline: float  # By perf_counter().
    least: int

    @property
    def left(self) -> int:
        """Milliseconds that the next question may take."""
        return max(self.least, round((self.deadline - perf_counter()) * 1000))


async def _sampled(connection: AsyncConnection, picked: Select[UUID], time: _Time) -> _Found:
    """Ask a few people, and then as many others as there is time for.

    They are drawn from pages of the table, each as likely as any other. Neighbours came in together and are
    often alike, so the error is told by how much the pages differ: it is that of the Horvitz-Thompson
    estimator for pages that are drawn independently (Särndal, Swensson and Wretman, Model Assisted Survey
    Sampling, 3.2).
    """
    began = perf_counter()
    percent = float(await connection.scalar(_PERCENT))
    hits = await _ask(connection, picked, percent, range(FIRST), time)
    if hits is None:
        raise Invalid(
            "This rule takes too long to count, even for a small part of your people: leave conditions out, "
            "or give those on events and messages shorter windows.",
            "/rule",
        )
    took = perf_counter() - began
    spare = max(0.0, time.deadline - perf_counter())
    classes = min(CLASSES, FIRST + int(FIRST * 0.8 * spare / took))
    if classes > FIRST:
        more = await _ask(connection, picked, percent, range(FIRST, classes), time)
        hits, classes = (hits, FIRST) if more is None else ([*hits, *more], classes)
    ids = [its_id for its_id, _ in hits]
    random.Random(len(ids)).shuffle(ids)
    share = percent / 100 * classes / CLASSES
    if share >= 1:
        return _Found(len(ids), 0.0, ids if len(ids) <= KNOWN else ids[:ASKED])
    on_pages = Counter(page for _, page in hits).values()
    error = SURE * math.sqrt((1 - share) * sum(n * n for n in on_pages)) / len(ids) if ids else 1.0
    return _Found(round(len(ids) / share), round(error, 4), ids[:ASKED])


async def _ask(
    connection: AsyncConnection, picked: Select[UUID], percent: float, classes: range, time: _Time
) -> list[tuple[UUID, int]] | None:
    """Who of these classes is picked, and the page each is on; None where that is not known in time."""
    some = tablesample(Profile, func.system(percent), name="drawn_from", seed=literal(1))
    somebody = aliased(Profile, some)
    its_class = func.uuid_hash_extended(somebody.id, 0).op("&")(CLASSES - 1)
    those = its_class == any_(cast(literal([*classes]), ARRAY(BigInteger)))
    page = literal_column("(drawn_from.ctid::text::point)[0]::bigint", BigInteger)
    drawn = select(somebody.id, page.label("page")).where(those).cte("drawn").prefix_with("materialized")
    members = picked.add_columns(drawn.c.page).where(Profile.id == drawn.c.id).subquery("members")
    asked = select(
        func.coalesce(func.array_agg(members.c.id), cast([], ARRAY(Uuid))).label("ids"),
        func.coalesce(func.array_agg(members.c.page), cast([], ARRAY(BigInteger))).label("pages"),
    )
    row = await _within(connection, asked, time.left, _BY_KEYS)
    return None if row is None else list(zip(row.ids, row.pages, strict=True))


# A table that nobody analysed yet has no number of rows.
_PERCENT = text(
    f"""
    select least(100, 100.0 * {DRAWN} / greatest(reltuples, {DRAWN})) from pg_class
    where oid = 'profiles'::regclass
    """
)
_WITHIN = text("select set_config('statement_timeout', :milliseconds, true)")
# A few people's rows are looked up one by one, whatever the planner thinks of that.
_BY_KEYS = text(
    """
    select set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
        set_config('enable_seqscan', 'off', true)
    """
)


async def _within(
    connection: AsyncConnection, asked: Executable, milliseconds: int, manner: Any = None
) -> Any | None:
    """The one row that is answered, or None where it takes longer."""
    attempt = await connection.begin_nested()
    try:
        await connection.execute(_WITHIN, {"milliseconds": str(milliseconds)})
        if manner is not None:
            await connection.execute(manner)
        return (await connection.execute(asked)).one()
    except OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        return None
    finally:
        await attempt.rollback()  # What was set goes with the savepoint that it was set in.


_CHANNELS = ", ".join(f"('{channel}', '{kind}')" for channel, kind in ADDRESS_KIND.items())
# The hashes are made first: behind the wall nothing is looked up by what is still to be worked out.
_REACH = text(
    f"""
    with addresses as materialized (
        select i.profile_id, i.kind, sha256(convert_to(i.value, 'UTF8')) as hash
        from unnest(cast(:ids as uuid[])) asked (id)
        join identities i on i.workspace_id = {HERE} and i.profile_id = asked.id and i.is_primary
    )
    select c.channel, count(*) as n
    from addresses a
    join (values {_CHANNELS}) c (channel, kind) on c.kind = a.kind
    cross join lateral (
        select from consents s where s.workspace_id = {HERE} and s.profile_id = a.profile_id
            and s.purpose = c.channel and s.state = 'granted' and s.ended_at is null
        limit 1
    ) granted
    where not exists (
        select from suppressions s where s.workspace_id = {HERE} and s.channel = c.channel
            and s.address_hash = a.hash and s.ended_at is null
    )
    group by c.channel
    """
)


def _name(kind: str) -> str:
    return f"""(
        select i.value from identities i where i.workspace_id = {HERE} and i.profile_id = asked.id
            and i.kind = '{kind}' and i.is_primary limit 1
    )"""


_MEMBERS = text(
    f"""
    select asked.id, {_name("email")}, {_name("user_id")}
    from unnest(cast(:ids as uuid[])) with ordinality asked (id, nth) order by asked.nth
    """
)
