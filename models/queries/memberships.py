"""Who is in which segment, kept as people change.

The pump looks again only at the people who changed (`changed`), and only at segments that speak of what
changed. Who crosses a segment's border because of something live is noted as an event, on which flows may
listen; history, a first look at everybody and an edited rule move people silently.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CTE,
    Delete,
    Select,
    column,
    delete,
    exists,
    false,
    literal,
    select,
    table,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.conditions import Attribute
from domain.deeds import Orders
from domain.events import SEGMENT_ENTERED, SEGMENT_LEFT, EventKind
from domain.segments import Rule, conditions, parse
from models.base import changed
from models.profiles import Profile
from models.queries import segments
from models.segments import Segment, SegmentMember
from models.workspaces import Workspace

_CROSSED = table("crossed", column("segment_id"), column("profile_id"), column("entered"))
_CHANGED = table("changed", column("profile_id"), column("live"))


@dataclass(frozen=True)
class News:
    """What a batch may have changed about people."""

    attributes: Collection[str]  # By name.
    orders: bool
    people: bool  # Some are new, or became one.

    @property
    def any(self) -> bool:
        return bool(self.attributes or self.orders or self.people)

    def touches(self, rule: Rule) -> bool:
        if self.people:
            return True
        return any(
            (isinstance(each, Attribute) and each.name in self.attributes)
            or (isinstance(each, Orders) and self.orders)
            for each in conditions(rule)
        )


async def follow(db: AsyncSession, workspace: Workspace, news: News, now: datetime) -> int:
    """Bring the segments that the news touch up to date for the people in `changed`.

    Returns how many people crossed a border; those who did because of something live are in `happened`.
    """
    crossed = 0
    for segment in await _materialized(db, workspace.id):
        rule = parse(segment.rule)
        if news.touches(rule):
            of_them = Profile.id.in_(select(_CHANGED.c.profile_id))
            picked = _picked(workspace, rule, now).where(of_them).cte("picked").prefix_with("materialized")
            crossed += await changed(db, _cross(workspace.id, segment.id, picked, now))
    if crossed:
        await db.execute(_NOTE, {"workspace": workspace.id, "now": now})
    return crossed


async def materialize(db: AsyncSession, workspace: Workspace, now: datetime) -> int:
    """Find the members of segments that nobody looked at since they were made or edited.

    Returns how many segments. Hold the lock of the workspace's people meanwhile.
    """
    asked = select(Segment).where(Segment.workspace_id == workspace.id, Segment.materialized_at.is_(None))
    found = list(await db.scalars(asked.order_by(Segment.id).with_for_update()))
    for segment in found:
        picked = _picked(workspace, parse(segment.rule), now).cte("picked").prefix_with("materialized")
        await db.execute(_enter(workspace.id, segment.id, picked, now))
        await db.execute(_leave(workspace.id, segment.id, picked))
        segment.materialized_at = now
    await db.flush()
    return len(found)


_WAITING = text("select distinct workspace_id from segments where materialized_at is null")


async def waiting(db: AsyncSession) -> Sequence[UUID]:
    """Workspaces with segments that nobody looked at yet. As the engine."""
    return [*(await db.execute(_WAITING)).scalars()]


async def _materialized(db: AsyncSession, workspace_id: UUID) -> Sequence[Segment]:
    asked = select(Segment).where(Segment.workspace_id == workspace_id, Segment.materialized_at.is_not(None))
    return (await db.scalars(asked)).all()


def _picked(workspace: Workspace, rule: Rule, now: datetime) -> Select[UUID]:
    # The engine sees beyond the wall: so the workspace is named.
    return select(Profile.id).where(
        Profile.workspace_id == workspace.id, segments.audience(rule, workspace, now)
    )


def _enter(workspace_id: UUID, segment_id: UUID, picked: CTE, now: datetime) -> Insert:
    """Those picked become members. Returns who was none before."""
    rows = select(literal(workspace_id), literal(segment_id), picked.c.id, literal(now)).order_by(picked.c.id)
    columns = ["workspace_id", "segment_id", "profile_id", "entered_at"]
    return insert(SegmentMember).from_select(columns, rows).on_conflict_do_nothing()


def _leave(workspace_id: UUID, segment_id: UUID, picked: CTE) -> Delete:
    """Members who are not picked are none any more."""
    return delete(SegmentMember).where(
        SegmentMember.workspace_id == workspace_id,
        SegmentMember.segment_id == segment_id,
        ~exists().where(picked.c.id == SegmentMember.profile_id),
    )


def _cross(workspace_id: UUID, segment_id: UUID, picked: CTE, now: datetime) -> Insert:
    """Both, for the people in `changed` alone; who crossed the border goes to `crossed`."""
    entered = _enter(workspace_id, segment_id, picked, now).returning(SegmentMember.profile_id).cte("entered")
    of_them = SegmentMember.profile_id.in_(select(_CHANGED.c.profile_id))
    left = (
        _leave(workspace_id, segment_id, picked)
        .where(of_them)
        .returning(SegmentMember.profile_id)
        .cte("departed")
    )
    both = select(literal(segment_id), entered.c.profile_id, true()).union_all(
        select(literal(segment_id), left.c.profile_id, false())
    )
    return insert(_CROSSED).from_select(["segment_id", "profile_id", "entered"], both)


# What a merged person did to the borders is the survivor's doing, and silent.
_NOTE = text(
    f"""
    with noted as (
        insert into events (workspace_id, id, received_at, profile_id, kind, name, occurred_at, properties)
        select :workspace, uuidv7(), :now, x.profile_id, '{EventKind.SYSTEM}',
            case when x.entered then '{SEGMENT_ENTERED}' else '{SEGMENT_LEFT}' end, :now,
            jsonb_build_object('segment_id', x.segment_id, 'segment', s.name)
        from crossed x
        join changed c on c.profile_id = x.profile_id and c.live
        join segments s on s.workspace_id = :workspace and s.id = x.segment_id
        order by x.segment_id, x.profile_id
        returning id, profile_id, name, properties, occurred_at
    )
    insert into happened (n, event_id, profile_id, name, properties, occurred_at, hops)
    select (select coalesce(max(n), 0) from happened) + row_number() over (), id, profile_id, name,
        properties, occurred_at, 1
    from noted
    """
)
