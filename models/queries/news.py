"""Whom a batch of the pump's changed, and what of them: that is what segments are asked about again.

All of it is in temporary tables (`models.working`): who changed in `changed`, and in `doubted` whom a look at
everybody found on the wrong side of a segment's border.
"""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from domain.events import EventKind
from models.base import Db
from models.queries.kept_events import IS_EVENT

_MERGED = """
    on conflict (profile_id) do update set live = changed.live or excluded.live,
        hops = greatest(changed.hops, excluded.hops), cause = coalesce(excluded.cause, changed.cause)
"""
_CHANGED = text(
    f"""
    insert into changed (profile_id, live)
    select w.person, bool_or(not t.historical)
    from unnest(cast(:people as uuid[])) w(person) join taken t on t.profile_id = w.person
    group by w.person order by w.person
    {_MERGED}
    """
)


async def changed_now(db: Db, people: Iterable[UUID]) -> None:
    """Those of these people of whom something is in `taken` are in `changed`."""
    await db.execute(_CHANGED, {"people": [*people]})


_WHO_CHANGED = text(
    """
    update taken t set profile_id = who.id
    from taken c
    cross join lateral (
        select case when p.merged_into is null then p.id else p.merged_into end as id from profiles p
        where p.workspace_id = :workspace and p.id = cast(c.properties ->> 'profile_id' as uuid)
            and p.erased_at is null
        limit 1
    ) who
    where c.kind = 'change' and t.n = c.n
    """
)
_CHANGED_BY = text(
    f"""
    insert into changed (profile_id, live, cause)
    select t.profile_id, bool_or(not t.historical),
        (array_agg(t.id order by t.n desc) filter (where t.kind <> '{EventKind.ORDER_CHANGE}'))[1]
    from taken t
    where t.profile_id is not null
        and (t.kind = any(cast(:kinds as text[])) or t.name = any(cast(:names as text[])) and {IS_EVENT})
    group by t.profile_id order by t.profile_id
    {_MERGED}
    """
)
_CHANGED_ELSEWHERE = text(
    f"""
    insert into changed (profile_id, live, hops, cause)
    select t.profile_id, bool_or(not t.historical), max(coalesce(cast(t.properties ->> 'hops' as int), 0)),
        cast(max(t.properties ->> 'cause') as uuid)
    from taken t
    where t.kind = '{EventKind.CHANGE}' and t.profile_id is not null and not t.properties ? 'segment_id'
    group by t.profile_id order by t.profile_id
    {_MERGED}
    """
)
# As the look found them, also who was merged or erased since: they are members of nothing.
_DOUBTED = text(
    f"""
    insert into doubted (segment_id, profile_id, live)
    select cast(t.properties ->> 'segment_id' as uuid) as segment,
        cast(t.properties ->> 'profile_id' as uuid) as who, bool_or(not t.historical)
    from taken t where t.kind = '{EventKind.CHANGE}' and t.properties ? 'segment_id'
    group by segment, who order by segment, who
    """
)
_WHAT_CHANGED = text(
    f"""
    select
        array(
            select distinct word
            from taken t cross join lateral jsonb_array_elements_text(t.properties -> 'reads') word
            where t.kind = '{EventKind.CHANGE}' and t.properties ? 'reads'
        ) as reads,
        exists (select from taken t where t.kind = '{EventKind.CHANGE}'
            and not t.properties ?| array['reads', 'segment_id']) as anything,
        exists (select from doubted) as doubts
    """
)
_NAMES_IN = text(
    f"select distinct t.name from taken t where {IS_EVENT} and t.name = any(cast(:names as text[]))"
)
_ALL_CHANGED = text("select profile_id from changed")


async def changed_by(db: Db, *, kinds: Iterable[str] = (), names: Iterable[str] = ()) -> None:
    """Whoever is spoken of by arrivals of these kinds, or by events of these names, is in `changed`."""
    await db.execute(_CHANGED_BY, {"kinds": [*kinds], "names": [*names]})


async def names_in(db: Db, names: Iterable[str]) -> list[str]:
    """Those of these names of which there are events in `taken`."""
    return [*(await db.execute(_NAMES_IN, {"names": [*names]})).scalars()]


class Elsewhere(NamedTuple):
    """What others than the pump changed."""

    reads: list[str]  # In the words of `domain.segments.reads`.
    anything: bool  # Of some people, nobody said what.
    doubts: bool  # A look at everybody found somebody on the wrong side of a segment's border.


async def changed_elsewhere(db: Db, workspace_id: UUID) -> Elsewhere:
    """Whom arrivals of the kind `change` speak of, by their profile and not by a name, and of what.

    They are in `changed` afterwards, or in `doubted` where a segment is named.
    """
    await db.execute(_WHO_CHANGED, {"workspace": workspace_id})
    await db.execute(_CHANGED_ELSEWHERE)
    await db.execute(_DOUBTED)
    return Elsewhere(*(await db.execute(_WHAT_CHANGED)).one())


async def all_changed(db: Db) -> list[UUID]:
    return [*(await db.execute(_ALL_CHANGED)).scalars()]
