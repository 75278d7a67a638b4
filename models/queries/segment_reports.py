"""What there is to say of a segment: its members, how it grew, who uses it, and whom it has in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import combinations
from typing import NamedTuple
from uuid import UUID

from psycopg.errors import QueryCanceled
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, Invalid
from domain.profiles import IdentityKind
from models.queries.profiles import HERE
from models.queries.profiles_found import BEYOND_ALL
from models.queries.profiles_searched import LAST_CHARACTER
from models.queries.segments_written import HEARD_OF
from models.segments import Segment, SegmentMember, SegmentVersion

PATIENCE = 3000  # Milliseconds that a search or a comparison may take.


class Member(NamedTuple):
    profile_id: UUID
    email: str | None  # The one that is written to.
    user_id: str | None
    entered_at: datetime


def _name(kind: IdentityKind) -> str:
    return f"""(
        select i.value from identities i where i.workspace_id = {HERE} and i.profile_id = m.profile_id
            and i.kind = '{kind}' and i.is_primary limit 1
    )"""


_SHOWN = f"""
    select m.profile_id, {_name(IdentityKind.EMAIL)}, {_name(IdentityKind.USER_ID)}, m.entered_at
    from members m order by m.profile_id desc
"""
_MEMBERS = text(
    f"""
    with members as materialized (
        select m.profile_id, m.entered_at from segment_members m
        where m.workspace_id = {HERE} and m.segment_id = :segment and m.profile_id < :after
        order by m.profile_id desc limit :limit
    )
    {_SHOWN}
    """
)
_KINDS = ", ".join(f"'{kind}'" for kind in IdentityKind)
_SEARCHED = text(
    f"""
    with named as materialized (
        select distinct i.profile_id from identities i
        where i.workspace_id = {HERE} and i.kind in ({_KINDS}) and i.profile_id < :after
            and (i.value >= :begins and i.value < :ends or i.value >= :lower and i.value < :lower_ends)
    ), members as materialized (
        select m.profile_id, m.entered_at
        from named n join segment_members m on m.workspace_id = {HERE} and m.segment_id = :segment
            and m.profile_id = n.profile_id
        order by m.profile_id desc limit :limit
    )
    {_SHOWN}
    """
)
_PATIENTLY = text("select set_config('statement_timeout', :milliseconds, true)")


async def members(
    db: AsyncSession, segment_id: UUID, begins: str | None, after: UUID | None, limit: int
) -> Sequence[Member]:
    """Up to `limit` members, the newest profiles first, beyond `after`; those with a name that begins so.

    Raises `Invalid` where too many names begin so.
    """
    values = {"segment": segment_id, "after": after or BEYOND_ALL, "limit": limit}
    if begins is None:
        return [Member(*row) for row in await db.execute(_MEMBERS, values)]
    values |= {"begins": begins, "ends": begins + LAST_CHARACTER}
    values |= {"lower": begins.lower(), "lower_ends": begins.lower() + LAST_CHARACTER}
    await db.execute(_PATIENTLY, {"milliseconds": str(PATIENCE)})
    try:
        return [Member(*row) for row in await db.execute(_SEARCHED, values)]
    except OperationalError as error:
        if isinstance(error.orig, QueryCanceled):
            raise Invalid("Too many names begin so: give more of the name.", "?q") from error
        raise


async def entered_at(db: AsyncSession, segment_id: UUID, profile_id: UUID) -> datetime | None:
    """Since when somebody is a member; None for who is none."""
    asked = select(SegmentMember.entered_at).where(
        SegmentMember.segment_id == segment_id, SegmentMember.profile_id == profile_id
    )
    return await db.scalar(asked)


async def versions(
    db: AsyncSession, segment_id: UUID, before: int | None, limit: int
) -> Sequence[SegmentVersion]:
    """The rules that it has or had, the newest first, before the one with this number."""
    asked = select(SegmentVersion).where(SegmentVersion.segment_id == segment_id)
    if before is not None:
        asked = asked.where(SegmentVersion.number < before)
    return list(await db.scalars(asked.order_by(SegmentVersion.number.desc()).limit(limit)))


_USES = text(
    f"""
    with asked as materialized (
        select s.id, s.id::text as said, s.name from segments s
        where s.workspace_id = {HERE} and s.id = any(cast(:segments as uuid[]))
    ), users as (
        select c.segment_id as id from campaigns c
        where c.workspace_id = {HERE} and c.segment_id = any(cast(:segments as uuid[]))
        union all
        select named.id
        from (
            select null as id, f.definition as rule from flows f where f.workspace_id = {HERE}
            union all
            select s.id, s.rule from segments s where s.workspace_id = {HERE}
        ) users
        cross join lateral (
            select a.id from jsonb_path_query(users.rule, 'strict $.**.segment_id') named
            join asked a on a.said = named #>> '{{}}'
            union
            select a.id from jsonb_path_query(users.rule, '{HEARD_OF}') heard
            cross join jsonb_path_query(heard -> 'value', '$[*]') named
            join asked a on named #>> '{{}}' =
                case heard ->> 'name' when 'segment_id' then a.said when 'segment' then a.name end
        ) named
        where named.id is distinct from users.id
    )
    select id, count(*) as n from users group by id
    """
)


async def uses(db: AsyncSession, segment_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """How many campaigns, flows and other segments name each of these segments; none is left out.

    Who hears of those who enter or leave names it as well.
    """
    found = await db.execute(_USES, {"segments": [*segment_ids]})
    return dict.fromkeys(segment_ids, 0) | {row.id: row.n for row in found}


class Day(NamedTuple):
    day: date
    size: int | None  # At its end; None before anybody was counted.
    entered: int
    left: int


_DAYS = text(
    f"""
    (
        select d.day, d.size, d.entered, d."left" from segment_days d
        where d.workspace_id = {HERE} and d.segment_id = :segment and d.day < :first
        order by d.day desc limit 1
    )
    union all
    (
        select d.day, d.size, d.entered, d."left" from segment_days d
        where d.workspace_id = {HERE} and d.segment_id = :segment and d.day between :first and :last
    )
    order by day
    """
)


async def history(db: AsyncSession, segment_id: UUID, first: date, last: date) -> Sequence[Day]:
    """Each day from the first to the last: where nothing happened, the size is that of the day before."""
    values = {"segment": segment_id, "first": first, "last": last}
    found = {row.day: Day(*row) for row in await db.execute(_DAYS, values)}
    size = next((each.size for day, each in found.items() if day < first), None)
    days = []
    for nth in range((last - first).days + 1):
        day = first + timedelta(days=nth)
        days.append(found.get(day, Day(day, size, 0, 0)))
        size = days[-1].size
    return days


@dataclass(frozen=True)
class Overlap:
    """How many people are in each segment, in both of a pair, in all of them, and in any."""

    each: Sequence[int]
    pairs: Mapping[tuple[int, int], int]  # By the places of the two in what was asked.
    all: int
    any: int


# Everybody's segments as bits; people with the same bits are counted together.
_OVERLAP = text(
    f"""
    select segments, count(*) from (
        select bit_or(1 << cast(asked.nth - 1 as int)) as segments
        from unnest(cast(:segments as uuid[])) with ordinality asked (id, nth)
        join segment_members m on m.workspace_id = {HERE} and m.segment_id = asked.id
        group by m.profile_id
    ) people
    group by segments
    """
)


async def overlap(db: AsyncSession, segment_ids: Sequence[UUID]) -> Overlap:
    """Of up to 31 segments.

    Raises `Invalid` for one that is not there, and `Conflict` for one whose members nobody knows yet.
    """
    known = select(Segment.id, Segment.name, Segment.materialized_at).where(Segment.id.in_(segment_ids))
    found = {row.id: row for row in await db.execute(known)}
    for nth, its_id in enumerate(segment_ids):
        if its_id not in found:
            raise Invalid(f"There is no segment {its_id}.", f"/segment_ids/{nth}")
        if found[its_id].materialized_at is None:
            raise Conflict(
                f'Nobody knows the members of "{found[its_id].name}" yet: ask again in a while.',
                f"/segment_ids/{nth}",
            )
    await db.execute(_PATIENTLY, {"milliseconds": str(PATIENCE)})
    try:
        rows = [tuple(row) for row in await db.execute(_OVERLAP, {"segments": [*segment_ids]})]
    except OperationalError as error:
        if isinstance(error.orig, QueryCanceled):
            raise Invalid("These are too many people to compare in time: take fewer segments.") from error
        raise

    def together(*places: int) -> int:
        bits = sum(1 << place for place in places)
        return sum(n for segments, n in rows if segments & bits == bits)

    places = range(len(segment_ids))
    return Overlap(
        each=[together(place) for place in places],
        pairs={pair: together(*pair) for pair in combinations(places, 2)},
        all=together(*places),
        any=sum(n for _, n in rows),
    )
