"""Who is in which segment, kept as people change.

The pump looks again only at the people who changed (`changed`), and only at segments that read what changed;
and at those whom a look at everybody found on the wrong side (`doubted`), for that segment alone. Who crosses
a segment's border because of something live is noted as an event, on which flows may listen; history, a first
look at everybody and an edited rule move people silently.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from psycopg import Error
from psycopg.errors import QueryCanceled
from sqlalchemy import (
    CTE,
    Delete,
    Insert,
    case,
    column,
    delete,
    exists,
    false,
    func,
    literal,
    select,
    table,
    text,
    true,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Invalid
from domain.events import SEGMENT_ENTERED, SEGMENT_LEFT, EventKind
from domain.flows import MOST_HOPS
from domain.segments import parse
from models.base import Db, Json, changed
from models.profiles import Profile
from models.queries import segments, segments_written
from models.queries.profiles import HERE
from models.segments import Segment, SegmentMember
from models.workspaces import Workspace

log = structlog.get_logger()

_CROSSED = table("crossed", column("segment_id"), column("profile_id"), column("entered"))
_CHANGED = table("changed", column("profile_id"))
_DOUBTED = table("doubted", column("segment_id"), column("profile_id"))

# Of SQLSTATE: what the rule asks for can't be answered. The database is not away, nor does it want a retry.
_RULES_FAULT = ("21", "22", "23502", "42", "53400", "54", "57014", "0A")


@dataclass(frozen=True)
class News:
    """What a batch may have changed about the people in `changed`."""

    reads: Collection[str]  # In the words of `domain.segments.reads`.
    people: bool  # Some are new, or became one, or nobody said what changed: it may be anything.
    doubts: bool = False  # Somebody is in `doubted`.

    @property
    def any(self) -> bool:
        return bool(self.reads or self.people or self.doubts)


_READS = text(
    """
    select coalesce(array_agg(distinct word), '{}') from segments s cross join lateral unnest(s.reads) word
    where s.workspace_id = :workspace and s.materialized_at is not null
    """
)


async def reads(db: Db, workspace_id: UUID) -> frozenset[str]:
    """What the segments of a workspace read, all in all, as far as their members are known."""
    [words] = (await db.execute(_READS, {"workspace": workspace_id})).scalars()
    return frozenset(words)


async def follow(db: AsyncSession, workspace: Workspace, news: News, now: datetime, seconds: float) -> int:
    """Bring the segments that the news touch up to date for the people in `changed` and `doubted`.

    Returns how many people crossed a border; those who did because of something live are in `happened`.
    A segment whose rule can't be answered, or not in so many seconds, holds up nobody: everybody is looked at
    again for it, later.
    """
    touched = await _touched(db, workspace.id, news)
    if not touched:
        return 0
    asked = [each for segment in touched if (each := await _asked(db, workspace, segment, news, now))]
    crossed, failed = await _answers(db, workspace.id, asked, now, seconds)
    if failed:  # Each of the others for itself, so that the next one that can't be answered is found.
        others = [each for each in asked if each is not failed]
        crossed = sum([(await _answers(db, workspace.id, [each], now, seconds))[0] for each in others])
    if crossed:
        values = {"workspace": workspace.id, "now": now, "zone": workspace.time_zone}
        await db.execute(_COUNT, values)
        await db.execute(_NOTE, values)
        await db.execute(_TELL_READERS, values)
        await db.execute(_ASK_READERS_AGAIN, values)
    return crossed


class _Touched(NamedTuple):
    id: UUID
    rule: Json
    reads: Sequence[str]


class _Asked(NamedTuple):
    segment_id: UUID
    statement: Insert


async def _touched(db: AsyncSession, workspace_id: UUID, news: News) -> Sequence[_Touched]:
    """Hold the lock of the workspace's people, as whoever edits a segment does."""
    followed = Segment.workspace_id == workspace_id, Segment.materialized_at.is_not(None)
    asked = select(Segment.id, Segment.rule, Segment.reads).where(*followed)
    if not news.people:
        doubted = Segment.id.in_(select(_DOUBTED.c.segment_id))
        asked = asked.where(Segment.reads.overlap([*news.reads]) | doubted)
    return [_Touched(*row) for row in await db.execute(asked.order_by(Segment.id))]


