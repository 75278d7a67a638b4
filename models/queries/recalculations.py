"""Looks at everybody: who is in a segment by its rule, and who is not any more.

A look takes as long as the rule does, and holds no lock meanwhile that anybody else wants: neither the
people's nor the segment's. A first look writes the members down. Every later one only finds who is on the
wrong side of the border, and hands them to the pump, which asks again under its lock: nobody is moved on the
word of a snapshot that is old by then.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, CTE, Text, cast, func, null, or_, select, text, update
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.ext.asyncio import AsyncSession

from domain.segments import Rule, parse, reads
from models.base import Json, changed
from models.batch import Asked
from models.queries import hot_values, memberships, people_lock, segments, segments_written
from models.queries.profiles import HERE
from models.segments import Segment, SegmentMember
from models.workspaces import Workspace

# New ones first, and then who waits longest.
_DUE = text(
    """
    select s.workspace_id, s.id from segments s
    join workspaces w on w.id = s.workspace_id and w.deleted_at is null
    where s.due_at <= :now or s.due_at is null and s.materialized_at is null
    order by s.due_at nulls first, s.id limit 100
    """
)
_NEXT = text(
    """
    select min(s.due_at) from segments s
    join workspaces w on w.id = s.workspace_id and w.deleted_at is null
    """
)


class Ref(NamedTuple):
    workspace_id: UUID
    segment_id: UUID


async def due(db: AsyncSession, now: datetime) -> Sequence[Ref]:
    """Segments of any workspace for which everybody is to be looked at. As the engine."""
    return [Ref(*row) for row in await db.execute(_DUE, {"now": now})]


async def next_due(db: AsyncSession) -> datetime | None:
    """When the first of all is due. As the engine."""
    found: datetime | None = await db.scalar(_NEXT)
    return found


class Ripe(NamedTuple):
    """A segment that is due, as it was when we looked."""

    segment_id: UUID
    version: int
    first: bool  # Nobody knows the members of this rule yet.
    announce: bool
    due_at: datetime | None
    rule: Json


async def ripe(db: AsyncSession, segment_id: UUID, now: datetime) -> Ripe | None:
    """Keep others from looking for a segment that is due.

    None when it is not due (any more), or somebody else is at it.
    """
    if not await segments_written.begin_look(db, segment_id):
        return None
    due = or_(Segment.due_at <= now, Segment.due_at.is_(None) & Segment.materialized_at.is_(None))
    segment = await db.scalar(select(Segment).where(Segment.id == segment_id, due))
    if segment is None:
        return None
    first = segment.materialized_at is None
    return Ripe(segment.id, segment.version, first, segment.announce, segment.due_at, segment.rule)


@dataclass(frozen=True)
class Look:
    """What a look is about, as it was at its beginning."""

    workspace: Workspace
    segment_id: UUID
    version: int
    first: bool  # Nobody knows the members of this rule yet.
    announce: bool
    due_at: datetime | None
    rule: Rule  # With those of the segments that it names written in.
    of: Mapping[UUID, int]  # Their versions.
    now: datetime
    hot: Collection[str]  # Attributes whose values can be looked up.


_WITHIN = text("select set_config('statement_timeout', :milliseconds, true)")


async def begin(db: AsyncSession, workspace: Workspace, segment: Ripe, now: datetime, seconds: float) -> Look:
    """Begin a look, no statement of which takes longer than so many seconds.

    Raises `Invalid` when the rule can't be read.
    """
    meaning = await segments_written.meaning(db, parse(segment.rule))
    await db.execute(_WITHIN, {"milliseconds": str(max(1, round(seconds * 1000)))})
    what = segment.segment_id, segment.version, segment.first, segment.announce, segment.due_at
    return Look(workspace, *what, meaning.rule, meaning.of, now, await hot_values.ready(db))


def _picked(look: Look) -> CTE:
    home = look.workspace
    manners: dict[str, Any] = {"now": look.now, "time_zone": home.time_zone, "currency": home.currency}
    members = segments.all_members(look.rule, **manners, hot=look.hot)
    return members.cte("picked").prefix_with("materialized")


async def write_down(db: AsyncSession, look: Look) -> None:
    """Those whom the rule picks are the members, whoever was before; and nobody hears of it."""
    picked = _picked(look)
    gone = memberships.leave(look.workspace.id, look.segment_id, picked).cte("gone")
    written = memberships.enter(look.workspace.id, look.segment_id, picked, look.now)
    await changed(db, written.add_cte(gone))


async def doubt(db: AsyncSession, look: Look, most: int) -> int:
    """Hand the pump those who are on the wrong side of the border, `most` at a time. Returns how many."""
    picked = _picked(look)
    members = select(SegmentMember.profile_id.label("id")).where(SegmentMember.segment_id == look.segment_id)
    there = members.cte("there")
    one_only = or_(picked.c.id.is_(None), there.c.id.is_(None))
    both = picked.join(there, picked.c.id == there.c.id, full=True)
    who = func.coalesce(picked.c.id, there.c.id).label("id")
    astray = select(who).select_from(both).where(one_only).order_by(who).limit(most).cte("astray")
    people = func.array_agg(astray.c.id, type_=ARRAY(PgUUID(as_uuid=True)))
    nothing = cast(null(), ARRAY(Text))
    noted = func.note_changes(people, look.now, look.announce, nothing, 0, look.segment_id)
    [(count, _)] = await db.execute(select(func.count(), noted).select_from(astray))
    return int(count)


_STILL = text(
    f"""
    select s.version, w.time_zone, w.currency from segments s join workspaces w on w.id = s.workspace_id
    where s.workspace_id = {HERE} and s.id = :segment for no key update of s
    """
)


async def still_means(db: AsyncSession, look: Look) -> bool:
    """Hold the segment, and say whether its rule means what the look was about.

    It may have been edited, or one that it names, or the workspace's settings.
    """
    found = (await db.execute(_STILL, {"segment": look.segment_id})).one_or_none()
    home = look.workspace
    if found is None or tuple(found) != (look.version, home.time_zone, home.currency):
        return False
    named = select(Segment.id, Segment.version).where(Segment.id.in_(look.of))
    return {row.id: row.version for row in await db.execute(named)} == look.of


_FINISH = text(
    f"""
    with counted as (
        select count(*) as members from segment_members where workspace_id = {HERE} and segment_id = :segment
    ), finished as (
        update segments s set members = c.members, took_ms = :took, reads = :reads, problem = null,
            materialized_at = :now,
            -- Who asked for another look meanwhile gets one.
            due_at = case when s.due_at is not distinct from :due then :next
                when s.problem is null then s.due_at
                else greatest(s.due_at, cast(:spared_until as timestamptz)) end,
            announce = case when s.due_at is distinct from :due then s.announce else :announce end
        from counted c where s.workspace_id = {HERE} and s.id = :segment
    )
    insert into segment_days (workspace_id, segment_id, day, size)
    select {HERE}, :segment, cast(timezone(:zone, cast(:now as timestamptz)) as date), members from counted
    on conflict (workspace_id, segment_id, day) do update set size = excluded.size
    """
)


async def finish(
    db: AsyncSession,
    look: Look,
    took: timedelta,
    next_at: datetime | None,
    *,
    announce: bool,
    spared_until: datetime | None = None,
) -> None:
    """Say how it went. The segment is held; what the pump moves meanwhile is added when it is free.

    `spared_until`: a segment that the pump gives up batch after batch is not looked at again sooner.
    """
    values = {
        "segment": look.segment_id,
        "took": round(took / timedelta(milliseconds=1)),
        "reads": sorted(reads(look.rule)),
        "now": look.now,
        "due": look.due_at,
        "next": next_at,
        "spared_until": spared_until,
        "announce": announce,
        "zone": look.workspace.time_zone,
    }
    await db.execute(_FINISH, values)


async def fail(db: AsyncSession, segment: Ripe, problem: str, again_at: datetime) -> bool:
    """Its members stay who they were, and everybody is looked at again then.

    Not so where it was edited, or somebody asked for another look, since it was `ripe`: then it is due
    already, and False comes back.
    """
    as_it_was = Segment.version == segment.version, Segment.due_at.is_not_distinct_from(segment.due_at)
    mine = update(Segment).where(Segment.id == segment.segment_id, *as_it_was)
    return bool(await changed(db, mine.values(problem=problem, due_at=again_at)))


_OTHERS = text(
    """
    select pg_advisory_xact_lock(hashtextextended(
        'changes of ' || nullif(current_setting('app.workspace', true), ''), 0
    ))
    """
)


def waiting_for_the_pump() -> Asked:
    """Until a batch has committed that began when the segment was not followed yet."""
    return people_lock.taking_here()


def waiting_for_others() -> Asked:
    """The same for those who changed people and were told that no segment asks about it (`note_changes`).

    In a transaction of its own: they may be waiting for the lock of the people.
    """
    return Asked(_OTHERS, {})
