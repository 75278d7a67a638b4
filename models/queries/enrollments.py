"""Everyone's place in a flow: who enters, where everyone is, and who is due.

How members move on is in `enrollments_moved`. Whoever enters a live flow goes to its first step in the same
transaction, unless a condition decides about that.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Select, and_, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from domain.flows import START, Branch, Send
from domain.messages import Work
from models.base import Db, bulk_id
from models.flows import Agenda, Enrollment, FlowVersion
from models.profiles import Profile
from models.queries import announced, announced_members, enrollments_moved, pokes
from models.queries.agenda import OFF_THE_AGENDA
from models.queries.ways import entrance

_AT_ONCE = 2_000  # So many who enter together go to the first step at once; the rest are moved as others are.
ONCE = "once"  # The entry of those who may come only once.

# Who a profile is by now. Not coalesce(), which is not leakproof: the wall would keep it from the indexes.
_PERSON = "case when p.merged_into is null then p.id else p.merged_into end"

# Nobody makes a journey again that a profile made which was merged into theirs meanwhile.
_NEW = """
    not exists (
        select from profiles a
        join enrollments e on e.workspace_id = :workspace and e.flow_id = f.id and e.profile_id = a.id
            and e.entry = one.entry
        where a.workspace_id = :workspace and a.merged_into = one.person_id
    )