async def _asked(
    db: AsyncSession, workspace: Workspace, segment: _Touched, news: News, now: datetime
) -> _Asked | None:
    try:
        rule = await segments_written.resolved(db, parse(segment.rule))
    except Invalid as refused:  # It was written by an earlier version, or by hand.
        await _give_up(db, workspace.id, segment.id, refused.message, now, now)
        return None
    doubted = select(_DOUBTED.c.profile_id).where(_DOUBTED.c.segment_id == segment.id)
    concerned = news.people or not set(segment.reads).isdisjoint(news.reads)
    few = (
        union(select(_CHANGED.c.profile_id).where(true() if concerned else false()), doubted)
        .cte("few")
        .prefix_with("materialized")
    )
    # The engine sees beyond the wall: so the workspace is named.
    picked = select(Profile.id).where(
        Profile.workspace_id == workspace.id,
        Profile.id.in_(select(few.c.profile_id)),
        segments.audience(rule, workspace, now, each=True),
    )
    picked_now = picked.cte("picked").prefix_with("materialized")
    return _Asked(segment.id, _cross(workspace.id, segment.id, few, picked_now, now))


async def _answers(
    db: AsyncSession, workspace_id: UUID, asked: Sequence[_Asked], now: datetime, seconds: float
) -> tuple[int, _Asked | None]:
    """How many crossed the borders of all of these, or nobody, and whose rule it was that failed."""
    crossed, current = 0, None
    try:
        async with db.begin_nested():
            before = await db.scalar(_WITHIN, {"time": str(max(1, round(seconds * 1000)))})
            for current in asked:
                crossed += await changed(db, current.statement)
            await db.scalar(_WITHIN, {"time": before})
    except DBAPIError as error:
        if current is None or not rules_fault(error):
            raise
        slow = took_too_long(error)
        problem = TOO_SLOW.format(seconds=seconds) if slow else PROBLEM
        await _give_up(db, workspace_id, current.segment_id, problem, now, now + BREATH if slow else now)
        return 0, current
    return crossed, None


# What a statement may take from here on. Where the savepoint is taken back, so is this.
_WITHIN = text(
    """
    with was as materialized (select current_setting('statement_timeout') as it)
    select was.it, set_config('statement_timeout', :time, true) from was
    """
)
BREATH = timedelta(minutes=1)  # Before everybody is looked at for a rule that takes long for a few.
TOO_SLOW = (
    "Asking it about the people who change took more than {seconds:g} seconds and was given up; looking at "
    "everybody makes up for it, later. Ask about a shorter time or with fewer conditions."
)
PROBLEM = "The database can't answer this rule: change it, or leave out the condition that was added last."


async def _give_up(
    db: AsyncSession, workspace_id: UUID, segment_id: UUID, problem: str, now: datetime, again_at: datetime
) -> None:
    """Leave its members as they are: a look at everybody makes up for it.

    One that is under way already does not, and whoever is at it sees by `due_at` that another one is due.
    """
    log.warning("A segment can't be followed", segment=str(segment_id), problem=problem)
    mine = Segment.workspace_id == workspace_id, Segment.id == segment_id
    due_at = case((Segment.due_at <= now, now), else_=func.least(Segment.due_at, again_at))
    await db.execute(update(Segment).where(*mine).values(due_at=due_at, problem=problem))


def rules_fault(error: DBAPIError) -> bool:
    """Whether the database refuses or gives up this statement, and would do so again."""
    state = error.orig.sqlstate if isinstance(error.orig, Error) else None
    return state is not None and state.startswith(_RULES_FAULT)


def took_too_long(error: DBAPIError) -> bool:
    """Whether the statement was given up because its time was over."""
    return isinstance(error.orig, QueryCanceled)


def enter(workspace_id: UUID, segment_id: UUID, picked: CTE, now: datetime) -> Insert:
    """Those picked become members. Returns who was none before."""
    rows = select(literal(workspace_id), literal(segment_id), picked.c.id, literal(now)).order_by(picked.c.id)
    columns = ["workspace_id", "segment_id", "profile_id", "entered_at"]
    return insert(SegmentMember).from_select(columns, rows).on_conflict_do_nothing()


def leave(workspace_id: UUID, segment_id: UUID, picked: CTE) -> Delete:
    """Members who are not picked are none any more."""
    return delete(SegmentMember).where(
        SegmentMember.workspace_id == workspace_id,
        SegmentMember.segment_id == segment_id,
        ~exists().where(picked.c.id == SegmentMember.profile_id),
    )


def _cross(workspace_id: UUID, segment_id: UUID, few: CTE, picked: CTE, now: datetime) -> Insert:
    """Both, for a few people alone; who crossed the border goes to `crossed`."""
    who = SegmentMember.profile_id
    entered = enter(workspace_id, segment_id, picked, now).returning(who).cte("entered")
    of_them = who.in_(select(few.c.profile_id))
    left = leave(workspace_id, segment_id, picked).where(of_them).returning(who).cte("departed")
    both = select(literal(segment_id), entered.c.profile_id, true()).union_all(
        select(literal(segment_id), left.c.profile_id, false())
    )
    return insert(_CROSSED).from_select(["segment_id", "profile_id", "entered"], both)


# Days are the workspace's. Whom a merge or an erasure takes away did not leave on any; a day's size follows
# with the next who come or go.
_COUNT = text(
    """
    with counts as (
        select segment_id, count(*) filter (where entered) as entered,
            count(*) filter (where not entered) as gone
        from crossed group by segment_id
    ), counted as (
        update segments s set members = greatest(coalesce(s.members, 0) + c.entered - c.gone, 0)
        from counts c where s.workspace_id = :workspace and s.id = c.segment_id
        returning s.id, s.members, c.entered, c.gone
    )
    insert into segment_days as d (workspace_id, segment_id, day, entered, "left", size)
    select :workspace, id, cast(timezone(:zone, cast(:now as timestamptz)) as date), entered, gone, members
    from counted
    on conflict (workspace_id, segment_id, day) do update set
        entered = d.entered + excluded.entered, "left" = d."left" + excluded."left", size = excluded.size
    """
)

# Of whom a merge or an erasure took away, in `gone`.
COUNT_DOWN = f"""
    update segments s set members = greatest(s.members - taken_away.n, 0)
    from (select segment_id, count(*) as n from gone group by segment_id) taken_away
    where s.workspace_id = {HERE} and s.id = taken_away.segment_id
"""

# What a merged person did to the borders is the survivor's doing, and silent.
_NOTE = text(
    f"""
    with noted as (
        insert into events (workspace_id, id, received_at, profile_id, kind, name, occurred_at, hops, cause,
            properties)
        select :workspace, uuidv7(), :now, x.profile_id, '{EventKind.SYSTEM}',
            case when x.entered then '{SEGMENT_ENTERED}' else '{SEGMENT_LEFT}' end, :now,
            greatest(c.hops, 0) + 1, c.cause,
            jsonb_build_object('segment_id', x.segment_id, 'segment', s.name)
        from crossed x
        left join changed c on c.profile_id = x.profile_id
        left join doubted d on d.profile_id = x.profile_id and d.segment_id = x.segment_id
        join segments s on s.workspace_id = :workspace and s.id = x.segment_id
        cross join lateral (
            select p.id from profiles p where p.workspace_id = :workspace and p.id = x.profile_id
                and p.merged_into is null and p.erased_at is null limit 1
        ) alive
        where c.live or d.live
        order by x.segment_id, x.profile_id
        returning id, profile_id, name, properties, occurred_at, hops
    )
    insert into happened (n, event_id, profile_id, name, properties, occurred_at, hops)
    select (select coalesce(max(n), 0) from happened) + row_number() over (), id, profile_id, name,
        properties, occurred_at, hops
    from noted
    """
)

# Segments may ask who came into others: they hear of it as of any change, until that goes round and round.
_TELL_READERS = text(
    f"""
    insert into inbox (workspace_id, id, received_at, kind, trusted, historical, occurred_at, properties)
    select :workspace, uuidv7(), :now, '{EventKind.CHANGE}', true, false, :now, jsonb_build_object(
        'profile_id', h.profile_id, 'reads', jsonb_build_array('event:' || h.name), 'hops', h.hops,
        'cause', h.event_id)
    from happened h
    where h.name in ('{SEGMENT_ENTERED}', '{SEGMENT_LEFT}') and h.hops <= {MOST_HOPS} and exists (
        select from segments s where s.workspace_id = :workspace and s.materialized_at is not null
            and s.reads && array['event:' || h.name]
    )
    order by h.n
    """
)
# Who is not told any more where it goes round and round is looked at: that moves people silently, so it ends.
_ASK_READERS_AGAIN = text(
    f"""
    update segments s set due_at = :now, announce = false
    where s.workspace_id = :workspace and s.materialized_at is not null and s.reads && array(
        select distinct 'event:' || h.name from happened h
        where h.name in ('{SEGMENT_ENTERED}', '{SEGMENT_LEFT}') and h.hops > {MOST_HOPS}
    )
    """
)