"""

# Whoever merges one of them is waited for, and the row that is read then says into whom; so is whoever erases
# one, which changes no key: hence no lesser lock.
_PERSONS = text(
    f"""
    select p.merged_into from profiles p
    where p.workspace_id = :workspace and p.id in (
        select {_PERSON} from profiles p
        where p.workspace_id = :workspace and p.id = any(cast(:who as uuid[]))
    )
    order by p.id for share of p
    """
)
# Locked, so that nobody enters behind the back of an archive that has ended all journeys.
_ENROLL = text(
    f"""
    with flow as materialized (
        select * from flows f
        where f.workspace_id = :workspace and f.id = :flow and f.state in ('live', 'paused') for share
    ),
    entered as (
        insert into enrollments
            (workspace_id, flow_id, version_id, profile_id, entry, properties, step, due_at, entered_at)
        select distinct on (one.person_id, one.entry)
            f.workspace_id, f.id, f.version_id, one.person_id, one.entry, who.properties, '{START}',
            cast(:now as timestamptz), cast(:now as timestamptz)
        from jsonb_to_recordset(cast(:entries as jsonb)) as who(profile_id uuid, entry text, properties jsonb)
        cross join flow f
        join flow_versions v on v.workspace_id = :workspace and v.id = f.version_id
        join profiles p on p.workspace_id = :workspace and p.id = who.profile_id and p.erased_at is null
        cross join lateral (
            select {_PERSON} as person_id,
                case v.definition ->> 'reentry' when 'always' then who.entry else '{ONCE}' end as entry
        ) one
        where {_NEW}
        on conflict (workspace_id, flow_id, profile_id, entry) do nothing
        returning workspace_id, version_id, step, due_at, id
    )
    insert into agenda (workspace_id, version_id, step, due_at, enrollment_id) select * from entered
    returning enrollment_id
    """
)


async def enroll(
    db: Db,
    workspace_id: UUID,
    flow_id: UUID,
    entries: Sequence[tuple[UUID, str, dict[str, Any]]],
    now: datetime,
) -> int:
    """Let profiles enter a live or paused flow, each (profile, entry, properties), and poke the flow.

    `entry` tells two journeys apart where the flow may be entered again; otherwise a profile enters
    once. Returns how many entered; who is in already, erased or unknown does not.
    """
    rows = [
        {"profile_id": profile, "entry": entry, "properties": properties}
        for profile, entry, properties in entries
    ]
    values = {"workspace": workspace_id, "flow": flow_id, "now": now, "entries": orjson.dumps(rows).decode()}
    who = [profile for profile, _, _ in entries]
    await _hold_people(db, workspace_id, who)
    entered = [*(await db.execute(_ENROLL, values)).scalars()]
    if entered:
        if await announced.asked(db, announced_members.ENTERED):
            await announced_members.entered(db, entered, now)
        await let_in(db, workspace_id, flow_id, len(entered), now)
    return len(entered)


async def _hold_people(db: Db, workspace_id: UUID, who: Sequence[UUID]) -> None:
    """Until the transaction ends, nobody is merged or erased of the people whom these profiles are by now."""
    left = [*who]
    while left:
        found = await db.execute(_PERSONS, {"workspace": workspace_id, "who": left})
        left = [into for into in found.scalars() if into is not None]


async def let_in(db: Db, workspace_id: UUID, flow_id: UUID, entered: int, now: datetime) -> None:
    """Those who entered go to the first step; if they are due there, or could not go, the flow is poked."""
    way = await entrance(db, workspace_id, flow_id)
    simple = not isinstance(way.step, Branch)
    moved = await enrollments_moved.advance(db, way, now, _AT_ONCE) if simple else 0
    if moved and isinstance(way.step, Send):
        pokes.poke(db, flow_id, Work.SEND)
    if moved < entered or not isinstance(way.step, Send):
        pokes.poke(db, flow_id, Work.ADVANCE)


class Page(NamedTuple):
    """Some of those whom a trigger names."""

    entered: int  # Who had not been in before.
    looked_at: int
    last: UUID | None  # The greatest id of those.


async def enter_page(
    db: AsyncSession,
    version: FlowVersion,
    members: Select[UUID],
    now: datetime,
    size: int | None = None,
    after: UUID | None = None,
) -> Page:
    """Let the next `size` of these profiles (ids) enter the version, in the order of their ids; each once.

    Whoever asks sees to it that nobody archives the flow meanwhile.
    """
    page = members.order_by(Profile.id).limit(size)
    if after:
        page = page.where(Profile.id > after)
    audience = page.cte("audience").prefix_with("materialized")
    been_here = (
        select(Profile.merged_into)
        .join(Enrollment, and_(Enrollment.profile_id == Profile.id, Enrollment.flow_id == version.flow_id))
        .where(Profile.merged_into.is_not(None), Enrollment.entry == ONCE)
    )
    entries = select(
        bulk_id(),
        literal(version.workspace_id),
        literal(version.flow_id),
        literal(version.id),
        audience.c[0],
        literal(ONCE),
        literal(START),
        literal(now),
        literal(now),
    ).where(audience.c[0].not_in(been_here))
    columns = [
        "id",
        "workspace_id",
        "flow_id",
        "version_id",
        "profile_id",
        "entry",
        "step",
        "due_at",
        "entered_at",
    ]
    entered = (
        insert(Enrollment)
        .from_select(columns, entries)
        .on_conflict_do_nothing()
        .returning(
            Enrollment.workspace_id,
            Enrollment.version_id,
            Enrollment.step,
            Enrollment.due_at,
            Enrollment.id,
        )
        .cte("entered")
    )
    turns = insert(Agenda).from_select([*Agenda.__table__.c.keys()], select(entered)).cte("turns")
    looked_at = select(func.count()).select_from(audience).scalar_subquery()
    last = select(audience.c[0]).order_by(audience.c[0].desc()).limit(1).scalar_subquery()
    telling = await announced.asked(db, announced_members.ENTERED)
    ids = func.array_agg(entered.c.id) if telling else literal(None)
    found = select(func.count(), looked_at, last, ids).select_from(entered).add_cte(turns)
    n, looked, to, who = (await db.execute(found)).one()
    if telling and who:
        await announced_members.entered(db, who, now)
    return Page(n, looked, to)


def merged_since(began: datetime) -> ColumnElement[bool]:
    """Into whom somebody was merged since then: page by page they may be missed, where somebody ahead, who
    was a member, became part of somebody behind, who was none."""
    other = aliased(Profile)
    merged = select(other.merged_into).where(other.merged_into.is_not(None), other.updated_at >= began)
    return Profile.id.in_(merged)


# As many as move at a time: to count the rest of a crowd at each look costs more than it tells.
COUNTED = 2_000


class Item(NamedTuple):
    """One line of the agenda: a step at which somebody is, or will be, due."""

    version_id: UUID
    step: str
    due: int  # Due now, counted up to `COUNTED`.
    next_due_at: datetime  # The first one's; in the past for those who are due.


_AGENDA = text(
    f"""
    select v.id as version_id, s.step, d.due, n.due_at as next_due_at
    from flow_versions v
    cross join lateral (
        select '{START}' as step union all select jsonb_object_keys(v.definition -> 'steps')
    ) s
    cross join lateral (
        select a.due_at from agenda a
        where a.workspace_id = :workspace and a.version_id = v.id and a.step = s.step
        order by a.due_at limit 1
    ) n
    cross join lateral (
        select count(*) as due from (
            select from agenda a
            where a.workspace_id = :workspace and a.version_id = v.id and a.step = s.step
                and a.due_at <= :now
            limit {COUNTED}
        ) those
    ) d
    where v.workspace_id = :workspace and v.flow_id = :flow
    order by n.due_at
    """
)


async def agenda(db: Db, workspace_id: UUID, flow_id: UUID, now: datetime) -> list[Item]:
    """Where members are due or will be, the most urgent first. Empty steps are left out."""
    rows = await db.execute(_AGENDA, {"workspace": workspace_id, "flow": flow_id, "now": now})
    return [Item(*row) for row in rows]


class Place(NamedTuple):
    """How many members are at a step, and until when the first of them waits."""

    step: str
    members: int
    next_due_at: datetime | None


_PLACES = text(
    """
    select step, sum(members)::bigint as members, min(next_due_at) as next_due_at
    from (
        select a.step, count(*) as members, min(a.due_at) as next_due_at from agenda a
        where a.workspace_id = :workspace and a.version_id in (
            select v.id from flow_versions v where v.workspace_id = :workspace and v.flow_id = :flow)
        group by a.step
        union all
        select m.step, count(*), null
        from (
            select q.message_id as id from queue q where q.workspace_id = :workspace and q.queue_id = :flow
            union all
            select unnest(l.message_ids) from leases l
            where l.workspace_id = :workspace and l.queue_id = :flow
        ) waiting
        cross join lateral (
            select m.step from messages m
            where m.workspace_id = :workspace and m.id = waiting.id and m.closed_at is null limit 1
        ) m
        group by m.step
    ) here
    group by step order by step
    """
)


async def places(db: Db, workspace_id: UUID, flow_id: UUID) -> list[Place]:
    """Where everyone under way is: on the agenda, or waiting for a message, of which each has one open.

    A person who was erased counts until their message is skipped.
    """
    rows = await db.execute(_PLACES, {"workspace": workspace_id, "flow": flow_id})
    return [Place(*row) for row in rows]


Journey = tuple[UUID, str]  # Among those of one flow: the profile and the entry.
FIRST: Journey = (UUID(int=0), "")  # Before all of them.

# Waits for those who are about to move members on, so that the next statement sees where they went.
_HOLD = text(
    """
    with page as materialized (
        select e.id, e.profile_id, e.entry from enrollments e
        where e.workspace_id = :workspace and e.flow_id = :flow
            and (e.profile_id, e.entry) > (:profile, :entry)
        order by e.profile_id, e.entry limit 20000
    ),
    held as materialized (
        select e.id from page join enrollments e on e.workspace_id = :workspace and e.id = page.id
        where e.ended_at is null for update of e
    )
    select profile_id, entry, (select count(*) from held) as held
    from page order by profile_id desc, entry desc limit 1
    """
)
_END_HELD = f"""
    with ended as (
        update enrollments e set due_at = null, waiting_for = null, ended_at = :now, outcome = 'archived'
        where e.workspace_id = :workspace and e.flow_id = :flow
            and (e.profile_id, e.entry) > (:profile, :entry)
            and (e.profile_id, e.entry) <= (:last_profile, :last_entry) and e.ended_at is null
        returning e.workspace_id, e.version_id, old.step, old.due_at, e.id
    ),
    {OFF_THE_AGENDA}
    select count(*) as journeys{{}} from ended
"""
_END_SILENTLY = text(_END_HELD.format(""))
_END_TELLING = text(_END_HELD.format(", array_agg(id) as ids"))


class Ended(NamedTuple):
    """How many journeys of a page were under way, and where the next page begins; None when there is none."""

    journeys: int
    last: Journey | None


async def end_all(db: Db, workspace_id: UUID, flow_id: UUID, after: Journey, now: datetime) -> Ended:
    """End those of the 20,000 journeys `after` this one that are under way, of a flow that nobody can enter.

    Begin with `FIRST`, and call until there is no `last`: a walk over all journeys, so that no index need
    know who is under way. Walking again ends nobody twice.
    """
    values = {"workspace": workspace_id, "flow": flow_id, "now": now, "profile": after[0], "entry": after[1]}
    pages = [*await db.execute(_HOLD, values)]
    if not pages:
        return Ended(0, None)
    [(profile_id, entry, _)] = pages
    last = {"last_profile": profile_id, "last_entry": entry}
    if await announced.asked(db, announced_members.FINISHED):
        ended = (await db.execute(_END_TELLING, values | last)).one()
        await announced_members.ended(db, ended.ids or (), now)
    else:
        ended = (await db.execute(_END_SILENTLY, values | last)).one()
    return Ended(ended.journeys, (profile_id, entry))
